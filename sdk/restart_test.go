package bidseal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

// onFiles gives each client of the env its own handle on one file store, as
// processes have it.
func onFiles(t *testing.T, dir string) func(*bidseal.Config) {
	t.Helper()
	return func(c *bidseal.Config) { c.Store = openFiles(t, dir) }
}

// A process that ends between the QR code and the result leaves the rest to the
// next one.
func TestRestartFinishes(t *testing.T) {
	ctx, env, dir := testContext(t), sdktest.New(t), t.TempDir()
	first, stop := env.Start(onFiles(t, dir))
	ch := begin(t, ctx, first, bidseal.LoginOptions{})
	scan, err := env.Phone("张三").Scan(ctx, ch.Payload())
	must(t, err)
	await(t, ch, "the scan", inState(bidseal.StateScanned))
	id := ch.ID()
	stop()
	must(t, scan.Approve(ctx))

	again, err := env.Client(onFiles(t, dir)).Challenge(ctx, id)
	must(t, err)
	login, err := again.Wait(ctx)
	must(t, err)
	if login.Person != "张三" || env.Relay.Calls("ack") != 1 || env.Relay.LedgerEntries() != 1 {
		t.Errorf("login %+v, %d acks, %d ledger entries", login, env.Relay.Calls("ack"), env.Relay.LedgerEntries())
	}
}

// A verdict that stands survives; the result is collected once, and a process
// that ended between the commit and the acknowledgement does not lose the latter.
func TestRestartBeforeAck(t *testing.T) {
	ctx, env, dir := testContext(t), sdktest.New(t), t.TempDir()
	first, stop := env.Start(onFiles(t, dir))
	ch := begin(t, ctx, first, bidseal.LoginOptions{})
	must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
	await(t, ch, "the verdict", inState(bidseal.StateDone))
	env.Relay.SetDown(true)
	login, err := ch.Wait(ctx)
	must(t, err)
	stop()
	env.Relay.SetDown(false)

	second := env.Client(onFiles(t, dir))
	env.Clock.Advance(time.Minute) // the sweeper comes by
	must(t, env.Relay.Await(ctx, login.CID, func(st protocol.ChallengeState) bool { return st.State == protocol.StateCompleted }))
	again, err := second.Challenge(ctx, ch.ID())
	must(t, err)
	if _, err := again.Wait(ctx); !errors.Is(err, bidseal.ErrResultConsumed) {
		t.Errorf("collected again: %v", err)
	}
}

// Many nodes see every event; the work is done once, and one caller gets the
// result.
func TestSeveralNodes(t *testing.T) {
	ctx, env, dir := testContext(t), sdktest.New(t), t.TempDir()
	var nodes []*bidseal.Client
	for range 3 {
		nodes = append(nodes, env.Client(onFiles(t, dir)))
	}
	ch := begin(t, ctx, nodes[0], bidseal.LoginOptions{Static: true})
	phone := env.Phone("张三")
	_, err := phone.Scan(ctx, ch.Payload())
	must(t, err)
	e := await(t, ch, "digits", inState(bidseal.StateConfirm))
	wrong := "00"
	if e.Digits == wrong {
		wrong = "01"
	}
	wantCode(t, phone.ApproveWithDigits(ctx, ch.Payload(), wrong), protocol.CodeMatchWrong)
	if e = await(t, ch, "second try", func(e bidseal.Event) bool { return e.TriesLeft < 3 && e.TriesLeft > 0 }); e.TriesLeft != 2 {
		t.Fatalf("one wrong try counted %d times", 3-e.TriesLeft)
	}
	must(t, phone.ApproveWithDigits(ctx, ch.Payload(), e.Digits))

	var mu sync.Mutex
	var group sync.WaitGroup
	got, refused := 0, 0
	for _, node := range nodes {
		group.Go(func() {
			here, err := node.Challenge(ctx, ch.ID())
			if err == nil {
				_, err = here.Wait(ctx)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				got++
			case errors.Is(err, bidseal.ErrResultConsumed):
				refused++
			default:
				t.Errorf("wait: %v", err)
			}
		})
	}
	group.Wait()
	if got != 1 || refused != 2 {
		t.Errorf("%d got the result, %d were refused", got, refused)
	}
	if n := env.Authority.Asked(); n != 3 { // for the request, by the phone, for the result
		t.Errorf("%d questions for status, want 3: the result was judged more than once", n)
	}
}

// Nodes that renew at the same moment make one new code.
func TestOneRenewal(t *testing.T) {
	ctx, env, dir := testContext(t), sdktest.New(t), t.TempDir()
	a, b := env.Client(onFiles(t, dir)), env.Client(onFiles(t, dir))
	here := begin(t, ctx, a, bidseal.LoginOptions{})
	there, err := b.Challenge(ctx, here.ID())
	must(t, err)
	env.Advance(protocol.PendingLimit + time.Second)
	renewed := func(e bidseal.Event) bool { return e.Renewals > 0 }
	one, two := await(t, here, "renewal here", renewed), await(t, there, "renewal there", renewed)
	if one.CID != two.CID || one.Renewals != 1 || two.Renewals != 1 {
		t.Errorf("renewed to %v and %v", one, two)
	}
	if n := env.Relay.Calls("create"); n != 2 {
		t.Errorf("%d challenges were registered, want 2", n)
	}
}

