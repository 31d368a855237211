package sqlstore

import (
	"sync"
	"time"
)

// counters are windowed counts in memory, bounded.
type counters struct {
	clock func() time.Time
	mu    sync.Mutex
	byKey map[string]*counter
}

type counter struct {
	until time.Time
	n     int
}

const maxCounters = 1 << 16

func newCounters(clock func() time.Time) *counters {
	return &counters{clock: clock, byKey: map[string]*counter{}}
}

func (c *counters) hit(key string, window time.Duration) int {
	now := c.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[key]
	if e == nil || !now.Before(e.until) {
		c.makeRoom(now)
		e = &counter{until: now.Add(window)}
		c.byKey[key] = e
	}
	e.n++
	return e.n
}

// makeRoom drops what has expired, and one other entry where that is not enough.
func (c *counters) makeRoom(now time.Time) {
	if len(c.byKey) < maxCounters {
		return
	}
	var last string
	for key, e := range c.byKey {
		last = key
		if !now.Before(e.until) {
			delete(c.byKey, key)
		}
	}
	if len(c.byKey) >= maxCounters {
		delete(c.byKey, last)
	}
}
