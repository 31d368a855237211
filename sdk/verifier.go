package bidseal

import (
	"time"

	"github.com/emmansun/gmsm/smx509"
)

// Verifier judges evidence files offline: nothing is believed but the roots
// given.
type Verifier struct {
	Roots []*smx509.Certificate
}

// Report is what a valid evidence file proves.
type Report struct {
	CID          string    `json:"cid"`
	Kind         string    `json:"kind"`
	Platform     string    `json:"platform"`
	PlatformName string    `json:"platform_name"`
	Requested    time.Time `json:"requested"`
	Signed       time.Time `json:"signed"`
	Holder       Holder    `json:"holder"`
	Shown        []string  `json:"shown"`
	Device       string    `json:"device"`
	LedgerIndex  uint64    `json:"ledger_index"`
	Parts        []string  `json:"parts"` // what was checked, in order
}

// Holder is the signer as the certificate names it.
type Holder struct {
	Subject
	Kind              Kind   `json:"kind"`
	Person            string `json:"person"`
	Organisation      string `json:"organisation,omitempty"`
	CreditCode        string `json:"credit_code,omitempty"`
	Role              string `json:"role,omitempty"`
	CertificateSerial string `json:"certificate_serial"`
}

// EvidenceError names the part of an evidence file that does not hold. It is
// ErrEvidenceInvalid to errors.Is.
type EvidenceError struct {
	Part string // such as "statement signature" or "signer status"
	Err  error
}

// Error renders "part: reason".
func (e *EvidenceError) Error() string { return e.Part + ": " + e.Err.Error() }

// Unwrap gives both the stable code and the reason.
func (e *EvidenceError) Unwrap() []error { return []error{ErrEvidenceInvalid, e.Err} }

// VerifyEvidence verifies a file. Every refusal is an *EvidenceError.
func (v Verifier) VerifyEvidence(file []byte) (*Report, error) { return nil, errUnfinished }
