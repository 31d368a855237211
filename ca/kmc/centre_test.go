package kmc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509/pkix"
	"database/sql"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func now() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) }

type fixture struct {
	db       *sqldb.DB
	centre   *Centre
	releases []Release
	refuse   error
}

func setup(t *testing.T) *fixture {
	t.Helper()
	db, err := sqldb.Open(t.Context(), testDatabase(t))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	must(t, db.Migrate(t.Context(), "kmc", Migrations()))
	f := &fixture{db: db}
	f.centre, err = New(bytes.Repeat([]byte{7}, KEKSize), func(_ context.Context, _ Querier, r Release) error {
		f.releases = append(f.releases, r)
		return f.refuse
	}, now)
	must(t, err)
	return f
}

func (f *fixture) generate(t *testing.T, id string) *ecdsa.PublicKey {
	t.Helper()
	var public *ecdsa.PublicKey
	must(t, f.db.Update(t.Context(), func(tx *sql.Tx) (err error) {
		public, err = f.centre.Generate(t.Context(), tx, id, "lineage-"+id)
		return err
	}))
	return public
}

func (f *fixture) respond(t *testing.T, c *Centre, id string, signing, encryption *smx509.Certificate) (der []byte, err error) {
	t.Helper()
	err = f.db.Update(t.Context(), func(tx *sql.Tx) error {
		der, err = c.Respond(t.Context(), tx, id, "issue", signing, encryption)
		return err
	})
	return der, err
}

func selfSigned(t *testing.T, public *ecdsa.PublicKey, key *sm2.PrivateKey) *smx509.Certificate {
	t.Helper()
	template := &smx509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: now(), NotAfter: now().Add(time.Hour)}
	der, err := smx509.CreateCertificate(rand.Reader, template, template, public, key)
	must(t, err)
	cert, err := smx509.ParseCertificate(der)
	must(t, err)
	return cert
}

func TestRespondEnvelopesTheKey(t *testing.T) {
	f := setup(t)
	public := f.generate(t, "one")
	stored, err := f.centre.PublicKey(t.Context(), f.db.Reader(), "one")
	must(t, err)
	if !stored.Equal(public) {
		t.Fatal("another public key was stored")
	}
	phone, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	signing, encryption := selfSigned(t, &phone.PublicKey, phone), selfSigned(t, public, phone)
	der, err := f.respond(t, f.centre, "one", signing, encryption)
	must(t, err)
	answer, err := smx509.ParseCSRResponse(phone, der)
	must(t, err)
	if !answer.EncryptPrivateKey.PublicKey.Equal(public) {
		t.Error("the phone got another key")
	}
	if len(f.releases) != 1 || f.releases[0].ID != "one" || f.releases[0].Lineage != "lineage-one" || f.releases[0].Reason != "issue" {
		t.Errorf("audited: %+v", f.releases)
	}
	stranger, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	if _, err := smx509.ParseCSRResponse(stranger, der); err == nil {
		t.Error("another phone opened it")
	}
	var wrapped []byte
	must(t, f.db.Reader().QueryRowContext(t.Context(), `SELECT wrapped FROM kmc_keys`).Scan(&wrapped))
	if bytes.Contains(wrapped, answer.EncryptPrivateKey.D.Bytes()) || len(wrapped) != 12+32+16 {
		t.Error("the private key is not wrapped")
	}
}

func TestRefusals(t *testing.T) {
	f := setup(t)
	one, two := f.generate(t, "one"), f.generate(t, "two")
	phone, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	signing, first, second := selfSigned(t, &phone.PublicKey, phone), selfSigned(t, one, phone), selfSigned(t, two, phone)

	if _, err := f.respond(t, f.centre, "none", signing, first); !errors.Is(err, ErrNoKey) {
		t.Errorf("unknown id: %v", err)
	}
	if _, err := f.respond(t, f.centre, "one", signing, second); err == nil {
		t.Error("released under the certificate of another key")
	}
	other, err := New(bytes.Repeat([]byte{8}, KEKSize), f.centre.audit, now)
	must(t, err)
	if _, err := f.respond(t, other, "one", signing, first); !errors.Is(err, ErrWrapped) {
		t.Errorf("another key-encryption key: %v", err)
	}
	f.refuse = errors.New("no audit")
	if der, err := f.respond(t, f.centre, "one", signing, first); !errors.Is(err, f.refuse) || der != nil {
		t.Errorf("released without audit: %v", err)
	}
	f.refuse = nil
	must(t, f.db.Update(t.Context(), func(tx *sql.Tx) error { // the rows exchange their contents
		_, err := tx.Exec(`UPDATE kmc_keys SET wrapped = (SELECT wrapped FROM kmc_keys WHERE id = 'two') WHERE id = 'one'`)
		return err
	}))
	if _, err := f.respond(t, f.centre, "one", signing, first); !errors.Is(err, ErrWrapped) {
		t.Errorf("exchanged rows: %v", err)
	}
	must(t, f.db.Update(t.Context(), func(tx *sql.Tx) error { // a key goes to another holder
		_, err := tx.Exec(`UPDATE kmc_keys SET lineage = 'lineage-one' WHERE id = 'two'`)
		return err
	}))
	if _, err := f.respond(t, f.centre, "two", signing, second); !errors.Is(err, ErrWrapped) {
		t.Errorf("another lineage: %v", err)
	}
	if err := f.db.Update(t.Context(), func(tx *sql.Tx) error {
		_, err := f.centre.Generate(t.Context(), tx, "one", "again")
		return err
	}); err == nil {
		t.Error("a second key pair under one id")
	}
	if _, err := New([]byte("short"), f.centre.audit, now); err == nil {
		t.Error("a short key-encryption key")
	}
	if _, err := New(bytes.Repeat([]byte{7}, KEKSize), nil, now); err == nil {
		t.Error("a centre without an auditor")
	}
}
