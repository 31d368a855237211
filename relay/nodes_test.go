//go:build redis

package relay_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/redisstore"
	"github.com/bidseal/bidseal/relay/redisstore/redistest"
	"github.com/bidseal/bidseal/relay/sqlstore"
)

// onRedis puts a node on Redis; what ends a claim stays in the SQL database.
func onRedis(t testing.TB, w *world, addresses ...string) option {
	return func(c *relay.Config) {
		store, err := redisstore.Open(redisstore.Config{Addresses: addresses, Clock: w.clock.now})
		must(t, err)
		t.Cleanup(func() { store.Close() })
		bus, err := store.Bus()
		must(t, err)
		*c = c.WithStore(store)
		c.Bus = bus
		ends, err := sqlstore.Open(t.Context(), w.path, w.clock.now)
		must(t, err)
		t.Cleanup(func() { ends.Close() })
		c.Outcomes, c.Directory = ends, ends
	}
}

// nodes are two relays on one Redis and one SQL database, under one origin; front
// stands before the first one's handler.
func nodes(t testing.TB, front func(http.Handler) http.Handler, addresses ...string) (one, two *world) {
	t.Helper()
	var clock clock
	one = &world{t: t, clock: &clock, front: front, authority: newAuthority(t), passKey: newSM2(t), ledgerKey: newSM2(t), path: newEnds(t), state: addresses[0]}
	one.start(onRedis(t, one, addresses...))
	t.Cleanup(one.stop)
	one.platform = one.newPlatform("p1", pageOrigin)
	copied := *one
	two = &copied
	two.front = nil
	two.start(onRedis(t, two, addresses...))
	t.Cleanup(two.stop)
	two.platform = one.platform.at(two)
	return one, two
}

// at is the same caller, sent to another node.
func (p *platform) at(w *world) *platform {
	other := *p
	other.w = w
	return &other
}

func (d *device) at(w *world) *device {
	other := *d
	other.w = w
	return &other
}

func (c *challenge) at(w *world) *challenge {
	other := *c
	other.w, other.p = w, c.p.at(w)
	return &other
}

// TestTwoNodes: the phone is on one node, everybody who waits on the other; the
// feed goes on at the other node with the cursor of the first.
func TestTwoNodes(t *testing.T) {
	for name, addresses := range map[string][]string{
		"single": {redistest.Start(t).Addr}, "cluster": redistest.Addrs(redistest.Cluster(t)...),
	} {
		t.Run(name, func(t *testing.T) {
			one, two := nodes(t, nil, addresses...)
			d := one.newDevice("张三")
			feed := two.platform.subscribe(protocol.FeedHello{})
			next[protocol.FeedPage](t, feed)
			c := one.platform.created(protocol.KindLogin, false)
			until(t, feed, c.cid, protocol.StatePending)
			page := c.at(two).watchPage(pageOrigin, protocol.WatchBody{CID: c.cid, Watch: c.watch})
			next[protocol.WatchState](t, page)

			c.claimed(d)
			e, seen := until(t, feed, c.cid, protocol.StateClaimed)
			if e.Device != d.id {
				t.Fatalf("event %+v", e)
			}
			if s := next[protocol.WatchState](t, page); s.State != protocol.StateClaimed {
				t.Fatalf("page sees %+v", s)
			}
			feed.Close()
			b := c.resultBody(d, 1, 100)
			done, err := c.at(two).result(d.at(two), b)
			must(t, err)
			if s := next[protocol.WatchState](t, page); s.State != protocol.StateFulfilled {
				t.Fatalf("page sees %+v", s)
			}
			feed = one.platform.subscribe(protocol.FeedHello{Store: seen.Store, After: seen.Next})
			p := next[protocol.FeedPage](t, feed)
			if len(p.Events) != 1 || p.Events[0].Rev != done.Rev || !protocol.Equal(p.Events[0].Result.Box, b.Box) {
				t.Fatalf("resumed with %+v", p)
			}
			// the phone asks the other node again, then waits there for the ack
			again, err := c.result(d, b)
			must(t, err)
			if again.Rev != done.Rev || !protocol.Equal(again.Promise.Head, done.Promise.Head) {
				t.Fatalf("repeated at the other node %+v", again)
			}
			answered := make(chan error, 1)
			var last protocol.ChallengeState
			go func() {
				answered <- d.at(two).call(http.MethodGet, fmt.Sprintf("%s?wait=25&after=%d", c.path, done.Rev), nil, &last)
			}()
			_, err = c.ack(p.Events[0].Result.Digest)
			must(t, err)
			must(t, <-answered)
			if last.State != protocol.StateCompleted {
				t.Fatalf("the phone sees %+v", last)
			}
		})
	}
}

