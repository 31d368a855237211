package status

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/trust"
)

// revokedContent is the entry of a change of status in the audit log.
type revokedContent struct {
	Serial string `json:"serial"`
	Reason string `json:"reason"`
	At     int64  `json:"at"` // Unix seconds
}

// stopEvent is the event of a revocation or a hold.
func stopEvent(reason trust.Reason) string {
	if reason == trust.CertificateHold {
		return audit.EventHeld
	}
	return audit.EventRevoked
}

// Standing is a certificate as far as its status goes.
type Standing struct {
	Serial, Lineage, State string
	Profile                issuance.Name
	reason                 trust.Reason
	revokedAt              int64
	Since                  time.Time // to be stored with the next status
}

// Held reports whether the certificate is on hold.
func (r Standing) Held() bool { return r.State == StateRevoked && r.reason == trust.CertificateHold }

// ReadStanding reads the leaf certificate of a serial number, or those of a lineage.
func ReadStanding(ctx context.Context, tx *sql.Tx, serial, lineage string) ([]Standing, error) {
	rows, err := tx.QueryContext(ctx, `SELECT serial, lineage, profile, state, reason, revoked_at FROM ca_certificates
		WHERE issuer <> $1 AND profile <> 'ocsp' AND (($2 <> '' AND serial = $2) OR ($3 <> '' AND lineage = $3)) ORDER BY serial`,
		RootName, serial, lineage)
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	defer rows.Close()
	var found []Standing
	for rows.Next() {
		var r Standing
		if err := rows.Scan(&r.Serial, &r.Lineage, &r.Profile, &r.State, &r.reason, &r.revokedAt); err != nil {
			return nil, fmt.Errorf("read status: %w", err)
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

// Stop revokes or holds certificates that are in force, and revokes those on
// hold. What is revoked stays as it is.
func (s *Status) Stop(ctx context.Context, tx *sql.Tx, actor audit.Actor, found []Standing, reason trust.Reason) ([]string, error) {
	var stopped []string
	for _, r := range found {
		if r.State == StateRevoked && (!r.Held() || reason == trust.CertificateHold) {
			continue
		}
		at := s.now().Unix()
		if r.Held() {
			at = r.revokedAt
		}
		if err := s.moveStatus(ctx, tx, r, StateRevoked, reason, at); err != nil {
			return nil, err
		}
		if err := s.audit.Append(ctx, tx, actor, stopEvent(reason), revokedContent{Serial: r.Serial, Reason: reason.String(), At: at}); err != nil {
			return nil, err
		}
		stopped = append(stopped, r.Serial)
	}
	return stopped, nil
}

// moveStatus is the one place where the status of a certificate changes. Lists
// and answers follow the counter.
func (s *Status) moveStatus(ctx context.Context, tx *sql.Tx, r Standing, state string, reason trust.Reason, at int64) error {
	if _, err := tx.ExecContext(ctx, `UPDATE ca_counters SET value = value + 1 WHERE name = 'revocation'`); err != nil {
		return fmt.Errorf("change status: %w", err)
	}
	invalidAt := int64(0)
	if !r.Since.IsZero() {
		invalidAt = r.Since.Unix()
	}
	won, err := sqldb.Changed(tx.ExecContext(ctx, `UPDATE ca_certificates SET state = $1, reason = $2, revoked_at = $3, invalid_at = $7,
		revision = (SELECT value FROM ca_counters WHERE name = 'revocation') WHERE serial = $4 AND state = $5 AND reason = $6`,
		state, int(reason), at, r.Serial, r.State, int(r.reason), invalidAt))
	if err != nil {
		return fmt.Errorf("change status: %w", err)
	}
	if !won {
		return fmt.Errorf("change status of %s: it changed meanwhile", r.Serial)
	}
	return nil
}

// RevokeIssuing revokes an issuing authority for good; revoking again changes
// nothing.
func (s *Status) RevokeIssuing(ctx context.Context, tx *sql.Tx, actor audit.Actor, issuer *Issuer, reason trust.Reason) error {
	serial, at := trust.SerialHex(issuer.Certificate().SerialNumber), s.now().Unix()
	r := Standing{Serial: serial, State: StateGood}
	var state string
	if err := tx.QueryRowContext(ctx, `SELECT state FROM ca_certificates WHERE serial = $1`, serial).Scan(&state); err != nil {
		return fmt.Errorf("read status: %w", err)
	}
	if state != StateGood {
		return nil
	}
	if err := s.moveStatus(ctx, tx, r, StateRevoked, reason, at); err != nil {
		return err
	}
	return s.audit.Append(ctx, tx, actor, audit.EventRevoked, revokedContent{Serial: serial, Reason: reason.String(), At: at})
}

// Resume ends a hold.
func (s *Status) Resume(ctx context.Context, tx *sql.Tx, actor audit.Actor, r Standing) error {
	if err := s.moveStatus(ctx, tx, r, StateGood, trust.Unspecified, 0); err != nil {
		return err
	}
	return s.audit.Append(ctx, tx, actor, audit.EventResumed, revokedContent{Serial: r.Serial, Reason: trust.RemoveFromCRL.String(), At: s.now().Unix()})
}

// Reapply revokes or holds again what a published list says of a serial number,
// as of the list's time. Found says that there is such a certificate, changed
// that its status was another.
func (s *Status) Reapply(ctx context.Context, tx *sql.Tx, actor audit.Actor, serial string, at time.Time, reason trust.Reason) (found, changed bool, err error) {
	rows, err := ReadStanding(ctx, tx, serial, "")
	if err != nil || len(rows) == 0 {
		return false, false, err
	}
	r := rows[0]
	if r.State == StateRevoked && (!r.Held() || reason == trust.CertificateHold) {
		return true, false, nil
	}
	if err := s.moveStatus(ctx, tx, r, StateRevoked, reason, at.Unix()); err != nil {
		return true, false, err
	}
	content := revokedContent{Serial: serial, Reason: reason.String(), At: at.Unix()}
	return true, true, s.audit.Append(ctx, tx, actor, stopEvent(reason), content)
}
