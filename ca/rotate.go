package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Rotation is a new issuing authority under the same root.
type Rotation struct {
	// To is the name of the new one, "issuing-2"; the next number if empty. One
	// that exists already is answered and changes nothing, so that a rotation
	// whose answer was lost can be repeated by its name.
	To string
	// RootDir holds the root's key, the authority's folder if empty; under
	// RootPassphrase. Passphrase is that of the authority's other keys.
	RootDir                    string
	RootPassphrase, Passphrase []byte
	// KeyURI makes the new key in a token; a file if empty.
	KeyURI string
	// KDF of the new key file; DefaultKDF if zero.
	KDF KDF
	// Witnesses and Program for the record.
	Witnesses []string
	Program   string
}

// rootKey opens the root's key and checks that it is the root's.
func (a *Authority) rootKey(ctx context.Context, dir string, passphrase []byte) (crypto.Signer, error) {
	if dir == "" {
		dir = a.dir
	}
	ring, err := newKeyring(dir, passphrase)
	if err != nil {
		return nil, err
	}
	ring.tokens = a.tokens
	defer ring.wipe()
	key, err := ring.readSigner(ctx, keyRoot)
	if err != nil {
		return nil, err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(a.root.PublicKey) {
		return nil, errors.New("the key is not the root's")
	}
	return key, nil
}

// RotateIssuing makes a new issuing authority. Until its certificate is in the
// database, by one transaction, the old one is the current one; a rotation that
// was broken off is repeated and takes up the key that it left. Certificates of
// the old one stay valid, and it signs their revocation lists and OCSP
// responders on. Whoever has the authority open, the caller too, goes on with the
// old one and takes up the new one when it opens the authority again.
func (a *Authority) RotateIssuing(ctx context.Context, r Rotation) (*Fingerprint, error) {
	known, err := readIssuing(ctx, a.db.Reader())
	if err != nil {
		return nil, err
	}
	name := issuingPrefix + strconv.Itoa(len(known)+1)
	for _, n := range known {
		if n.name == r.To {
			return a.published(n.name, n.cert)
		}
	}
	if r.To != "" && r.To != name {
		return nil, protocol.Errorf(protocol.CodeConflict, "the next issuing authority is %s, not %q", name, r.To)
	}
	if r.KDF == (KDF{}) {
		r.KDF = DefaultKDF()
	}
	rootKey, err := a.rootKey(ctx, r.RootDir, r.RootPassphrase)
	if err != nil {
		return nil, err
	}
	key, err := a.issuingKey(ctx, name, r)
	if err != nil {
		return nil, err
	}
	if err := a.stop(stepRotationKey); err != nil {
		return nil, err
	}
	cert, err := a.certifyIssuing(name, rootKey, key)
	if err != nil {
		return nil, err
	}
	if err := a.rotationRecord(name, r, cert).write(a.dir, a.root, rootKey); err != nil {
		return nil, err
	}
	err = a.db.Update(ctx, func(tx *sql.Tx) error {
		if err := storeCertificate(ctx, tx, &a.audit, certificateRow{profile: issuance.Issuing, issuer: rootName, cert: cert}); err != nil {
			return err
		}
		if err := storeIssuing(ctx, tx, name, cert); err != nil {
			return err
		}
		return a.audit.append(ctx, tx, a.operator, eventRotated, map[string]any{"name": name, "serial": trust.SerialHex(cert.SerialNumber), "witnesses": len(r.Witnesses)})
	})
	if err != nil {
		return nil, err
	}
	if err := a.stop(stepRotationStored); err != nil {
		return nil, err
	}
	return a.published(name, cert)
}

// Steps of a rotation at which a crash may come.
const (
	stepRotationKey    = "rotation key"
	stepRotationStored = "rotation stored"
)

// issuingKey makes the key of a new authority, or takes up what a rotation that
// was broken off left: it never certified anything.
func (a *Authority) issuingKey(ctx context.Context, name string, r Rotation) (crypto.Signer, error) {
	ring, err := newKeyring(a.dir, r.Passphrase)
	if err != nil {
		return nil, err
	}
	ring.tokens = a.tokens
	defer ring.wipe()
	if err := checkPassphrase(ring); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(a.dir, keyFileName(name))); err == nil {
		return ring.readSigner(ctx, name)
	}
	key, err := makeKey(ctx, a.tokens, r.KeyURI, a.config.keyFamily(name))
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	if r.KeyURI != "" {
		return key, ring.writeReference(name, r.KeyURI)
	}
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("salt: %w", err)
	}
	return key, ring.writeSigner(name, key, r.KDF, salt)
}

// checkPassphrase refuses to write a key under another passphrase than that of
// the authority's other keys.
func checkPassphrase(ring *keyring) error {
	secret, err := ring.read(keyKEK)
	clear(secret)
	return err
}

