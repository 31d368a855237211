package sdktest

import (
	"bytes"

	"github.com/bidseal/bidseal/protocol"
)

// The transitions of a challenge; the caller holds the relay's lock.

// find looks a challenge up and checks who asks for it.
func (r *Relay) find(who caller, cid protocol.CID, phone bool) (*challenge, error) {
	c := r.challenges[cid]
	if c == nil {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no such challenge")
	}
	if phone != (who.device != "") {
		return nil, protocol.Errorf(protocol.CodeUnauthorized, "not for this caller")
	}
	return c, nil
}

// decode reads a strict body.
func decode[B any](raw []byte) (B, error) {
	var b B
	err := protocol.DecodeJSON(raw, &b)
	return b, err
}

func (r *Relay) create(who caller, cid protocol.CID, raw []byte) (any, error) {
	if who.device != "" {
		return nil, protocol.Errorf(protocol.CodeUnauthorized, "phones make no challenges")
	}
	body, err := decode[protocol.CreateBody](raw)
	if err == nil {
		err = body.Check()
	}
	if err != nil {
		return nil, err
	}
	if c := r.challenges[cid]; c != nil {
		if !bytes.Equal(c.raw, raw) {
			return nil, protocol.Errorf(protocol.CodeConflict, "the cid is taken")
		}
		return r.told(cid, c), nil
	}
	c := &challenge{raw: raw, body: body}
	r.challenges[cid] = c
	r.moved(c, protocol.Begin(body.Terms(), r.now()))
	return r.told(cid, c), nil
}

func (r *Relay) read(who caller, cid protocol.CID, _ []byte) (any, error) {
	c, err := r.find(who, cid, who.device != "")
	if err != nil {
		return nil, err
	}
	if who.device != "" {
		return r.view(cid, c), nil
	}
	return r.told(cid, c), nil
}

func (r *Relay) claim(who caller, cid protocol.CID, raw []byte) (any, error) {
	c, err := r.find(who, cid, true)
	if err != nil {
		return nil, err
	}
	body, err := decode[protocol.ClaimBody](raw)
	if err != nil {
		return nil, err
	}
	if !protocol.Equal(protocol.H(body.KClaim), c.body.HClaim) {
		return nil, protocol.Errorf(protocol.CodeClaimKey, "k_claim does not fit")
	}
	next, err := c.progress.Claim(c.body.Terms(), r.now(), who.device, body.ClaimID, body.Frame)
	if err != nil {
		if next.SecondScans != c.progress.SecondScans {
			r.moved(c, next)
		}
		return nil, err
	}
	c.open, c.ready = nil, nil
	r.moved(c, next)
	a := protocol.ClaimAnswer{BoxR: c.body.BoxR, ServerTime: r.now(), ClaimSeq: next.ClaimSeq, Rev: c.rev, ClaimUntil: next.ClaimUntil}
	if r.onClaim != nil {
		r.onClaim(&a)
	}
	return a, nil
}

func (r *Relay) open(who caller, cid protocol.CID, raw []byte) (any, error) {
	c, err := r.find(who, cid, true)
	if err != nil {
		return nil, err
	}
	body, err := decode[protocol.OpenBody](raw)
	if err != nil {
		return nil, err
	}
	next, err := c.progress.Open(c.body.Terms(), r.now(), who.device, body.ClaimSeq, protocol.H(body.KEM, body.Box))
	if err != nil {
		return nil, err
	}
	c.open = &protocol.KEMBox{ClaimSeq: body.ClaimSeq, KEM: body.KEM, Box: body.Box, Size: len(body.Box)}
	r.moved(c, next)
	return r.view(cid, c), nil
}

func (r *Relay) ready(who caller, cid protocol.CID, raw []byte) (any, error) {
	c, err := r.find(who, cid, false)
	if err != nil {
		return nil, err
	}
	body, err := decode[protocol.ReadyBody](raw)
	if err != nil {
		return nil, err
	}
	next, err := c.progress.Ready(r.now(), body.ClaimSeq, body.Next, protocol.H([]byte(body.Next), body.Box))
	if err != nil {
		return nil, err
	}
	c.ready = &body
	if next.ClaimSeq != c.progress.ClaimSeq {
		c.open = nil
	}
	r.moved(c, next)
	return r.told(cid, c), nil
}

func (r *Relay) result(who caller, cid protocol.CID, raw []byte) (any, error) {
	c, err := r.find(who, cid, true)
	if err != nil {
		return nil, err
	}
	body, err := decode[protocol.ResultBody](raw)
	if err != nil {
		return nil, err
	}
	digest := protocol.ResultDigest(cid, body.ClaimSeq, body.KEM, body.Box)
	next, err := c.progress.Fulfil(c.body.Terms(), r.now(), who.device, body.ClaimSeq, digest)
	if err != nil {
		return nil, err
	}
	if c.promise == nil {
		if c.promise, err = r.enter(body.Receipt.Bytes); err != nil {
			return nil, err
		}
		c.result = &protocol.StoredResult{Digest: digest, Receipt: body.Receipt,
			KEMBox: protocol.KEMBox{ClaimSeq: body.ClaimSeq, KEM: body.KEM, Box: body.Box, Size: len(body.Box)}}
		r.moved(c, next)
	}
	return protocol.ResultAnswer{State: next.State, Rev: c.rev, Promise: c.promise}, nil
}

func (r *Relay) reject(who caller, cid protocol.CID, raw []byte) (any, error) {
	c, err := r.find(who, cid, true)
	if err != nil {
		return nil, err
	}
	body, err := decode[protocol.RejectBody](raw)
	if err == nil {
		err = body.Receipt.Verify(who.key, protocol.TagReject)
	}
	if err != nil {
		return nil, err
	}
	next, err := c.progress.Reject(r.now(), who.device, body.ClaimSeq, body.Reason)
	if err != nil {
		return nil, err
	}
	if c.promise == nil {
		if c.promise, err = r.enter(body.Receipt.Bytes); err != nil {
			return nil, err
		}
		c.receipt = &body.Receipt
		r.moved(c, next)
	}
	return protocol.ResultAnswer{State: next.State, Rev: c.rev, Promise: c.promise}, nil
}

func (r *Relay) fail(who caller, cid protocol.CID, raw []byte) (any, error) {
	return r.byPlatform(who, cid, func(c *challenge) (protocol.Progress, error) {
		body, err := decode[protocol.FailBody](raw)
		if err != nil {
			return c.progress, err
		}
		return c.progress.FailByPlatform(r.now(), body.Code)
	})
}

func (r *Relay) cancel(who caller, cid protocol.CID, _ []byte) (any, error) {
	return r.byPlatform(who, cid, func(c *challenge) (protocol.Progress, error) { return c.progress.Cancel(r.now()) })
}

func (r *Relay) ack(who caller, cid protocol.CID, raw []byte) (any, error) {
	return r.byPlatform(who, cid, func(c *challenge) (protocol.Progress, error) {
		body, err := decode[protocol.AckBody](raw)
		if err != nil {
			return c.progress, err
		}
		return c.progress.Ack(body.Result)
	})
}

func (r *Relay) byPlatform(who caller, cid protocol.CID, do func(*challenge) (protocol.Progress, error)) (any, error) {
	c, err := r.find(who, cid, false)
	if err != nil {
		return nil, err
	}
	next, err := do(c)
	if err != nil {
		return nil, err
	}
	if next.State != c.progress.State {
		r.moved(c, next)
	}
	return r.told(cid, c), nil
}
