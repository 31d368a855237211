package life

import (
	"context"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// Change is a change of an organisation's name that an operator authorises.
type Change struct {
	// Serial number of the newest certificate of the lineage, either half.
	Serial string
	// Organisation is the new name.
	Organisation string
	// CreditCode of the organisation, where the operator wants it compared; it
	// cannot change.
	CreditCode string
	// Expires is how long the code may be used; seven days if zero.
	Expires time.Duration
}

// AuthoriseChange makes a one-use code for the phone that holds the certificate.
// The changed one has the new name, everything else and the end of the old one,
// the same encryption key pair and a new signing key. Every signing certificate
// of the lineage is revoked (affiliationChanged) in the transaction that stores
// it.
//
// Errors: conflict for another credit code or the same name, cert_revoked,
// cert_expired, issuance_conflict, lint_failed, malformed, not_found.
func (l *Life) AuthoriseChange(ctx context.Context, actor audit.Actor, c Change) (*caapi.EnrolmentFile, error) {
	if c.Expires == 0 {
		c.Expires = DefaultExpiry
	}
	if err := CheckShown(c.Organisation); err != nil {
		return nil, err
	}
	wanted := caapi.Subject{Organisation: c.Organisation, CreditCode: c.CreditCode}
	return l.authorise(ctx, actor, c.Serial, codeRow{operation: opChange, subject: wanted}, c.Expires)
}

// changedSubject is a holder with what an operator wants changed.
func changedSubject(old, wanted caapi.Subject) caapi.Subject {
	next := old
	next.Organisation = wanted.Organisation
	if wanted.CreditCode != "" {
		next.CreditCode = wanted.CreditCode
	}
	return next
}

// checkChange: only the name of an organisation changes.
func checkChange(old, next caapi.Subject) error {
	if trust.HolderKind(old.Kind) != trust.Organisation {
		return protocol.Errorf(protocol.CodeConflict, "the certificate is a natural person's and has no organisation name to change")
	}
	if next.CreditCode != old.CreditCode {
		return protocol.Errorf(protocol.CodeConflict, "another credit code is another organisation, which has to apply for a new certificate")
	}
	if next.Organisation == old.Organisation {
		return protocol.Errorf(protocol.CodeConflict, "the organisation has that name")
	}
	same := next
	same.Organisation = old.Organisation
	if same != old {
		return protocol.Errorf(protocol.CodeConflict, "only the organisation's name changes")
	}
	return nil
}
