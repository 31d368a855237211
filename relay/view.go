package relay

import (
	"context"

	"github.com/bidseal/bidseal/protocol"
)

// view is the public state of a challenge at the given time, without boxes that
// are larger than protocol.MaxInlineBox.
func view(c Challenge, now int64) protocol.ChallengeState {
	p := c.Progress
	s := protocol.ChallengeState{
		CID: c.CID, Kind: c.Terms.Kind, State: p.State, Rev: c.Rev, Code: string(p.Code), ClaimSeq: p.ClaimSeq, Frame: p.Frame,
		Device: p.Device, SecondScans: p.SecondScans, Open: c.Open, Ready: c.Ready, Result: c.Result, Receipt: c.Receipt,
		Promise: c.Promise, PendingUntil: p.PendingUntil, ClaimUntil: p.ClaimUntil, ReadyUntil: p.ReadyUntil,
		KeepUntil: p.KeepUntil, Now: now,
	}
	if p.ClaimedAt != 0 {
		s.AgeMS = max(now-p.ClaimedAt, 0)
	}
	return s
}

// watchView is all that a page may know.
func watchView(c Challenge, now int64) protocol.WatchState {
	p := c.Progress
	return protocol.WatchState{CID: c.CID, State: p.State, Rev: c.Rev, Code: string(p.Code), ClaimSeq: p.ClaimSeq,
		SecondScans: p.SecondScans, Until: p.Due(), Now: now}
}

// full is view with every box, for answers to reads.
func (r *Relay) full(ctx context.Context, c Challenge) (protocol.ChallengeState, error) {
	s := view(c, 0)
	if s.Open != nil && len(s.Open.Box) == 0 && s.Open.Size > 0 {
		box, err := r.cfg.State.Part(ctx, c.CID, openPart(s.Open.ClaimSeq))
		if err != nil {
			return s, r.storeError(ctx, err)
		}
		open := *s.Open
		open.Box, s.Open = box, &open
	}
	if s.Ready != nil && len(s.Ready.Box) == 0 && c.ReadySize > 0 {
		box, err := r.cfg.State.Part(ctx, c.CID, readyPart(s.Ready.ClaimSeq, s.Ready.Next))
		if err != nil {
			return s, r.storeError(ctx, err)
		}
		ready := *s.Ready
		ready.Box, s.Ready = box, &ready
	}
	if s.Result != nil && len(s.Result.Box) == 0 && s.Result.Size > 0 {
		end, err := r.cfg.Outcomes.Ended(ctx, c.CID)
		if err != nil {
			return s, r.storeError(ctx, err)
		}
		result := *s.Result
		result.Box, s.Result = end.Box, &result
	}
	return r.stamp(s, c), nil
}

// stamp sets what is computed as the answer is written.
func (r *Relay) stamp(s protocol.ChallengeState, c Challenge) protocol.ChallengeState {
	now := r.now()
	s.Now = now
	if c.Progress.ClaimedAt != 0 {
		s.AgeMS = max(now-c.Progress.ClaimedAt, 0)
	}
	return s
}
