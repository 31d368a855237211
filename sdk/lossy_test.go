package bidseal_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

// lossyStore fails two writes of five, in a rhythm that no caller has; one of
// the two has happened.
type lossyStore struct {
	bidseal.Store
	writes atomic.Int64
}

var errLossy = errors.New("the connection broke")

func (s *lossyStore) lose(write func() error) error {
	switch s.writes.Add(1) % 5 {
	case 1: // failed, but was written
		return errors.Join(write(), errLossy)
	case 3: // failed, and was not
		return errLossy
	}
	return write()
}

func (s *lossyStore) CompareAndSwap(ctx context.Context, r bidseal.StoreRecord) error {
	return s.lose(func() error { return s.Store.CompareAndSwap(ctx, r) })
}

func (s *lossyStore) Put(ctx context.Context, r bidseal.StoreRecord) error {
	return s.lose(func() error { return s.Store.Put(ctx, r) })
}

// A store whose connection breaks again and again delays a sign-in; it loses
// none and gives none twice.
func TestLossyStore(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	store := &lossyStore{Store: bidseal.NewMemoryStore()}
	client := env.Client(func(c *bidseal.Config) { c.Store = store })
	var ch *bidseal.Challenge
	for ch == nil {
		c, err := client.Login(ctx, bidseal.LoginOptions{})
		if err != nil && !errors.Is(err, errLossy) {
			t.Fatal(err)
		}
		ch = c
	}
	must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
	got := 0
	for ctx.Err() == nil {
		login, err := ch.Wait(ctx)
		if login != nil {
			got++
		}
		if errors.Is(err, bidseal.ErrResultConsumed) {
			break
		}
		if err != nil && !errors.Is(err, errLossy) {
			t.Fatal(err)
		}
	}
	if got != 1 {
		t.Errorf("the result was given %d times", got)
	}
	if env.Relay.LedgerEntries() != 1 {
		t.Errorf("%d ledger entries", env.Relay.LedgerEntries())
	}
}

// A relay that is not there leaves nothing behind but an error.
func TestLoginWithoutRelay(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	client := env.Client()
	env.Relay.SetDown(true)
	_, err := client.Login(ctx, bidseal.LoginOptions{})
	wantCode(t, err, protocol.CodeUnavailable)
	due, err := env.Store.List(ctx, env.Clock.Now().Add(time.Hour), 10)
	must(t, err)
	if len(due) != 0 {
		t.Errorf("%d challenges are still to be looked after", len(due))
	}
	env.Relay.SetDown(false)
	ch := begin(t, ctx, client, bidseal.LoginOptions{})
	must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
	_, err = ch.Wait(ctx)
	must(t, err)
}

// Without a status of the platform's own certificate no phone would sign.
func TestLoginWithoutOwnStatus(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	client := env.Client()
	env.Authority.SetDown(true)
	_, err := client.Login(ctx, bidseal.LoginOptions{})
	wantCode(t, err, protocol.CodeStatusStale)
	asked := env.Authority.Asked()
	_, err = client.Login(ctx, bidseal.LoginOptions{})
	wantCode(t, err, protocol.CodeStatusStale)
	if env.Authority.Asked() != asked {
		t.Error("an authority that is down was asked again at once")
	}
	env.Authority.SetDown(false)
	env.Clock.Advance(10 * time.Second)
	begin(t, ctx, client, bidseal.LoginOptions{})
	env.Authority.SetDown(true) // yesterday's answer serves for a day
	env.Clock.Advance(23 * time.Hour)
	begin(t, ctx, client, bidseal.LoginOptions{})
	env.Clock.Advance(2 * time.Hour)
	_, err = client.Login(ctx, bidseal.LoginOptions{})
	wantCode(t, err, protocol.CodeStatusStale)
}
