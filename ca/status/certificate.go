package status

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/listing"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// States of certificates. A hold is a revocation for certificateHold (RFC 5280
// 5.3.1), in the database as in lists and answers; people read StateHeld.
const (
	StateGood    = "good"
	StateRevoked = "revoked"

	// StateHeld is what lists say of a certificate on hold.
	StateHeld = "held"
)

// Certificate is a certificate on its way into the database.
type Certificate struct {
	Profile                   issuance.Name
	Issuer, Lineage, Issuance string
	Cert                      *smx509.Certificate
}

// issuedContent is the entry of a certificate in the audit log.
type issuedContent struct {
	Serial   string        `json:"serial"`
	Profile  string        `json:"profile"`
	Digest   string        `json:"digest"`
	Lineage  string        `json:"lineage,omitempty"`
	Issuance string        `json:"issuance,omitempty"`
	Leaf     *listing.Leaf `json:"leaf,omitempty"`
}

// Store writes a certificate, its leaf in the public listing and its entry in the
// audit log.
func (s *Status) Store(ctx context.Context, tx kmc.Querier, r Certificate) error {
	serial, digest := trust.SerialHex(r.Cert.SerialNumber), trust.Digest(r.Cert)
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_certificates (serial, profile, issuer, lineage, issuance, not_before, not_after, digest, der)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, serial, string(r.Profile), r.Issuer, r.Lineage, r.Issuance,
		r.Cert.NotBefore.Unix(), r.Cert.NotAfter.Unix(), hex.EncodeToString(digest[:]), r.Cert.Raw); err != nil {
		return fmt.Errorf("store certificate: %w", err)
	}
	leaf, err := s.listing.AppendCertificate(ctx, tx, listing.Certificate{Profile: r.Profile, Lineage: r.Lineage, Cert: r.Cert})
	if err != nil {
		return err
	}
	return s.audit.Append(ctx, tx, audit.ActorAuthority, audit.EventCertificate, issuedContent{
		Serial: serial, Profile: string(r.Profile), Digest: hex.EncodeToString(digest[:]), Lineage: r.Lineage, Issuance: r.Issuance, Leaf: leaf,
	})
}

// Digest is the SM3 of a certificate by its serial number, as the public listing
// names it; not_found where there is none.
func (s *Status) Digest(ctx context.Context, serial string) (digest string, err error) {
	number, err := trust.ParseSerialHex(serial)
	if err != nil {
		return "", protocol.Errorf(protocol.CodeMalformed, "%v", err)
	}
	err = s.db.Reader().QueryRowContext(ctx, `SELECT digest FROM ca_certificates WHERE serial = $1`, trust.SerialHex(number)).Scan(&digest)
	if errors.Is(err, sql.ErrNoRows) {
		return "", protocol.Errorf(protocol.CodeNotFound, "no certificate of that serial number")
	}
	if err != nil {
		return "", fmt.Errorf("read certificate: %w", err)
	}
	return digest, nil
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
func (s *Status) Certificates(ctx context.Context, lineage string, limit int) ([]CertificateInfo, error) {
	rows, err := s.db.Reader().QueryContext(ctx, `SELECT serial, profile, lineage, not_before, not_after, state, revoked_at, reason, der
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
		if c.State == StateRevoked {
			c.Reason = trust.Reason(reason).String()
		}
		if c.State == StateRevoked && trust.Reason(reason) == trust.CertificateHold {
			c.State = StateHeld
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

// CertificateDER is an authority's own certificate by its published name.
func (s *Status) CertificateDER(name string) ([]byte, error) {
	if name == RootName {
		return s.root.Raw, nil
	}
	if i := s.issuers.named(name); i != nil {
		return i.Certificate().Raw, nil
	}
	return nil, protocol.Errorf(protocol.CodeNotFound, "no certificate of that name")
}

// stateOf is what the database knows of a serial number under an issuing
// authority.
func (s *Status) stateOf(ctx context.Context, issuer, serial string) (trust.Status, int64, error) {
	var state string
	var revokedAt, revision int64
	var reason int
	err := s.db.Reader().QueryRowContext(ctx, `SELECT state, revoked_at, reason, revision FROM ca_certificates WHERE serial = $1 AND issuer = $2`,
		serial, issuer).Scan(&state, &revokedAt, &reason, &revision)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return trust.Status{State: trust.Unknown}, 0, nil
	case err != nil:
		return trust.Status{}, 0, fmt.Errorf("read status: %w", err)
	case state == StateGood:
		return trust.Status{State: trust.Good}, revision, nil
	}
	return trust.Status{State: trust.Revoked, RevokedAt: time.Unix(revokedAt, 0).UTC(), Reason: trust.Reason(reason)}, revision, nil
}

// Newest is the newest certificate of a profile under an issuer; the error wraps
// sql.ErrNoRows if there is none.
func Newest(ctx context.Context, q audit.Querier, profile issuance.Name, issuer string) (*smx509.Certificate, error) {
	var der []byte
	if err := q.QueryRowContext(ctx, `SELECT der FROM ca_certificates WHERE profile = $1 AND issuer = $2 AND state = 'good'
		ORDER BY not_before DESC, serial LIMIT 1`, string(profile), issuer).Scan(&der); err != nil {
		return nil, fmt.Errorf("certificate of profile %s: %w", profile, err)
	}
	return trust.ParseCertificate(der)
}
