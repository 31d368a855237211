package ca

import (
	"context"

	"github.com/bidseal/bidseal/ca/folder"
)

// Seams are where a test reaches into an authority.
type Seams struct {
	// Opened sees, and may change, what the folder gave; nil for nothing.
	Opened func(*folder.Opened)
	// TimestampBlock is how many serial numbers of timestamps are set aside at
	// once; 0 for the default.
	TimestampBlock uint32
}

// OpenWith is Open with seams.
func OpenWith(ctx context.Context, dir string, o Options, s Seams) (*Authority, error) {
	return open(ctx, dir, o, seams{opened: s.Opened, timestampBlock: s.TimestampBlock})
}

// StopWith has stop called at each step of what is under way from now on; it may
// end it there, as a crash would. Nil is never.
func (a *Authority) StopWith(stop func(step string) error) { a.seams.stop = stop }
