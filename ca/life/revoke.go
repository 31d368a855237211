package life

import (
	"context"
	"database/sql"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// Revocation names certificates and why they are revoked.
type Revocation struct {
	// Serial of one certificate, or Lineage for all of a lineage.
	Serial, Lineage string
	Reason          trust.Reason
	// Since is when the key is thought to have been compromised; lists state it as
	// invalidityDate (RFC 5280 5.3.2). Zero if unknown. It is never in the future.
	Since time.Time

	// HoldersOnly says that certificates of operators and of the authority's own
	// are refused: those are a matter for the authority's machine.
	HoldersOnly bool
}

// Revoke revokes certificates at once and for good, and returns the serial
// numbers that it changed. Revoking again changes nothing and is not an error. A
// certificate on hold is revoked as of the day of its hold: what was signed
// meanwhile does not count. Open codes of the lineage are void and an issuance
// under way is refused. Issuing authorities and OCSP responders are not revoked
// here; the timestamp authority's certificate is.
func (l *Life) Revoke(ctx context.Context, actor audit.Actor, r Revocation) ([]string, error) {
	switch r.Reason {
	case trust.Unspecified, trust.KeyCompromise, trust.AffiliationChanged, trust.Superseded, trust.CessationOfOperation, trust.PrivilegeWithdrawn:
	default:
		return nil, protocol.Errorf(protocol.CodeMalformed, "reason %v is not given to leaf certificates", r.Reason)
	}
	if r.Since.After(l.now()) {
		return nil, protocol.Errorf(protocol.CodeMalformed, "the time of compromise is in the future")
	}
	return l.stopCertificates(ctx, actor, r)
}

// stopCertificates revokes or holds what an operator names.
func (l *Life) stopCertificates(ctx context.Context, actor audit.Actor, r Revocation) ([]string, error) {
	var stopped []string
	err := l.db.Update(ctx, func(tx *sql.Tx) error {
		found, lineage, err := l.named(ctx, tx, r.Serial, r.Lineage)
		if err != nil {
			return err
		}
		for i := range found {
			if own := found[i].Profile == issuance.Operator || found[i].Profile == issuance.Timestamp; own && r.HoldersOnly {
				return protocol.Errorf(protocol.CodeForbidden, "certificates of operators and of the authority are revoked only on its machine")
			}
			found[i].Since = r.Since
		}
		if err := l.withdraw(ctx, tx, actor, lineage, r.Reason.String()); err != nil {
			return err
		}
		stopped, err = l.status.Stop(ctx, tx, actor, found, r.Reason)
		return err
	})
	return stopped, err
}

// named are the certificates that an operator names, by one serial number or by
// a lineage, and the lineage to which they belong.
func (l *Life) named(ctx context.Context, tx *sql.Tx, serial, lineage string) ([]status.Standing, string, error) {
	if (serial == "") == (lineage == "") {
		return nil, "", protocol.Errorf(protocol.CodeMalformed, "either a serial number or a lineage")
	}
	if serial != "" {
		number, err := trust.ParseSerialHex(serial)
		if err != nil {
			return nil, "", protocol.Errorf(protocol.CodeMalformed, "%v", err)
		}
		serial = trust.SerialHex(number)
	}
	found, err := status.ReadStanding(ctx, tx, serial, lineage)
	if err != nil {
		return nil, "", err
	}
	if len(found) > 0 {
		return found, found[0].Lineage, nil
	}
	if line, err := readLineage(ctx, tx, lineage); err != nil || line != nil && line.pending != "" {
		return nil, lineage, err // the first certificate is under way
	}
	return nil, "", protocol.Errorf(protocol.CodeNotFound, "no such certificate")
}
