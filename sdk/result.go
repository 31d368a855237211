package bidseal

import (
	"context"
	"errors"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// leaseWait is how soon a node looks again at what another one works on.
const leaseWait = 500 * time.Millisecond

// result brings a fulfilled challenge to its verdict, once over all nodes.
func (c *Client) result(ctx context.Context, o *stored[openChallenge], st *protocol.ChallengeState) error {
	if o.v.Verdict != nil {
		return nil // a redelivery: the stored verdict stands
	}
	if st, err := c.whole(ctx, st); err != nil {
		return err
	} else if st.Result == nil {
		return protocol.Errorf(protocol.CodeMalformed, "fulfilled without a result")
	} else {
		return c.leased(ctx, o.v.CID, func(o *openChallenge) (*verdict, error) { return c.judge(ctx, o, st) })
	}
}

// leased runs judge while this node holds the lease, and stores what it says.
// While another node holds it, it waits for that one's verdict or end.
func (c *Client) leased(ctx context.Context, cid protocol.CID, judge func(*openChallenge) (*verdict, error)) error {
	for {
		held := false
		o, err := c.change(ctx, cid, func(o *openChallenge) (bool, error) {
			held = o.Verdict == nil && o.End == nil && o.takeLease(c.node, c.config.Clock())
			return held, nil
		})
		if err != nil {
			return err
		}
		if o.v.Verdict != nil || o.v.End != nil {
			return nil
		}
		if !held {
			if !c.pause(ctx, leaseWait) {
				return ctx.Err()
			}
			continue
		}
		v, err := judge(&o.v)
		if err != nil {
			return err
		}
		return c.decide(ctx, cid, v)
	}
}

// takeLease takes or prolongs the lease unless another node holds it.
func (o *openChallenge) takeLease(holder string, now time.Time) bool {
	if o.Lease != nil && o.Lease.Holder != holder && now.UnixMilli() < o.Lease.Until {
		return false
	}
	o.Lease = &lease{Holder: holder, Until: now.Add(leaseTime).UnixMilli()}
	return true
}

// decide stores a verdict, the first one only: the single use of a result. A
// refusal is told to the relay.
func (c *Client) decide(ctx context.Context, cid protocol.CID, v *verdict) error {
	o, err := c.change(ctx, cid, func(o *openChallenge) (bool, error) {
		if o.Verdict != nil || o.End != nil {
			return false, nil
		}
		o.Verdict, o.Lease = v, nil
		if v.Code != "" {
			o.End = &ending{Code: v.Code}
		}
		return true, nil
	})
	if err != nil || o.v.End == nil {
		return err
	}
	return c.settle(ctx, o)
}

// judge verifies a result. A refusal is a verdict; an error means that there is
// none yet.
func (c *Client) judge(ctx context.Context, o *openChallenge, st *protocol.ChallengeState) (*verdict, error) {
	claim := evidenceClaim{Seq: st.Result.ClaimSeq, KEM: st.Result.KEM, Box: st.Result.Box}
	v, err := c.examine(ctx, o, st, claim)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	digest := claim.digest(o.CID)
	var refused *Error
	switch {
	case err == nil:
		v.Digest = digest
		return v, nil
	case errors.As(err, &refused):
		c.log(ctx, "result refused", o.CID, err)
		return &verdict{Digest: digest, Code: refused.Code, Detail: refused.Detail}, nil
	}
	return nil, err
}

// examine makes the checks of protocol/SPEC.md, sections 9 to 11, the cheap ones
// first.
func (c *Client) examine(ctx context.Context, o *openChallenge, st *protocol.ChallengeState, claim evidenceClaim) (*verdict, error) {
	now := c.config.Clock()
	if now.After(o.unackedAt()) {
		return nil, protocol.Errorf(protocol.CodeUnacked, "the result came after its time")
	}
	r, err := protocol.ParseRequest(o.Request)
	if err != nil {
		return nil, err
	}
	if r.Policy.TwoPhase && (o.Accepted == 0 || claim.Seq != o.Accepted) || claim.Seq != o.Relay.ClaimSeq {
		return nil, protocol.Errorf(protocol.CodeStatementReplayed, "result of claim %d, open of claim %d was accepted, newest claim %d", claim.Seq, o.Accepted, o.Relay.ClaimSeq)
	}
	if r.Policy.TwoPhase && !protocol.Equal(claim.KEM, o.KEM) {
		return nil, protocol.Errorf(protocol.CodeStatementReplayed, "result and accepted open have different keys")
	}
	box, err := o.openResult(claim)
	if err != nil {
		return nil, err
	}
	signer, who, err := verifySigner(c.config.Anchors, r.Kind, box.Chain, now)
	if err != nil {
		return nil, err
	}
	s, err := protocol.CheckStatement(box.Statement, box.Shown, protocol.Expected{Request: r, RH: protocol.Commit(o.Request, o.Chain[0]),
		ClaimSeq: claim.Seq, PlatformName: c.config.Name, Cert: box.Chain[0]})
	if err != nil {
		return nil, err
	}
	if err := protocol.VerifyStatement(signer.Leaf().PublicKey, box.Statement, box.Signature); err != nil {
		return nil, err
	}
	if err := checkOwner(r.Expect, who); err != nil {
		return nil, err
	}
	elapsed := now.Sub(time.UnixMilli(o.Created))
	if err := protocol.JudgeStatementFrame(s.Frame, o.Frame, o.FrameKey, o.CID, claim.Seq, elapsed); err != nil {
		return nil, err
	}
	if err := checkReceipt(&st.Result.Receipt, signer.Leaf(), r, s, claim.digest(o.CID)); err != nil {
		return nil, err
	}
	ledgerKey, err := c.promisedBy(st.Promise, st.Result.Receipt.Bytes)
	if err != nil {
		return nil, err
	}
	ocsp, err := c.status.signer(ctx, signer, box.OCSP, time.Unix(r.IAT, 0).Add(-protocol.StapleAge))
	if err != nil {
		return nil, err
	}
	v := &verdict{Certificate: box.Chain[0], Anchor: who.Anchor, At: s.IAT}
	v.Evidence, err = c.evidence(ctx, o, st, claim, box, ocsp, ledgerKey)
	return v, err
}

func (o *openChallenge) openResult(claim evidenceClaim) (*protocol.ResultBox, error) {
	keys, err := o.openKeys(claim.Seq, claim.KEM)
	if err != nil {
		return nil, err
	}
	defer keys.Wipe()
	var box protocol.ResultBox
	return &box, keys.Open(protocol.BoxResult, claim.Box, &box)
}

// promisedBy returns the one of the relay's ledger keys that signed a promise for
// a receipt, as SubjectPublicKeyInfo. Error: CodeLedgerInvalid.
func (c *Client) promisedBy(p *protocol.Promise, receipt []byte) (spki []byte, err error) {
	for _, key := range c.config.LedgerKeys {
		if err = protocol.VerifyPromise(key, p, receipt); err == nil {
			return protocol.MarshalKey(key)
		}
	}
	return nil, err
}

// evidence writes the file, with a timestamp if one is available.
func (c *Client) evidence(ctx context.Context, o *openChallenge, st *protocol.ChallengeState, claim evidenceClaim, box *protocol.ResultBox, ocsp, ledgerKey []byte) ([]byte, error) {
	receipt := st.Result.Receipt
	file := evidence{
		V: evidenceVersion, Type: evidenceType, Request: o.Request, RequestSig: o.Signature, PlatformChain: o.Chain, PlatformOCSP: o.OCSP,
		Claim: claim, Statement: box.Statement, StatementSig: box.Signature, SignerChain: box.Chain, SignerOCSP: ocsp, Shown: box.Shown,
		Receipt: protocol.SignedReceipt{Bytes: receipt.Bytes, Signature: receipt.Signature}, Promise: *st.Promise, LedgerKey: ledgerKey,
	}
	c.stamps.prompt(ctx, &file, c.config.Logger)
	return protocol.EncodeJSON(file)
}

// errBusy says that another call is collecting the result.
func errBusy() error {
	return protocol.Errorf(protocol.CodeOverloaded, "another call is collecting this result")
}

// collect hands a verified result to commit, once: while commit runs no other
// caller gets it, and after it succeeded no caller ever does. The relay's
// acknowledgement follows; if it does not go through now, the sweeper repeats it.
func (c *Client) collect(ctx context.Context, cid protocol.CID, commit func(*Login) error) (*Login, error) {
	holder, err := newSessionID()
	if err != nil {
		return nil, err
	}
	now := c.config.Clock()
	o, err := c.change(ctx, cid, func(o *openChallenge) (bool, error) {
		if err := o.collectable(now); err != nil {
			return false, err
		}
		if !o.takeLease(holder, now) {
			return false, errBusy()
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	login, err := o.v.login(c.config.Anchors)
	if err == nil && commit != nil {
		err = commit(login)
	}
	ctx = context.WithoutCancel(ctx) // what was committed is stored, even if the caller went away
	o, storeErr := c.handOver(ctx, cid, holder, err == nil)
	if err = errors.Join(err, storeErr); err != nil {
		return nil, err
	}
	c.log(ctx, "acknowledge the result", cid, c.settle(ctx, o))
	return login, nil
}

// handOverTries is how often the end of a commit is stored before the lease is
// left to run out.
const handOverTries = 6

// handOver gives the lease back, and marks the result as consumed where the
// platform has committed it. A store that fails for a moment is asked again: the
// commit cannot be taken back.
func (c *Client) handOver(ctx context.Context, cid protocol.CID, holder string, committed bool) (*stored[openChallenge], error) {
	for try := 0; ; try++ {
		o, err := c.change(ctx, cid, func(o *openChallenge) (bool, error) {
			if o.Lease != nil && o.Lease.Holder == holder {
				o.Lease = nil
			}
			o.Consumed = o.Consumed || committed
			return true, nil
		})
		if err == nil || try == handOverTries || !c.pause(ctx, backoff(try)) {
			return o, err
		}
	}
}

// collectable says why a result cannot be collected.
func (o *openChallenge) collectable(now time.Time) error {
	switch {
	case o.Consumed:
		return protocol.Errorf(protocol.CodeResultConsumed, "the result was collected before")
	case o.End != nil:
		return o.endError()
	case o.Verdict == nil:
		return protocol.Errorf(protocol.CodeNotReady, "there is no verified result yet")
	case now.After(o.unackedAt()):
		return protocol.Errorf(protocol.CodeUnacked, "the result was not collected in time")
	}
	return nil
}

// endError is the error of an end without a result.
func (o *openChallenge) endError() error {
	detail := o.End.Reason
	if o.Verdict != nil {
		detail = o.Verdict.Detail
	}
	return &Error{Code: o.End.Code, Detail: detail}
}
