package sqlstore

import (
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/emmansun/gmsm/sm2"
)

// BenchmarkEnd is the write that a relay with Redis makes for each result: the
// end, its line in the ledger and the head, committed in groups.
func BenchmarkEnd(b *testing.B) {
	s, err := Open(b.Context(), newLocation(b), time.Now)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sign, e := relay.SignPromises(key), rejection(b, key, 1, "0123456789abcdef0123456789abcdef")
	var n atomic.Uint64
	b.SetParallelism(64)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			mine := e // its receipt is another's, which nobody looks at here
			mine.CID = protocol.CID{}
			binary.BigEndian.PutUint64(mine.CID[:], n.Add(1))
			if _, err := s.End(b.Context(), mine, sign); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// rejection is an end of challenge n by a device.
func rejection(t testing.TB, key *sm2.PrivateKey, n int, device string) relay.End {
	t.Helper()
	var cid protocol.CID
	binary.BigEndian.PutUint32(cid[:], uint32(n))
	r, err := protocol.SignReceipt(key, protocol.TagReject, protocol.Receipt{V: 1, CID: cid, Kind: protocol.KindLogin, Platform: "p1", Device: device,
		ClaimSeq: 1, Reason: "other", IAT: 1_800_000_000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return relay.End{CID: cid, Platform: "p1", Kind: protocol.KindLogin, State: protocol.StateRejected, Code: "other", Device: device, ClaimSeq: 1, Receipt: *r}
}
