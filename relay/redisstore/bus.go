package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/redis/go-redis/v9"
)

const (
	// watchLife is how long a node is told of a topic after its last
	// registration: a node that died costs needless messages for that long.
	watchLife = 15 * time.Minute
	// renewEvery is how often a node registers again what it waits for, and looks
	// whether the servers lost it.
	renewEvery = time.Minute
	// retryEvery is the pause after a failed renewal.
	retryEvery = time.Second
	// renewBatch bounds the topics of one round trip.
	renewBatch = 256
	// detachTime bounds forgetAll when a node detaches.
	detachTime = time.Second
	// healthEvery is how often a silent subscription is probed.
	healthEvery = 3 * time.Second
)

// Bus wakes the nodes of a relay through one pub/sub channel each: a transition's
// script looks up which nodes wait for the challenge or its platform, and
// publishes to these.
//
// A topic stays registered for a while after its last waiter has left, so that a
// phone's next long-poll registers without a round trip.
type Bus struct {
	store *Store
	node  string
	again chan struct{} // asks for a renewal and a resync; holds one

	mu     sync.Mutex
	topics map[string]time.Time // when they were registered
}

var _ relay.Bus = (*Bus)(nil)

// Bus makes the bus of one node. Several in one process are several nodes.
func (s *Store) Bus() (*Bus, error) {
	node, err := randomText()
	if err != nil {
		return nil, err
	}
	return &Bus{store: s, node: node, again: make(chan struct{}, 1), topics: map[string]time.Time{}}, nil
}

// Publish does nothing: the scripts of the store publish.
func (b *Bus) Publish(context.Context, relay.Wake) error { return nil }

// Attach subscribes to the node's channel. Whenever the subscription begins, for
// the first time or again, all topics are registered and the receiver is told to
// read everything.
func (b *Bus) Attach(r relay.Receiver) func() {
	ctx, cancel := context.WithCancel(context.Background())
	subscription := b.store.client.Subscribe(ctx, b.store.keys.channel(b.node))
	events := subscription.ChannelWithSubscriptions(redis.WithChannelHealthCheckInterval(healthEvery))
	var group sync.WaitGroup
	group.Go(func() { b.receive(ctx, r, events) })
	group.Go(func() { b.keep(ctx, r) })
	return sync.OnceFunc(func() {
		cancel()
		if err := subscription.Close(); err != nil {
			b.store.log.LogAttrs(ctx, slog.LevelDebug, "close subscription", slog.Any("error", err))
		}
		group.Wait()
		b.forgetAll()
	})
}

// receive hands out what is published.
func (b *Bus) receive(ctx context.Context, r relay.Receiver, events <-chan any) {
	for {
		select {
		case <-ctx.Done():
			return
		case event, open := <-events:
			if !open {
				return
			}
			switch event := event.(type) {
			case *redis.Subscription:
				if event.Kind == "subscribe" {
					b.renewSoon()
				}
			case *redis.Message:
				w, err := parseWake(event.Payload)
				if err != nil {
					b.store.log.LogAttrs(ctx, slog.LevelWarn, "foreign message on the node's channel", slog.Any("error", err))
					continue
				}
				r.Wake(w)
			}
		}
	}
}

// parseWake reads what the script wrote: cid, rev and platform.
func parseWake(payload string) (relay.Wake, error) {
	id, rest, _ := strings.Cut(payload, " ")
	rev, platform, ok := strings.Cut(rest, " ")
	cid, err := protocol.ParseCID(id)
	if err != nil || !ok {
		return relay.Wake{}, errors.Join(errors.New("want cid, rev and platform"), err)
	}
	n, err := strconv.ParseInt(rev, 10, 64)
	if err != nil {
		return relay.Wake{}, fmt.Errorf("rev: %w", err)
	}
	return relay.Wake{Platform: platform, CID: cid, Rev: n}, nil
}

func (b *Bus) renewSoon() {
	select {
	case b.again <- struct{}{}:
	default:
	}
}

// keep renews the registrations until ctx ends.
func (b *Bus) keep(ctx context.Context, r relay.Receiver) {
	timer := time.NewTimer(renewEvery)
	defer timer.Stop()
	resync := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-b.again:
			resync = true
		}
		lost, err := b.renew(ctx, r)
		if resync = resync || lost; resync {
			r.Resync()
		}
		if err != nil { // what could not be registered is not woken: read again until it could
			if ctx.Err() == nil {
				b.store.log.LogAttrs(ctx, slog.LevelWarn, "register what this node waits for", slog.Any("error", err))
			}
			resync = true
			timer.Reset(retryEvery)
			continue
		}
		resync = false
		timer.Reset(renewEvery)
	}
}

