package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/bidseal/bidseal/protocol"
)

// maxTries bounds the repetitions of a compare-and-swap. Each lost round means
// that another node moved the challenge, which can happen only a few times.
const maxTries = 16

// step computes the next challenge from the newest one. It has no side effects:
// it runs again after a lost compare-and-swap. An error with write set is stored
// all the same and then answered (a second scan).
type step func(c Challenge, now int64) (next Challenge, out outcome, err error)

// outcome is what a step wants besides the next state.
type outcome struct {
	same  bool   // nothing changed: nothing is stored
	write bool   // store although an error is answered
	parts []Part // large boxes
	end   *End   // set where a claim ends
}

// move is the only way in which state changes: read, let the step decide, swap;
// read again where somebody was faster.
func (r *Relay) move(ctx context.Context, cid protocol.CID, do step) (Challenge, error) {
	pass, err := r.turns.take(ctx, cid)
	if err != nil {
		return Challenge{}, err
	}
	defer pass()
	for range maxTries {
		c, err := r.cfg.State.Get(ctx, cid)
		if err != nil {
			return Challenge{}, r.storeError(ctx, err)
		}
		now := r.now()
		next, out, refused := do(c, now)
		if refused != nil && !out.write || refused == nil && out.same {
			return c, refused
		}
		next.ChangedAt = now
		stored, err := r.commit(ctx, c, next, out)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return c, r.storeError(ctx, err)
		}
		r.announce(ctx, c, stored)
		return stored, refused
	}
	return Challenge{}, &protocol.Error{Code: protocol.CodeOverloaded, Detail: "the challenge keeps changing", RetryAfter: 1}
}

// commit stores one transition; the end of a claim goes through Outcomes.
func (r *Relay) commit(ctx context.Context, old, next Challenge, out outcome) (Challenge, error) {
	if out.end == nil {
		if r.joint == nil && old.Progress.State == protocol.StatePending && next.Progress.State.Terminal() {
			return r.endUnclaimed(ctx, old, next)
		}
		return r.cfg.State.Swap(ctx, old.Rev, next, out.parts...)
	}
	if r.joint != nil {
		stored, won, err := r.joint.EndSwap(ctx, old.Rev, next, *out.end, r.sign)
		if errors.Is(err, ErrEnded) {
			return r.follow(ctx, old, won)
		}
		return stored, err
	}
	won, err := r.cfg.Outcomes.End(ctx, *out.end, r.sign)
	if err != nil {
		return Challenge{}, err
	}
	if won.Same(*out.end) {
		// A repeated end has a receipt of its own: the promise is over the first.
		stored, err := r.cfg.State.Swap(ctx, old.Rev, won.apply(next), out.parts...)
		if err == nil {
			err = r.cfg.Outcomes.Applied(ctx, old.CID)
		}
		return stored, err
	}
	return r.follow(ctx, old, won)
}

// endUnclaimed ends a challenge that seems never to have been claimed. A store
// of its own may have lost the claim, and even the state that followed its end:
// the end that stands in Outcomes is then the truth.
func (r *Relay) endUnclaimed(ctx context.Context, old, next Challenge) (Challenge, error) {
	won, err := r.cfg.Outcomes.Ended(ctx, old.CID)
	if err == nil {
		return r.follow(ctx, old, won)
	}
	if !errors.Is(err, ErrNotFound) {
		return Challenge{}, err
	}
	return r.cfg.State.Swap(ctx, old.Rev, next)
}

// follow brings a state that lags behind to the end that stands in Outcomes, and
// returns ErrConflict: the caller's step then runs on the true state.
func (r *Relay) follow(ctx context.Context, c Challenge, won End) (Challenge, error) {
	stored, err := r.cfg.State.Swap(ctx, c.Rev, won.apply(c))
	if err != nil {
		return Challenge{}, err
	}
	if err := r.cfg.Outcomes.Applied(ctx, c.CID); err != nil {
		return Challenge{}, err
	}
	r.announce(ctx, c, stored)
	return Challenge{}, ErrConflict
}

// apply is the state that an end means. Where another platform had used the cid
// before, the challenge is over and nothing of that end is revealed: anyone who saw
// the code knows its cid and can register it once the Store has forgotten it.
func (e End) apply(c Challenge) Challenge {
	p := &c.Progress
	if e.Platform != c.Platform {
		p.State, p.EndedAt = protocol.StateCanceled, e.At
		return c
	}
	p.State, p.Code, p.Device, p.ClaimSeq, p.EndedAt = e.State, protocol.Code(e.Code), e.Device, e.ClaimSeq, e.At
	c.ChangedAt = e.At
	c.Promise = &e.Promise
	if e.State == protocol.StateFulfilled {
		p.ResultDigest, p.KeepUntil = e.Digest, e.At+c.Terms.Keep
		c.Result = storedResult(e)
		return c
	}
	c.Receipt = &e.Receipt
	return c
}

// storedResult is an end's result as the state carries it: a large box stays out.
func storedResult(e End) *protocol.StoredResult {
	s := &protocol.StoredResult{KEMBox: protocol.KEMBox{ClaimSeq: e.ClaimSeq, KEM: e.KEM, Box: e.Box, Size: len(e.Box)},
		Digest: e.Digest, Receipt: e.Receipt}
	if len(e.Box) > protocol.MaxInlineBox {
		s.Box = nil
	}
	return s
}

// announce counts a transition and tells who waits.
func (r *Relay) announce(ctx context.Context, old, stored Challenge) {
	if old.Progress.State != stored.Progress.State {
		r.metrics.moved(stored.Terms.Kind, stored.Progress.State)
	}
	r.Announce(ctx, stored)
}

// Announce tells who waits that a state was stored: the pages of this node at
// once, all other waiters by a wake-up. Every transition ends with it; others
// call it for a state that they stored themselves.
func (r *Relay) Announce(ctx context.Context, stored Challenge) {
	r.showHere(stored)
	if err := r.cfg.Bus.Publish(ctx, Wake{Platform: stored.Platform, CID: stored.CID, Rev: stored.Rev}); err != nil {
		r.log.LogAttrs(ctx, slog.LevelWarn, "publish wake-up", slog.Any("error", err))
	}
}

// storeError turns a backend's answer into one of the protocol: what is not
// expected is "unavailable", because the write may have happened and the call
// may be repeated.
func (r *Relay) storeError(ctx context.Context, err error) error {
	var own *protocol.Error
	switch {
	case errors.As(err, &own):
		return err
	case errors.Is(err, ErrNotFound):
		return notFound()
	case errors.Is(err, ErrFull):
		return &protocol.Error{Code: protocol.CodeRateLimited, Detail: "too many open challenges", RetryAfter: 10}
	case errors.Is(err, ErrExists):
		return protocol.Errorf(protocol.CodeConflict, "the cid is taken")
	}
	if ctx.Err() == nil {
		r.log.LogAttrs(ctx, slog.LevelError, "store", slog.Any("error", err))
		r.metrics.storeFailures.Inc()
	}
	return fmt.Errorf("%w: %w", &protocol.Error{Code: protocol.CodeUnavailable, RetryAfter: 1}, err)
}

// notFound is the one answer for unknown and foreign ids.
func notFound() error { return &protocol.Error{Code: protocol.CodeNotFound} }

// withWinner adds the state that won to the refusal of a challenge that has ended.
func withWinner(err error, c Challenge, winner protocol.ChallengeState) error {
	var own *protocol.Error
	if !errors.As(err, &own) || c.Progress.State != protocol.StateFulfilled && !c.Progress.State.Terminal() {
		return err
	}
	out := *own
	out.Winner = &winner
	return &out
}
