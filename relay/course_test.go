package relay_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
	"github.com/bidseal/bidseal/relay/storetest"
	"github.com/gorilla/websocket"
)

// TestExpiry: each state's deadline, refused before the sweeper ran and stored by it.
func TestExpiry(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	open := protocol.OpenBody{ClaimSeq: 1, KEM: make([]byte, 140), Box: make([]byte, 40)}
	for _, tc := range []struct {
		name    string
		prepare func(*challenge)
		after   time.Duration
		late    func(*challenge) error
		code    protocol.Code // of the late call
		state   protocol.State
		stored  string // code of the state
		receipt bool
	}{
		{"pending", func(*challenge) {}, 121 * time.Second, func(c *challenge) error { _, err := c.claim(d, c.claimBody()); return err },
			protocol.CodeExpired, protocol.StateExpired, "", false},
		{"claimed", func(c *challenge) { c.claimed(d) }, 121 * time.Second, func(c *challenge) error { _, err := c.result(d, c.resultBody(d, 1, 100)); return err },
			protocol.CodeExpired, protocol.StateExpired, "", true},
		{"opened", func(c *challenge) { c.claimed(d); must(t, d.call(http.MethodPost, c.path+"/open", open, nil)) }, 61 * time.Second,
			func(c *challenge) error {
				return w.platform.call(http.MethodPut, c.path+"/ready", protocol.ReadyBody{ClaimSeq: 1, Next: protocol.StateReady, Box: make([]byte, 40)}, nil)
			}, protocol.CodePlatformTimeout, protocol.StateFailed, "platform_timeout", true},
		{"fulfilled", func(c *challenge) {
			c.claimed(d)
			_, err := c.result(d, c.resultBody(d, 1, 100))
			must(t, err)
		}, 24*time.Hour + time.Second, func(c *challenge) error { return nil }, "", protocol.StateFailed, "unacked", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d.renew(23 * time.Hour)
			c := w.platform.newChallenge(protocol.KindLogin, tc.name == "opened")
			must(t, c.create(nil))
			tc.prepare(c)
			before := c.read()
			must(t, w.relay.Sweep(t.Context()))
			if s := c.read(); s.Rev != before.Rev {
				t.Fatal("the sweeper acted before the deadline")
			}
			w.clock.advance(tc.after)
			if err := tc.late(c); protocol.CodeOf(err) != tc.code {
				t.Fatalf("late call: %v", err)
			}
			if s := c.read(); s.Rev != before.Rev {
				t.Fatal("a late call moved the state")
			}
			for range 2 {
				must(t, w.relay.Sweep(t.Context()))
			}
			s := c.wantState(tc.state)
			if s.Code != tc.stored || (s.Promise != nil) != tc.receipt {
				t.Fatalf("state %+v", s)
			}
			if tc.receipt && s.Result == nil {
				must(t, s.Receipt.Verify(w.ledgerKey.Public(), protocol.TagReject))
				must(t, protocol.VerifyPromise(w.ledgerKey.Public(), s.Promise, s.Receipt.Bytes))
			}
			page := w.platform.feed("", before.Rev)
			if len(page.Events) == 0 || page.Events[len(page.Events)-1].Rev != s.Rev {
				t.Fatal("the platform was not told")
			}
		})
	}
}