func (a *Authority) certifyIssuing(name string, rootKey, key crypto.Signer) (*smx509.Certificate, error) {
	config, err := a.config.issuanceConfig(rootName)
	if err != nil {
		return nil, err
	}
	root, err := issuance.NewIssuer(a.root, rootKey, config)
	if err != nil {
		return nil, err
	}
	start := a.now().UTC().Truncate(time.Second).Add(-backdate)
	end := start.AddDate(a.config.IssuingYears, 0, 0).Add(-time.Second)
	if end.After(a.root.NotAfter) {
		end = a.root.NotAfter
	}
	request := issuance.Request{Profile: issuance.Issuing, Subject: a.config.subject(name), PublicKey: key.Public(), NotBefore: start, NotAfter: end}
	if request.Serial, err = issuance.NewSerial(rand.Reader); err != nil {
		return nil, err
	}
	linted, err := root.Prepare(request)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", name, err)
	}
	return root.Issue(linted)
}

// published writes an issuing authority's certificate beside the others, if it
// is not there yet.
func (a *Authority) published(name string, cert *smx509.Certificate) (*Fingerprint, error) {
	print := fingerprint(name, cert)
	print.File = name + ".pem"
	path, raw := filepath.Join(a.dir, print.File), certificatePEM(cert)
	err := writeNew(path, raw)
	if errors.Is(err, fs.ErrExist) {
		var there []byte
		if there, err = os.ReadFile(filepath.Clean(path)); err == nil && !bytes.Equal(there, raw) {
			err = fmt.Errorf("%s holds another certificate", print.File)
		}
	}
	return &print, err
}

// rotationRecord is the record of a rotation. Of one that was broken off after
// its record was written and before its certificate was stored, the name carries
// the serial number, so that it can be told from the one that counts.
func (a *Authority) rotationRecord(name string, r Rotation, cert *smx509.Certificate) *record {
	serial := trust.SerialHex(cert.SerialNumber)
	rec := newRecord(fmt.Sprintf("rotation-%s-%s.txt", name, strings.ToLower(serial[:8])), "签发机构轮换记录 / RECORD OF A ROTATION: "+a.config.Name+", "+name, a.now())
	rec.people(a.operator, r.Witnesses)
	rec.line("Program             %s", r.Program)
	rec.line("Before              %s", a.issuers.current().name)
	where := "file " + keyFileName(name) + " under the passphrase"
	if r.KeyURI != "" {
		where = "token " + r.KeyURI
	}
	rec.line("Key                 %s", where)
	rec.line("  SM3 of the public key %x", protocol.H(cert.RawSubjectPublicKeyInfo))
	rec.certificate(rootName, a.root)
	rec.certificate(name, cert)
	rec.line("")
	return rec
}

// RevokeIssuing revokes an earlier issuing authority for good and signs a new
// list of the root's, both in one transaction. All certificates under it are
// refused by whoever reads the root's list: what lives on has to be reissued
// first. The current one is not revoked: rotate before.
func (a *Authority) RevokeIssuing(ctx context.Context, name string, reason trust.Reason, rootDir string, rootPassphrase []byte) (*CRL, error) {
	i := a.issuers.named(name)
	switch {
	case i == nil:
		return nil, protocol.Errorf(protocol.CodeNotFound, "no issuing authority %q", name)
	case i == a.issuers.current():
		return nil, protocol.Errorf(protocol.CodeConflict, "%s is the current issuing authority: rotate first", name)
	case reason != trust.CACompromise && reason != trust.Superseded && reason != trust.CessationOfOperation:
		return nil, protocol.Errorf(protocol.CodeMalformed, "reason %v is not given to issuing authorities", reason)
	}
	key, err := a.rootKey(ctx, rootDir, rootPassphrase)
	if err != nil {
		return nil, err
	}
	serial := trust.SerialHex(i.Certificate().SerialNumber)
	var list *CRL
	err = a.db.Update(ctx, func(tx *sql.Tx) error {
		at := a.now().Unix()
		if _, err := tx.ExecContext(ctx, `UPDATE ca_counters SET value = value + 1 WHERE name = 'revocation'`); err != nil {
			return fmt.Errorf("revoke: %w", err)
		}
		result, err := tx.ExecContext(ctx, `UPDATE ca_certificates SET state = 'revoked', revoked_at = $1, reason = $2,
			revision = (SELECT value FROM ca_counters WHERE name = 'revocation') WHERE serial = $3 AND state = 'good'`, at, int(reason), serial)
		if err != nil {
			return fmt.Errorf("revoke: %w", err)
		}
		if n, err := result.RowsAffected(); err != nil {
			return fmt.Errorf("revoke: %w", err)
		} else if n == 1 {
			if err := a.audit.append(ctx, tx, a.operator, eventRevoked, revokedContent{Serial: serial, Reason: reason.String(), At: at}); err != nil {
				return err
			}
		}
		list, err = a.signRootCRL(ctx, tx, key)
		return err
	})
	return list, err
}
