package core

import (
	"context"
	"encoding/hex"
	"slices"
	"time"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// Scan takes the text of a code: it claims the challenge for this phone, opens
// the request and verifies who asks. Nothing is signed and no password is
// needed. A scan of the same code by the same phone may be repeated.
//
// Codes of errors, beside those of the network: foreign_code, payload_invalid,
// not_enrolled, no_certificate, cert_expired; what the relay answers to a claim
// (not_found, claimed_by_other, expired, already_ended, ...); and what is wrong
// with the request: request_swapped, request_signature, platform_untrusted,
// platform_revoked, status_stale, request_invalid, crit_unknown,
// kind_unsupported, box_invalid. A request that is refused for what it is ends
// the challenge at the relay, so that the platform learns why.
func (c *Core) Scan(ctx context.Context, text string) (*Session, error) {
	cfg, _, err := c.enrolled()
	if err != nil {
		return nil, classify(err)
	}
	payload, err := protocol.ParsePayload(text, cfg.AppOrigins)
	if err != nil {
		return nil, classify(err)
	}
	ks, err := protocol.Derive(payload.Secret)
	clear(payload.Secret)
	if err != nil {
		return nil, classify(err)
	}
	note, err := c.noteClaim(ctx, ks.CID, payload.Frame)
	if err != nil {
		return nil, classify(err)
	}
	answer, err := c.claim(ctx, ks, note)
	if err != nil {
		return nil, classify(err)
	}
	opened, err := protocol.OpenRequest(ks, payload.RH16, answer.BoxR)
	if err != nil {
		return nil, classify(err)
	}
	s := &Session{core: c, ks: ks, opened: opened, note: note, seq: answer.ClaimSeq, rev: answer.Rev, until: deadline(opened.Request, answer)}
	s.tries.Store(protocol.MatchTries)
	if err := s.verify(ctx); err != nil {
		s.failed(ctx, err)
		return nil, classify(err)
	}
	return s, nil
}

// Identify tells which challenge a code belongs to without claiming it. Errors:
// foreign_code, payload_invalid, not_enrolled.
func (c *Core) Identify(text string) (protocol.CID, error) {
	cfg, _, err := c.enrolled()
	if err != nil {
		return protocol.CID{}, classify(err)
	}
	payload, err := protocol.ParsePayload(text, cfg.AppOrigins)
	if err != nil {
		return protocol.CID{}, classify(err)
	}
	ks, err := protocol.Derive(payload.Secret)
	if err != nil {
		return protocol.CID{}, classify(err)
	}
	defer ks.Wipe()
	return ks.CID, nil
}

// verify judges the opened request and finds the certificates that may answer.
func (s *Session) verify(ctx context.Context) error {
	c, r := s.core, s.opened.Request
	_, roots, err := c.enrolled()
	if err != nil {
		return err
	}
	now := c.now()
	if s.who, err = verifyPlatform(s.opened, roots, now); err != nil {
		return err
	}
	if err := checkTime(r, now); err != nil {
		return err
	}
	if r.Kind != protocol.KindLogin {
		return protocol.Errorf(protocol.CodeKindUnsupported, "%s is not built into this version", r.Kind)
	}
	if s.familiarity, err = c.familiarity(ctx, s.who); err != nil {
		return err
	}
	s.shown = protocol.ShownLines(r, s.who.identity.CommonName)
	if s.candidates, err = c.candidates(ctx, r); err != nil {
		return err
	}
	return s.renewKeys(s.seq)
}

// candidates are the current signing certificates that meet the request's
// expectations.
func (c *Core) candidates(ctx context.Context, r *protocol.Request) ([]Certificate, error) {
	all, err := c.Certificates(ctx)
	if err != nil {
		return nil, err
	}
	var fit []Certificate
	expired := false
	var refused error
	for _, own := range all {
		switch {
		case own.Use != keys.Sign || !own.Current || !meets(&own, r.Expect):
		case own.Problem == "":
			if refused = own.verified.Authority.Allow(trust.Operation(r.Kind), c.now()); refused == nil {
				fit = append(fit, own)
			}
		case own.Problem == protocol.CodeCertExpired:
			expired = true
		}
	}
	switch {
	case len(fit) > 0:
		return fit, nil
	case refused != nil:
		return nil, protocol.Errorf(protocol.CodeCertUntrusted, "%v", refused)
	case expired:
		return nil, protocol.Errorf(protocol.CodeCertExpired, "the fitting certificate has expired")
	}
	return nil, protocol.Errorf(protocol.CodeNoCertificate, "none of %d certificates fits", len(all))
}

// meets reports whether a certificate's holder is the expected one. An expired
// certificate was not verified, so its anchor is unknown and not compared.
func meets(own *Certificate, want *protocol.Expect) bool {
	if want == nil || want.Owner == nil {
		return true
	}
	o := want.Owner
	if own.verified != nil && own.Identity.Anchor != hex.EncodeToString(o.Anchor) {
		return false
	}
	if o.CreditCode != "" {
		return own.Identity.CreditCode == o.CreditCode
	}
	return own.Identity.Lineage == o.Lineage
}

// phoneFailure is the code by which a phone ends a challenge for an error; ""
// where the error says nothing about the challenge.
func phoneFailure(code protocol.Code) protocol.Code {
	if code == protocol.CodeCertExpired {
		return protocol.CodeNoCertificate
	}
	ends := []protocol.Code{protocol.CodeCertRevoked, protocol.CodePasswordLocked, protocol.CodeRequestSignature, protocol.CodePlatformUntrusted,
		protocol.CodePlatformRevoked, protocol.CodeStatusStale, protocol.CodeRequestInvalid, protocol.CodeKindUnsupported,
		protocol.CodeCritUnknown, protocol.CodeNoCertificate}
	if slices.Contains(ends, code) {
		return code
	}
	return ""
}

// deadline is until when the person can decide: the request's end, or the
// relay's where that is earlier.
func deadline(r *protocol.Request, a *protocol.ClaimAnswer) time.Time {
	end := time.Unix(r.EXP, 0)
	if claim := time.UnixMilli(a.ClaimUntil); a.ClaimUntil > 0 && claim.Before(end) {
		return claim.UTC()
	}
	return end.UTC()
}
