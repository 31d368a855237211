package relay

import (
	"context"

	"github.com/bidseal/bidseal/protocol"
)

// gate bounds how many signatures are verified at a time and how many calls may
// wait for that; the excess is told to come back.
type gate struct {
	slots   chan struct{}
	tickets chan struct{}
}

func newGate(concurrent, queue int) *gate {
	return &gate{slots: make(chan struct{}, concurrent), tickets: make(chan struct{}, concurrent+queue)}
}

// do runs f in a slot. Error: CodeOverloaded, what f returns, or ctx's.
func (g *gate) do(ctx context.Context, f func() error) error {
	select {
	case g.tickets <- struct{}{}:
	default:
		return &protocol.Error{Code: protocol.CodeOverloaded, Detail: "too many verifications", RetryAfter: 1}
	}
	defer func() { <-g.tickets }()
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-g.slots }()
	return f()
}
