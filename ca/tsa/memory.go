package tsa

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"
)

// MemoryLedger keeps blocks and mark as long as the process lives: for tests,
// and for an authority whose key dies with the process.
type MemoryLedger struct {
	mu     sync.Mutex
	number uint64
	mark   time.Time
}

// Reserve implements Ledger.
func (m *MemoryLedger) Reserve(context.Context) (Block, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.number++
	return NewBlock(m.number)
}

// Advance implements Ledger.
func (m *MemoryLedger) Advance(_ context.Context, until time.Time, tolerance time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mark.After(until.Add(tolerance)) {
		return ErrClock
	}
	if until.After(m.mark) {
		m.mark = until
	}
	return nil
}

// NewBlock draws the salt of a block.
func NewBlock(number uint64) (Block, error) {
	b := Block{Number: number}
	if _, err := rand.Read(b.Salt[:]); err != nil {
		return Block{}, fmt.Errorf("salt of a block: %w", err)
	}
	return b, nil
}