// TestNodesRace: 32 phones on two nodes race for each challenge; one wins each,
// and its result is the one that stands.
func TestNodesRace(t *testing.T) {
	one, two := nodes(t, nil, redistest.Start(t).Addr)
	const phones, challenges = 32, 6
	devices := make([]*device, phones)
	for i := range devices {
		devices[i] = one.newDevice("张三").at([]*world{one, two}[i%2])
	}
	for range challenges {
		c := one.platform.created(protocol.KindLogin, false)
		var winner atomic.Pointer[device]
		var winners atomic.Int32
		var group sync.WaitGroup
		errs := make([]error, phones)
		for i, d := range devices {
			group.Go(func() {
				if _, errs[i] = c.at(d.w).claim(d, c.claimBody()); errs[i] == nil {
					winners.Add(1)
					winner.Store(d)
				}
			})
		}
		group.Wait()
		for _, err := range errs {
			if err != nil {
				wantCode(t, err, protocol.CodeClaimedByOther)
			}
		}
		if winners.Load() != 1 {
			t.Fatalf("%d winners", winners.Load())
		}
		d := winner.Load()
		if s := c.wantState(protocol.StateClaimed); s.Device != d.id || s.SecondScans != phones-1 {
			t.Fatalf("state %+v", s)
		}
	}
}

// dyingNode stands before a node. Once mute, calls are carried out and their
// answers withheld until the node is gone: the caller sees a broken connection.
type dyingNode struct {
	mute atomic.Bool
	once sync.Once
	lost chan struct{} // closed with the first answer withheld
	gone chan struct{}
}

func newDyingNode() *dyingNode {
	return &dyingNode{lost: make(chan struct{}), gone: make(chan struct{})}
}

func (n *dyingNode) front(node http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		node.ServeHTTP(answer, r)
		if n.mute.Load() {
			n.once.Do(func() { close(n.lost) })
			<-n.gone
			panic(http.ErrAbortHandler)
		}
		for name, values := range answer.Header() {
			rw.Header()[name] = values
		}
		rw.WriteHeader(answer.Code)
		_, _ = rw.Write(answer.Body.Bytes())
	})
}

// TestRestartUnderLogins: one node is killed and started again in the middle of
// many logins; callers go to the other one meanwhile. Each login has one result,
// one line in the ledger and one ack.
func TestRestartUnderLogins(t *testing.T) {
	redis := redistest.Start(t).Addr
	dying := newDyingNode()
	one, two := nodes(t, dying.front, redis)
	const logins, workers = 240, 24
	d := one.newDevice("张三")
	type login struct {
		c    *challenge
		body protocol.ResultBody
	}
	all := make([]login, logins)
	for i := range all {
		c := one.platform.newChallenge(protocol.KindLogin, false)
		all[i] = login{c, c.resultBody(d, 1, 100)}
	}
	var first atomic.Pointer[world] // the node that dies, later the one in its place
	first.Store(one)
	var brokenOff atomic.Int32
	// send calls one of the nodes; what broke off is sent to the other.
	send := func(i int, call func(w *world) *http.Request, out any) error {
		for try := 0; ; try++ {
			w := two
			if (i+try)%2 == 0 {
				w = first.Load()
			}
			resp, err := w.do(call(w))
			if err == nil {
				err = answer(resp, out)
			}
			var refused *protocol.Error
			if err == nil || errors.As(err, &refused) && refused.Code != protocol.CodeUnavailable && refused.Code != protocol.CodeOverloaded || try == 50 {
				return err
			}
			brokenOff.Add(1)
		}
	}
	jobs := make(chan int)
	var done atomic.Int32
	errs := make([]error, logins)
	var group sync.WaitGroup
	run := func(i int) error {
		l := all[i]
		var a protocol.ClaimAnswer
		var r protocol.ResultAnswer
		create, claim, result := encode(t, l.c.body), encode(t, l.c.claimBody()), encode(t, l.body)
		if err := send(i, func(w *world) *http.Request { return l.c.p.at(w).request(http.MethodPut, l.c.path, create) }, &protocol.ChallengeState{}); err != nil {
			return fmt.Errorf("create: %w", err)
		}
		if err := send(i, func(w *world) *http.Request { return d.at(w).request(http.MethodPost, l.c.path+"/claim", claim) }, &a); err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		if a.ClaimSeq != 1 {
			return fmt.Errorf("claim %d", a.ClaimSeq)
		}
		if done.Add(1) == logins/2 {
			dying.mute.Store(true)
		}
		if err := send(i, func(w *world) *http.Request { return d.at(w).request(http.MethodPost, l.c.path+"/result", result) }, &r); err != nil {
			return fmt.Errorf("result: %w", err)
		}
		return protocol.VerifyPromise(one.ledgerKey.Public(), r.Promise, l.body.Receipt.Bytes)
	}
	for range workers {
		group.Go(func() {
			for i := range jobs {
				errs[i] = run(i)
			}
		})
	}
	go func() {
		defer close(jobs)
		for i := range all {
			jobs <- i
		}
	}()
	<-dying.lost
	close(dying.gone)
	one.stop()
	copied := *one
	again := &copied
	again.front = nil
	again.start(onRedis(t, again, redis))
	t.Cleanup(again.stop)
	first.Store(again)
	group.Wait()
	must(t, errors.Join(errs...))
	if brokenOff.Load() == 0 {
		t.Error("no call broke off: the node did not die under logins")
	}

	must(t, again.relay.Sweep(t.Context()))
	fulfilled := map[protocol.CID]int{}
	var after int64
	for store := ""; ; {
		page := two.platform.feed(store, after)
		for _, e := range page.Events {
			if e.State == protocol.StateFulfilled {
				fulfilled[e.CID]++
			}
		}
		store, after = page.Store, page.Next
		if !page.More {
			break
		}
	}
	for i, l := range all {
		if fulfilled[l.c.cid] != 1 {
			t.Errorf("login %d: %d results in the feed", i, fulfilled[l.c.cid])
		}
		if _, err := l.c.at([]*world{again, two}[i%2]).ack(protocol.ResultDigest(l.c.cid, 1, l.body.KEM, l.body.Box)); err != nil {
			t.Errorf("login %d: ack: %v", i, err)
		}
	}
	report, err := relay.VerifyLedger(t.Context(), again.store, one.ledgerKey.Public(), nil)
	must(t, err)
	if report.Entries != logins {
		t.Errorf("%d lines in the ledger, want %d", report.Entries, logins)
	}
}

