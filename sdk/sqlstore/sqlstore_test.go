package sqlstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
	"github.com/bidseal/bidseal/sdk/sqlstore"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, location string) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{Location: location})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func TestConformance(t *testing.T) {
	locations := map[bidseal.Store]string{}
	sdktest.TestStore(t, func(t testing.TB) bidseal.Store {
		location := newLocation(t)
		s := open(t, location)
		locations[s] = location
		return s
	}, func(t testing.TB, s bidseal.Store) bidseal.Store { return open(t, locations[s]) })
}

// backend is one more process of the platform on the database.
func backend(t *testing.T, location string) func(*bidseal.Config) {
	t.Helper()
	return func(c *bidseal.Config) { c.Store = open(t, location) }
}

// TestOneBackendFinishesForAnother: the backend that showed the code ends after
// the scan; the other one finishes.
func TestOneBackendFinishesForAnother(t *testing.T) {
	ctx, env, location := t.Context(), sdktest.New(t), newLocation(t)
	first, stop := env.Start(backend(t, location))
	begun, err := first.Login(ctx, bidseal.LoginOptions{})
	must(t, err)
	scan, err := env.Phone("张三").Scan(ctx, begun.Payload())
	must(t, err)
	stop()
	must(t, scan.Approve(ctx))
	there, err := env.Client(backend(t, location)).Challenge(ctx, begun.ID())
	must(t, err)
	login, err := there.Wait(ctx)
	must(t, err)
	if login.Person != "张三" || env.Relay.Calls("ack") != 1 || env.Relay.LedgerEntries() != 1 {
		t.Errorf("login %+v, %d acks, %d ledger entries", login, env.Relay.Calls("ack"), env.Relay.LedgerEntries())
	}
}

// TestBackendsShareTheWork: both see each event; each result is judged once, and
// one caller gets it, whichever backend asks.
func TestBackendsShareTheWork(t *testing.T) {
	ctx, env, location := t.Context(), sdktest.New(t), newLocation(t)
	nodes := []*bidseal.Client{env.Client(backend(t, location)), env.Client(backend(t, location))}
	const logins = 6
	var group sync.WaitGroup
	var mu sync.Mutex
	got := map[protocol.CID]int{}
	for i := range logins {
		begun, err := nodes[i%2].Login(ctx, bidseal.LoginOptions{})
		must(t, err)
		must(t, env.Phone("张三").Approve(ctx, begun.Payload()))
		for _, node := range nodes {
			group.Go(func() {
				here, err := node.Challenge(context.WithoutCancel(ctx), begun.ID())
				var login *bidseal.Login
				if err == nil {
					login, err = here.Wait(ctx)
				}
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					got[login.CID]++
				} else if !errors.Is(err, bidseal.ErrResultConsumed) {
					t.Errorf("wait: %v", err)
				}
			})
		}
	}
	group.Wait()
	for cid, n := range got {
		if n != 1 {
			t.Errorf("%s was collected %d times", cid, n)
		}
	}
	if len(got) != logins || env.Relay.LedgerEntries() != logins {
		t.Errorf("%d of %d were collected, %d ledger entries", len(got), logins, env.Relay.LedgerEntries())
	}
}
