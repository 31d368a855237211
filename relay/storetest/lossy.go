package storetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

// ErrLost is what Lossy returns in place of the truth.
var ErrLost = errors.New("the answer was lost")

// Lossy is a backend whose writes happen although it returns ErrLost: what a
// timeout looks like. It is not Joint, so that a relay on it takes the two steps
// of backends in two databases.
type Lossy struct {
	relay.State
	relay.Nonces
	relay.Counters
	relay.Outcomes

	mu   sync.Mutex
	lose func(operation string) bool
}

// Lose sets which writes lose their answers, by the operation's name; nil loses none.
func (l *Lossy) Lose(when func(operation string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = when
}

func (l *Lossy) lost(operation string, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.lose != nil && l.lose(operation) {
		return ErrLost
	}
	return err
}

// Create creates and may lose the answer.
func (l *Lossy) Create(ctx context.Context, c relay.Challenge, request []byte, maxOpen int) (relay.Challenge, bool, error) {
	stored, created, err := l.State.Create(ctx, c, request, maxOpen)
	if err = l.lost("create", err); err != nil {
		return relay.Challenge{}, false, err
	}
	return stored, created, nil
}

// Swap swaps and may lose the answer.
func (l *Lossy) Swap(ctx context.Context, rev int64, next relay.Challenge, parts ...relay.Part) (relay.Challenge, error) {
	stored, err := l.State.Swap(ctx, rev, next, parts...)
	if err = l.lost("swap", err); err != nil {
		return relay.Challenge{}, err
	}
	return stored, nil
}

// UseNonce remembers the nonce and may lose the answer.
func (l *Lossy) UseNonce(ctx context.Context, nonce string, until time.Time) (bool, error) {
	fresh, err := l.Nonces.UseNonce(ctx, nonce, until)
	if err = l.lost("nonce", err); err != nil {
		return false, err
	}
	return fresh, nil
}

// End decides and may lose the answer.
func (l *Lossy) End(ctx context.Context, e relay.End, sign relay.PromiseSigner) (relay.End, error) {
	won, err := l.Outcomes.End(ctx, e, sign)
	if err = l.lost("end", err); err != nil {
		return relay.End{}, err
	}
	return won, nil
}

// Applied marks and may lose the answer.
func (l *Lossy) Applied(ctx context.Context, cid protocol.CID) error {
	return l.lost("applied", l.Outcomes.Applied(ctx, cid))
}