// TestRunExpires: Run sweeps by itself and wakes who waits.
func TestRunExpires(t *testing.T) {
	w := newWorld(t, func(c *relay.Config) { c.Limits.SweepEvery = 10 * time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.relay.Run(ctx) }()
	c := w.platform.created(protocol.KindLogin, false)
	ws := c.watchPage("", protocol.WatchBody{CID: c.cid, Watch: c.watch})
	next[protocol.WatchState](t, ws)
	w.clock.advance(121 * time.Second)
	if s := next[protocol.WatchState](t, ws); s.State != protocol.StateExpired {
		t.Fatalf("state %+v", s)
	}
	cancel()
	must(t, <-ended)
}

// TestPurge: what has ended is forgotten in time; the phone's repeated result
// is answered all the same, and the ledger stays.
func TestPurge(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	c.claimed(d)
	b := c.resultBody(d, 1, 100)
	done, err := c.result(d, b)
	must(t, err)
	_, err = c.ack(protocol.ResultDigest(c.cid, 1, b.KEM, b.Box))
	must(t, err)
	w.clock.advance(59 * time.Minute)
	must(t, w.relay.Sweep(t.Context()))
	c.wantState(protocol.StateCompleted)
	w.clock.advance(2 * time.Minute)
	must(t, w.relay.Sweep(t.Context()))
	wantCode(t, w.platform.call(http.MethodGet, c.path, nil, nil), protocol.CodeNotFound)
	again, err := c.result(d, b)
	must(t, err)
	if again.State != protocol.StateFulfilled || !protocol.Equal(again.Promise.Head, done.Promise.Head) {
		t.Fatalf("repeated result %+v", again)
	}
	_, err = c.result(d, c.resultBody(d, 1, 100))
	wantCode(t, err, protocol.CodeNotFound)
	end, err := w.store.Ended(t.Context(), c.cid)
	must(t, err)
	if end.Box != nil || len(end.Receipt.Bytes) == 0 {
		t.Fatal("the ciphertext stayed, or the receipt did not")
	}
	_, err = relay.VerifyLedger(t.Context(), w.store, w.ledgerKey.Public(), nil)
	must(t, err)
}

// TestRace: 32 phones race for each of several challenges; one wins each, the
// others get 409, and their number is what the platform sees.
func TestRace(t *testing.T) {
	w := newWorld(t)
	const phones, challenges = 32, 6
	all := make([]*challenge, challenges)
	for i := range all {
		all[i] = w.platform.created(protocol.KindLogin, false)
	}
	devices := make([]*device, phones)
	for i := range devices {
		devices[i] = w.newDevice("张三")
	}
	var group sync.WaitGroup
	winners := make([]atomic.Int32, challenges)
	who := make([]atomic.Pointer[device], challenges)
	for _, d := range devices {
		group.Go(func() {
			for i, c := range all {
				_, err := c.claim(d, c.claimBody())
				switch protocol.CodeOf(err) {
				case "":
					winners[i].Add(1)
					who[i].Store(d)
				case protocol.CodeClaimedByOther:
				default:
					t.Errorf("claim: %v", err)
				}
			}
		})
	}
	group.Wait()
	for i, c := range all {
		s := c.wantState(protocol.StateClaimed)
		if winners[i].Load() != 1 || s.Device != who[i].Load().id || s.SecondScans != phones-1 || s.ClaimSeq != 1 {
			t.Fatalf("%d winners, state %+v", winners[i].Load(), s)
		}
	}
	// result, rejection and cancellation race for one claim: one end, the others are told of it
	c, d := all[0], who[0].Load()
	ends := []func() error{
		func() error { _, err := c.result(d, c.resultBody(d, 1, 100)); return err },
		func() error {
			return d.call(http.MethodPost, c.path+"/reject", protocol.RejectBody{ClaimSeq: 1, Reason: protocol.RejectOther, Receipt: c.deviceReceipt(d, 1, "other")}, nil)
		},
		func() error { return w.platform.call(http.MethodPost, c.path+"/cancel", nil, nil) },
		func() error { _, err := c.result(d, c.resultBody(d, 1, 100)); return err },
	}
	errs := make([]error, len(ends))
	for i, end := range ends {
		group.Go(func() { errs[i] = end() })
	}
	group.Wait()
	won := 0
	for _, err := range errs {
		var own *protocol.Error
		if err == nil {
			won++
		} else if !errors.As(err, &own) || own.Winner == nil {
			t.Errorf("a loser got %v", err)
		}
	}
	if won != 1 {
		t.Fatalf("%d ends won: %v", won, errs)
	}
	report, err := relay.VerifyLedger(t.Context(), w.store, w.ledgerKey.Public(), nil)
	must(t, err)
	if report.Entries != 1 {
		t.Fatalf("%d entries", report.Entries)
	}
}

// onLossy puts the relay on a backend of two databases whose writes may lose
// their answers.
func onLossy(lossy *storetest.Lossy) option {
	return func(c *relay.Config) {
		lossy.State, lossy.Nonces, lossy.Counters, lossy.Outcomes = c.State, c.Nonces, c.Counters, c.Outcomes
		*c = c.WithStore(lossy)
		c.Outcomes = lossy
	}
}

// TestLostAnswers: every write of a login happens and loses its answer once; the
// callers repeat, and the course is that of one login.
func TestLostAnswers(t *testing.T) {
	lossy := &storetest.Lossy{}
	w := newWorld(t, onLossy(lossy))
	d := w.newDevice("张三")
	c := w.platform.newChallenge(protocol.KindLogin, false)
	// once loses each named write one time
	once := func(operations ...string) {
		left := map[string]bool{}
		for _, o := range operations {
			left[o] = true
		}
		lossy.Lose(func(o string) bool {
			lose := left[o]
			left[o] = false
			return lose
		})
	}
	repeat := func(name string, want int, do func() error) {
		t.Helper()
		for lost := 0; ; lost++ {
			err := do()
			if err == nil {
				if lost != want {
					t.Fatalf("%s: lost %d answers, want %d", name, lost, want)
				}
				return
			}
			wantCode(t, err, protocol.CodeUnavailable)
		}
	}
	once("nonce", "create")
	repeat("create", 2, func() error { return c.create(nil) })
	claim := c.claimBody()
	once("swap")
	var a protocol.ClaimAnswer
	repeat("claim", 1, func() error { var err error; a, err = c.claim(d, claim); return err })
	if a.ClaimSeq != 1 {
		t.Fatalf("claim %d", a.ClaimSeq)
	}
	b := c.resultBody(d, 1, 100)
	once("end", "swap", "applied")
	var done protocol.ResultAnswer
	repeat("result", 2, func() error { var err error; done, err = c.result(d, b); return err })
	must(t, protocol.VerifyPromise(w.ledgerKey.Public(), done.Promise, b.Receipt.Bytes))
	if err := w.relay.Sweep(t.Context()); !errors.Is(err, storetest.ErrLost) {
		t.Fatalf("sweep: %v", err)
	}
	must(t, w.relay.Sweep(t.Context()))
	list, err := w.store.Unapplied(t.Context(), 5)
	must(t, err)
	if len(list) != 0 {
		t.Fatal("an end stays unapplied")
	}
	once("swap")
	digest := protocol.ResultDigest(c.cid, 1, b.KEM, b.Box)
	repeat("ack", 1, func() error { _, err := c.ack(digest); return err })
	c.wantState(protocol.StateCompleted)
	report, err := relay.VerifyLedger(t.Context(), w.store, w.ledgerKey.Public(), nil)
	must(t, err)
	if report.Entries != 1 {
		t.Fatalf("%d entries", report.Entries)
	}
}

// TestSweeperFollowsEnd: the end is stored, the state's swap never came. The
// platform sees the result once the sweeper ran, without the phone's help; a
// rival end of the same claim is refused with the winner.
func TestSweeperFollowsEnd(t *testing.T) {
	lossy := &storetest.Lossy{}
	w := newWorld(t, onLossy(lossy))
	d := w.newDevice("张三")
	for _, rival := range []bool{false, true} {
		c := w.platform.created(protocol.KindLogin, false)
		c.claimed(d)
		b := c.resultBody(d, 1, 20_000)
		lossy.Lose(func(o string) bool { return o == "end" })
		_, err := c.result(d, b)
		wantCode(t, err, protocol.CodeUnavailable)
		lossy.Lose(nil)
		c.wantState(protocol.StateClaimed)
		if rival {
			err := w.platform.call(http.MethodPost, c.path+"/cancel", nil, nil)
			if e := wantCode(t, err, protocol.CodeAlreadyEnded); e.Winner == nil || e.Winner.State != protocol.StateFulfilled {
				t.Fatalf("rival got %+v", e)
			}
		} else {
			must(t, w.relay.Sweep(t.Context()))
		}
		s := c.wantState(protocol.StateFulfilled)
		if !protocol.Equal(s.Result.Box, b.Box) || s.Promise == nil || s.KeepUntil == 0 {
			t.Fatalf("state %+v", s)
		}
		_, err = c.result(d, b)
		must(t, err)
		_, err = c.ack(s.Result.Digest)
		must(t, err)
	}
}

// TestRepeatedEnd: an end whose answer was lost is made again later, with another
// receipt. The state shows the receipt that the promise is over.
func TestRepeatedEnd(t *testing.T) {
	lossy := &storetest.Lossy{}
	w := newWorld(t, onLossy(lossy))
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	c.claimed(d)
	cancel := func() error { return w.platform.call(http.MethodPost, c.path+"/cancel", nil, nil) }
	lossy.Lose(func(o string) bool { return o == "end" })
	wantCode(t, cancel(), protocol.CodeUnavailable)
	lossy.Lose(nil)
	stands, err := w.store.Ended(t.Context(), c.cid)
	must(t, err)
	w.clock.advance(2 * time.Second)
	must(t, cancel())
	s := c.wantState(protocol.StateCanceled)
	if !protocol.Equal(s.Receipt.Bytes, stands.Receipt.Bytes) {
		t.Error("the state has another receipt than the ledger")
	}
	must(t, protocol.VerifyPromise(w.ledgerKey.Public(), s.Promise, s.Receipt.Bytes))
}

// forgetful is a store that lost what it was told last: a failover.
type forgetful struct {
	*storetest.Lossy
	old atomic.Pointer[relay.Challenge]
}

func (f *forgetful) Get(ctx context.Context, cid protocol.CID) (relay.Challenge, error) {
	c, err := f.Lossy.Get(ctx, cid)
	if old := f.old.Load(); err == nil && old != nil && old.CID == cid {
		rev := c.Rev
		c = *old
		c.Rev = rev
	}
	return c, err
}

func (f *forgetful) Swap(ctx context.Context, rev int64, next relay.Challenge, parts ...relay.Part) (relay.Challenge, error) {
	f.old.Store(nil) // the state is written anew
	return f.Lossy.Swap(ctx, rev, next, parts...)
}

// TestForgottenState: the store forgets that a claim has ended. Results stay
// exclusive: the first one stands, the next one gets it as the winner.
func TestForgottenState(t *testing.T) {
	store := &forgetful{Lossy: &storetest.Lossy{}}
	w := newWorld(t, func(c *relay.Config) {
		store.State, store.Nonces, store.Counters, store.Outcomes = c.State, c.Nonces, c.Counters, c.Outcomes
		*c = c.WithStore(store)
		c.Outcomes = store
	})
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindLogin, false)
	c.claimed(d)
	claimed, err := store.Lossy.Get(t.Context(), c.cid)
	must(t, err)
	first := c.resultBody(d, 1, 100)
	done, err := c.result(d, first)
	must(t, err)
	store.old.Store(&claimed)
	_, err = c.result(d, c.resultBody(d, 1, 100))
	e := wantCode(t, err, protocol.CodeAlreadyEnded)
	if e.Winner == nil || !protocol.Equal(e.Winner.Result.Digest, protocol.ResultDigest(c.cid, 1, first.KEM, first.Box)) {
		t.Fatalf("loser got %+v", e)
	}
	store.old.Store(&claimed)
	again, err := c.result(d, first)
	must(t, err)
	if !protocol.Equal(again.Promise.Head, done.Promise.Head) {
		t.Fatal("another promise")
	}
}