// A verdict that is not collected ends a minute after the request.
func TestUncollected(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{})
	must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
	await(t, ch, "the verdict", inState(bidseal.StateDone))
	env.Clock.Advance(protocol.PendingLimit + protocol.ClaimLimit(protocol.KindLogin) + protocol.UnackedAfter + 5*time.Second)
	must(t, env.Relay.Await(ctx, ch.CID(), func(st protocol.ChallengeState) bool {
		return st.State == protocol.StateFailed && st.Code == string(protocol.CodeUnacked)
	}))
	_, err := ch.Wait(ctx)
	wantCode(t, err, protocol.CodeUnacked)
}

func TestRelayLost(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	client := env.Client()
	ch := begin(t, ctx, client, bidseal.LoginOptions{})
	held := begin(t, ctx, client, bidseal.LoginOptions{NoRenew: true})
	must(t, env.Relay.Forget())
	await(t, ch, "a new code", func(e bidseal.Event) bool { return e.Renewals == 1 && e.State == bidseal.StateWaiting })
	must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
	_, err := ch.Wait(ctx)
	must(t, err)
	_, err = held.Wait(ctx)
	wantCode(t, err, protocol.CodeRelayLost)
}

// blindStore fails to list everything once, when it was told to.
type blindStore struct {
	bidseal.Store
	fail atomic.Bool
}

func (s *blindStore) List(ctx context.Context, due time.Time, limit int) ([]bidseal.StoreRecord, error) {
	if limit > 256 && s.fail.CompareAndSwap(true, false) {
		return nil, errLossy
	}
	return s.Store.List(ctx, due, limit)
}

// A relay's new store is noticed until the challenges were read again.
func TestRelayLostWhileStoreFails(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	store := &blindStore{Store: bidseal.NewMemoryStore()}
	ch := begin(t, ctx, env.Client(func(c *bidseal.Config) { c.Store = store }), bidseal.LoginOptions{})
	store.fail.Store(true)
	must(t, env.Relay.Forget())
	await(t, ch, "a new code", func(e bidseal.Event) bool { return e.Renewals == 1 && e.State == bidseal.StateWaiting })
	if store.fail.Load() {
		t.Error("the store was not asked")
	}
}

func TestFeedComesBack(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	client := env.Client()
	for range 3 {
		ch := begin(t, ctx, client, bidseal.LoginOptions{})
		env.Relay.Disconnect()
		must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
		_, err := ch.Wait(ctx)
		must(t, err)
	}
}

func TestFeedWithoutSockets(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	env.Relay.RefuseSockets(true)
	ch := begin(t, ctx, env.Client(), bidseal.LoginOptions{})
	must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
	_, err := ch.Wait(ctx)
	must(t, err)
}

// The feed goes on where it stopped: what was done is not read again.
func TestCursorIsKept(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	client, stop := env.Start()
	ch := begin(t, ctx, client, bidseal.LoginOptions{})
	st, _ := env.Relay.State(ch.CID())
	must(t, env.Phone("张三").Approve(ctx, ch.Payload()))
	_, err := ch.Wait(ctx)
	must(t, err)
	stop()
	next := begin(t, ctx, env.Client(), bidseal.LoginOptions{})
	must(t, env.Phone("王五").Approve(ctx, next.Payload()))
	_, err = next.Wait(ctx)
	must(t, err)
	if hello := env.Relay.LastHello(); hello.After < st.Rev || hello.Store == "" {
		t.Errorf("the second process began at %+v, the first had passed %d", hello, st.Rev)
	}
}

// Nothing of a challenge can be read in the store's files.
func TestStoreIsSealed(t *testing.T) {
	ctx, env, dir := testContext(t), sdktest.New(t), t.TempDir()
	ch := begin(t, ctx, env.Client(onFiles(t, dir)), bidseal.LoginOptions{Display: []string{"PLAINTEXT-MARKER"}, Static: true})
	must(t, ch.Cancel(ctx))
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	must(t, err)
	if len(files) < 2 {
		t.Fatalf("%d files", len(files))
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		must(t, err)
		if strings.Contains(string(raw), "PLAINTEXT-MARKER") || strings.Contains(string(raw), "digits") {
			t.Errorf("%s can be read", filepath.Base(name))
		}
	}
	other := env.Client(onFiles(t, dir), func(c *bidseal.Config) { c.StoreKey = make([]byte, 32) })
	if _, err := other.Challenge(context.Background(), ch.ID()); err == nil || errors.Is(err, bidseal.ErrNotFound) {
		t.Errorf("opened under another key: %v", err)
	}
}
