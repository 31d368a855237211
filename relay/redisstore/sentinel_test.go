//go:build redis

package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/redisstore/redistest"
	"github.com/bidseal/bidseal/relay/sqlstore"
	"github.com/emmansun/gmsm/sm2"
)

// again repeats what failed until the backend has an answer.
func again(ctx context.Context, failed *atomic.Int64, do func() error) error {
	for {
		err := do()
		if err == nil || errors.Is(err, relay.ErrConflict) || errors.Is(err, relay.ErrNotFound) || ctx.Err() != nil {
			return err
		}
		failed.Add(1)
	}
}

// sentinelRun is two nodes on servers that a Sentinel watches, and one SQL
// database of ends.
type sentinelRun struct {
	nodes  [2]*Store
	ends   *sqlstore.Store
	key    *sm2.PrivateKey
	failed atomic.Int64 // calls that were repeated
}

// sign in: the device claims the challenge, unless another has, and ends it.
func (r *sentinelRun) attempt(ctx context.Context, c relay.Challenge, device int, e relay.End) (*relay.End, error) {
	s := r.nodes[device]
	var stored relay.Challenge
	for {
		if err := again(ctx, &r.failed, func() (err error) {
			stored, _, err = s.Create(ctx, c, []byte("request"), plenty)
			return err
		}); err != nil {
			return nil, fmt.Errorf("create: %w", err)
		}
		next := stored
		var err error
		if next.Progress, err = stored.Progress.Claim(stored.Terms, stored.CreatedAt, e.Device, make([]byte, 16), nil); err != nil {
			return nil, nil // another device's
		}
		err = again(ctx, &r.failed, func() error { _, err := s.Swap(ctx, stored.Rev, next); return err })
		if err == nil {
			break
		}
		if !errors.Is(err, relay.ErrConflict) && !errors.Is(err, relay.ErrNotFound) { // otherwise read again
			return nil, fmt.Errorf("claim: %w", err)
		}
	}
	won, err := r.ends.End(ctx, e, relay.SignPromises(r.key))
	return &won, err
}

// TestSentinelFailover: the master is killed under load and the Sentinel promotes
// its replica. The nodes find the new master by themselves; whatever claims were
// forgotten, each challenge has one end.
func TestSentinelFailover(t *testing.T) {
	sentinel, master, replica := redistest.Sentinel(t)
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	r := &sentinelRun{key: key}
	r.ends, err = sqlstore.Open(t.Context(), newEnds(t), time.Now)
	must(t, err)
	t.Cleanup(func() { r.ends.Close() })
	for i := range r.nodes {
		r.nodes[i] = openStore(t, Config{Addresses: []string{sentinel.Addr}, Master: "relay", Timeout: 500 * time.Millisecond})
	}
	id, err := r.nodes[0].ID(t.Context())
	must(t, err)
	master.Do(t, "wait", "1", "0") // the store's id is on the replica
	const workers, each = 8, 30
	var mu sync.Mutex
	winners := map[protocol.CID]map[string]int{}
	under := make(chan struct{}, workers)
	errs := make(chan error, workers)
	var group sync.WaitGroup
	for range workers {
		all := make([]relay.Challenge, each)
		for i := range all {
			all[i] = fresh(t, "p1")
		}
		group.Go(func() {
			for i, c := range all {
				if i == each/3 {
					under <- struct{}{}
				}
				for device := range 2 {
					won, err := r.attempt(t.Context(), c, device, r.rejection(t, c, device))
					if err != nil {
						errs <- err
						return
					}
					if won == nil {
						continue
					}
					mu.Lock()
					if winners[c.CID] == nil {
						winners[c.CID] = map[string]int{}
					}
					winners[c.CID][won.Device]++
					mu.Unlock()
				}
			}
		})
	}
	for range workers {
		<-under
	}
	master.Kill(t)
	group.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	replica.WaitFor(t, "role:master", "info", "replication")
	if r.failed.Load() == 0 {
		t.Error("nobody noticed the failover")
	}
	if now, err := r.nodes[1].ID(t.Context()); err != nil || now != id {
		t.Errorf("the store is %s after the failover, %s before: %v", now, id, err)
	}
	if len(winners) != workers*each {
		t.Errorf("%d challenges ended, want %d", len(winners), workers*each)
	}
	for cid, by := range winners {
		if len(by) != 1 {
			t.Errorf("%s was won by %v", cid, by)
		}
	}
	report, err := relay.VerifyLedger(t.Context(), r.ends, key.Public(), nil)
	if err != nil || report.Entries != workers*each {
		t.Errorf("ledger %+v, want %d lines: %v", report, workers*each, err)
	}
}

// rejection ends a challenge for a device.
func (r *sentinelRun) rejection(t testing.TB, c relay.Challenge, n int) relay.End {
	t.Helper()
	device := fmt.Sprintf("%032x", n+1)
	receipt, err := protocol.SignReceipt(r.key, protocol.TagReject, protocol.Receipt{V: 1, CID: c.CID, Kind: protocol.KindLogin, Platform: c.Platform,
		Device: device, ClaimSeq: 1, Reason: "other", IAT: 1_800_000_000}, nil)
	if err != nil {
		t.Error(err)
		return relay.End{}
	}
	return relay.End{CID: c.CID, Platform: c.Platform, Kind: protocol.KindLogin, State: protocol.StateRejected, Code: "other", Device: device, ClaimSeq: 1, Receipt: *receipt}
}