// TestOverload: what cannot be verified in time is shed with a hint.
func TestOverload(t *testing.T) {
	w := newWorld(t, func(c *relay.Config) { c.Limits.Verifications, c.Limits.Queue = 1, 1 })
	c := w.platform.created(protocol.KindLogin, false)
	const calls = 64
	requests := make([]*http.Request, calls)
	for i := range requests {
		requests[i] = w.newDevice("张三").request(http.MethodPost, c.path+"/claim", encode(t, c.claimBody()))
	}
	var group sync.WaitGroup
	var shed, served atomic.Int32
	for _, req := range requests {
		group.Go(func() {
			resp, err := w.do(req)
			if err != nil {
				t.Error(err)
				return
			}
			err = answer(resp, nil)
			switch protocol.CodeOf(err) {
			case "", protocol.CodeClaimedByOther:
				served.Add(1)
			case protocol.CodeOverloaded:
				if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
					t.Errorf("shed with %s", resp.Status)
				}
				shed.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if served.Load() == 0 || served.Load()+shed.Load() != calls {
		t.Fatalf("%d served, %d shed", served.Load(), shed.Load())
	}
	c.wantState(protocol.StateClaimed)
}

// TestConfigRefused: what New does not accept.
func TestConfigRefused(t *testing.T) {
	w := newWorld(t)
	good := func() relay.Config {
		var cfg relay.Config
		other := &world{t: t, clock: w.clock, authority: w.authority, passKey: w.passKey, ledgerKey: w.ledgerKey, path: filepath.Join(t.TempDir(), "x.db"), state: w.state}
		other.start(func(c *relay.Config) { cfg = *c })
		t.Cleanup(other.stop)
		return cfg
	}()
	for name, alter := range map[string]func(*relay.Config){
		"no origin":       func(c *relay.Config) { c.Origin = "" },
		"origin and path": func(c *relay.Config) { c.Origin += "/" },
		"no anchors":      func(c *relay.Config) { c.Anchors = nil },
		"no pass key":     func(c *relay.Config) { c.PassKeys = nil },
		"no ledger key":   func(c *relay.Config) { c.LedgerKey = nil },
		"no state":        func(c *relay.Config) { c.State = nil },
		"no nonces":       func(c *relay.Config) { c.Nonces = nil },
		"no counters":     func(c *relay.Config) { c.Counters = nil },
		"no clock":        func(c *relay.Config) { c.Clock = nil },
		"page origin":     func(c *relay.Config) { c.Origins = []string{"bid.example.cn"} },
		"negative limit":  func(c *relay.Config) { c.Limits.Queue = -1 },
		"hasty pings":     func(c *relay.Config) { c.Limits.PingEvery = time.Millisecond },
	} {
		cfg := good
		alter(&cfg)
		if _, err := relay.New(t.Context(), cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := sqlstore.Open(t.Context(), t.TempDir(), time.Now); err == nil {
		t.Error("a folder was opened as a database")
	}
}

// TestConnectionLimit: one connection more than allowed is refused, and the
// place of one that left is free again.
func TestConnectionLimit(t *testing.T) {
	w := newWorld(t, func(c *relay.Config) { c.Limits.Connections = 2 })
	c := w.platform.created(protocol.KindLogin, false)
	b := protocol.WatchBody{CID: c.cid, Watch: c.watch}
	var all []*websocket.Conn
	for range 2 {
		all = append(all, c.watchPage("", b))
		next[protocol.WatchState](t, all[len(all)-1])
	}
	_, resp, err := w.dial("/v1/watch", protocol.WatchSubprotocol, nil)
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a third connection: %v", err)
	}
	must(t, all[0].WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second)))
	closeCode(t, all[0])
	for {
		ws, resp, err := w.dial("/v1/watch", protocol.WatchSubprotocol, nil)
		if err == nil {
			ws.Close()
			return
		}
		if resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Fatal(err)
		}
	}
}
