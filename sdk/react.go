package bidseal

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

const (
	// leaseTime is how long one node works on a result undisturbed.
	leaseTime = 30 * time.Second
	// lookAgain is when the sweeper comes back to what should have moved.
	lookAgain = 5 * time.Second
	// graceTime is how long after a deadline the sweeper asks the relay.
	graceTime = 3 * time.Second
)

// unackedAt is when the result can no longer be collected.
func (o *openChallenge) unackedAt() time.Time {
	return time.Unix(o.RequestExp, 0).Add(protocol.UnackedAfter)
}

// nextDue is when somebody has to look at the challenge.
func (o *openChallenge) nextDue(now time.Time) time.Time {
	switch {
	case o.Settled:
		return time.Time{}
	case o.End != nil, o.Consumed, !o.Registered:
		return now.Add(lookAgain)
	case o.Verdict != nil:
		return o.unackedAt()
	case o.Relay.State == protocol.StateOpened || o.Relay.State == protocol.StateFulfilled:
		return now.Add(lookAgain) // it is our turn
	}
	due := time.UnixMilli(o.Created).Add(protocol.PendingLimit + graceTime)
	if o.Relay.State != protocol.StatePending {
		due = time.Unix(o.RequestExp, 0).Add(graceTime)
	}
	if due.After(now) {
		return due
	}
	return now.Add(lookAgain)
}

// expires is when the challenge may be forgotten: soon if there is no
// verdict, after the relay's redeliveries if there is one.
func (o *openChallenge) expires() time.Time {
	if o.Verdict != nil {
		return o.unackedAt().Add(retention)
	}
	return o.unackedAt().Add(shortRetention)
}

// change updates a challenge and tells those who wait for it.
func (c *Client) change(ctx context.Context, cid protocol.CID, alter func(*openChallenge) (bool, error)) (*stored[openChallenge], error) {
	o, err := update(ctx, c.vault, challengeKey(cid), func(o *stored[openChallenge]) (bool, error) {
		changed, err := alter(&o.v)
		o.v.forget()
		o.dueAt(o.v.nextDue(c.config.Clock()))
		o.record.Expires = o.v.expires()
		return changed, err
	})
	if err == nil {
		c.hub.notify(o.v.Session)
	}
	return o, err
}

// forget drops what is no longer needed: once a result was judged, or none can
// come, its box is not opened again; once it was collected the platform has the
// evidence.
func (o *openChallenge) forget() {
	if o.Verdict != nil || o.Settled {
		clear(o.Ephemeral)
		o.Ephemeral, o.Ready, o.KEM, o.Digits = nil, nil, nil, ""
	}
	if o.Registered {
		o.BoxR = nil
	}
	if o.Consumed {
		o.Verdict.Evidence = nil
	}
}

// observe stores what the relay says of a challenge.
func (c *Client) observe(ctx context.Context, st *protocol.ChallengeState) (*stored[openChallenge], error) {
	return c.change(ctx, st.CID, func(o *openChallenge) (bool, error) {
		if o.Registered && st.Rev <= o.Relay.Rev {
			return false, nil
		}
		o.Registered = true
		o.Relay = relayView{State: st.State, Rev: st.Rev, SecondScans: st.SecondScans,
			ClaimSeq: max(st.ClaimSeq, o.Relay.ClaimSeq)} // a claim that was superseded never counts again
		if st.ClaimUntil != 0 {
			o.Relay.Until = c.config.Clock().UnixMilli() + st.ClaimUntil - st.Now
		}
		o.observeEnd(st)
		return true, nil
	})
}

// observeEnd takes an end that the relay knows. An end of our own stays.
func (o *openChallenge) observeEnd(st *protocol.ChallengeState) {
	if !st.State.Terminal() {
		return
	}
	o.Settled = true
	if o.End != nil || o.Consumed {
		return
	}
	switch st.State {
	case protocol.StateRejected:
		o.End = &ending{Code: protocol.CodeRejected, Reason: st.Code}
	case protocol.StateCanceled:
		o.End = &ending{Code: protocol.CodeCanceled}
	case protocol.StateExpired:
		o.End = &ending{Code: protocol.CodeExpired, Renew: st.ClaimSeq == 0}
	case protocol.StateFailed:
		code := protocol.Code(st.Code)
		o.End = &ending{Code: code, Renew: code == protocol.CodeFrameStale}
	case protocol.StateCompleted: // acknowledged, but not by us
		o.End = &ending{Code: protocol.CodeResultConsumed}
	}
}

