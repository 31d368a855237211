//go:build !redis

package relay_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
)

// Its store is the one database, which is Joint; see backend_test.go.

// raceStore lets something happen once, right after the next Get.
type raceStore struct {
	*sqlstore.Store
	next atomic.Pointer[func()]
}

func (s *raceStore) Get(ctx context.Context, cid protocol.CID) (relay.Challenge, error) {
	c, err := s.Store.Get(ctx, cid)
	if f := s.next.Swap(nil); f != nil {
		(*f)()
	}
	return c, err
}

// TestReceiptIsCheckedWhateverHappensBetween holds that a call which could not
// succeed when it was first looked at never succeeds unchecked: the platform's
// ready, or the device's next claim, comes between the two looks.
func TestReceiptIsCheckedWhateverHappensBetween(t *testing.T) {
	var store *raceStore
	w := newWorld(t, func(c *relay.Config) {
		own, ok := c.State.(*sqlstore.Store)
		if !ok {
			t.Fatal("want the store of one database")
		}
		store = &raceStore{Store: own}
		*c = c.WithStore(store)
		c.Outcomes = store
	})
	d := w.newDevice("张三")

	c := w.platform.created(protocol.KindLogin, true)
	c.claimed(d)
	forged := c.resultBody(d, 1, 100)
	forged.Receipt.Signature = []byte("no signature at all")
	must(t, d.call(http.MethodPost, c.path+"/open", protocol.OpenBody{ClaimSeq: 1, KEM: forged.KEM, Box: make([]byte, 40)}, nil))
	ready := func() {
		must(t, w.platform.call(http.MethodPut, c.path+"/ready", protocol.ReadyBody{ClaimSeq: 1, Next: protocol.StateReady, Box: make([]byte, 40)}, nil))
	}
	store.next.Store(&ready)
	_, err := c.result(d, forged)
	wantCode(t, err, protocol.CodeNotReady)
	c.wantState(protocol.StateReady)

	c = w.platform.created(protocol.KindLogin, false)
	c.claimed(d)
	again := func() { c.claimed(d) }
	store.next.Store(&again)
	unsigned := protocol.RejectBody{ClaimSeq: 2, Reason: protocol.RejectNotMe, Receipt: protocol.SignedReceipt{Bytes: []byte("{}"), Signature: []byte("x")}}
	wantCode(t, d.call(http.MethodPost, c.path+"/reject", unsigned, &protocol.ResultAnswer{}), protocol.CodeClaimSeq)
	c.wantState(protocol.StateClaimed)
}
