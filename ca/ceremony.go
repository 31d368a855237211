package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/trust"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/smx509"
	"github.com/pelletier/go-toml/v2"
)

// Ceremony is everything that making an authority needs.
type Ceremony struct {
	// Dir is the folder to be made; it must not exist or be empty.
	Dir    string
	Config Config
	// Passphrase of the keys; RootPassphrase of the root's key file, which may
	// be carried away afterwards, the same if empty.
	Passphrase, RootPassphrase []byte
	// KDF of the key files; DefaultKDF if zero.
	KDF KDF
	// Now is the clock.
	Now func() time.Time
	// Operator who performs it, for the audit log.
	Operator string
}

// Fingerprint of a certificate that a ceremony made.
type Fingerprint struct {
	Name     string `json:"name"`
	Serial   string `json:"serial"`
	SM3      string `json:"sm3"`
	SHA256   string `json:"sha256"`
	NotAfter int64  `json:"not_after"` // Unix seconds
	File     string `json:"file,omitempty"`
}

func fingerprint(name string, cert *smx509.Certificate) Fingerprint {
	gm, sha := trust.Digest(cert), sha256.Sum256(cert.Raw)
	return Fingerprint{
		Name: name, Serial: trust.SerialHex(cert.SerialNumber), SM3: hex.EncodeToString(gm[:]), SHA256: hex.EncodeToString(sha[:]),
		NotAfter: cert.NotAfter.Unix(),
	}
}

// backdate is how far before the clock a certificate of the ceremony begins, so
// that those issued right after it may begin a little before theirs.
const backdate = time.Hour

// Init performs the ceremony. The folder appears under its name only when all
// of it is complete.
func Init(ctx context.Context, c Ceremony) ([]Fingerprint, error) {
	if err := c.Config.Check(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if c.KDF == (KDF{}) {
		c.KDF = DefaultKDF()
	}
	if entries, err := os.ReadDir(c.Dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty", c.Dir)
	}
	stage := filepath.Clean(c.Dir) + ".ceremony"
	if err := os.RemoveAll(stage); err != nil { // of a ceremony that was broken off; nothing of it was ever used
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	if err := os.MkdirAll(stage, 0o700); err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	prints, err := c.perform(ctx, stage)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ceremony: %w", err), os.RemoveAll(stage))
	}
	if err := os.Remove(c.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	if err := os.Rename(stage, c.Dir); err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	return prints, nil
}

// made is what a ceremony holds in memory until it is written.
type made struct {
	root, issuing, ocsp *smx509.Certificate
	keys                map[string]crypto.Signer
	kek                 []byte
	rootCRL             *signedCRL
}

func (c *Ceremony) perform(ctx context.Context, dir string) ([]Fingerprint, error) {
	m, err := c.make()
	if err != nil {
		return nil, err
	}
	defer clear(m.kek)
	if err := c.writeKeys(dir, m); err != nil {
		return nil, err
	}
	prints := []Fingerprint{fingerprint(rootName, m.root), fingerprint(issuingName, m.issuing)}
	for i, cert := range []*smx509.Certificate{m.root, m.issuing} {
		prints[i].File = prints[i].Name + ".pem"
		if err := writeNew(filepath.Join(dir, prints[i].File), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})); err != nil {
			return nil, err
		}
	}
	raw, err := toml.Marshal(c.Config)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if err := writeNew(filepath.Join(dir, configFile), raw); err != nil {
		return nil, err
	}
	return prints, c.writeDatabase(ctx, dir, m, prints)
}

// make draws the keys and signs the certificates.
func (c *Ceremony) make() (*made, error) {
	m := &made{keys: make(map[string]crypto.Signer), kek: make([]byte, kmc.KEKSize)}
	for _, purpose := range []string{keyRoot, keyIssuing, keyOCSP, keyPass, keyAudit} {
		key, err := c.Config.keyFamily(purpose).GenerateKey()
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", purpose, err)
		}
		m.keys[purpose] = key
	}
	if _, err := rand.Read(m.kek); err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	start := c.Now().UTC().Truncate(time.Second).Add(-backdate)
	var err error
	if m.root, err = c.certify(m, nil, rootName, issuance.Request{
		Profile: issuance.Root, NotBefore: start, NotAfter: start.AddDate(c.Config.RootYears, 0, 0).Add(-time.Second),
	}); err != nil {
		return nil, err
	}
	if m.issuing, err = c.certify(m, m.root, issuingName, issuance.Request{
		Profile: issuance.Issuing, NotBefore: start, NotAfter: start.AddDate(c.Config.IssuingYears, 0, 0).Add(-time.Second),
	}); err != nil {
		return nil, err
	}
	if m.ocsp, err = c.certify(m, m.issuing, keyOCSP, responderRequest(c.Now(), m.issuing)); err != nil {
		return nil, err
	}
	m.rootCRL, err = signCRL(m.root, m.keys[keyRoot], crlContent{
		number: 1, url: c.Config.crlURL(rootName), authorities: true, thisUpdate: start.Add(backdate), nextUpdate: start.Add(backdate + rootCRLLifetime),
	})
	return m, err
}

