package trust

import (
	"fmt"
	"time"
)

// State is what an authority says of one certificate.
type State int

// States of a certificate. The zero State is none of them.
const (
	Good State = iota + 1
	Revoked
	Unknown
)

// String is the state's name as RFC 6960 writes it.
func (s State) String() string {
	switch s {
	case Good:
		return "good"
	case Revoked:
		return "revoked"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("state %d", int(s))
}

// Reason is a revocation reason (RFC 5280 5.3.1).
type Reason int

// Reasons that the authority gives. 7 is not used; 8 and 6 belong to holds.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	CertificateHold      Reason = 6
	RemoveFromCRL        Reason = 8
	PrivilegeWithdrawn   Reason = 9
	AACompromise         Reason = 10
)

// String is the reason's name in RFC 5280's spelling.
func (r Reason) String() string {
	names := map[Reason]string{
		Unspecified: "unspecified", KeyCompromise: "keyCompromise", CACompromise: "cACompromise",
		AffiliationChanged: "affiliationChanged", Superseded: "superseded",
		CessationOfOperation: "cessationOfOperation", CertificateHold: "certificateHold",
		RemoveFromCRL: "removeFromCRL", PrivilegeWithdrawn: "privilegeWithdrawn", AACompromise: "aACompromise",
	}
	if name, ok := names[r]; ok {
		return name
	}
	return fmt.Sprintf("reason %d", int(r))
}

// ParseReason reads what String wrote.
func ParseReason(name string) (Reason, error) {
	for r := Unspecified; r <= AACompromise; r++ {
		if r != 7 && r.String() == name {
			return r, nil
		}
	}
	return 0, fmt.Errorf("revocation reason %q: %w", name, ErrMalformed)
}

// Status is the state of one certificate as an authority signed it.
type Status struct {
	State State
	// RevokedAt and Reason are set when State is Revoked.
	RevokedAt time.Time
	Reason    Reason
	// InvalidSince is since when the key is thought to be in other hands, where a
	// revocation list says so; zero otherwise.
	InvalidSince time.Time
	// ProducedAt is when the answer was signed; for a revocation list it is
	// ThisUpdate.
	ProducedAt time.Time
	// ThisUpdate is when the state was known to be right, NextUpdate when newer
	// information will be there (zero if the answer does not say).
	ThisUpdate, NextUpdate time.Time
}

// Err is nil for a good certificate, otherwise it wraps ErrRevoked or
// ErrStatusUnknown.
func (s *Status) Err() error {
	switch s.State {
	case Good:
		return nil
	case Revoked:
		return fmt.Errorf("since %s (%v): %w", s.RevokedAt.UTC().Format(time.RFC3339), s.Reason, ErrRevoked)
	default:
		return fmt.Errorf("%v: %w", s.State, ErrStatusUnknown)
	}
}

// freshness is the part of the options that OCSP answers and lists share.
type freshness struct {
	now             time.Time
	maxAge, skew    time.Duration
	afterNextUpdate bool
	bounded         bool // the caller bounds the age otherwise than by nextUpdate
}

// check judges the dates of an answer against the clock.
func (f freshness) check(produced, thisUpdate, nextUpdate time.Time) error {
	if f.now.IsZero() {
		return fmt.Errorf("status check without a time: %w", ErrMalformed)
	}
	if limit := f.now.Add(f.skew); thisUpdate.After(limit) || produced.After(limit) {
		return fmt.Errorf("from the future, %s: %w", produced.UTC().Format(time.RFC3339), ErrStaleStatus)
	}
	if produced.Before(thisUpdate.Add(-f.skew)) {
		return fmt.Errorf("produced before its thisUpdate: %w", ErrStaleStatus)
	}
	if !f.afterNextUpdate && !nextUpdate.IsZero() && f.now.After(nextUpdate.Add(f.skew)) {
		return fmt.Errorf("valid until %s: %w", nextUpdate.UTC().Format(time.RFC3339), ErrStaleStatus)
	}
	// RFC 6960 4.2.2.1: without nextUpdate newer information is there all the
	// time, so that such an answer is good for the moment only.
	if nextUpdate.IsZero() && !f.bounded && f.now.After(produced.Add(f.skew)) {
		return fmt.Errorf("of %s, without nextUpdate: %w", produced.UTC().Format(time.RFC3339), ErrStaleStatus)
	}
	if f.maxAge > 0 && thisUpdate.Before(f.now.Add(-f.maxAge-f.skew)) {
		return fmt.Errorf("of %s, older than %v: %w", thisUpdate.UTC().Format(time.RFC3339), f.maxAge, ErrStaleStatus)
	}
	return nil
}
