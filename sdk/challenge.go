package bidseal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// Challenge is one request to a phone. It stays the same object while its code
// is renewed.
type Challenge struct {
	client *Client
	id     string
	events chan Event

	mu      sync.Mutex
	current openChallenge
}

// ID names the challenge in this platform's Store, for Client.Challenge. It is
// not shown to others.
func (ch *Challenge) ID() string { return ch.id }

// CID is the identifier of the code shown now; a renewal changes it.
func (ch *Challenge) CID() CID { return ch.now().CID }

func (ch *Challenge) now() openChallenge {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.current
}

// Payload is the text of the QR code to show now. An animated code changes
// every two seconds.
func (ch *Challenge) Payload() string {
	o := ch.now()
	text, err := o.payloadAt(ch.client.config.App, ch.client.config.Clock().Sub(time.UnixMilli(o.Created)))
	if err != nil {
		return "" // New has encoded a larger one for this app
	}
	return text
}

// PNG draws the code to show now, size pixels wide (64 to 4096), quiet zone
// included.
func (ch *Challenge) PNG(size int) ([]byte, error) { return drawPNG(ch.Payload(), size) }

// SVG draws the code to show now as a scalable picture with its quiet zone.
func (ch *Challenge) SVG() string {
	svg, err := drawSVG(ch.Payload())
	if err != nil {
		return ""
	}
	return svg
}

// Frames are the next n pictures from the given time on; a static code has one.
func (ch *Challenge) Frames(from time.Time, n int) []FrameImage {
	o := ch.now()
	frames, err := o.frames(ch.client.config.App, from, n)
	if err != nil {
		return nil
	}
	return frames
}

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
	Renewals    int    // how often the code was renewed
	SecondScans int    // foreign phones that scanned the code, too
	Digits      string // to be shown in StateConfirm
	TriesLeft   int    // of the digits
}

// ended reports whether no further event follows.
func (e Event) ended() bool {
	switch e.State {
	case StateDone, StateRejected, StateExpired, StateCanceled, StateFailed:
		return true
	}
	return false
}

// event is the challenge's state as a page shows it.
func (o *openChallenge) event() Event {
	e := Event{CID: o.CID, SecondScans: o.Relay.SecondScans}
	switch {
	case o.End != nil:
		e.State, e.Code = endState(o.End.Code), o.End.Code
	case o.Verdict != nil:
		e.State = StateDone
	case o.Relay.State == protocol.StateFulfilled:
		e.State = StateWorking
	case !o.Relay.State.Held():
		e.State = StateWaiting
	case o.Digits != "" && o.Accepted != o.Relay.ClaimSeq:
		e.State, e.Digits, e.TriesLeft = StateConfirm, o.Digits, protocol.MatchTries-o.Tries
	default:
		e.State = StateScanned
	}
	return e
}

func endState(code protocol.Code) State {
	switch code {
	case protocol.CodeRejected:
		return StateRejected
	case protocol.CodeExpired:
		return StateExpired
	case protocol.CodeCanceled:
		return StateCanceled
	}
	return StateFailed
}

// Events delivers the newest state on every change and is closed after the
// last one, or when the context of Login ended. A slow reader misses states in
// between, never the newest.
func (ch *Challenge) Events() <-chan Event { return ch.events }

// refresh reads session and challenge, renewing where that is due.
func (ch *Challenge) refresh(ctx context.Context) (Event, error) {
	s, o, err := ch.client.load(ctx, ch.id)
	if err != nil {
		return Event{}, err
	}
	ch.mu.Lock()
	ch.current = o.v
	ch.mu.Unlock()
	e := o.v.event()
	e.Renewals = s.v.Renewals
	return e, nil
}

// load reads a session with its challenge and renews a code that may renew by
// itself.
func (c *Client) load(ctx context.Context, id string) (*stored[session], *stored[openChallenge], error) {
	for {
		s, err := get[session](ctx, c.vault, sessionKey(id))
		if err != nil {
			return nil, nil, err
		}
		o, err := get[openChallenge](ctx, c.vault, challengeKey(s.v.CID))
		if err != nil || !mayRenew(&s.v, &o.v) {
			return s, o, err
		}
		if _, err := c.renew(ctx, s, true); err != nil {
			return nil, nil, err
		}
	}
}

// follow turns changes into events until the challenge or ctx ends.
func (ch *Challenge) follow(ctx context.Context, changes <-chan struct{}) {
	defer close(ch.events)
	var last Event
	for tries := 0; ; {
		e, err := ch.refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			ch.client.log(ctx, "follow a challenge", ch.now().CID, err)
			if errors.Is(err, ErrNotFound) || !ch.client.pause(ctx, backoff(tries)) {
				return
			}
			tries++
			continue
		case e != last:
			ch.deliver(e)
		}
		if last, tries = e, 0; e.ended() {
			return
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return
		}
	}
}

// deliver puts the newest event in the place of one that was not read.
func (ch *Challenge) deliver(e Event) {
	select {
	case <-ch.events:
	default:
	}
	ch.events <- e
}

// Wait returns the verified login, once: the call that returns it has
// consumed it, and the relay is told after that. Errors carry the code of the end;
// ErrResultConsumed if another caller got it.
func (ch *Challenge) Wait(ctx context.Context) (*Login, error) {
	changes, stop := ch.client.hub.subscribe(ch.id)
	defer stop()
	for {
		e, err := ch.refresh(ctx)
		if err != nil {
			return nil, err
		}
		if e.ended() {
			login, err := ch.client.collect(ctx, e.CID, nil)
			if !errors.Is(err, errBusy()) {
				return login, err
			}
			if !ch.client.pause(ctx, leaseWait) {
				return nil, ctx.Err()
			}
			continue
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Cancel ends the challenge from the platform's side.
func (ch *Challenge) Cancel(ctx context.Context) error {
	_, err := ch.client.cancel(ctx, ch.CID())
	return err
}

// cancel ends a challenge at the relay. A result that is there already is
// refused instead.
func (c *Client) cancel(ctx context.Context, cid protocol.CID) (*stored[openChallenge], error) {
	o, err := get[openChallenge](ctx, c.vault, challengeKey(cid))
	if err != nil || o.v.End != nil {
		return o, err
	}
	if o.v.Consumed {
		return nil, protocol.Errorf(protocol.CodeAlreadyEnded, "the result was collected before")
	}
	st, err := c.relay.cancel(ctx, cid)
	if err == nil {
		return c.observe(ctx, st)
	}
	if retryable(err) && o.v.Verdict == nil {
		return nil, err
	}
	return c.end(ctx, cid, ending{Code: protocol.CodeCanceled})
}
