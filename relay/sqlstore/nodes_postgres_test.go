//go:build postgres

package sqlstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/emmansun/gmsm/sm2"
)

const (
	oneDevice   = "0123456789abcdef0123456789abcdef"
	otherDevice = "1123456789abcdef0123456789abcdef"
)

func openNode(t *testing.T, location string) *Store {
	t.Helper()
	s, err := Open(t.Context(), location, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newKey(t *testing.T) *sm2.PrivateKey {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// verified fails unless the ledger has so many lines and verifies.
func verified(t *testing.T, s *Store, key *sm2.PrivateKey, lines uint64) {
	t.Helper()
	report, err := relay.VerifyLedger(t.Context(), s, key.Public(), nil)
	if err != nil || report.Entries != lines {
		t.Errorf("ledger of %+v lines, want %d: %v", report, lines, err)
	}
}

// TestTwoNodesOneLedger: two nodes end the same challenges at the same time, each
// for another device. Each challenge has one end and one line, and both nodes
// answer the same.
func TestTwoNodesOneLedger(t *testing.T) {
	location, key := pgtest.Database(t), newKey(t)
	nodes := []*Store{openNode(t, location), openNode(t, location)}
	const challenges = 150
	won := make([][2]relay.End, challenges)
	errs := make(chan error, 2*challenges)
	var group sync.WaitGroup
	for i := range challenges {
		for n, node := range nodes {
			given := rejection(t, key, i, []string{oneDevice, otherDevice}[n])
			group.Go(func() {
				var err error
				won[i][n], err = node.End(context.Background(), given, relay.SignPromises(key))
				errs <- err
			})
		}
	}
	group.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	wins := map[string]int{}
	for i, w := range won {
		if w[0].Device != w[1].Device || w[0].Promise.Index != w[1].Promise.Index || !protocol.Equal(w[0].Promise.Head, w[1].Promise.Head) {
			t.Errorf("challenge %d ended for %s with line %d and for %s with line %d", i, w[0].Device, w[0].Promise.Index, w[1].Device, w[1].Promise.Index)
		}
		wins[w[0].Device]++
	}
	verified(t, nodes[0], key, challenges)
	if wins[oneDevice]+wins[otherDevice] != challenges {
		t.Errorf("won: %v", wins)
	}
}

// TestNonceOnceOnAllNodes: whichever node sees a nonce first, no other takes it.
func TestNonceOnceOnAllNodes(t *testing.T) {
	location := pgtest.Database(t)
	nodes := []*Store{openNode(t, location), openNode(t, location)}
	var fresh atomic.Int64
	errs := make(chan error, 32)
	var group sync.WaitGroup
	for i := range cap(errs) {
		group.Go(func() {
			ok, err := nodes[i%2].UseNonce(context.Background(), fmt.Sprint("nonce ", i/8), time.Now().Add(time.Minute))
			if ok {
				fresh.Add(1)
			}
			errs <- err
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	if fresh.Load() != 4 {
		t.Errorf("4 nonces were fresh %d times", fresh.Load())
	}
	third := openNode(t, location)
	if ok, err := third.UseNonce(t.Context(), "nonce 0", time.Now().Add(time.Minute)); err != nil || ok {
		t.Errorf("a node that started later took a used nonce: %v", err)
	}
}

// TestCutEnd: the connection is cut at each step of an end, also where it was
// committed and nobody was told. Repeated, it has the one line.
func TestCutEnd(t *testing.T) {
	for name, cut := range map[string]pgtest.Cut{
		"insert":            {At: "INSERT INTO relay_end"},
		"inserted":          {At: "INSERT INTO relay_end", Answered: true},
		"line":              {At: "INSERT INTO relay_ledger"},
		"line written":      {At: "INSERT INTO relay_ledger", Answered: true},
		"commit":            {At: "commit\x00"},
		"committed, untold": {At: "commit\x00", Answered: true},
	} {
		t.Run(name, func(t *testing.T) {
			location, key := pgtest.Database(t), newKey(t)
			direct := openNode(t, location)
			proxy, through := pgtest.NewProxy(t, location)
			node := openNode(t, through)
			sign, e := relay.SignPromises(key), rejection(t, key, 1, oneDevice)
			proxy.Next(cut)
			if _, err := node.End(t.Context(), e, sign); err == nil || proxy.Cuts() != 1 {
				t.Fatalf("cut %d times: %v", proxy.Cuts(), err)
			}
			// By another node, for another device: what was written stands.
			other, err := direct.End(t.Context(), rejection(t, key, 1, otherDevice), sign)
			if err != nil {
				t.Fatal(err)
			}
			if written := cut.At == "commit\x00" && cut.Answered; written != (other.Device == oneDevice) {
				t.Errorf("the end is that of %s", other.Device)
			}
			again, err := node.End(t.Context(), e, sign)
			if err != nil || again.Device != other.Device || !protocol.Equal(again.Promise.Head, other.Promise.Head) {
				t.Errorf("repeated: %+v, %v", again, err)
			}
			verified(t, direct, key, 1)
		})
	}
}

// TestServerRestartsUnderEnds: the database server crashes and comes back while
// two nodes write. Whatever failed is repeated once; nothing is lost or doubled.
func TestServerRestartsUnderEnds(t *testing.T) {
	server, key := pgtest.Start(t), newKey(t)
	location := server.Database(t)
	nodes := []*Store{openNode(t, location), openNode(t, location)}
	sign := relay.SignPromises(key)
	const workers, each = 16, 30
	var failed atomic.Int64
	before := make([]protocol.Promise, workers*each) // of what was answered
	ended, back := make(chan struct{}, workers*each), make(chan struct{})
	errs := make(chan error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range each {
				n := w*each + i
				e := rejection(t, key, n, oneDevice)
				won, err := nodes[w%2].End(context.Background(), e, sign)
				if err != nil {
					failed.Add(1)
					<-back
					won, err = nodes[w%2].End(context.Background(), e, sign)
				}
				if err != nil {
					errs <- err
					return
				}
				before[n] = won.Promise
				ended <- struct{}{}
			}
		})
	}
	for range workers * each / 3 {
		<-ended
	}
	server.Stop()
	server.Again(t)
	close(back)
	group.Wait()
	close(errs)
	for err := range errs {
		t.Errorf("after the restart: %v", err)
	}
	if failed.Load() == 0 {
		t.Error("the restart came too late: nobody noticed")
	}
	for n, promise := range before {
		stored, err := nodes[0].Ended(t.Context(), rejection(t, key, n, oneDevice).CID)
		if err != nil || !protocol.Equal(stored.Promise.Head, promise.Head) {
			t.Errorf("end %d: the promise that was answered does not stand: %v", n, err)
		}
	}
	verified(t, nodes[1], key, workers*each)
}

// TestAlone: one node without a bus; the next is refused until the first is gone.
func TestAlone(t *testing.T) {
	location := pgtest.Database(t)
	first, second := openNode(t, location), openNode(t, location+"?lock_timeout=50")
	release, err := first.Alone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Alone(t.Context()); !errors.Is(err, ErrNotAlone) {
		t.Errorf("a second node: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Alone(t.Context()); err != nil {
		t.Errorf("after the first has released it: %v", err)
	}
}
