package ca

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// Revocation names certificates and why they are revoked.
type Revocation struct {
	// Serial of one certificate, or Lineage for all of a lineage.
	Serial, Lineage string
	Reason          trust.Reason
	// Since is since when the key is thought to be in other hands, for lists to
	// say (invalidityDate, RFC 5280 5.3.2); zero where nobody knows. It is not
	// ahead of the clock.
	Since time.Time

	// holders says that certificates of operators and of the authority's own are
	// refused: those are a matter for the authority's machine.
	holders bool
}

// Revoke revokes certificates at once and for good; the answer are the serial
// numbers that it changed. Revoking again changes nothing and is no error. A
// certificate on hold is revoked as of the day of its hold: what was signed
// meanwhile does not count. Open codes of the lineage are void and an issuance
// under way is refused. Issuing authorities and OCSP responders are not revoked
// here; the timestamp authority's certificate is.
func (a *Authority) Revoke(ctx context.Context, r Revocation) ([]string, error) {
	switch r.Reason {
	case trust.Unspecified, trust.KeyCompromise, trust.AffiliationChanged, trust.Superseded, trust.CessationOfOperation, trust.PrivilegeWithdrawn:
	default:
		return nil, protocol.Errorf(protocol.CodeMalformed, "reason %v is not given to leaf certificates", r.Reason)
	}
	if r.Since.After(a.now()) {
		return nil, protocol.Errorf(protocol.CodeMalformed, "a key that is to be lost in future")
	}
	return a.stopCertificates(ctx, r)
}

// stopCertificates revokes or holds what an operator names.
func (a *Authority) stopCertificates(ctx context.Context, r Revocation) ([]string, error) {
	var stopped []string
	err := a.db.Update(ctx, func(tx *sql.Tx) error {
		found, lineage, err := a.named(ctx, tx, r.Serial, r.Lineage)
		if err != nil {
			return err
		}
		for i := range found {
			if own := found[i].profile == issuance.Operator || found[i].profile == issuance.Timestamp; own && r.holders {
				return protocol.Errorf(protocol.CodeForbidden, "certificates of operators and of the authority are revoked on its machine alone")
			}
			found[i].since = r.Since
		}
		if err := a.withdraw(ctx, tx, lineage, r.Reason.String()); err != nil {
			return err
		}
		stopped, err = a.stopAll(ctx, tx, found, r.Reason, a.operator)
		return err
	})
	return stopped, err
}

// standingRow is a certificate as far as its status goes.
type standingRow struct {
	serial, lineage, state string
	profile                issuance.Name
	reason                 trust.Reason
	revokedAt              int64
	since                  time.Time // to be stored with the next status
}

func (r standingRow) held() bool { return r.state == stateRevoked && r.reason == trust.CertificateHold }

// named are the certificates that an operator names, by one serial number or by
// a lineage, and the lineage to which they belong.
func (a *Authority) named(ctx context.Context, tx *sql.Tx, serial, lineage string) ([]standingRow, string, error) {
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
	found, err := standing(ctx, tx, serial, lineage)
	if err != nil {
		return nil, "", err
	}
	if len(found) > 0 {
		return found, found[0].lineage, nil
	}
	if l, err := readLineage(ctx, tx, lineage); err != nil || l != nil && l.pending != "" {
		return nil, lineage, err // the first certificate is under way
	}
	return nil, "", protocol.Errorf(protocol.CodeNotFound, "no such certificate")
}

// standing reads the leaf certificate of a serial number, or those of a lineage.
func standing(ctx context.Context, tx *sql.Tx, serial, lineage string) ([]standingRow, error) {
	rows, err := tx.QueryContext(ctx, `SELECT serial, lineage, profile, state, reason, revoked_at FROM ca_certificates
		WHERE issuer <> $1 AND profile <> 'ocsp' AND (($2 <> '' AND serial = $2) OR ($3 <> '' AND lineage = $3)) ORDER BY serial`,
		rootName, serial, lineage)
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	defer rows.Close()
	var found []standingRow
	for rows.Next() {
		var r standingRow
		if err := rows.Scan(&r.serial, &r.lineage, &r.profile, &r.state, &r.reason, &r.revokedAt); err != nil {
			return nil, fmt.Errorf("read status: %w", err)
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

// stopAll revokes or holds certificates that are in force, and revokes those on
// hold. What is revoked stays as it is.
func (a *Authority) stopAll(ctx context.Context, tx *sql.Tx, found []standingRow, reason trust.Reason, actor string) ([]string, error) {
	var stopped []string
	for _, r := range found {
		if r.state == stateRevoked && (!r.held() || reason == trust.CertificateHold) {
			continue
		}
		at, event := a.now().Unix(), eventRevoked
		if r.held() {
			at = r.revokedAt
		}
		if reason == trust.CertificateHold {
			event = eventHeld
		}
		if err := a.moveStatus(ctx, tx, r, stateRevoked, reason, at); err != nil {
			return nil, err
		}
		if err := a.audit.append(ctx, tx, actor, event, revokedContent{Serial: r.serial, Reason: reason.String(), At: at}); err != nil {
			return nil, err
		}
		stopped = append(stopped, r.serial)
	}
	return stopped, nil
}

// moveStatus is the one place where the status of a certificate changes. Lists
// and answers follow the counter.
func (a *Authority) moveStatus(ctx context.Context, tx *sql.Tx, r standingRow, state string, reason trust.Reason, at int64) error {
	if _, err := tx.ExecContext(ctx, `UPDATE ca_counters SET value = value + 1 WHERE name = 'revocation'`); err != nil {
		return fmt.Errorf("change status: %w", err)
	}
	invalidAt := int64(0)
	if !r.since.IsZero() {
		invalidAt = r.since.Unix()
	}
	won, err := changed(tx.ExecContext(ctx, `UPDATE ca_certificates SET state = $1, reason = $2, revoked_at = $3, invalid_at = $7,
		revision = (SELECT value FROM ca_counters WHERE name = 'revocation') WHERE serial = $4 AND state = $5 AND reason = $6`,
		state, int(reason), at, r.serial, r.state, int(r.reason), invalidAt))
	if err != nil {
		return fmt.Errorf("change status: %w", err)
	}
	if !won {
		return fmt.Errorf("change status of %s: it changed meanwhile", r.serial)
	}
	return nil
}
