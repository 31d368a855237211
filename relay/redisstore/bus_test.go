//go:build redis

package redisstore

import (
	"sync"
	"testing"

	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/redisstore/redistest"
)

// receiver is a node that notes what wakes it.
type receiver struct {
	wakes   chan relay.Wake
	resyncs chan struct{}

	mu      sync.Mutex
	waiting map[string]bool
}

func newReceiver() *receiver {
	return &receiver{wakes: make(chan relay.Wake, 64), resyncs: make(chan struct{}, 64), waiting: map[string]bool{}}
}

func (r *receiver) Wake(w relay.Wake) { r.wakes <- w }
func (r *receiver) Resync()           { r.resyncs <- struct{}{} }

func (r *receiver) Waiting(topic string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting[topic]
}

// wait registers for a topic as the relay does: known to the node, then to the bus.
func (r *receiver) wait(t testing.TB, b *Bus, topic string) {
	t.Helper()
	r.mu.Lock()
	r.waiting[topic] = true
	r.mu.Unlock()
	must(t, b.Join(t.Context(), topic))
}

func (r *receiver) leave(t testing.TB, b *Bus, topic string) {
	t.Helper()
	r.mu.Lock()
	delete(r.waiting, topic)
	r.mu.Unlock()
	must(t, b.Leave(t.Context(), topic))
}

// attached is a node whose subscription has begun.
func attached(t testing.TB, s *Store) (*Bus, *receiver) {
	t.Helper()
	b, err := s.Bus()
	must(t, err)
	r := newReceiver()
	detach := b.Attach(r)
	t.Cleanup(detach)
	<-r.resyncs
	return b, r
}

func swapped(t testing.TB, s *Store, c relay.Challenge) relay.Challenge {
	t.Helper()
	next, err := s.Swap(t.Context(), c.Rev, claimed(t, c, 1))
	must(t, err)
	return next
}

func wantWake(t testing.TB, r *receiver, c relay.Challenge) {
	t.Helper()
	if w := <-r.wakes; w.CID != c.CID || w.Platform != c.Platform || w.Rev != c.Rev {
		t.Fatalf("woken by %+v, want %s rev %d of %s", w, c.CID, c.Rev, c.Platform)
	}
}

// TestBusWakesWhoWaits: a transition wakes the nodes that wait for its challenge
// or its platform, each once, and no other.
func TestBusWakesWhoWaits(t *testing.T) {
	const platform = "p} 示例{1" // nothing in an id ends the hash tag
	secured := redistest.TLS(t)
	cluster := redistest.Addrs(redistest.Cluster(t)...)
	for name, config := range map[string]Config{"single": securedConfig(t, secured), "cluster": {Addresses: cluster}} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, config)
			one, onOne := attached(t, s)
			two, onTwo := attached(t, openStore(t, config))
			a, b := created(t, s, platform), created(t, s, platform)
			onOne.wait(t, one, a.CID.String())
			onOne.wait(t, one, "platform:"+platform)
			onTwo.wait(t, two, b.CID.String())
			a = swapped(t, s, a)
			b = swapped(t, s, b)
			wantWake(t, onOne, a)
			wantWake(t, onOne, b)
			wantWake(t, onTwo, b)
			wantWake(t, onOne, created(t, s, platform))
			if len(onOne.wakes)+len(onTwo.wakes) != 0 {
				t.Errorf("%d and %d wake-ups too many", len(onOne.wakes), len(onTwo.wakes))
			}
			// what stands on the channel and is no wake-up is passed over
			must(t, s.client.Publish(t.Context(), s.keys.channel(two.node), "good morning").Err())
			third := created(t, s, "p2")
			onTwo.wait(t, two, third.CID.String())
			wantWake(t, onTwo, swapped(t, s, third))
			if err := two.Join(t.Context(), fresh(t, "p2").CID.String()); err == nil {
				t.Error("joined a challenge that does not exist")
			}
		})
	}
}

// TestBusRegistrations: a topic stays registered until a renewal finds that
// nobody waits; a registration that the servers lost is made again, and everything
// is read again.
func TestBusRegistrations(t *testing.T) {
	s := openStore(t, Config{Addresses: []string{redistest.Start(t).Addr}})
	b, r := attached(t, s)
	c := created(t, s, "p1")
	topic := c.CID.String()
	key := s.keys.challengeWatchers("p1", c.CID)
	watchers := func() int64 {
		t.Helper()
		n, err := s.client.ZCard(t.Context(), key).Result()
		must(t, err)
		return n
	}
	r.wait(t, b, topic)
	r.leave(t, b, topic)
	if watchers() != 1 {
		t.Fatal("the registration did not outlast the waiter")
	}
	lost, err := b.renew(t.Context(), r)
	must(t, err)
	if lost || watchers() != 0 {
		t.Fatalf("nobody waits: lost %t, %d watchers", lost, watchers())
	}
	r.wait(t, b, topic)
	if lost, err := b.renew(t.Context(), r); err != nil || lost || watchers() != 1 {
		t.Fatalf("somebody waits: lost %t, %d watchers, %v", lost, watchers(), err)
	}
	must(t, s.client.Del(t.Context(), key).Err())
	if lost, err := b.renew(t.Context(), r); err != nil || !lost || watchers() != 1 {
		t.Fatalf("after a loss: lost %t, %d watchers, %v", lost, watchers(), err)
	}
	// somebody comes while the topic is dropped
	must(t, b.drop(t.Context(), r, []string{topic}))
	<-r.resyncs
	if watchers() != 1 {
		t.Fatal("who came while the topic was dropped is not registered")
	}
	wantWake(t, r, swapped(t, s, c))
}

// TestBusReconnects: the subscription breaks, a transition passes unheard, and
// with the new subscription everything is read again; from then on wake-ups come.
func TestBusReconnects(t *testing.T) {
	server := redistest.Start(t)
	p := newProxy(t, server.Addr)
	direct := openStore(t, Config{Addresses: []string{server.Addr}})
	b, r := attached(t, openStore(t, Config{Addresses: []string{p.addr}}))
	c := created(t, direct, "p1")
	r.wait(t, b, c.CID.String())
	p.cutAll()
	c = swapped(t, direct, c)
	<-r.resyncs
	again, err := direct.Swap(t.Context(), c.Rev, c) // the same state under a new rev
	must(t, err)
	for w := range r.wakes { // the first may or may not have been heard
		if w.Rev == again.Rev {
			break
		}
	}
}

// TestBusServerAgain: the server comes back empty. The node registers again for
// what it waits for, and hears of it.
func TestBusServerAgain(t *testing.T) {
	server := redistest.Start(t)
	s := openStore(t, Config{Addresses: []string{server.Addr}})
	b, r := attached(t, s)
	created(t, s, "p1")
	r.wait(t, b, "platform:p1")
	server.Kill(t)
	server.Again(t)
	<-r.resyncs
	wantWake(t, r, created(t, s, "p1"))
}

// TestBusDetach: a node that ends takes its registrations with it.
func TestBusDetach(t *testing.T) {
	s := openStore(t, Config{Addresses: []string{redistest.Start(t).Addr}})
	b, err := s.Bus()
	must(t, err)
	r := newReceiver()
	detach := b.Attach(r)
	r.wait(t, b, "platform:p1")
	detach()
	detach()
	if n, err := s.client.ZCard(t.Context(), s.keys.watchers("p1")).Result(); err != nil || n != 0 {
		t.Fatalf("%d watchers, %v", n, err)
	}
}
