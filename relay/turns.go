package relay

import (
	"context"
	"sync"

	"github.com/bidseal/bidseal/protocol"
)

// turns lets the calls about one challenge that reach this node move it one
// after the other. It is an economy, not a guarantee: without it many phones on
// one code would lose each other's compare-and-swaps over and over.
type turns struct {
	mu   sync.Mutex
	held map[protocol.CID]*turn
}

type turn struct {
	free    chan struct{} // holds one token while the turn is free
	waiting int
}

func newTurns() *turns { return &turns{held: map[protocol.CID]*turn{}} }

// take waits for the turn and returns the function that passes it on.
func (t *turns) take(ctx context.Context, cid protocol.CID) (pass func(), err error) {
	t.mu.Lock()
	one := t.held[cid]
	if one == nil {
		one = &turn{free: make(chan struct{}, 1)}
		one.free <- struct{}{}
		t.held[cid] = one
	}
	one.waiting++
	t.mu.Unlock()
	select {
	case <-one.free:
		return func() {
			one.free <- struct{}{}
			t.leave(cid, one)
		}, nil
	case <-ctx.Done():
		t.leave(cid, one)
		return nil, ctx.Err()
	}
}

func (t *turns) leave(cid protocol.CID, one *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.waiting--; one.waiting == 0 {
		delete(t.held, cid)
	}
}
