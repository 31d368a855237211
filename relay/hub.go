package relay

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"github.com/bidseal/bidseal/protocol"
)

// waiter is somebody on this node who waits for a change: a long-poll or a
// connection. wake returns at once; the waiter then reads the state by itself. rev
// is that of the change, 0 where it is not known.
type waiter interface{ wake(rev int64) }

// hub knows the waiters of this node. A waiter registers first and then reads
// the state, so that no change falls between the two.
type hub struct {
	bus    Bus
	seed   maphash.Seed
	shards [64]hubShard
}

type hubShard struct {
	mu     sync.Mutex
	topics map[topic][]waiter
}

// topic is a challenge or, where platform is set, a platform's feed.
type topic struct {
	cid      protocol.CID
	platform string
}

func (t topic) String() string {
	if t.platform != "" {
		return "platform:" + t.platform
	}
	return t.cid.String()
}

// parseTopic reads what String wrote.
func parseTopic(s string) (topic, bool) {
	if id, ok := strings.CutPrefix(s, "platform:"); ok {
		return topic{platform: id}, true
	}
	cid, err := protocol.ParseCID(s)
	return topic{cid: cid}, err == nil
}

func newHub(bus Bus) *hub {
	h := &hub{bus: bus, seed: maphash.MakeSeed()}
	for i := range h.shards {
		h.shards[i].topics = map[topic][]waiter{}
	}
	return h
}

func (h *hub) shard(t topic) *hubShard {
	return &h.shards[maphash.Comparable(h.seed, t)%uint64(len(h.shards))]
}

// join registers a waiter; limit bounds those of one topic. The caller reads
// the state afterwards and calls leave in the end.
func (h *hub) join(ctx context.Context, t topic, w waiter, limit int) error {
	s := h.shard(t)
	s.mu.Lock()
	n := len(s.topics[t])
	if limit > 0 && n >= limit {
		s.mu.Unlock()
		return &protocol.Error{Code: protocol.CodeRateLimited, Detail: "too many wait for this", RetryAfter: 5}
	}
	s.topics[t] = append(s.topics[t], w)
	s.mu.Unlock()
	if n > 0 {
		return nil
	}
	if err := h.bus.Join(ctx, t.String()); err != nil {
		h.leave(t, w)
		return err
	}
	return nil
}

func (h *hub) leave(t topic, w waiter) {
	s := h.shard(t)
	s.mu.Lock()
	list := s.topics[t]
	for i, other := range list {
		if other == w {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			list = list[:len(list)-1]
			break
		}
	}
	last := len(list) == 0
	if last {
		delete(s.topics, t)
	} else {
		s.topics[t] = list
	}
	s.mu.Unlock()
	if last {
		// There is no caller to report a failure to; the backend lets the topic expire.
		_ = h.bus.Leave(context.Background(), t.String())
	}
}

// wake wakes who waits for the challenge or for its platform.
func (h *hub) wake(w Wake) {
	h.wakeTopic(topic{cid: w.CID}, w.Rev)
	h.wakeTopic(topic{platform: w.Platform}, w.Rev)
}

func (h *hub) wakeTopic(t topic, rev int64) {
	s := h.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.topics[t] {
		w.wake(rev)
	}
}

// waiters lists who waits for a topic.
func (h *hub) waiters(t topic) []waiter {
	s := h.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.topics[t])
}

// resync wakes everybody.
func (h *hub) resync() {
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		for _, list := range s.topics {
			for _, w := range list {
				w.wake(0)
			}
		}
		s.mu.Unlock()
	}
}

// poll is the waiter of a long-poll: a channel that remembers one wake-up.
type poll chan struct{}

func newPoll() poll { return make(poll, 1) }

func (p poll) wake(int64) {
	select {
	case p <- struct{}{}:
	default:
	}
}
