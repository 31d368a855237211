package folder

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

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/listing"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
	"github.com/pelletier/go-toml/v2"
)

// Ceremony is everything that making an authority needs.
type Ceremony struct {
	// Dir is the folder to be made; it must not exist or be empty.
	Dir string
	// RootDir is a folder for the root's key, on a medium that is carried away
	// afterwards; Dir if empty. It must exist, without a root key in it.
	RootDir string
	Config  Config
	// Passphrase of the keys; RootPassphrase of the root's key file, the same if
	// empty.
	Passphrase, RootPassphrase []byte
	// KDF of the key files; DefaultKDF if zero.
	KDF KDF
	// Tokens for the keys that the configuration puts there; nil for none.
	Tokens Tokens
	// Now is the clock.
	Now func() time.Time
	// Operator who performs it, for the audit log; Witnesses for the record.
	Operator  string
	Witnesses []string
	// Program is the name and version of what performs it, for the record.
	Program string
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
	if err := errors.Join(c.Config.Check(), c.Config.CheckIdentifiers()); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if c.RootDir == "" {
		c.RootDir = c.Dir
	} else if _, err := os.Stat(filepath.Join(c.RootDir, keyFileName(keyRoot))); !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s holds a root key, or cannot be read: %w", c.RootDir, errors.Join(err, os.ErrExist))
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
		return nil, errors.Join(fmt.Errorf("ceremony: %w", err), os.RemoveAll(stage), c.forgetRoot())
	}
	if err := os.Remove(c.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	if err := os.Rename(stage, c.Dir); err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	return prints, nil
}

