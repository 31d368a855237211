package relay

import (
	"context"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// What a phone can do. Every call can be repeated with the same result.

// phone is an authenticated device.
type phone struct {
	device  string
	account string
	pass    *protocol.VerifiedPass
}

const (
	maxFrame = 64  // bytes; a frame has 10
	maxKEM   = 256 // bytes of an SM2 ciphertext of 32 bytes
)

// claim gives the challenge to the device that can show k_claim.
func (r *Relay) claim(ctx context.Context, ph *phone, cid protocol.CID, b protocol.ClaimBody) (protocol.ClaimAnswer, error) {
	if len(b.KClaim) != protocol.KClaimSize || len(b.ClaimID) != protocol.ClaimIDSize || len(b.Frame) > maxFrame {
		return protocol.ClaimAnswer{}, protocol.Errorf(protocol.CodeMalformed, "k_claim, claim_id or frame has a wrong length")
	}
	c, err := r.cfg.State.Get(ctx, cid)
	if err != nil {
		return protocol.ClaimAnswer{}, r.storeError(ctx, err)
	}
	if err := r.checkClaimKey(ctx, ph, c, b.KClaim); err != nil {
		return protocol.ClaimAnswer{}, err
	}
	c, err = r.move(ctx, cid, func(c Challenge, now int64) (Challenge, outcome, error) {
		before := c.Progress
		var err error
		c.Progress, err = before.Claim(c.Terms, now, ph.device, b.ClaimID, b.Frame)
		if err != nil {
			return c, outcome{write: c.Progress.SecondScans != before.SecondScans}, err
		}
		same := before.State == c.Progress.State && before.ClaimSeq == c.Progress.ClaimSeq
		if !same {
			c.Open, c.Ready, c.ReadySize = nil, nil, 0
		}
		return c, outcome{same: same}, nil
	})
	if err != nil {
		return protocol.ClaimAnswer{}, r.toHolder(ph, c, err)
	}
	box, err := r.cfg.State.Part(ctx, cid, PartRequest)
	if err != nil {
		return protocol.ClaimAnswer{}, r.storeError(ctx, err)
	}
	return protocol.ClaimAnswer{BoxR: box, ServerTime: r.now(), ClaimSeq: c.Progress.ClaimSeq, Rev: c.Rev, ClaimUntil: c.Progress.ClaimUntil}, nil
}

// Counters counts what a device may do only so often, on all nodes together. A
// backend has to pass storetest.Run; every operation may be repeated, and one that
// returned an error may have happened.
type Counters interface {
	// Hit adds one to a counter that starts again with each window, and returns
	// its value, 1 for the first. It may forget across a restart.
	Hit(ctx context.Context, key string, window time.Duration) (int, error)
}

// checkClaimKey compares in constant time; wrong keys count for the device, so
// that one device cannot lock a challenge for others.
func (r *Relay) checkClaimKey(ctx context.Context, ph *phone, c Challenge, kClaim []byte) error {
	if protocol.Equal(protocol.H(kClaim), c.HClaim) {
		return nil
	}
	n, err := r.cfg.Counters.Hit(ctx, "claim:"+ph.device, r.limits.RateWindow)
	if err != nil {
		return r.storeError(ctx, err)
	}
	if n > r.limits.WrongClaims {
		return &protocol.Error{Code: protocol.CodeRateLimited, Detail: "too many wrong claim keys", RetryAfter: int(r.limits.RateWindow.Seconds())}
	}
	return protocol.Errorf(protocol.CodeClaimKey, "k_claim does not fit")
}

// phoneMove is move with the winner for a device that holds or held the claim.
func (r *Relay) phoneMove(ctx context.Context, ph *phone, cid protocol.CID, do step) (Challenge, error) {
	c, err := r.move(ctx, cid, do)
	if err != nil {
		err = r.toHolder(ph, c, err)
	}
	return c, err
}

// toHolder adds the state that won for a device that holds or held the claim;
// what another device does is not this one's business.
func (r *Relay) toHolder(ph *phone, c Challenge, err error) error {
	if c.Progress.Device != ph.device {
		return err
	}
	return withWinner(err, c, view(c, r.now()))
}

// open is the first of two phases.
func (r *Relay) open(ctx context.Context, ph *phone, cid protocol.CID, b protocol.OpenBody) (protocol.ChallengeState, error) {
	if err := checkBox(b.Box, r.limits.OpenBox); err != nil {
		return protocol.ChallengeState{}, err
	}
	if len(b.KEM) == 0 || len(b.KEM) > maxKEM {
		return protocol.ChallengeState{}, protocol.Errorf(protocol.CodeMalformed, "kem of %d bytes", len(b.KEM))
	}
	digest := protocol.H(b.KEM, b.Box)
	c, err := r.phoneMove(ctx, ph, cid, func(c Challenge, now int64) (Challenge, outcome, error) {
		before := c.Progress
		var err error
		if c.Progress, err = before.Open(c.Terms, now, ph.device, b.ClaimSeq, digest); err != nil {
			return c, outcome{}, err
		}
		if before.OpenDigest != nil && protocol.Equal(before.OpenDigest, digest) {
			return c, outcome{same: true}, nil
		}
		out := outcome{}
		c.Open = &protocol.KEMBox{ClaimSeq: b.ClaimSeq, KEM: b.KEM, Box: b.Box, Size: len(b.Box)}
		if len(b.Box) > protocol.MaxInlineBox {
			out.parts = []Part{{Name: openPart(b.ClaimSeq), Data: b.Box}}
			c.Open.Box = nil
		}
		return c, out, nil
	})
	if err != nil {
		return protocol.ChallengeState{}, err
	}
	return r.full(ctx, c)
}

// result ends a challenge with a result. Once the 200 is out it is durable.
func (r *Relay) result(ctx context.Context, ph *phone, cid protocol.CID, b protocol.ResultBody) (protocol.ResultAnswer, error) {
	if err := checkBox(b.Box, protocol.MaxJSON+64); err != nil {
		return protocol.ResultAnswer{}, err
	}
	if len(b.KEM) == 0 || len(b.KEM) > maxKEM {
		return protocol.ResultAnswer{}, protocol.Errorf(protocol.CodeMalformed, "kem of %d bytes", len(b.KEM))
	}
	digest := protocol.ResultDigest(cid, b.ClaimSeq, b.KEM, b.Box)
	c, err := r.cfg.State.Get(ctx, cid)
	if err != nil {
		return r.repeated(ctx, ph, cid, digest, r.storeError(ctx, err))
	}
	// The decision is taken before the costly check of the receipt, and again by
	// the swap. Only a device that could deliver is worth verifying for, and what
	// was not verified is not taken either if the state moved on meanwhile.
	fulfilled, err := c.Progress.Fulfil(c.Terms, r.now(), ph.device, b.ClaimSeq, digest)
	if err != nil {
		return protocol.ResultAnswer{}, r.toHolder(ph, c, err)
	}
	if fulfilled.State != c.Progress.State {
		if err := r.checkResult(ctx, ph, c, b, digest); err != nil {
			return protocol.ResultAnswer{}, err
		}
	}
	c, err = r.phoneMove(ctx, ph, cid, func(c Challenge, now int64) (Challenge, outcome, error) {
		before := c.Progress
		var err error
		if c.Progress, err = before.Fulfil(c.Terms, now, ph.device, b.ClaimSeq, digest); err != nil {
			return c, outcome{}, err
		}
		if before.ResultDigest != nil {
			return c, outcome{same: true}, nil
		}
		end := End{CID: cid, Platform: c.Platform, Kind: c.Terms.Kind, State: protocol.StateFulfilled, Device: ph.device,
			Account: ph.account, ClaimSeq: b.ClaimSeq, At: now, Digest: digest, KEM: b.KEM, Box: b.Box, Receipt: b.Receipt}
		c.Result = storedResult(end)
		return c, outcome{end: &end}, nil
	})
	return answer(c), err
}

// repeated replies to a result whose challenge the Store no longer has.
func (r *Relay) repeated(ctx context.Context, ph *phone, cid protocol.CID, digest []byte, missing error) (protocol.ResultAnswer, error) {
	if protocol.CodeOf(missing) != protocol.CodeNotFound {
		return protocol.ResultAnswer{}, missing
	}
	end, err := r.cfg.Outcomes.Ended(ctx, cid)
	if err != nil || end.Device != ph.device || !protocol.Equal(end.Digest, digest) {
		return protocol.ResultAnswer{}, missing
	}
	return protocol.ResultAnswer{State: end.State, Promise: &end.Promise}, nil
}

func answer(c Challenge) protocol.ResultAnswer {
	return protocol.ResultAnswer{State: c.Progress.State, Rev: c.Rev, Promise: c.Promise}
}

// reject ends a challenge by the user's decision.
func (r *Relay) reject(ctx context.Context, ph *phone, cid protocol.CID, b protocol.RejectBody) (protocol.ResultAnswer, error) {
	if !b.Reason.Known() {
		return protocol.ResultAnswer{}, protocol.Errorf(protocol.CodeMalformed, "reason is not one of the three")
	}
	return r.phoneEnds(ctx, ph, cid, b.ClaimSeq, string(b.Reason), &b.Receipt, func(before protocol.Progress, now int64) (protocol.Progress, error) {
		return before.Reject(now, ph.device, b.ClaimSeq, b.Reason)
	})
}

// failByPhone ends a challenge with a failure that the phone found.
func (r *Relay) failByPhone(ctx context.Context, ph *phone, cid protocol.CID, b protocol.FailBody) (protocol.ResultAnswer, error) {
	if b.Receipt == nil {
		return protocol.ResultAnswer{}, protocol.Errorf(protocol.CodeReceiptInvalid, "a failure of the phone carries a receipt")
	}
	return r.phoneEnds(ctx, ph, cid, b.ClaimSeq, string(b.Code), b.Receipt, func(before protocol.Progress, now int64) (protocol.Progress, error) {
		return before.FailByPhone(now, ph.device, b.ClaimSeq, b.Code)
	})
}

// phoneEnds ends a claim without a result, with a receipt of the device key.
func (r *Relay) phoneEnds(ctx context.Context, ph *phone, cid protocol.CID, seq uint32, reason string, receipt *protocol.SignedReceipt,
	next func(protocol.Progress, int64) (protocol.Progress, error)) (protocol.ResultAnswer, error) {
	c, err := r.cfg.State.Get(ctx, cid)
	if err != nil {
		return protocol.ResultAnswer{}, r.storeError(ctx, err)
	}
	after, err := next(c.Progress, r.now())
	if err != nil {
		return protocol.ResultAnswer{}, r.toHolder(ph, c, err)
	}
	if after.State != c.Progress.State {
		if err := r.checkDeviceReceipt(ctx, ph, c, seq, reason, receipt); err != nil {
			return protocol.ResultAnswer{}, err
		}
	}
	c, err = r.phoneMove(ctx, ph, cid, func(c Challenge, now int64) (Challenge, outcome, error) {
		before := c.Progress
		var err error
		if c.Progress, err = next(before, now); err != nil {
			return c, outcome{}, err
		}
		if before.State == c.Progress.State {
			return c, outcome{same: true}, nil
		}
		end := End{CID: cid, Platform: c.Platform, Kind: c.Terms.Kind, State: c.Progress.State, Code: string(c.Progress.Code),
			Device: ph.device, Account: ph.account, ClaimSeq: seq, At: now, Receipt: *receipt}
		c.Receipt = receipt
		return c, outcome{end: &end}, nil
	})
	return answer(c), err
}

// readByPhone returns the state to the device that holds or held the claim.
func (r *Relay) readByPhone(ctx context.Context, ph *phone, cid protocol.CID) (Challenge, error) {
	c, err := r.cfg.State.Get(ctx, cid)
	if err != nil {
		return Challenge{}, r.storeError(ctx, err)
	}
	if c.Progress.Device != ph.device {
		return Challenge{}, notFound()
	}
	return c, nil
}
