package bidseal

import (
	"errors"

	"github.com/bidseal/bidseal/protocol"
)

// Types of the protocol that callers of this package meet.
type (
	// Error is a refusal with a stable code; Is compares codes.
	Error = protocol.Error
	// Code is the stable name of an error.
	Code = protocol.Code
	// Problem is the RFC 9457 document of an error, with words for people.
	Problem = protocol.Problem
	// Owner names an expected certificate owner.
	Owner = protocol.Owner
	// Initiator is where a request was started.
	Initiator = protocol.Initiator
	// MatchPolicy says whether digits shown on the page are typed into the phone.
	MatchPolicy = protocol.MatchPolicy
	// CID identifies a challenge.
	CID = protocol.CID
)

// Number match policies.
const (
	MatchNone = protocol.MatchNone
	MatchType = protocol.MatchType
)

// Refusals that platforms branch on, for errors.Is. Any other code of the
// catalogue is asked for with [CodeOf].
var (
	ErrRejected          error = &Error{Code: protocol.CodeRejected}
	ErrCanceled          error = &Error{Code: protocol.CodeCanceled}
	ErrExpired           error = &Error{Code: protocol.CodeExpired}
	ErrFrameStale        error = &Error{Code: protocol.CodeFrameStale}
	ErrFrameInvalid      error = &Error{Code: protocol.CodeFrameInvalid}
	ErrMatchFailed       error = &Error{Code: protocol.CodeMatchFailed}
	ErrRelayLost         error = &Error{Code: protocol.CodeRelayLost}
	ErrUnacked           error = &Error{Code: protocol.CodeUnacked}
	ErrCertExpired       error = &Error{Code: protocol.CodeCertExpired}
	ErrCertRevoked       error = &Error{Code: protocol.CodeCertRevoked}
	ErrCertUntrusted     error = &Error{Code: protocol.CodeCertUntrusted}
	ErrCertUsage         error = &Error{Code: protocol.CodeCertUsage}
	ErrRevocationUnknown error = &Error{Code: protocol.CodeRevocationUnknown}
	ErrOwnerMismatch     error = &Error{Code: protocol.CodeOwnerMismatch}
	ErrResultConsumed    error = &Error{Code: protocol.CodeResultConsumed}
	ErrCookieMismatch    error = &Error{Code: protocol.CodeCookieMismatch}
	ErrOriginRefused     error = &Error{Code: protocol.CodeOriginRefused}
	ErrEvidenceInvalid   error = &Error{Code: protocol.CodeEvidenceInvalid}
)

// Errors of a [Store].
var (
	// ErrNotFound: no record under that key.
	ErrNotFound = errors.New("record not found")
	// ErrConflict: the record is there already, or has another version.
	ErrConflict = errors.New("record changed meanwhile")
)

// CodeOf is the code of an error, "internal" if it is not classified and "" for nil.
func CodeOf(err error) Code { return protocol.CodeOf(err) }

// ProblemOf is the document that may be shown for an error: what is not
// classified reads "internal" without detail.
func ProblemOf(err error) Problem { return protocol.ProblemOf(err) }