// forgetRoot takes back the root's key of a ceremony that failed; it signed
// nothing that anybody has.
func (c *Ceremony) forgetRoot() error {
	if c.RootDir == c.Dir {
		return nil
	}
	if err := os.Remove(filepath.Join(c.RootDir, keyFileName(keyRoot))); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// made is what a ceremony holds in memory until it is written.
type made struct {
	root, issuing, ocsp, tsa *smx509.Certificate
	keys                     map[string]crypto.Signer
	secrets                  map[string][]byte // kek, identity
	rootCRL                  *status.CRL
}

func (c *Ceremony) perform(ctx context.Context, dir string) ([]Fingerprint, error) {
	m, err := c.make(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, secret := range m.secrets {
			clear(secret)
		}
	}()
	if err := c.writeKeys(dir, m); err != nil {
		return nil, err
	}
	prints := []Fingerprint{fingerprint(status.RootName, m.root), fingerprint(issuingName, m.issuing)}
	for i, cert := range []*smx509.Certificate{m.root, m.issuing} {
		prints[i].File = prints[i].Name + ".pem"
		if err := writeNew(filepath.Join(dir, prints[i].File), certificatePEM(cert)); err != nil {
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
	if err := c.writeTrust(dir, m); err != nil {
		return nil, err
	}
	if err := c.writeDatabase(ctx, dir, m, prints); err != nil {
		return nil, err
	}
	record, err := c.ceremonyRecord(m, raw)
	if err != nil {
		return nil, err
	}
	return prints, record.write(dir, m.root, m.keys[keyRoot])
}

func certificatePEM(cert *smx509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// make draws the keys and signs the certificates.
func (c *Ceremony) make(ctx context.Context) (*made, error) {
	m := &made{keys: make(map[string]crypto.Signer), secrets: map[string][]byte{
		keyKEK: make([]byte, kmc.KEKSize), keyIdentity: make([]byte, issuance.IdentityKeySize),
	}}
	var err error
	for _, purpose := range ceremonyKeys() {
		if m.keys[purpose], err = makeKey(ctx, c.Tokens, c.Config.keyURI(purpose), c.Config.keyFamily(purpose)); err != nil {
			return nil, fmt.Errorf("key %s: %w", purpose, err)
		}
	}
	for purpose, secret := range m.secrets {
		if _, err := rand.Read(secret); err != nil {
			return nil, fmt.Errorf("secret %s: %w", purpose, err)
		}
	}
	start := c.Now().UTC().Truncate(time.Second).Add(-backdate)
	if m.root, err = c.certify(m, nil, status.RootName, issuance.Request{
		Profile: issuance.Root, NotBefore: start, NotAfter: start.AddDate(c.Config.RootYears, 0, 0).Add(-time.Second),
	}); err != nil {
		return nil, err
	}
	if m.issuing, err = c.certify(m, m.root, issuingName, issuance.Request{
		Profile: issuance.Issuing, NotBefore: start, NotAfter: start.AddDate(c.Config.IssuingYears, 0, 0).Add(-time.Second),
	}); err != nil {
		return nil, err
	}
	if m.ocsp, err = c.certify(m, m.issuing, keyOCSP, life.ServiceRequest(issuance.OCSP, c.Now(), m.issuing)); err != nil {
		return nil, err
	}
	if m.tsa, err = c.certify(m, m.issuing, keyTSA, life.ServiceRequest(issuance.Timestamp, c.Now(), m.issuing)); err != nil {
		return nil, err
	}
	m.rootCRL, err = status.FirstRootCRL(m.root, m.keys[keyRoot], start.Add(backdate))
	return m, err
}

// certify signs one certificate of the ceremony, a root if issuer is nil.
func (c *Ceremony) certify(m *made, issuer *smx509.Certificate, name string, r issuance.Request) (*smx509.Certificate, error) {
	issuerName := status.RootName
	if name == keyOCSP || name == keyTSA {
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

// ceremonyKeys are the key pairs of a new authority.
func ceremonyKeys() []string {
	return []string{keyRoot, keyIssuing, keyOCSP, keyTSA, keyPass, keyAudit}
}

// rings opens the key rings of the authority's folder and of the root's.
func (c *Ceremony) rings(dir string) (ring, root *keyring, err error) {
	if ring, err = newKeyring(dir, c.Passphrase); err != nil {
		return nil, nil, err
	}
	passphrase, rootDir := c.Passphrase, c.RootDir
	if len(c.RootPassphrase) > 0 {
		passphrase = c.RootPassphrase
	}
	if rootDir == c.Dir {
		rootDir = dir
	}
	root, err = newKeyring(rootDir, passphrase)
	return ring, root, err
}

func (c *Ceremony) writeKeys(dir string, m *made) error {
	ring, rootRing, err := c.rings(dir)
	if err != nil {
		return err
	}
	defer ring.wipe()
	defer rootRing.wipe()
	salts := make([]byte, 2*saltSize)
	if _, err := rand.Read(salts); err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	for purpose, key := range m.keys {
		into, salt := ring, salts[:saltSize]
		if purpose == keyRoot {
			into, salt = rootRing, salts[saltSize:]
		}
		if uri := c.Config.keyURI(purpose); uri != "" {
			err = into.writeReference(purpose, uri)
		} else {
			err = into.writeSigner(purpose, key, c.KDF, salt)
		}
		if err != nil {
			return err
		}
	}
	for purpose, secret := range m.secrets {
		if err := ring.write(purpose, secret, c.KDF, salts[:saltSize]); err != nil {
			return err
		}
	}
	return nil
}

// writeDatabase makes the tables and the first entries of the audit log.
func (c *Ceremony) writeDatabase(ctx context.Context, dir string, m *made, prints []Fingerprint) (err error) {
	db, err := openDatabase(ctx, dir, c.Config.Database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	oids, err := c.Config.oids()
	if err != nil {
		return err
	}
	log := audit.New(m.keys[keyAudit], c.Now, db, LogChecks())
	certificates := status.New(status.Options{Audit: log, Listing: listing.New(m.keys[keyAudit], c.Now, db, oids), DB: db, Now: c.Now})
	return db.Update(ctx, func(tx *sql.Tx) error {
		if err := unused(ctx, tx); err != nil {
			return err
		}
		if err := log.Append(ctx, tx, audit.Local(c.Operator), audit.EventCeremony, map[string]any{"certificates": prints}); err != nil {
			return err
		}
		for _, cert := range []struct {
			profile issuance.Name
			issuer  string
			cert    *smx509.Certificate
		}{{issuance.Root, status.RootName, m.root}, {issuance.Issuing, status.RootName, m.issuing}, {issuance.OCSP, issuingName, m.ocsp}, {issuance.Timestamp, issuingName, m.tsa}} {
			if err := certificates.Store(ctx, tx, status.Certificate{Profile: cert.profile, Issuer: cert.issuer, Cert: cert.cert}); err != nil {
				return err
			}
		}
		if err := storeIssuing(ctx, tx, issuingName, m.issuing); err != nil {
			return err
		}
		return certificates.StoreCRL(ctx, tx, audit.Local(c.Operator), m.rootCRL)
	})
}
