package ca

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// States of certificates. A hold is a revocation for certificateHold (RFC 5280
// 5.3.1), in the database as in lists and answers; people read StateHeld.
const (
	stateGood    = "good"
	stateRevoked = "revoked"

	// StateHeld is what lists say of a certificate on hold.
	StateHeld = "held"
)

// certificateRow is a certificate on its way into the database.
type certificateRow struct {
	profile                   issuance.Name
	issuer, lineage, issuance string
	cert                      *smx509.Certificate
}

// storeCertificate writes a certificate, its leaf in the public listing and its
// entry in the audit log.
func storeCertificate(ctx context.Context, tx kmc.Querier, audit *auditLog, r certificateRow) error {
	serial, digest := trust.SerialHex(r.cert.SerialNumber), trust.Digest(r.cert)
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_certificates (serial, profile, issuer, lineage, issuance, not_before, not_after, digest, der)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, serial, string(r.profile), r.issuer, r.lineage, r.issuance,
		r.cert.NotBefore.Unix(), r.cert.NotAfter.Unix(), hex.EncodeToString(digest[:]), r.cert.Raw); err != nil {
		return fmt.Errorf("store certificate: %w", err)
	}
	leaf, err := audit.publishCertificate(ctx, tx, r)
	if err != nil {
		return err
	}
	return audit.append(ctx, tx, actorAuthority, eventCertificate, issuedContent{
		Serial: serial, Profile: string(r.profile), Digest: hex.EncodeToString(digest[:]), Lineage: r.lineage, Issuance: r.issuance, Leaf: leaf,
	})
}

// CertificateInfo is a line of the list of certificates.
type CertificateInfo struct {
	Serial     string `json:"serial"`
	Profile    string `json:"profile"`
	Lineage    string `json:"lineage,omitempty"`
	Name       string `json:"name"`
	NotBefore  int64  `json:"not_before"` // Unix seconds
	NotAfter   int64  `json:"not_after"`
	State      string `json:"state"`
	RevokedAt  int64  `json:"revoked_at,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Definition []byte `json:"-"` // DER
}

// Certificates lists those of a lineage, or of all when it is empty, newest
// first, at most limit.
func (a *Authority) Certificates(ctx context.Context, lineage string, limit int) ([]CertificateInfo, error) {
	rows, err := a.db.Reader().QueryContext(ctx, `SELECT serial, profile, lineage, not_before, not_after, state, revoked_at, reason, der
		FROM ca_certificates WHERE ($1 = '' OR lineage = $1) ORDER BY not_before DESC, serial LIMIT $2`, lineage, limit)
	if err != nil {
		return nil, fmt.Errorf("list certificates: %w", err)
	}
	defer rows.Close()
	var all []CertificateInfo
	for rows.Next() {
		var c CertificateInfo
		var reason int
		if err := rows.Scan(&c.Serial, &c.Profile, &c.Lineage, &c.NotBefore, &c.NotAfter, &c.State, &c.RevokedAt, &reason, &c.Definition); err != nil {
			return nil, fmt.Errorf("list certificates: %w", err)
		}
		cert, err := trust.ParseCertificate(c.Definition)
		if err != nil {
			return nil, fmt.Errorf("list certificates: %w", err)
		}
		c.Name = cert.Subject.CommonName
		if c.State == stateRevoked {
			c.Reason = trust.Reason(reason).String()
		}
		if c.State == stateRevoked && trust.Reason(reason) == trust.CertificateHold {
			c.State = StateHeld
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

// CertificateDER is an authority's own certificate by its published name.
func (a *Authority) CertificateDER(name string) ([]byte, error) {
	if name == rootName {
		return a.root.Raw, nil
	}
	if i := a.issuers.named(name); i != nil {
		return i.Certificate().Raw, nil
	}
	return nil, protocol.Errorf(protocol.CodeNotFound, "no certificate of that name")
}

// status is what the database knows of a serial number under an issuing
// authority.
func (a *Authority) status(ctx context.Context, issuer, serial string) (trust.Status, int64, error) {
	var state string
	var revokedAt, revision int64
	var reason int
	err := a.db.Reader().QueryRowContext(ctx, `SELECT state, revoked_at, reason, revision FROM ca_certificates WHERE serial = $1 AND issuer = $2`,
		serial, issuer).Scan(&state, &revokedAt, &reason, &revision)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return trust.Status{State: trust.Unknown}, 0, nil
	case err != nil:
		return trust.Status{}, 0, fmt.Errorf("read status: %w", err)
	case state == stateGood:
		return trust.Status{State: trust.Good}, revision, nil
	}
	return trust.Status{State: trust.Revoked, RevokedAt: time.Unix(revokedAt, 0).UTC(), Reason: trust.Reason(reason)}, revision, nil
}
