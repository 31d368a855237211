package core

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// Outcome is how a challenge ended, as the relay has made durable.
type Outcome struct {
	CID          protocol.CID
	Kind         protocol.Kind
	State        protocol.State // fulfilled or rejected
	Platform     string
	PlatformName string
	Shown        []string
	Certificate  string // CertificateID of the signer; empty on a rejection
	// Promise is the receipt's place in the relay's ledger; PromiseVerified
	// says that it is for this receipt and signed by the relay's known key.
	Promise         *protocol.Promise
	PromiseVerified bool
	// Stapled says that an OCSP response about the certificate was sent along;
	// without one the platform asks the authority itself.
	Stapled bool
}

// Approve signs the statement with one of Review's candidates and delivers it.
// It returns when the relay has made the result durable. The password is used
// for this one statement and its receipt; the caller wipes it.
//
// Errors: password_wrong (try again), password_locked and cert_revoked (the
// challenge ends), match_required (EnterDigits first), expired, no_certificate.
// After network the result is on disk: Resume delivers it.
func (s *Session) Approve(ctx context.Context, certificateID string, password []byte) (*Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := s.approve(ctx, certificateID, password)
	if err != nil {
		switch protocol.CodeOf(err) {
		case protocol.CodePasswordLocked, protocol.CodeCertRevoked:
			s.fail(ctx, protocol.CodeOf(err))
		}
		return nil, classify(err)
	}
	return out, nil
}

func (s *Session) approve(ctx context.Context, certificateID string, password []byte) (*Outcome, error) {
	if err := s.live(); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(s.candidates, func(c Certificate) bool { return c.ID == certificateID })
	if i < 0 {
		return nil, protocol.Errorf(protocol.CodeNoCertificate, "the chosen certificate does not fit this request")
	}
	cert := &s.candidates[i]
	if err := s.confirm(ctx); err != nil {
		return nil, err
	}
	staple, err := s.core.ownStatus(ctx, cert, s.opened.Request)
	if err != nil {
		return nil, err
	}
	item, err := s.sign(ctx, cert, staple, password)
	if err != nil {
		return nil, err
	}
	if err := s.core.useClaim(ctx, s.ks.CID, s.note); err != nil {
		return nil, err
	}
	if err := s.core.post(ctx, item); err != nil {
		return nil, err
	}
	if err := s.core.remember(ctx, s.who); err != nil {
		// The signed result is still delivered; the platform only appears as new again.
		s.core.opt.Log.Error("the platform is not remembered", "error", err.Error())
	}
	s.ended = true
	return s.core.deliver(ctx, item)
}

// confirm performs the first of two phases, unless the digits did already.
func (s *Session) confirm(ctx context.Context) error {
	policy := s.opened.Request.Policy
	switch {
	case !policy.TwoPhase || s.ready.Load():
		return nil
	case policy.Match == protocol.MatchType:
		return protocol.Errorf(protocol.CodeMatchRequired, "enter the digits first")
	}
	return s.open(ctx, protocol.OpenBox{})
}

// sign unlocks the keys for exactly two signatures: the statement, and the
// receipt over the box that holds it.
func (s *Session) sign(ctx context.Context, cert *Certificate, staple, password []byte) (*outboxItem, error) {
	var item *outboxItem
	err := s.core.opt.Keys.Use(ctx, password, func(signer keys.Signer) error {
		box, err := s.sealStatement(signer, cert, staple)
		if err != nil {
			return err
		}
		receipt, err := s.signReceipt(signer, cert, box)
		if err != nil {
			return err
		}
		body, err := protocol.EncodeJSON(protocol.ResultBody{ClaimSeq: s.seq, KEM: s.keys.KEM, Box: box, Receipt: *receipt})
		if err != nil {
			return err
		}
		item = s.item("result", body, receipt.Bytes)
		item.Certificate, item.Stapled = cert.ID, len(staple) > 0
		item.Digest = protocol.ResultDigest(s.ks.CID, s.seq, s.keys.KEM, box)
		return nil
	})
	return item, err
}

// sealStatement signs the statement and seals it for the platform.
func (s *Session) sealStatement(signer keys.Signer, cert *Certificate, staple []byte) ([]byte, error) {
	r := s.opened.Request
	message, err := keys.Statement(protocol.Statement{
		V: protocol.Version, Typ: r.Kind, Aud: r.Platform, CID: r.CID, RH: s.opened.RH, Nonce: r.Nonce, ClaimSeq: s.seq,
		Cert: protocol.H(cert.leaf().Raw), Device: s.core.device.id, Frame: s.note.Frame, Shown: protocol.ShownDigest(s.shown),
		NOK: 1, IAT: s.core.now().Unix(), App: s.core.opt.App,
	})
	if err != nil {
		return nil, err
	}
	signature, err := signer.Sign(cert.ID, message)
	if err != nil {
		return nil, err
	}
	return s.keys.Seal(protocol.BoxResult, protocol.ResultBox{Statement: message.Content(), Signature: signature,
		Chain: cert.presented(), OCSP: staple, Shown: s.shown})
}

// signReceipt signs the usage record of the result.
func (s *Session) signReceipt(signer keys.Signer, cert *Certificate, box []byte) (*protocol.SignedReceipt, error) {
	receipt := s.receipt()
	receipt.Cert, receipt.NOK = protocol.H(cert.leaf().Raw), 1
	receipt.Result = protocol.ResultDigest(s.ks.CID, s.seq, s.keys.KEM, box)
	message, err := keys.Receipt(receipt)
	if err != nil {
		return nil, err
	}
	signature, err := signer.Sign(cert.ID, message)
	if err != nil {
		return nil, err
	}
	return &protocol.SignedReceipt{Bytes: message.Content(), Signature: signature, Chain: cert.presented()}, nil
}

// receipt is what all receipts of this session have in common.
func (s *Session) receipt() protocol.Receipt {
	r := s.opened.Request
	return protocol.Receipt{V: protocol.Version, CID: r.CID, Kind: r.Kind, Platform: r.Platform,
		Device: s.core.device.id, ClaimSeq: s.seq, IAT: s.core.now().Unix()}
}

// ownStatus asks the authority for the status of the phone's own certificate.
// It returns nil if the status is not available, and an error only if the
// certificate is revoked.
func (c *Core) ownStatus(ctx context.Context, cert *Certificate, r *protocol.Request) ([]byte, error) {
	cfg, _, err := c.enrolled()
	if err != nil {
		return nil, err
	}
	leaf, issuer := cert.verified.Leaf(), cert.verified.Issuer()
	question, err := trust.NewOCSPRequest(leaf, issuer, nil)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeInternal, "%v", err)
	}
	answer, refused := c.once(ctx, Call{Method: "POST", URL: cfg.CA + caapi.PathOCSP, Body: question}, func(call *Call) error {
		call.Header["Content-Type"] = "application/ocsp-request"
		return nil
	})
	if refused != nil {
		c.opt.Log.Warn("no status of the own certificate", "code", string(refused.Code))
		return nil, nil
	}
	status, err := trust.VerifyOCSP(answer, leaf, issuer, trust.OCSPOptions{Now: c.now(), Skew: serverSkew,
		ProducedAfter: time.Unix(r.IAT, 0).Add(-protocol.StapleAge)})
	if err == nil {
		err = status.Err()
	}
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, trust.ErrRevoked):
		return nil, protocol.Errorf(protocol.CodeCertRevoked, "%v", err)
	}
	c.opt.Log.Warn("the status of the own certificate is of no use", "reason", err.Error())
	return nil, nil
}
