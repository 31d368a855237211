package trust

import (
	"bytes"
	"crypto/subtle"
	"encoding/asn1"
	"fmt"
	"time"

	"github.com/emmansun/gmsm/smx509"
)

// Successful is the response status of an answer with content; the others of
// RFC 6960 4.2.1 follow in their order.
const (
	Successful       = 0
	MalformedRequest = 1
	InternalError    = 2
	TryLater         = 3
	Unauthorized     = 6
)

// maxResponderCerts bounds the certificates that an answer may carry.
const maxResponderCerts = 4

// OCSPResponse is an answer that was read but not believed yet.
type OCSPResponse struct {
	// ProducedAt is when the answer was signed.
	ProducedAt time.Time
	// Nonce of the question, nil if the answer has none.
	Nonce []byte
	// Certificates that the answer carries for its verification.
	Certificates []*smx509.Certificate

	tbs       []byte
	responder asn1.RawValue
	scheme    signatureScheme
	signature []byte
	singles   []singleResponse
}

// ParseOCSPResponse reads an answer (RFC 6960 4.2) without judging it. An answer
// with another status than successful gives ErrStatusUnknown, everything else
// that is wrong ErrMalformed, ErrCritical or ErrAlgorithm.
func ParseOCSPResponse(der []byte) (*OCSPResponse, error) {
	if len(der) > MaxOCSPSize {
		return nil, fmt.Errorf("OCSP response of %d bytes: %w", len(der), ErrMalformed)
	}
	var outer ocspResponse
	if rest, err := asn1.Unmarshal(der, &outer); err != nil {
		return nil, fmt.Errorf("OCSP response: %w: %w", ErrMalformed, err)
	} else if len(rest) != 0 {
		return nil, fmt.Errorf("OCSP response: trailing bytes: %w", ErrMalformed)
	}
	if outer.Status != Successful {
		return nil, fmt.Errorf("OCSP response with status %d: %w", outer.Status, ErrStatusUnknown)
	}
	if !outer.Bytes.Type.Equal(oidOCSPBasic()) {
		return nil, fmt.Errorf("OCSP response type %v: %w", outer.Bytes.Type, ErrMalformed)
	}
	var basic basicResponse
	if rest, err := asn1.Unmarshal(outer.Bytes.Response, &basic); err != nil {
		return nil, fmt.Errorf("OCSP response: %w: %w", ErrMalformed, err)
	} else if len(rest) != 0 {
		return nil, fmt.Errorf("OCSP response: trailing bytes: %w", ErrMalformed)
	}
	return basic.read()
}

func (basic *basicResponse) read() (*OCSPResponse, error) {
	if basic.TBS.Version != 0 || len(basic.TBS.Responses) == 0 || len(basic.Certificates) > maxResponderCerts {
		return nil, fmt.Errorf("OCSP response: version or counts: %w", ErrMalformed)
	}
	scheme, err := schemeByID(basic.Algorithm.Algorithm)
	if err != nil {
		return nil, err
	}
	nonce, err := readNonce(basic.TBS.Extensions)
	if err != nil {
		return nil, err
	}
	response := &OCSPResponse{
		ProducedAt: basic.TBS.ProducedAt, Nonce: nonce,
		tbs: basic.TBS.Raw, responder: basic.TBS.Responder, scheme: scheme,
		signature: basic.Signature.RightAlign(), singles: basic.TBS.Responses,
	}
	for _, raw := range basic.Certificates {
		cert, err := ParseCertificate(raw.FullBytes)
		if err != nil {
			return nil, fmt.Errorf("OCSP responder: %w", err)
		}
		response.Certificates = append(response.Certificates, cert)
	}
	return response, nil
}

// OCSPOptions say how fresh an answer must be.
type OCSPOptions struct {
	// Now is the time of judgement. Required.
	Now time.Time
	// MaxAge bounds the age of thisUpdate; 0 leaves it to nextUpdate. An answer
	// without nextUpdate needs MaxAge, ProducedAfter or Nonce beyond the moment
	// at which it was produced.
	MaxAge time.Duration
	// AllowPastNextUpdate takes an answer after its nextUpdate, so that MaxAge
	// alone decides. It has no effect without MaxAge.
	AllowPastNextUpdate bool
	// ProducedAfter, when set, refuses answers that were signed before.
	ProducedAfter time.Time
	// Nonce, when set, must be in the answer.
	Nonce []byte
	// Skew is how far the clocks of the two sides may differ.
	Skew time.Duration
	// CheckResponder judges whether a delegate's certificate was revoked, where
	// it does not bear id-pkix-ocsp-nocheck. Without it such a delegate is
	// refused: a revoked one could vouch for itself for ever.
	CheckResponder func(*smx509.Certificate) error
}

// VerifyOCSP judges an answer about cert, which issuer issued: its signature by
// the issuer or by a delegate that the issuer certified for it, that it is about
// this very certificate, and its dates. A revoked or unknown certificate is a
// result, not an error: ask Status.Err.
//
// The caller has verified cert and issuer with a Store. The error wraps
// ErrMalformed, ErrUntrusted, ErrStatusMismatch, ErrStaleStatus,
// ErrStatusUnknown, ErrExpired, ErrNotYetValid, ErrKeyUsage, ErrCritical or
// ErrAlgorithm.
func VerifyOCSP(der []byte, cert, issuer *smx509.Certificate, opts OCSPOptions) (*Status, error) {
	response, err := ParseOCSPResponse(der)
	if err != nil {
		return nil, err
	}
	return response.Verify(cert, issuer, opts)
}

