package wire

import (
	"sync/atomic"
	"time"
)

// maxPageWrite is the time a page's frame may take: pages share the goroutines
// that write, and a frame of 200 bytes waits only where the page does not read.
const maxPageWrite = 2 * time.Second

// Newest is a connection that gets the states of one thing, only the newest.
type Newest struct {
	Conn
	sent atomic.Int64 // newest rev on the wire; written under Conn.mu
}

// Sent is the newest rev on the wire.
func (p *Newest) Sent() int64 { return p.sent.Load() }

// Begin says which rev the peer has.
func (p *Newest) Begin(rev int64) { p.sent.Store(rev) }

// Show writes a state unless a newer one is out. Pages are woken in no order.
func (p *Newest) Show(rev int64, frame []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rev <= p.sent.Load() {
		return nil
	}
	p.sent.Store(rev)
	return p.writeLocked(frame, min(p.Limits.Write, maxPageWrite))
}

// Offer is Show for a caller that has other work: it never waits. What it cannot
// write at once is left to the wake-up that follows.
func (p *Newest) Offer(rev int64, frame []byte) {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	if rev <= p.sent.Load() {
		return
	}
	switch n, err := writeNow(p.Net, frame); {
	case err == nil && n == 0: // the socket is full, or TLS
	case err == nil && n == len(frame):
		p.sent.Store(rev)
	default:
		p.Net.Close() // its reader ends and cleans up
	}
}
