package bidseal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// terms applies the defaults of a login.
func (o LoginOptions) terms() loginTerms {
	match := protocol.MatchNone
	switch {
	case o.Match != nil:
		match = *o.Match
	case o.Static && o.Expect == nil:
		match = protocol.MatchType
	}
	return loginTerms{Display: o.Display, Expect: o.Expect, Match: match, Static: o.Static, Initiator: o.Initiator, NoRenew: o.NoRenew}
}

// start makes a session with its first challenge. browser is H(b) of the
// browser that it belongs to, nil for none.
func (c *Client) start(ctx context.Context, terms loginTerms, browser []byte) (*stored[session], *stored[openChallenge], error) {
	id, err := newSessionID()
	if err != nil {
		return nil, nil, err
	}
	now := c.config.Clock()
	o, err := c.store(ctx, id, terms)
	if err != nil {
		return nil, nil, err
	}
	s, err := put(ctx, c.vault, sessionKey(id), session{ID: id, Browser: browser, Options: terms, CID: o.v.CID, Created: now.UnixMilli()},
		time.Time{}, o.v.expires())
	if err != nil {
		return nil, nil, err
	}
	cid := o.v.CID
	if o, err = c.register(ctx, cid); err != nil {
		return nil, nil, errors.Join(err, c.abandon(context.WithoutCancel(ctx), cid))
	}
	return s, o, nil
}

// abandon ends a challenge that was never shown.
func (c *Client) abandon(ctx context.Context, cid protocol.CID) error {
	_, err := c.change(ctx, cid, func(o *openChallenge) (bool, error) {
		o.End, o.Settled = &ending{Code: protocol.CodeCanceled}, true
		return true, nil
	})
	return err
}

// store draws a challenge and stores it before it is shown or registered.
func (c *Client) store(ctx context.Context, sessionID string, terms loginTerms) (*stored[openChallenge], error) {
	ocsp, err := c.status.own(ctx, c.own)
	if err != nil {
		return nil, err
	}
	now := c.config.Clock()
	o, err := c.draw(terms, now)
	if err != nil {
		return nil, err
	}
	o.Session, o.OCSP = sessionID, ocsp
	ks, err := protocol.Derive(o.Secret)
	if err != nil {
		return nil, err
	}
	defer ks.Wipe()
	if o.BoxR, err = protocol.SealRequest(ks, protocol.SealedRequest{Request: o.Request, Signature: o.Signature, Chain: o.Chain, OCSP: o.OCSP}); err != nil {
		return nil, err
	}
	return put(ctx, c.vault, challengeKey(o.CID), *o, o.nextDue(now), o.expires())
}

// draw makes everything of a challenge that is random, and R with it.
func (c *Client) draw(terms loginTerms, now time.Time) (*openChallenge, error) {
	o := &openChallenge{Created: now.UnixMilli(), Chain: c.chain}
	var err error
	if o.Secret, err = protocol.NewSecret(); err != nil {
		return nil, err
	}
	ks, err := protocol.Derive(o.Secret)
	if err != nil {
		return nil, err
	}
	defer ks.Wipe()
	o.CID = ks.CID
	if o.Watch, err = protocol.Random(protocol.WatchSize); err != nil {
		return nil, err
	}
	if !terms.Static {
		if o.FrameKey, err = protocol.Random(protocol.FrameKeySize); err != nil {
			return nil, err
		}
	}
	if terms.Match == protocol.MatchType {
		if o.Digits, err = protocol.NewDigits(); err != nil {
			return nil, err
		}
	}
	key, point, err := protocol.NewEphemeral()
	if err != nil {
		return nil, err
	}
	o.Ephemeral = key.D.FillBytes(make([]byte, ephemeralSize))
	nonce, err := protocol.Random(protocol.NonceSize)
	if err != nil {
		return nil, err
	}
	return o, c.request(o, terms, point, nonce, now)
}

// ephemeralSize is the length of e in bytes.
const ephemeralSize = 32