// Verify judges an answer that was parsed before; see VerifyOCSP.
func (r *OCSPResponse) Verify(cert, issuer *smx509.Certificate, opts OCSPOptions) (*Status, error) {
	if !isIssuer(issuer, cert) {
		return nil, fmt.Errorf("status of a certificate of another issuer: %w", ErrStatusMismatch)
	}
	if err := r.checkSignature(issuer, opts); err != nil {
		return nil, err
	}
	single, err := r.find(cert, issuer)
	if err != nil {
		return nil, err
	}
	fresh := freshness{
		now: opts.Now, maxAge: opts.MaxAge, skew: opts.Skew, afterNextUpdate: opts.AllowPastNextUpdate && opts.MaxAge > 0,
		bounded: opts.MaxAge > 0 || !opts.ProducedAfter.IsZero() || opts.Nonce != nil,
	}
	if err := fresh.check(r.ProducedAt, single.ThisUpdate, single.NextUpdate); err != nil {
		return nil, err
	}
	if !opts.ProducedAfter.IsZero() && r.ProducedAt.Before(opts.ProducedAfter) {
		return nil, fmt.Errorf("produced at %s: %w", r.ProducedAt.UTC().Format(time.RFC3339), ErrStaleStatus)
	}
	if opts.Nonce != nil && subtle.ConstantTimeCompare(opts.Nonce, r.Nonce) != 1 {
		return nil, fmt.Errorf("without the nonce of the question: %w", ErrStaleStatus)
	}
	return single.status(r.ProducedAt)
}

// Responder returns the certificate by which the answer was signed: a delegate
// among r.Certificates or the issuer. It is for display; Verify judges it.
func (r *OCSPResponse) Responder(issuer *smx509.Certificate) (*smx509.Certificate, error) {
	for _, cert := range append([]*smx509.Certificate{issuer}, r.Certificates...) {
		if r.namedBy(cert) {
			return cert, nil
		}
	}
	return nil, fmt.Errorf("no certificate of the responder: %w", ErrStatusMismatch)
}

func (r *OCSPResponse) checkSignature(issuer *smx509.Certificate, opts OCSPOptions) error {
	responder, err := r.Responder(issuer)
	if err != nil {
		return err
	}
	if !responder.Equal(issuer) {
		if err := checkDelegate(responder, issuer, opts); err != nil {
			return fmt.Errorf("OCSP responder %q: %w", responder.Subject.CommonName, err)
		}
	}
	if err := responder.CheckSignature(r.scheme.algorithm, r.tbs, r.signature); err != nil {
		return fmt.Errorf("OCSP signature: %w: %w", ErrUntrusted, err)
	}
	return nil
}

// checkDelegate judges a responder's certificate: issued directly by the same
// issuer, for nothing else than OCSP (RFC 6960 4.2.2.2), and not revoked
// (4.2.2.2.1).
func checkDelegate(responder, issuer *smx509.Certificate, opts OCSPOptions) error {
	if !isIssuer(issuer, responder) {
		return ErrStatusMismatch
	}
	if err := responder.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	if err := checkOne(responder, opts.Now); err != nil {
		return err
	}
	if err := checkUsage(responder, OCSPResponder, OIDs{}); err != nil {
		return err
	}
	switch {
	case hasExtension(responder, OIDOCSPNoCheck()):
		return nil
	case opts.CheckResponder == nil:
		return fmt.Errorf("it has no id-pkix-ocsp-nocheck: %w", ErrStatusUnknown)
	}
	return opts.CheckResponder(responder)
}

// namedBy reports whether the answer's responderID means this certificate:
// byName [1] Name, or byKey [2] SHA-1 of the key.
func (r *OCSPResponse) namedBy(cert *smx509.Certificate) bool {
	if r.responder.Class != asn1.ClassContextSpecific || !r.responder.IsCompound {
		return false
	}
	switch r.responder.Tag {
	case 1:
		return bytes.Equal(r.responder.Bytes, cert.RawSubject)
	case 2:
		var named []byte
		if rest, err := asn1.Unmarshal(r.responder.Bytes, &named); err != nil || len(rest) != 0 {
			return false
		}
		key, err := subjectKeyBits(cert)
		return err == nil && bytes.Equal(named, ocspHashes()[0].sum(key))
	}
	return false
}

func (r *OCSPResponse) find(cert, issuer *smx509.Certificate) (*singleResponse, error) {
	for i := range r.singles {
		single := &r.singles[i]
		if single.Cert.Serial != nil && single.Cert.Serial.Cmp(cert.SerialNumber) == 0 && single.Cert.matches(issuer) {
			return single, nil
		}
	}
	return nil, fmt.Errorf("answer about other certificates: %w", ErrStatusMismatch)
}

func (s *singleResponse) status(produced time.Time) (*Status, error) {
	for _, ext := range s.Extensions {
		if ext.Critical {
			return nil, fmt.Errorf("extension %v: %w", ext.Id, ErrCritical)
		}
	}
	status := &Status{ProducedAt: produced.UTC(), ThisUpdate: s.ThisUpdate.UTC(), NextUpdate: s.NextUpdate}
	switch revoked := !s.Revoked.At.IsZero(); {
	case revoked && !bool(s.Good) && !bool(s.Unknown):
		status.State, status.RevokedAt, status.Reason = Revoked, s.Revoked.At.UTC(), Reason(s.Revoked.Reason)
	case bool(s.Good) && !revoked && !bool(s.Unknown):
		status.State = Good
	case bool(s.Unknown) && !revoked && !bool(s.Good):
		status.State = Unknown
	default:
		return nil, fmt.Errorf("not one certificate status: %w", ErrMalformed)
	}
	return status, nil
}
