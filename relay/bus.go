package relay

import (
	"context"
	"sync"

	"github.com/bidseal/bidseal/protocol"
)

// Wake says that something of a challenge has changed.
type Wake struct {
	Platform string
	CID      protocol.CID
	Rev      int64
}

// Bus carries wake-ups between the nodes of a relay, and nothing else: it may
// lose, repeat and reorder them. A waiter joins first and then reads the
// state, and reads it again after a Resync; state never travels through a bus.
//
// A backend whose Store announces changes by itself (a script that moves the
// state and publishes) makes Publish do nothing.
type Bus interface {
	// Publish wakes every node that joined the challenge or its platform, this
	// one included. It does not block on receivers.
	Publish(ctx context.Context, w Wake) error
	// Attach connects this node; detach ends it. There is one receiver per Bus.
	Attach(r Receiver) (detach func())
	// Join and Leave say that somebody on this node waits for a topic: a
	// challenge (protocol.CID.String) or a platform ("platform:" + id). They are
	// called for the first waiter and after the last one, and may overtake each
	// other: a bus that drops a topic on Leave asks Receiver.Waiting afterwards
	// and joins again where it returns true.
	Join(ctx context.Context, topic string) error
	Leave(ctx context.Context, topic string) error
}

// Receiver is what a Bus wakes. Its methods return at once.
type Receiver interface {
	Wake(w Wake)
	// Resync says that wake-ups may have been lost: after a reconnect.
	Resync()
	// Waiting reports whether somebody on this node waits for a topic.
	Waiting(topic string) bool
}

// LocalBus is the Bus of a relay of one node.
type LocalBus struct {
	mu       sync.RWMutex
	receiver Receiver
}

// NewLocalBus makes a bus within the process.
func NewLocalBus() *LocalBus { return &LocalBus{} }

// Publish wakes the node.
func (b *LocalBus) Publish(_ context.Context, w Wake) error {
	b.mu.RLock()
	r := b.receiver
	b.mu.RUnlock()
	if r != nil {
		r.Wake(w)
	}
	return nil
}

// Attach connects the node.
func (b *LocalBus) Attach(r Receiver) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.receiver = r
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.receiver == r {
			b.receiver = nil
		}
	}
}

// Join does nothing: every wake-up arrives.
func (b *LocalBus) Join(context.Context, string) error { return nil }

// Leave does nothing.
func (b *LocalBus) Leave(context.Context, string) error { return nil }
