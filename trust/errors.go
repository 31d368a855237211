package trust

import (
	"errors"
	"fmt"
)

// Reasons for which a chain, a certificate or a status answer is refused. All
// errors of this package wrap one of them.
var (
	// ErrMalformed: the bytes are not what they should be (DER, limits, text).
	ErrMalformed = errors.New("malformed")
	// ErrUntrusted: the chain leads to none of the store's anchors, or a
	// signature in it does not verify.
	ErrUntrusted = errors.New("not issued under a trusted anchor")
	// ErrOperation: the authority is known, but not believed for this operation,
	// or not at this time. It is an ErrUntrusted, too.
	ErrOperation = fmt.Errorf("the authority is not accepted for this: %w", ErrUntrusted)
	// ErrExpired: a certificate of the chain is past its notAfter.
	ErrExpired = errors.New("certificate expired")
	// ErrNotYetValid: a certificate of the chain is before its notBefore.
	ErrNotYetValid = errors.New("certificate not yet valid")
	// ErrKeyUsage: the certificate may not be used for the asked purpose.
	ErrKeyUsage = errors.New("certificate not meant for this use")
	// ErrConstraint: basic constraints or the path length are violated.
	ErrConstraint = errors.New("chain violates a constraint")
	// ErrCritical: a critical extension that is not understood.
	ErrCritical = errors.New("unknown critical extension")
	// ErrAlgorithm: a signature or key algorithm that is not accepted.
	ErrAlgorithm = errors.New("algorithm not accepted")
	// ErrRevoked: the certificate is revoked.
	ErrRevoked = errors.New("certificate revoked")
	// ErrStatusUnknown: the authority does not know the certificate, or could
	// not answer.
	ErrStatusUnknown = errors.New("certificate status unknown")
	// ErrStaleStatus: the answer is too old, not yet valid, or lacks the nonce
	// of the question.
	ErrStaleStatus = errors.New("certificate status not fresh")
	// ErrStatusMismatch: the answer is about another certificate or comes from
	// a responder that is not authorised by this issuer.
	ErrStatusMismatch = errors.New("certificate status does not belong to the certificate")
)
