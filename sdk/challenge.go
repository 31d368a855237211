package bidseal

import (
	"context"
	"time"
)

// Challenge is one request to a phone. It stays the same object while its code
// is renewed.
type Challenge struct{ client *Client }

// ID names the challenge in this platform's Store; it is no secret towards the
// platform itself, and is not shown to others.
func (ch *Challenge) ID() string { return "" }

// Payload is the text of the QR code to show now. An animated code changes
// every two seconds.
func (ch *Challenge) Payload() string { return "" }

// PNG draws the code to show now, size pixels wide, quiet zone included.
func (ch *Challenge) PNG(size int) ([]byte, error) { return nil, errUnfinished }

// SVG draws the code to show now as a scalable picture with its quiet zone.
func (ch *Challenge) SVG() string { return "" }

// Frames are the next n pictures from the given time on; a static code has one.
func (ch *Challenge) Frames(from time.Time, n int) []FrameImage { return nil }

// FrameImage is one picture of a code as modules, quiet zone not included.
type FrameImage struct {
	At      time.Time // shown from then on
	Payload string
	Size    int    // modules on each side
	Bits    []byte // row by row, most significant bit first, 1 is dark; rows are not padded
}

// State is where a challenge stands, as a page shows it.
type State string

// The states of a waiting page.
const (
	StateWaiting  State = "waiting"  // for a phone
	StateScanned  State = "scanned"  // a phone has it
	StateConfirm  State = "confirm"  // digits are shown and to be typed into the phone
	StateWorking  State = "working"  // a result is being verified
	StateDone     State = "done"     // verified
	StateRejected State = "rejected" // on the phone
	StateExpired  State = "expired"  // and renewals used up or not wanted
	StateCanceled State = "canceled" // by the platform
	StateFailed   State = "failed"   // Code says why
)

// Event is a change of a challenge.
type Event struct {
	State       State
	Code        Code // why it ended without a result
	CID         CID
	Renewals    int // how often the code was renewed
	SecondScans int // foreign phones that scanned the code, too
	Digits      string
	TriesLeft   int
}

// Events delivers the newest state on every change and is closed after the
// last one. A slow reader misses states in between, never the newest.
func (ch *Challenge) Events() <-chan Event { return nil }

// Wait returns the verified login, once: whoever gets it has consumed it. The
// relay is told after that. Errors carry the code of the end; ErrResultConsumed
// where somebody else got it.
func (ch *Challenge) Wait(ctx context.Context) (*Login, error) { return nil, errUnfinished }

// Cancel ends the challenge from the platform's side.
func (ch *Challenge) Cancel(ctx context.Context) error { return errUnfinished }
