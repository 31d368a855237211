package life

import (
	"context"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
)

// renewalMonths is for how many calendar months before its end a certificate can
// be renewed; maxRenewalYears is the longest renewal.
const (
	renewalMonths   = 3
	maxRenewalYears = 3
)

// Renewal is what an operator authorises.
type Renewal struct {
	// Serial number of the newest certificate of the lineage, either half.
	Serial string
	// Years that are added to its end: 1, 2 or 3.
	Years int
	// Expires is how long the code may be used; seven days if zero.
	Expires time.Duration
}

// AuthoriseRenewal makes a one-use code for the phone that holds the
// certificate. The renewed one ends whole years after the old one's end, has the
// same subject, lineage and encryption key pair, and a new signing key. The old
// one stays in force until its end, so that what is under way comes to its end.
//
// Errors: renewal_closed outside the last three calendar months (with the date
// it opens), cert_revoked, cert_expired, conflict, issuance_conflict,
// lint_failed, not_found.
func (l *Life) AuthoriseRenewal(ctx context.Context, actor audit.Actor, r Renewal) (*caapi.EnrolmentFile, error) {
	if r.Expires == 0 {
		r.Expires = DefaultExpiry
	}
	return l.authorise(ctx, actor, r.Serial, codeRow{operation: OperationRenew, years: r.Years}, r.Expires)
}

// RenewalOpens is when a certificate with that end can be renewed.
func RenewalOpens(notAfter time.Time) time.Time { return addMonths(notAfter, -renewalMonths) }

// renewedEnd is the end of a renewed certificate.
func renewedEnd(end time.Time, years int, now time.Time) (time.Time, error) {
	if years < 1 || years > maxRenewalYears {
		return time.Time{}, protocol.Errorf(protocol.CodeMalformed, "a renewal adds 1, 2 or 3 years")
	}
	if opens := RenewalOpens(end); now.Before(opens) {
		return time.Time{}, protocol.Errorf(protocol.CodeRenewalClosed, "renewal opens on %s", opens.Format(time.RFC3339))
	}
	return addMonths(end, 12*years), nil
}

// addMonths keeps the day of the month; a day that the month does not have is
// its last.
func addMonths(t time.Time, months int) time.Time {
	t = t.UTC()
	moved := t.AddDate(0, months, 0)
	if moved.Day() != t.Day() {
		moved = moved.AddDate(0, 0, -moved.Day())
	}
	return moved
}
