package wire

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Wheel pings connections in turns, so that one goroutine and one ticker serve
// all of them, few at a time: a burst of pings would be a gap in the pushes.
type Wheel struct {
	every time.Duration
	mu    sync.Mutex
	slots [wheelSlots]map[*Conn]struct{}
	begun time.Time // of the first turn
	at    int64     // turns so far
	next  int
	ended bool
}

const wheelSlots = 1024

// wheelTick is the shortest time between turns.
const wheelTick = 5 * time.Millisecond

func NewWheel(every time.Duration) *Wheel {
	w := &Wheel{every: every}
	for i := range w.slots {
		w.slots[i] = map[*Conn]struct{}{}
	}
	return w
}

func (w *Wheel) Tick() time.Duration { return max(w.every/wheelSlots, wheelTick) }

// Add takes a connection in; false where the relay is draining.
func (w *Wheel) Add(c *Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return false
	}
	w.next = (w.next + 1) % wheelSlots
	c.slot = int32(w.next)
	w.slots[c.slot][c] = struct{}{}
	return true
}

func (w *Wheel) Remove(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.slots[c.slot], c)
}

// Turn pings the connections of the slots that are due at the given time of the
// ticker, at most all of them once.
func (w *Wheel) Turn(now time.Time) {
	w.mu.Lock()
	if w.begun.IsZero() {
		w.begun = now
	}
	due := int64(now.Sub(w.begun).Seconds() / w.every.Seconds() * wheelSlots)
	var list []*Conn
	for w.at = max(w.at, due-wheelSlots); w.at < due; w.at++ {
		for c := range w.slots[w.at%wheelSlots] {
			list = append(list, c)
		}
	}
	w.mu.Unlock()
	for _, c := range list {
		c.ping()
	}
}

// CloseAll ends every connection with a hint when to come back, spread so that
// they do not all come at once. When ctx ends the rest is closed without a close frame.
func (w *Wheel) CloseAll(ctx context.Context) {
	w.mu.Lock()
	w.ended = true
	var list []*Conn
	for _, slot := range w.slots {
		for c := range slot {
			list = append(list, c)
		}
	}
	w.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(closers)
	for _, c := range list {
		group.Go(func() error {
			if ctx.Err() != nil {
				return c.Net.Close()
			}
			c.Shut(CloseDrain, fmt.Sprintf("retry_ms=%d", jitter()))
			return nil
		})
	}
	_ = group.Wait() // a connection that is already closed is not a failure
}

// closers is how many connections are closed at a time: one whose peer does not
// read takes maxControl.
const closers = 64

// jitter is 200 to 5000 ms.
func jitter() int {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	return 200 + int(binary.BigEndian.Uint16(b[:]))%4801
}
