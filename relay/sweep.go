package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/bidseal/bidseal/protocol"
)

// batch bounds what one round of the sweeper reads.
const batch = 256

// Sweep does what time asks for: challenges past their deadline expire, states
// follow ends that were stored without them, old terminal challenges are
// forgotten. Run calls it; it may run on several nodes at once.
func (r *Relay) Sweep(ctx context.Context) error {
	return errors.Join(r.checkStore(ctx), r.sweepUnapplied(ctx), r.sweepDue(ctx), r.sweepOld(ctx))
}

// checkStore notices a store that lost everything and has another id since: the
// platforms' feeds then start anew, and show them what is missing.
func (r *Relay) checkStore(ctx context.Context) error {
	id, err := r.cfg.State.ID(ctx)
	if err != nil {
		return fmt.Errorf("read store id: %w", err)
	}
	if old := r.storeID.Swap(&id); *old != id {
		r.log.LogAttrs(ctx, slog.LevelWarn, "the store is another one", slog.String("was", *old), slog.String("is", id))
		r.hub.resync()
	}
	return nil
}

func (r *Relay) sweepDue(ctx context.Context) error {
	for ctx.Err() == nil {
		due, err := r.cfg.State.Due(ctx, r.now(), batch)
		if err != nil {
			return fmt.Errorf("list what is due: %w", err)
		}
		for _, cid := range due {
			if err := r.expire(ctx, cid); err != nil {
				return err
			}
		}
		if len(due) < batch {
			return nil
		}
	}
	return ctx.Err()
}

func (r *Relay) expire(ctx context.Context, cid protocol.CID) error {
	_, err := r.move(ctx, cid, r.relayEnds(func(before protocol.Progress, now int64) (protocol.Progress, error) {
		after, _ := before.Expire(now)
		return after, nil
	}))
	if err != nil && protocol.CodeOf(err) != protocol.CodeNotFound {
		return fmt.Errorf("expire challenge %s: %w", cid, err)
	}
	return nil
}

// sweepUnapplied lets states follow the ends of calls that broke off between the two.
func (r *Relay) sweepUnapplied(ctx context.Context) error {
	ends, err := r.cfg.Outcomes.Unapplied(ctx, batch)
	if err != nil {
		return fmt.Errorf("list unapplied ends: %w", err)
	}
	for _, e := range ends {
		if err := r.applyEnd(ctx, e); err != nil {
			return fmt.Errorf("apply end of %s: %w", e.CID, err)
		}
	}
	return nil
}

func (r *Relay) applyEnd(ctx context.Context, e End) error {
	for range maxTries {
		c, err := r.cfg.State.Get(ctx, e.CID)
		if errors.Is(err, ErrNotFound) {
			return r.cfg.Outcomes.Applied(ctx, e.CID)
		}
		if err != nil {
			return err
		}
		if c.Progress.State == protocol.StatePending || c.Progress.State.Held() {
			stored, err := r.cfg.State.Swap(ctx, c.Rev, e.apply(c))
			if errors.Is(err, ErrConflict) {
				continue
			}
			if err != nil {
				return err
			}
			r.announce(ctx, c, stored)
		}
		return r.cfg.Outcomes.Applied(ctx, e.CID)
	}
	return fmt.Errorf("the challenge keeps changing")
}

func (r *Relay) sweepOld(ctx context.Context) error {
	for ctx.Err() == nil {
		gone, err := r.cfg.State.Purge(ctx, r.now()-r.limits.KeepEnded.Milliseconds(), batch)
		if err != nil {
			return fmt.Errorf("purge: %w", err)
		}
		if len(gone) == 0 {
			return nil
		}
		if err := r.cfg.Outcomes.Release(ctx, gone); err != nil {
			return fmt.Errorf("release ciphertexts: %w", err)
		}
	}
	return ctx.Err()
}