// apply brings a challenge on by a state of the relay. It can be repeated, also
// by several nodes at once.
func (c *Client) apply(ctx context.Context, s seen) error {
	o, err := c.observe(ctx, s.state)
	if errors.Is(err, ErrNotFound) {
		return nil // made by another system of the platform, or long over
	}
	if err != nil {
		return err
	}
	if s.state.Rev < o.v.Relay.Rev {
		return nil
	}
	if o.v.End != nil || o.v.Consumed {
		return c.settle(ctx, o)
	}
	if !s.state.State.Held() && s.state.State != protocol.StateFulfilled {
		return nil
	}
	if o, err = c.judgeClaim(ctx, o, s); err != nil || o.v.End != nil {
		return err
	}
	switch s.state.State {
	case protocol.StateOpened:
		return c.answer(ctx, o, s.state)
	case protocol.StateFulfilled:
		return c.result(ctx, o, s.state)
	}
	return nil
}

// end stores an end that we decided and tells the relay. While the platform
// commits the result it is not decided: an end would be told to the phone, and
// the commit stand all the same.
func (c *Client) end(ctx context.Context, cid protocol.CID, e ending) (*stored[openChallenge], error) {
	now := c.config.Clock()
	o, err := c.change(ctx, cid, func(o *openChallenge) (bool, error) {
		if o.End != nil || o.Consumed {
			return false, nil
		}
		if o.Verdict != nil && o.Lease != nil && now.UnixMilli() < o.Lease.Until {
			return false, errBusy()
		}
		o.End = &e
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return o, c.settle(ctx, o)
}

// settle tells the relay the end of a challenge: the acknowledgement or the
// failure. Until it has answered the sweeper repeats it.
func (c *Client) settle(ctx context.Context, o *stored[openChallenge]) error {
	if o.v.Settled {
		return nil
	}
	var err error
	if o.v.Consumed {
		_, err = c.relay.ack(ctx, o.v.CID, o.v.Verdict.Digest)
	} else {
		_, err = c.relay.fail(ctx, o.v.CID, failureCode(o.v.End.Code))
	}
	if err != nil && retryable(err) || ctx.Err() != nil {
		return fmt.Errorf("tell the relay the end: %w", err)
	}
	c.log(ctx, "the relay did not take the end", o.v.CID, err) // it has one of its own
	_, err = c.change(ctx, o.v.CID, func(o *openChallenge) (bool, error) {
		changed := !o.Settled
		o.Settled = true
		return changed, nil
	})
	return err
}

// failureCode is the code under which the relay takes a refusal of ours.
func failureCode(code protocol.Code) protocol.Code {
	switch code {
	case protocol.CodeReceiptInvalid, protocol.CodeLedgerInvalid, protocol.CodeMalformed, protocol.CodeTooLarge:
		return protocol.CodeStatementInvalid
	case protocol.CodeCanceled: // "not me", after the result
		return protocol.CodeUnacked
	}
	return code
}

// judgeClaim judges the frame that came with claim 1. Before it fails a claim
// it asks the relay again, and allows for the time that the answer took.
func (c *Client) judgeClaim(ctx context.Context, o *stored[openChallenge], s seen) (*stored[openChallenge], error) {
	if len(o.v.FrameKey) == 0 || len(o.v.Frame) != 0 {
		return o, nil
	}
	verdict := o.v.judgeFrame(s)
	if verdict != nil {
		fresh, err := c.ask(ctx, o.v.CID)
		if err != nil {
			return nil, err
		}
		s, verdict = fresh, o.v.judgeFrame(fresh)
	}
	if verdict != nil {
		code := protocol.CodeOf(verdict)
		c.log(ctx, "frame refused", o.v.CID, verdict)
		return c.end(ctx, o.v.CID, ending{Code: code, Renew: code == protocol.CodeFrameStale})
	}
	return c.change(ctx, o.v.CID, func(o *openChallenge) (bool, error) {
		changed := len(o.Frame) == 0
		if changed {
			o.Frame = s.state.Frame
		}
		return changed, nil
	})
}

// judgeFrame judges a claim by the earliest and the latest moment at which the
// relay may have written its answer.
func (o *openChallenge) judgeFrame(s seen) error {
	created, age := time.UnixMilli(o.Created), time.Duration(s.state.AgeMS)*time.Millisecond
	err := protocol.JudgeFrame(s.state.Frame, o.FrameKey, o.CID, s.received.Sub(created), age)
	if err == nil || s.asked.IsZero() {
		return err
	}
	if protocol.JudgeFrame(s.state.Frame, o.FrameKey, o.CID, s.asked.Sub(created), age) == nil {
		return nil
	}
	return err
}

// ask reads a challenge at the relay.
func (c *Client) ask(ctx context.Context, cid protocol.CID) (seen, error) {
	asked := c.config.Clock()
	st, err := c.relay.read(ctx, cid)
	if err != nil {
		return seen{}, err
	}
	return seen{state: st, asked: asked, received: c.config.Clock()}, nil
}

// openKeys unwraps the keys of a claim.
func (o *openChallenge) openKeys(claimSeq uint32, kem []byte) (*protocol.ClaimKeys, error) {
	r, err := protocol.ParseRequest(o.Request)
	if err != nil {
		return nil, err
	}
	ks, err := protocol.Derive(o.Secret)
	if err != nil {
		return nil, err
	}
	defer ks.Wipe()
	e, err := sm2.NewPrivateKey(o.Ephemeral)
	if err != nil {
		return nil, fmt.Errorf("ephemeral key: %w", err)
	}
	at := protocol.Context{CID: o.CID, RH: protocol.Commit(o.Request, o.Chain[0]), ClaimSeq: claimSeq, E: r.E}
	return protocol.OpenClaim(ks, at, e, kem)
}

// whole is st with the boxes that were too large for the feed.
func (c *Client) whole(ctx context.Context, st *protocol.ChallengeState) (*protocol.ChallengeState, error) {
	complete := func(b *protocol.KEMBox) bool { return b == nil || len(b.Box) != 0 }
	if complete(st.Open) && (st.Result == nil || complete(&st.Result.KEMBox)) {
		return st, nil
	}
	return c.relay.read(ctx, st.CID)
}

// answer compares the digits of an open and says ready, or back to the claim,
// or ends the challenge at the third wrong pair.
func (c *Client) answer(ctx context.Context, o *stored[openChallenge], st *protocol.ChallengeState) error {
	if o.v.Answered < st.ClaimSeq {
		whole, err := c.whole(ctx, st)
		if err != nil {
			return err
		}
		if whole.Open == nil || whole.Open.ClaimSeq != st.ClaimSeq {
			return nil // moved on meanwhile: another event follows
		}
		if o, err = c.compare(ctx, o, whole.Open); err != nil || o.v.End != nil {
			return err
		}
	}
	if o.v.Answered != st.ClaimSeq {
		return nil
	}
	next, err := c.relay.ready(ctx, st.CID, o.v.Ready)
	if err != nil {
		return fmt.Errorf("answer the phone: %w", err)
	}
	_, err = c.observe(ctx, next)
	return err
}

// compare decides on the digits, once for each claim on all nodes together.
func (c *Client) compare(ctx context.Context, o *stored[openChallenge], open *protocol.KEMBox) (*stored[openChallenge], error) {
	keys, err := o.v.openKeys(open.ClaimSeq, open.KEM)
	var box protocol.OpenBox
	if err == nil {
		defer keys.Wipe()
		err = keys.Open(protocol.BoxOpen, open.Box, &box)
	}
	if err != nil {
		c.log(ctx, "open refused", o.v.CID, err)
		return c.end(ctx, o.v.CID, ending{Code: protocol.CodeOf(err)})
	}
	o, err = c.change(ctx, o.v.CID, func(o *openChallenge) (bool, error) {
		if o.End != nil || o.Answered >= open.ClaimSeq {
			return false, nil
		}
		o.Answered = open.ClaimSeq
		same := o.Digits != "" && subtle.ConstantTimeCompare([]byte(box.Digits), []byte(o.Digits)) == 1
		return true, o.decide(keys, same)
	})
	if err != nil || o.v.End == nil {
		return o, err
	}
	return o, c.settle(ctx, o)
}

// decide writes the answer to the digits of claim Answered.
func (o *openChallenge) decide(keys *protocol.ClaimKeys, same bool) error {
	body := protocol.ReadyBody{ClaimSeq: o.Answered, Next: protocol.StateReady}
	answer := protocol.ReadyBox{Code: protocol.ReadyOK, TriesLeft: protocol.MatchTries - o.Tries}
	if same {
		o.Accepted, o.KEM = o.Answered, keys.KEM
	} else {
		o.Tries++
		if o.Tries >= protocol.MatchTries {
			o.End = &ending{Code: protocol.CodeMatchFailed}
			return nil
		}
		body.Next = protocol.StateClaimed
		answer = protocol.ReadyBox{Code: protocol.ReadyMatch, TriesLeft: protocol.MatchTries - o.Tries}
	}
	var err error
	if body.Box, err = keys.Seal(protocol.BoxReady, answer); err != nil {
		return err
	}
	o.Ready, err = protocol.EncodeJSON(body)
	return err
}
