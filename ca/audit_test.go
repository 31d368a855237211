package ca_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/listing"
	"github.com/bidseal/bidseal/trust"
)

func TestVerifyLogOfARun(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	head, err := f.Audit.Verify(t.Context())
	must(t, err)
	_, err = f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(e.sign.SerialNumber)})
	must(t, err)
	report, err := f.Audit.Verify(t.Context(), head.Head)
	must(t, err)
	// ceremony: root, issuing authority, responder, timestamp authority; the dual pair
	if report.Certificates != 6 || report.Revocations != 1 || report.Entries <= head.Entries {
		t.Errorf("%+v", report)
	}
}

// TestVerifyLogFindsEachAlteration: the log, and the tables that it speaks of.
func TestVerifyLogFindsEachAlteration(t *testing.T) {
	for name, query := range map[string]string{
		"content":                 `UPDATE ca_audit SET content = replace(content, 'admin', 'user') || ' ' WHERE seq = 2`,
		"actor":                   `UPDATE ca_audit SET actor = 'somebody' WHERE seq = 2`,
		"time":                    `UPDATE ca_audit SET at = at + 1 WHERE seq = 2`,
		"event":                   `UPDATE ca_audit SET event = 'x' WHERE seq = 2`,
		"hash":                    `UPDATE ca_audit SET hash = zeroblob(32) WHERE seq = 2`,
		"signature":               `UPDATE ca_audit SET signature = (SELECT signature FROM ca_audit WHERE seq = 3) WHERE seq = 2`,
		"entry removed":           `DELETE FROM ca_audit WHERE seq = 3`,
		"end removed":             `DELETE FROM ca_audit WHERE event = 'certificate.revoked'`,
		"certificate added":       `INSERT INTO ca_certificates (serial, profile, issuer, not_before, not_after, digest, der) SELECT '1234', profile, issuer, not_before, not_after, digest, der FROM ca_certificates LIMIT 1`,
		"certificate exchanged":   `UPDATE ca_certificates SET der = (SELECT der FROM ca_certificates WHERE profile = 'root') WHERE profile = 'ocsp'`,
		"certificate removed":     `DELETE FROM ca_certificates WHERE profile = 'organisation-encryption'`,
		"revocation taken back":   `UPDATE ca_certificates SET state = 'good' WHERE state = 'revoked'`,
		"revocation later":        `UPDATE ca_certificates SET revoked_at = revoked_at + 60 WHERE state = 'revoked'`,
		"revocation for less":     `UPDATE ca_certificates SET reason = 4 WHERE state = 'revoked'`,
		"profile":                 `UPDATE ca_certificates SET profile = 'ocsp' WHERE profile = 'organisation-signing'`,
		"issuer":                  `UPDATE ca_certificates SET issuer = 'root' WHERE profile = 'organisation-signing'`,
		"issuance":                `UPDATE ca_issuances SET subject = replace(subject, 'admin', 'user')`,
		"answer":                  `UPDATE ca_issuances SET answer = zeroblob(8)`,
		"code open again":         `UPDATE ca_codes SET state = 'open', request_digest = ''`,
		"code added":              `INSERT INTO ca_codes (digest, subject, validity, expires_at, state, created_at) SELECT '00', subject, validity, expires_at, state, created_at FROM ca_codes`,
		"device key":              `UPDATE ca_devices SET key = zeroblob(91)`,
		"device active again":     `UPDATE ca_devices SET state = 'blocked'`,
		"device removed":          `DELETE FROM ca_devices`,
		"platform added":          `INSERT INTO ca_platforms (id, keys_digest, name, organisation, credit_code, contact, origins, spki, api_key, state, created_at) VALUES ('0', '0', 'n', 'o', '', '', '[]', zeroblob(1), zeroblob(1), 'issued', 1)`,
		"escrowed key":            `UPDATE kmc_keys SET wrapped = zeroblob(60)`,
		"escrowed key removed":    `DELETE FROM kmc_keys`,
		"lineage":                 `UPDATE ca_certificates SET lineage = '00' WHERE profile = 'organisation-signing'`,
		"lineage's phone":         `UPDATE ca_lineages SET device = 'thief'`,
		"revocation without word": `UPDATE ca_certificates SET state = 'revoked' WHERE profile = 'organisation-encryption'`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			e := f.enrol(t)
			_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(e.sign.SerialNumber)})
			must(t, err)
			_, err = f.Audit.Verify(t.Context())
			must(t, err)
			must(t, exec(t, f, query))
			if _, err := f.Audit.Verify(t.Context()); !errors.Is(err, audit.ErrLog) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// busyFollower has something happen after the log was walked and before the rows
// are read.
type busyFollower struct {
	audit.Follower
	meanwhile func()
}

// Entry implements audit.Follower.
func (b *busyFollower) Entry(e audit.Entry) error {
	if b.meanwhile != nil {
		b.meanwhile()
		b.meanwhile = nil
	}
	return b.Follower.Entry(e)
}

// TestVerifyLogSeesOneMoment: the server goes on issuing while an operator
// verifies.
func TestVerifyLogSeesOneMoment(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	checks := folder.LogChecks()
	checks.Listing = func() audit.Follower {
		return &busyFollower{Follower: listing.Follow(), meanwhile: func() {
			f.enrol(t)
			_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(e.sign.SerialNumber)})
			must(t, err)
		}}
	}
	must(t, f.database(t).View(t.Context(), func(tx *sql.Tx) error {
		report, err := audit.VerifyRows(t.Context(), tx, f.Audit.Key(), checks, nil)
		if err != nil || report.Certificates != 6 || report.Revocations != 0 {
			t.Errorf("%+v, %v", report, err)
		}
		return nil
	}))
}

// TestKeptHeadShowsACutLog: a log cut back together with its tables is whole in
// itself; only a head kept elsewhere shows it.
func TestKeptHeadShowsACutLog(t *testing.T) {
	f := newFixture(t)
	f.code(t, 0)
	head, err := f.Audit.Verify(t.Context())
	must(t, err)
	must(t, exec(t, f, `DELETE FROM ca_audit WHERE event = 'code.made'`))
	must(t, exec(t, f, `DELETE FROM ca_codes`))
	_, err = f.Audit.Verify(t.Context())
	must(t, err)
	if _, err := f.Audit.Verify(t.Context(), head.Head); !errors.Is(err, audit.ErrLog) {
		t.Errorf("got %v", err)
	}
	f.code(t, 0)
	if _, err := f.Audit.Verify(t.Context(), head.Head); !errors.Is(err, audit.ErrLog) {
		t.Errorf("another entry in its place: %v", err)
	}
}