// renew registers again the topics that have waiters and drops the rest. lost says
// that a registration was gone, and that wake-ups may have been lost.
func (b *Bus) renew(ctx context.Context, r relay.Receiver) (lost bool, err error) {
	b.mu.Lock()
	all := make([]string, 0, len(b.topics))
	for topic := range b.topics {
		all = append(all, topic)
	}
	b.mu.Unlock()
	var held, idle []string
	for _, topic := range all {
		if r.Waiting(topic) {
			held = append(held, topic)
		} else {
			idle = append(idle, topic)
		}
	}
	for len(held) > 0 && err == nil {
		n := min(len(held), renewBatch)
		var gone bool
		gone, err = b.register(ctx, held[:n])
		lost = lost || gone
		held = held[n:]
	}
	return lost, errors.Join(err, b.drop(ctx, r, idle))
}

// drop removes topics without waiters, and registers those again that got a waiter
// meanwhile.
func (b *Bus) drop(ctx context.Context, r relay.Receiver, idle []string) error {
	b.mu.Lock()
	for _, topic := range idle {
		delete(b.topics, topic)
	}
	b.mu.Unlock()
	if err := b.unregister(ctx, idle); err != nil {
		return err
	}
	came := false
	for _, topic := range idle {
		if !r.Waiting(topic) {
			continue
		}
		came = true
		if _, err := b.register(ctx, []string{topic}); err != nil && !errors.Is(err, relay.ErrNotFound) {
			return err
		}
	}
	if came {
		r.Resync()
	}
	return nil
}

// Join registers this node for a topic. When it returns every later transition
// wakes the node.
func (b *Bus) Join(ctx context.Context, topic string) error {
	b.mu.Lock()
	since, ok := b.topics[topic]
	b.mu.Unlock()
	if ok && time.Since(since) < watchLife/2 {
		return nil
	}
	if _, err := b.register(ctx, []string{topic}); err != nil {
		return fmt.Errorf("join %s: %w", topic, err)
	}
	return nil
}

// Leave does nothing at once: the next renewal drops topics without waiters.
func (b *Bus) Leave(context.Context, string) error { return nil }

// register enters this node as a watcher and says whether it was missing
// somewhere. It is idempotent.
func (b *Bus) register(ctx context.Context, topics []string) (missing bool, err error) {
	now := time.Now()
	names := make([]string, 0, len(topics))
	for _, topic := range topics {
		key, err := b.key(ctx, topic)
		if errors.Is(err, relay.ErrNotFound) && len(topics) > 1 {
			continue // it ended and was purged; the reader finds out
		}
		if err != nil {
			return false, err
		}
		names = append(names, key)
	}
	added := make([]*redis.IntCmd, len(names))
	if _, err := b.store.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range names {
			added[i] = p.ZAdd(ctx, key, redis.Z{Score: float64(now.UnixMilli()), Member: b.node})
			p.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(now.Add(-watchLife).UnixMilli(), 10))
			p.PExpire(ctx, key, watchLife)
		}
		return nil
	}); err != nil {
		return false, err
	}
	for _, cmd := range added {
		missing = missing || cmd.Val() > 0
	}
	b.mu.Lock()
	for _, topic := range topics {
		b.topics[topic] = now
	}
	b.mu.Unlock()
	return missing, nil
}

func (b *Bus) unregister(ctx context.Context, topics []string) error {
	for len(topics) > 0 {
		n := min(len(topics), renewBatch)
		if _, err := b.store.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, topic := range topics[:n] {
				if key, err := b.key(ctx, topic); err == nil {
					p.ZRem(ctx, key, b.node)
				}
			}
			return nil
		}); err != nil {
			return fmt.Errorf("leave topics: %w", err)
		}
		topics = topics[n:]
	}
	return nil
}

// key is where the watchers of a topic stand. relay.ErrNotFound where the
// challenge is unknown.
func (b *Bus) key(ctx context.Context, topic string) (key string, err error) {
	if platform, ok := strings.CutPrefix(topic, "platform:"); ok {
		return b.store.keys.watchers(platform), nil
	}
	cid, err := protocol.ParseCID(topic)
	if err != nil {
		return "", fmt.Errorf("topic: %w", err)
	}
	platform, err := b.store.platformOf(ctx, cid)
	return b.store.keys.challengeWatchers(platform, cid), err
}

// forgetAll unregisters the node, so that no message is sent to it when it is gone.
func (b *Bus) forgetAll() {
	ctx, cancel := context.WithTimeout(context.Background(), detachTime)
	defer cancel()
	b.mu.Lock()
	all := make([]string, 0, len(b.topics))
	for topic := range b.topics {
		all = append(all, topic)
	}
	clear(b.topics)
	b.mu.Unlock()
	if err := b.unregister(ctx, all); err != nil {
		b.store.log.LogAttrs(ctx, slog.LevelDebug, "leave", slog.Any("error", err))
	}
}