// request writes and signs R.
func (c *Client) request(o *openChallenge, terms loginTerms, point, nonce []byte, now time.Time) error {
	r := protocol.Request{
		V: protocol.Version, CID: o.CID, Kind: protocol.KindLogin, Platform: c.config.Platform, Key: c.keyID, Nonce: nonce,
		IAT: now.Unix(), E: point, Initiator: terms.Initiator, Display: terms.Display,
		Policy: protocol.Policy{TwoPhase: terms.Match == protocol.MatchType, Match: terms.Match},
	}
	r.EXP = r.IAT + int64((protocol.PendingLimit+protocol.ClaimLimit(r.Kind))/time.Second)
	if terms.Expect != nil {
		r.Expect = &protocol.Expect{Owner: terms.Expect}
	}
	if err := r.Check(); err != nil {
		return err
	}
	var err error
	if o.Request, err = protocol.EncodeJSON(r); err != nil {
		return err
	}
	o.RequestExp = r.EXP
	if o.Signature, err = protocol.SignRequest(c.config.RequestKey, o.Request); err != nil {
		return fmt.Errorf("sign the request: %w", err)
	}
	return nil
}

// createBody is the same bytes every time.
func (o *openChallenge) createBody() ([]byte, error) {
	ks, err := protocol.Derive(o.Secret)
	if err != nil {
		return nil, err
	}
	defer ks.Wipe()
	return protocol.EncodeJSON(protocol.CreateBody{
		BoxR: o.BoxR, HClaim: protocol.H(ks.KClaim), HWatch: protocol.H(o.Watch), Kind: protocol.KindLogin,
		TwoPhase: o.Digits != "", Deadlines: protocol.DefaultDeadlines(protocol.KindLogin),
	})
}

// registerTries is how often a registration is repeated at once; after that the
// sweeper goes on.
const registerTries = 3

// register tells the relay. A lost response does no harm: the same bytes are sent
// again.
func (c *Client) register(ctx context.Context, cid protocol.CID) (*stored[openChallenge], error) {
	o, err := get[openChallenge](ctx, c.vault, challengeKey(cid))
	if err != nil {
		return nil, err
	}
	body, err := o.v.createBody()
	if err != nil {
		return nil, err
	}
	var st *protocol.ChallengeState
	for try := range registerTries {
		if try > 0 && !c.pause(ctx, backoff(try)) {
			break
		}
		if st, err = c.relay.create(ctx, cid, body); err == nil || !retryable(err) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("register the challenge: %w", err)
	}
	return c.observe(ctx, st)
}

// renew puts a new challenge in the place of one that ended: everything is
// drawn anew. One swap of the session decides between nodes; the loser's
// challenge is never registered.
func (c *Client) renew(ctx context.Context, s *stored[session], counted bool) (*stored[session], error) {
	old := s.v.CID
	fresh, err := c.store(ctx, s.v.ID, s.v.Options)
	if err != nil {
		return nil, err
	}
	won := false
	s, err = update(ctx, c.vault, sessionKey(s.v.ID), func(s *stored[session]) (bool, error) {
		if won = s.v.CID == old; !won {
			return false, nil
		}
		s.v.CID = fresh.v.CID
		s.v.Renewals++
		if !counted {
			s.v.Renewals = 0
		}
		s.record.Expires = fresh.record.Expires
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if !won {
		return s, c.abandon(ctx, fresh.v.CID)
	}
	if _, err := c.register(ctx, fresh.v.CID); err != nil {
		return nil, err
	}
	c.hub.notify(s.v.ID)
	return s, nil
}

// mayRenew reports whether the code renews by itself.
func mayRenew(s *session, o *openChallenge) bool {
	return o.End != nil && o.End.Renew && !s.Options.NoRenew && s.Renewals < protocol.MaxRenewals
}

// retryable reports whether the same call may succeed later.
func retryable(err error) bool {
	var own *Error
	return errors.As(err, &own) && protocol.Lookup(own.Code).Retryable
}