// TestForgottenResult: a failover loses a claim and its end, after the end was
// marked as applied. Neither the sweeper nor the platform's cancel puts another
// end over the result that got its 200.
func TestForgottenResult(t *testing.T) {
	var store relay.State
	w := newWorld(t, func(c *relay.Config) { store = c.State })
	d := w.newDevice("张三")
	for name, end := range map[string]func(*challenge){
		"expires": func(*challenge) {
			w.clock.advance(protocol.PendingLimit + time.Second)
			must(t, w.relay.Sweep(t.Context()))
		},
		"canceled": func(c *challenge) {
			err := w.platform.call(http.MethodPost, c.path+"/cancel", nil, nil)
			if e := wantCode(t, err, protocol.CodeAlreadyEnded); e.Winner == nil || e.Winner.State != protocol.StateFulfilled {
				t.Errorf("canceled: %+v", e)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.platform.created(protocol.KindLogin, false)
			before, err := store.Get(t.Context(), c.cid)
			must(t, err)
			c.claimed(d)
			b := c.resultBody(d, 1, 100)
			done, err := c.result(d, b)
			must(t, err)
			after, err := store.Get(t.Context(), c.cid)
			must(t, err)
			_, err = store.Swap(t.Context(), after.Rev, before)
			must(t, err)
			c.wantState(protocol.StatePending)
			end(c)
			s := c.wantState(protocol.StateFulfilled)
			if !protocol.Equal(s.Result.Box, b.Box) || !protocol.Equal(s.Promise.Head, done.Promise.Head) {
				t.Errorf("state %+v", s)
			}
			_, err = c.ack(s.Result.Digest)
			must(t, err)
		})
	}
}

// TestEmptiedStore: Redis loses everything under a running relay. The feed says
// so by another store id and starts anew; a challenge from before is unknown, a
// result that got its 200 is not.
func TestEmptiedStore(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	lost, ended := w.platform.created(protocol.KindLogin, false), w.platform.created(protocol.KindLogin, false)
	ended.claimed(d)
	b := ended.resultBody(d, 1, 100)
	done, err := ended.result(d, b)
	must(t, err)
	before := w.platform.feed("", 0)

	_, port, err := net.SplitHostPort(w.state)
	must(t, err)
	number, err := strconv.Atoi(port)
	must(t, err)
	(&redistest.Server{Port: number}).Do(t, "flushall")
	must(t, w.relay.Sweep(t.Context()))
	later := w.platform.created(protocol.KindLogin, false)
	page := w.platform.feed(before.Store, before.Next)
	if page.Store == before.Store || len(page.Events) != 1 || page.Events[0].CID != later.cid {
		t.Errorf("feed after the loss %+v, before %s", page, before.Store)
	}
	wantCode(t, w.platform.call(http.MethodGet, lost.path, nil, nil), protocol.CodeNotFound)
	again, err := ended.result(d, b)
	must(t, err)
	if !protocol.Equal(again.Promise.Head, done.Promise.Head) {
		t.Error("another promise")
	}
}