// certify signs one certificate of the ceremony, a root if issuer is nil.
func (c *Ceremony) certify(m *made, issuer *smx509.Certificate, name string, r issuance.Request) (*smx509.Certificate, error) {
	issuerName := rootName
	if name == keyOCSP {
		issuerName = issuingName
	}
	config, err := c.Config.issuanceConfig(issuerName)
	if err != nil {
		return nil, err
	}
	var signer *issuance.Issuer
	if issuer == nil {
		signer, err = issuance.NewRootIssuer(m.keys[keyRoot], config)
	} else {
		signer, err = issuance.NewIssuer(issuer, m.keys[issuerName], config)
	}
	if err != nil {
		return nil, err
	}
	r.Subject = c.Config.subject(name)
	r.PublicKey = m.keys[name].Public()
	if r.Serial, err = issuance.NewSerial(rand.Reader); err != nil {
		return nil, err
	}
	linted, err := signer.Prepare(r)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", name, err)
	}
	return signer.Issue(linted)
}

// responderRequest is a certificate for an OCSP responder, within its issuer's
// life.
func responderRequest(now time.Time, issuer *smx509.Certificate) issuance.Request {
	start := now.UTC().Truncate(time.Second).Add(-leafBackdate)
	end := start.AddDate(1, 0, 0).Add(-time.Second)
	if end.After(issuer.NotAfter) {
		end = issuer.NotAfter
	}
	return issuance.Request{Profile: issuance.OCSP, NotBefore: start, NotAfter: end}
}

func (c *Ceremony) writeKeys(dir string, m *made) error {
	ring, err := newKeyring(dir, c.Passphrase)
	if err != nil {
		return err
	}
	defer ring.wipe()
	rootRing := ring
	if len(c.RootPassphrase) > 0 {
		if rootRing, err = newKeyring(dir, c.RootPassphrase); err != nil {
			return err
		}
		defer rootRing.wipe()
	}
	salts := make([]byte, 2*saltSize)
	if _, err := rand.Read(salts); err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	for purpose, key := range m.keys {
		into, salt := ring, salts[:saltSize]
		if purpose == keyRoot {
			into, salt = rootRing, salts[saltSize:]
		}
		if err := into.writeSigner(purpose, key, c.KDF, salt); err != nil {
			return err
		}
	}
	return ring.write(keyKEK, m.kek, c.KDF, salts[:saltSize])
}

// writeDatabase makes the tables and the first entries of the audit log.
func (c *Ceremony) writeDatabase(ctx context.Context, dir string, m *made, prints []Fingerprint) (err error) {
	db, err := openDatabase(ctx, dir, c.Config.Database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	audit := auditLog{key: m.keys[keyAudit], now: c.Now}
	return db.Update(ctx, func(tx *sql.Tx) error {
		if err := unused(ctx, tx); err != nil {
			return err
		}
		if err := audit.append(ctx, tx, operator(c.Operator), eventCeremony, map[string]any{"certificates": prints}); err != nil {
			return err
		}
		for _, cert := range []struct {
			profile issuance.Name
			issuer  string
			cert    *smx509.Certificate
		}{{issuance.Root, rootName, m.root}, {issuance.Issuing, rootName, m.issuing}, {issuance.OCSP, issuingName, m.ocsp}} {
			if err := storeCertificate(ctx, tx, &audit, certificateRow{profile: cert.profile, issuer: cert.issuer, cert: cert.cert}); err != nil {
				return err
			}
		}
		if err := storeIssuing(ctx, tx, issuingName, m.issuing); err != nil {
			return err
		}
		return storeCRL(ctx, tx, &audit, operator(c.Operator), rootName, 0, m.rootCRL)
	})
}

// operator is the actor of what is done on the authority's machine by whoever
// holds its passphrase. Operators with a certificate have names of their own, see
// auditLog.append.
func operator(name string) string {
	if name == "" {
		return "local"
	}
	return "local:" + name
}

// keyOf is the public key of a signer as SubjectPublicKeyInfo.
func keyOf(key crypto.Signer) (protocol.Bytes, error) { return protocol.MarshalKey(key.Public()) }
