package bidseal

import (
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// LoginOptions say what the phone shows and who may sign in.
type LoginOptions struct {
	// Display are up to 20 lines of up to 80 characters that the phone shows
	// below the platform's verified name.
	Display []string
	// Expect limits the sign-in to one owner; nil lets everybody in whose
	// certificate is under the anchors, and the page then asks "is this you?".
	Expect *Owner
	// Match is the number match; nil means: type where the code is static and
	// no owner is expected, none otherwise.
	Match *MatchPolicy
	// Static codes do not move. Desktop clients use them.
	Static bool
	// Initiator is where the sign-in was started, as far as it is known.
	Initiator *Initiator
	// NoRenew lets an unclaimed code expire instead of renewing it.
	NoRenew bool
}

// Subject names a certificate's holder for good: it survives renewal, change
// of name and reissue. Platforms key their accounts by it.
type Subject struct {
	Anchor  string `json:"anchor"`  // SM3 of the root certificate, lower-case hex
	Lineage string `json:"lineage"` // lineage id, lower-case hex
}

// HolderKind is the kind of holder that a certificate names.
type HolderKind = trust.HolderKind

// Kinds of holders.
const (
	Organisation = trust.Organisation
	Person       = trust.Person
)

// Login is a verified sign-in.
type Login struct {
	Subject           Subject
	Kind              HolderKind // Organisation or Person
	Person            string     // the certificate's common name
	Organisation      string     // empty for natural persons
	CreditCode        string     // unified social credit code, GB 32100
	Role              string     // in the organisation: admin, user or empty
	CertificateSerial string     // upper-case hexadecimal
	Certificate       *smx509.Certificate
	At                time.Time // when the phone signed, UTC
	CID               CID       // makes the platform's commit idempotent
	Evidence          []byte    // the evidence file; see Verifier
}
