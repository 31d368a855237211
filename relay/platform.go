package relay

import (
	"context"

	"github.com/bidseal/bidseal/protocol"
)

// What a platform can do. Every call can be repeated with the same result.

// create makes a challenge; raw is the exact body, its digest the idempotency check.
func (r *Relay) create(ctx context.Context, p *platformKey, cid protocol.CID, raw []byte) (protocol.ChallengeState, error) {
	var b protocol.CreateBody
	if err := protocol.DecodeJSON(raw, &b); err != nil {
		return protocol.ChallengeState{}, err
	}
	if err := b.Check(); err != nil {
		return protocol.ChallengeState{}, err
	}
	if p.MaxKeep > 0 && b.Deadlines.Keep > p.MaxKeep {
		return protocol.ChallengeState{}, protocol.Errorf(protocol.CodeForbidden, "results of this platform are kept at most %d s", p.MaxKeep)
	}
	limit := p.MaxOpen
	if limit <= 0 {
		limit = r.limits.OpenPerPlatform
	}
	now := r.now()
	c := Challenge{CID: cid, Platform: p.ID, CreateDigest: protocol.H(raw), HClaim: b.HClaim, HWatch: b.HWatch, Terms: b.Terms(),
		CreatedAt: now, ChangedAt: now, Progress: protocol.Begin(b.Terms(), now)}
	stored, created, err := r.cfg.State.Create(ctx, c, b.BoxR, limit)
	if err != nil {
		return protocol.ChallengeState{}, r.storeError(ctx, err)
	}
	if created {
		r.announce(ctx, Challenge{}, stored)
	}
	return r.full(ctx, stored)
}

// platformMove is move for the platform that made the challenge; for every
// other the challenge does not exist.
func (r *Relay) platformMove(ctx context.Context, p *platformKey, cid protocol.CID, do step) (protocol.ChallengeState, error) {
	c, err := r.move(ctx, cid, func(c Challenge, now int64) (Challenge, outcome, error) {
		if c.Platform != p.ID {
			return c, outcome{}, notFound()
		}
		return do(c, now)
	})
	if err != nil {
		if c.Platform != p.ID {
			return protocol.ChallengeState{}, err
		}
		return protocol.ChallengeState{}, withWinner(err, c, view(c, r.now()))
	}
	return r.full(ctx, c)
}

// ready answers an open.
func (r *Relay) ready(ctx context.Context, p *platformKey, cid protocol.CID, b protocol.ReadyBody) (protocol.ChallengeState, error) {
	if err := checkBox(b.Box, protocol.MaxJSON+64); err != nil {
		return protocol.ChallengeState{}, err
	}
	digest := protocol.H([]byte(b.Next), []byte{0}, b.Box)
	return r.platformMove(ctx, p, cid, func(c Challenge, now int64) (Challenge, outcome, error) {
		before := c.Progress
		var err error
		if c.Progress, err = before.Ready(now, b.ClaimSeq, b.Next, digest); err != nil {
			return c, outcome{}, err
		}
		if protocol.Equal(before.ReadyDigest, digest) && before.State == c.Progress.State && before.ClaimSeq == c.Progress.ClaimSeq {
			return c, outcome{same: true}, nil
		}
		ready, out := b, outcome{}
		c.ReadySize = len(b.Box)
		if len(b.Box) > protocol.MaxInlineBox {
			out.parts = []Part{{Name: readyPart(b.ClaimSeq, b.Next), Data: b.Box}}
			ready.Box = nil
		}
		c.Ready = &ready
		if b.Next == protocol.StateClaimed {
			c.Open = nil
		}
		return c, out, nil
	})
}

// failByPlatform ends a challenge with a failure that the platform found.
func (r *Relay) failByPlatform(ctx context.Context, p *platformKey, cid protocol.CID, b protocol.FailBody) (protocol.ChallengeState, error) {
	if b.ClaimSeq != 0 || b.Receipt != nil {
		return protocol.ChallengeState{}, protocol.Errorf(protocol.CodeMalformed, "claim_seq and receipt are the phone's")
	}
	return r.platformMove(ctx, p, cid, r.relayEnds(func(before protocol.Progress, now int64) (protocol.Progress, error) {
		return before.FailByPlatform(now, b.Code)
	}))
}

// cancel ends a challenge by the platform's decision.
func (r *Relay) cancel(ctx context.Context, p *platformKey, cid protocol.CID) (protocol.ChallengeState, error) {
	return r.platformMove(ctx, p, cid, r.relayEnds(func(before protocol.Progress, now int64) (protocol.Progress, error) {
		return before.Cancel(now)
	}))
}

// ack frees the result.
func (r *Relay) ack(ctx context.Context, p *platformKey, cid protocol.CID, b protocol.AckBody) (protocol.ChallengeState, error) {
	return r.platformMove(ctx, p, cid, func(c Challenge, _ int64) (Challenge, outcome, error) {
		before := c.Progress
		var err error
		c.Progress, err = before.Ack(b.Result)
		return c, outcome{same: before.State == c.Progress.State}, err
	})
}

// read returns the state to the platform that made the challenge.
func (r *Relay) read(ctx context.Context, p *platformKey, cid protocol.CID) (Challenge, error) {
	c, err := r.cfg.State.Get(ctx, cid)
	if err != nil {
		return Challenge{}, r.storeError(ctx, err)
	}
	if c.Platform != p.ID {
		return Challenge{}, notFound()
	}
	return c, nil
}

// maxPageBytes bounds the boxes and receipts of one feed page, so that the page
// stays below protocol.MaxDocument.
const maxPageBytes = 512 << 10

// feed reads one page.
func (r *Relay) feed(ctx context.Context, p *platformKey, store string, after int64, limit int) (protocol.FeedPage, error) {
	if limit <= 0 || limit > protocol.MaxFeedPage {
		limit = protocol.MaxFeedPage
	}
	id := *r.storeID.Load()
	if store != id {
		after = 0
	}
	page := protocol.FeedPage{Store: id, Events: []protocol.ChallengeState{}, Next: after}
	list, err := r.cfg.State.Feed(ctx, p.ID, after, limit)
	if err != nil {
		return page, r.storeError(ctx, err)
	}
	now, size := r.now(), 0
	for i, c := range list {
		if size += weight(c); size > maxPageBytes && i > 0 {
			page.More = true
			return page, nil
		}
		page.Events = append(page.Events, view(c, now))
		page.Next = c.Rev
	}
	page.More = len(list) == limit
	return page, nil
}

// weight is about how many bytes an event has in binary form.
func weight(c Challenge) int {
	n := 1024
	if c.Open != nil {
		n += len(c.Open.KEM) + len(c.Open.Box)
	}
	if c.Ready != nil {
		n += len(c.Ready.Box)
	}
	if c.Result != nil {
		n += len(c.Result.KEM) + len(c.Result.Box) + receiptSize(c.Result.Receipt)
	}
	if c.Receipt != nil {
		n += receiptSize(*c.Receipt)
	}
	return n
}

func receiptSize(s protocol.SignedReceipt) int {
	n := len(s.Bytes) + len(s.Signature)
	for _, der := range s.Chain {
		n += len(der)
	}
	return n
}

// checkBox refuses what cannot be a box: a nonce of 12 bytes and a tag of 16.
func checkBox(box []byte, limit int) error {
	const least = 12 + 16
	if len(box) < least || len(box) > limit {
		return protocol.Errorf(protocol.CodeMalformed, "box of %d bytes, want %d to %d", len(box), least, limit)
	}
	return nil
}
