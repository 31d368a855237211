package sdktest

import (
	"sync"
	"time"
)

// Clock runs with the real one and can be moved ahead.
type Clock struct {
	mu     sync.Mutex
	ahead  time.Duration
	timers map[*timer]bool
}

type timer struct {
	at   time.Time
	fire func(time.Time)
}

// NewClock makes a clock that shows the real time.
func NewClock() *Clock { return &Clock{timers: make(map[*timer]bool)} }

// Now is the time that the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time { return time.Now().Add(c.ahead) }

// After is time.After on this clock.
func (c *Clock) After(d time.Duration) <-chan time.Time {
	done := make(chan time.Time, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{at: c.now().Add(d)}
	c.timers[t] = true
	t.fire = func(now time.Time) { done <- now }
	time.AfterFunc(d, func() { c.run(t) })
	return done
}

// run fires a timer unless it was fired before.
func (c *Clock) run(t *timer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timers[t] {
		delete(c.timers, t)
		t.fire(c.now())
	}
}

// Advance moves the clock and fires every timer that this makes due.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
	for t := range c.timers {
		if now := c.now(); !t.at.After(now) {
			delete(c.timers, t)
			t.fire(now)
		}
	}
}
