package folder

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bidseal/bidseal/ca/assist"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// Opened is a folder whose configuration was read and whose keys were opened.
type Opened struct {
	Config Config
	// OIDs by which certificates of this authority are read.
	OIDs trust.OIDs
	DB   *sqldb.DB
	Root *smx509.Certificate
	// Audit signs the log and the listing, OCSP answers for status, Pass device
	// passes, RealName real-name tokens, Timestamp timestamps; the last is nil in
	// folders from before there was one.
	Audit, OCSP, Pass, RealName, Timestamp crypto.Signer
	// Identity is the secret under which identity numbers are hashed.
	Identity []byte
	// KEK and Assist are the key-encryption keys of the key management centre and
	// of the password assist.
	KEK, Assist []byte

	dir     string
	tokens  Tokens
	issuers []openedIssuer // oldest first
}

type openedIssuer struct {
	name   string
	key    crypto.Signer
	issuer *issuance.Issuer
}

// Open opens a folder under the passphrase of its key files; tokens may be
// nil. The caller wipes what it opened when the rooms have it, and closes DB.
func Open(ctx context.Context, dir string, passphrase []byte, tokens Tokens) (*Opened, error) {
	config, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	o := &Opened{Config: config, dir: dir, tokens: tokens}
	if o.OIDs, err = config.oids(); err != nil {
		return nil, err
	}
	if o.DB, err = openDatabase(ctx, dir, config.Database); err != nil {
		return nil, err
	}
	if err := o.load(ctx, passphrase); err != nil {
		o.Wipe()
		return nil, errors.Join(err, o.DB.Close())
	}
	return o, nil
}

// Wipe forgets the key-encryption keys.
func (o *Opened) Wipe() {
	clear(o.KEK)
	clear(o.Assist)
}

func (o *Opened) load(ctx context.Context, passphrase []byte) error {
	ring, err := newKeyring(o.dir, passphrase)
	if err != nil {
		return err
	}
	ring.tokens = o.tokens
	defer ring.wipe()
	if err := o.readKeys(ctx, ring); err != nil {
		return err
	}
	if o.Root, err = status.Newest(ctx, o.DB.Reader(), issuance.Root, status.RootName); err != nil {
		return err
	}
	if err := sameAsFile(filepath.Join(o.dir, status.RootName+".pem"), o.Root); err != nil {
		return err
	}
	return o.readIssuers(ctx, ring)
}

// readKeys opens the keys, and makes those that an older folder lacks.
func (o *Opened) readKeys(ctx context.Context, ring *keyring) (err error) {
	for purpose, into := range map[string]*crypto.Signer{keyOCSP: &o.OCSP, keyPass: &o.Pass, keyAudit: &o.Audit} {
		if *into, err = ring.readSigner(ctx, purpose); err != nil {
			return err
		}
	}
	for _, made := range []struct {
		purpose string
		draw    func() ([]byte, error)
	}{
		{keyIdentity, func() ([]byte, error) { return protocol.Random(issuance.IdentityKeySize) }},
		{keyAssist, func() ([]byte, error) { return protocol.Random(assist.KEKSize) }},
		{keyRealName, drawRealNameKey},
	} {
		if err := ring.ensure(made.purpose, made.draw); err != nil {
			return err
		}
	}
	for purpose, into := range map[string]*[]byte{keyIdentity: &o.Identity, keyKEK: &o.KEK, keyAssist: &o.Assist} {
		if *into, err = ring.read(purpose); err != nil {
			return err
		}
	}
	if o.RealName, err = ring.readSigner(ctx, keyRealName); err != nil {
		return err
	}
	if o.Timestamp, err = ring.readSigner(ctx, keyTSA); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func drawRealNameKey() ([]byte, error) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", keyRealName, err)
	}
	defer clear(key.D.Bits())
	return smx509.MarshalPKCS8PrivateKey(key)
}

// sameAsFile refuses a database whose root is not the one of the ceremony.
func sameAsFile(path string, cert *smx509.Certificate) error {
	raw, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	stored, err := smx509.ParseCertificatePEM(raw)
	if err != nil || !stored.Equal(cert) {
		return fmt.Errorf("%s and the database hold different roots", filepath.Base(path))
	}
	return nil
}
