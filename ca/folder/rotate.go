package folder

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

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/status"
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
func (f *Folder) rootKey(ctx context.Context, dir string, passphrase []byte) (crypto.Signer, error) {
	if dir == "" {
		dir = f.dir
	}
	ring, err := newKeyring(dir, passphrase)
	if err != nil {
		return nil, err
	}
	ring.tokens = f.tokens
	defer ring.wipe()
	key, err := ring.readSigner(ctx, keyRoot)
	if err != nil {
		return nil, err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(f.root.PublicKey) {
		return nil, errors.New("the key is not the root's")
	}
	return key, nil
}

// RotateIssuing makes a new issuing authority. Until its certificate is in the
// database, by one transaction, the old one is the current one; a rotation that
// was broken off is repeated and takes up the key that it left. Certificates of
// the old one stay valid, and it signs their revocation lists and OCSP
// responders on. A process that has the authority open, the caller included, goes on with
// the old one until it opens the authority again.
func (f *Folder) RotateIssuing(ctx context.Context, actor audit.Actor, r Rotation) (*Fingerprint, error) {
	known, err := readIssuing(ctx, f.db.Reader())
	if err != nil {
		return nil, err
	}
	name := issuingPrefix + strconv.Itoa(len(known)+1)
	for _, n := range known {
		if n.name == r.To {
			return f.published(n.name, n.cert)
		}
	}
	if r.To != "" && r.To != name {
		return nil, protocol.Errorf(protocol.CodeConflict, "the next issuing authority is %s, not %q", name, r.To)
	}
	if r.KDF == (KDF{}) {
		r.KDF = DefaultKDF()
	}
	rootKey, err := f.rootKey(ctx, r.RootDir, r.RootPassphrase)
	if err != nil {
		return nil, err
	}
	key, err := f.issuingKey(ctx, name, r)
	if err != nil {
		return nil, err
	}
	if err := f.stop(stepRotationKey); err != nil {
		return nil, err
	}
	cert, err := f.certifyIssuing(name, rootKey, key)
	if err != nil {
		return nil, err
	}
	if err := f.rotationRecord(actor, name, r, cert).write(f.dir, f.root, rootKey); err != nil {
		return nil, err
	}
	err = f.db.Update(ctx, func(tx *sql.Tx) error {
		if err := f.status.Store(ctx, tx, status.Certificate{Profile: issuance.Issuing, Issuer: status.RootName, Cert: cert}); err != nil {
			return err
		}
		if err := storeIssuing(ctx, tx, name, cert); err != nil {
			return err
		}
		return f.audit.Append(ctx, tx, actor, audit.EventRotated, map[string]any{"name": name, "serial": trust.SerialHex(cert.SerialNumber), "witnesses": len(r.Witnesses)})
	})
	if err != nil {
		return nil, err
	}
	if err := f.stop(stepRotationStored); err != nil {
		return nil, err
	}
	return f.published(name, cert)
}

// Steps of a rotation at which a crash may come.
const (
	stepRotationKey    = "rotation key"
	stepRotationStored = "rotation stored"
)

// issuingKey makes the key of a new authority, or takes up what a rotation that
// was broken off left: it never certified anything.
func (f *Folder) issuingKey(ctx context.Context, name string, r Rotation) (crypto.Signer, error) {
	ring, err := newKeyring(f.dir, r.Passphrase)
	if err != nil {
		return nil, err
	}
	ring.tokens = f.tokens
	defer ring.wipe()
	if err := checkPassphrase(ring); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(f.dir, keyFileName(name))); err == nil {
		return ring.readSigner(ctx, name)
	}
	key, err := makeKey(ctx, f.tokens, r.KeyURI, f.config.keyFamily(name))
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

func (f *Folder) certifyIssuing(name string, rootKey, key crypto.Signer) (*smx509.Certificate, error) {
	config, err := f.config.issuanceConfig(status.RootName)
	if err != nil {
		return nil, err
	}
	root, err := issuance.NewIssuer(f.root, rootKey, config)
	if err != nil {
		return nil, err
	}
	start := f.now().UTC().Truncate(time.Second).Add(-backdate)
	end := start.AddDate(f.config.IssuingYears, 0, 0).Add(-time.Second)
	if end.After(f.root.NotAfter) {
		end = f.root.NotAfter
	}
	request := issuance.Request{Profile: issuance.Issuing, Subject: f.config.subject(name), PublicKey: key.Public(), NotBefore: start, NotAfter: end}
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
func (f *Folder) published(name string, cert *smx509.Certificate) (*Fingerprint, error) {
	print := fingerprint(name, cert)
	print.File = name + ".pem"
	path, raw := filepath.Join(f.dir, print.File), certificatePEM(cert)
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
func (f *Folder) rotationRecord(actor audit.Actor, name string, r Rotation, cert *smx509.Certificate) *ceremonyRecord {
	serial := trust.SerialHex(cert.SerialNumber)
	rec := newCeremonyRecord(fmt.Sprintf("rotation-%s-%s.txt", name, strings.ToLower(serial[:8])), "签发机构轮换记录 / RECORD OF A ROTATION: "+f.config.Name+", "+name, f.now())
	rec.people(string(actor), r.Witnesses)
	rec.line("Program             %s", r.Program)
	rec.line("Before              %s", f.status.Current().Name)
	where := "file " + keyFileName(name) + " under the passphrase"
	if r.KeyURI != "" {
		where = "token " + r.KeyURI
	}
	rec.line("Key                 %s", where)
	rec.line("  SM3 of the public key %x", protocol.H(cert.RawSubjectPublicKeyInfo))
	rec.certificate(status.RootName, f.root)
	rec.certificate(name, cert)
	rec.line("")
	return rec
}

// SignRootCRL signs a new list of the root with the root's key from a folder,
// the authority's own if empty, under the root's passphrase.
func (f *Folder) SignRootCRL(ctx context.Context, actor audit.Actor, keyDir string, passphrase []byte) (*status.CRL, error) {
	key, err := f.rootKey(ctx, keyDir, passphrase)
	if err != nil {
		return nil, err
	}
	var list *status.CRL
	err = f.db.Update(ctx, func(tx *sql.Tx) (err error) {
		list, err = f.status.SignRootCRL(ctx, tx, actor, key)
		return err
	})
	return list, err
}

// RevokeIssuing revokes an earlier issuing authority for good and signs a new
// list of the root's, both in one transaction. Verifiers that read the root's list reject
// all certificates under it: what lives on has to be reissued
// first. The current one is not revoked: rotate before.
func (f *Folder) RevokeIssuing(ctx context.Context, actor audit.Actor, name string, reason trust.Reason, rootDir string, rootPassphrase []byte) (*status.CRL, error) {
	i := f.status.Issuer(name)
	switch {
	case i == nil:
		return nil, protocol.Errorf(protocol.CodeNotFound, "no issuing authority %q", name)
	case i == f.status.Current():
		return nil, protocol.Errorf(protocol.CodeConflict, "%s is the current issuing authority: rotate first", name)
	case reason != trust.CACompromise && reason != trust.Superseded && reason != trust.CessationOfOperation:
		return nil, protocol.Errorf(protocol.CodeMalformed, "reason %v is not given to issuing authorities", reason)
	}
	key, err := f.rootKey(ctx, rootDir, rootPassphrase)
	if err != nil {
		return nil, err
	}
	var list *status.CRL
	err = f.db.Update(ctx, func(tx *sql.Tx) error {
		if err := f.status.RevokeIssuing(ctx, tx, actor, i, reason); err != nil {
			return err
		}
		list, err = f.status.SignRootCRL(ctx, tx, actor, key)
		return err
	})
	return list, err
}
