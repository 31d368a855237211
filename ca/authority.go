package ca

import (
	"context"
	"crypto"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

//go:embed migrations/*.sql
var migrations embed.FS

func migrationFiles() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// Options of an opened authority.
type Options struct {
	// Passphrase of the key files. Required; the caller wipes it.
	Passphrase []byte
	// Now is the clock. Required.
	Now func() time.Time
	// Logger; nothing secret and nobody's name is logged. Required.
	Logger *slog.Logger
	// PublicURL under which the API is reached, where it is not the base URL
	// that stands in the certificates.
	PublicURL string
	// Tokens for keys in hardware security modules; nil for none.
	Tokens Tokens
	// Operator on whose behalf the methods act, for the audit log.
	Operator string
	// Assist destroys what helps a lost phone to open its keystore; nil is the
	// authority's own password assist.
	Assist AssistDestroyer
	// RealName are further real-name authorities whose tokens are believed,
	// beside the operator's own key.
	RealName []crypto.PublicKey
}

// Authority is an opened certificate authority. It is safe for concurrent use
// and for several processes on one folder.
type Authority struct {
	dir       string
	config    Config
	oids      trust.OIDs
	publicURL string
	operator  string
	now       func() time.Time
	log       *slog.Logger
	db        *sqldb.DB
	lists     crlCache
	stamps    timestamps
	root      *smx509.Certificate
	issuers   issuers
	kmc       *kmc.Centre
	audit     auditLog
	tokens    Tokens
	passKey   crypto.Signer
	// identityKey is the secret under which identity numbers are hashed.
	identityKey []byte
	ocsp        responder
	assist      AssistDestroyer
	assistance
	// stop is set by tests: it ends an issuance at a step, as a crash would.
	stop func(step string) error
}

// Open opens the folder that Init made.
func Open(ctx context.Context, dir string, o Options) (*Authority, error) {
	if o.Now == nil || o.Logger == nil {
		return nil, errors.New("open authority: no clock or no logger")
	}
	config, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	a := &Authority{
		dir: dir, config: config, tokens: o.Tokens, publicURL: config.BaseURL, operator: operator(o.Operator), now: o.Now, log: o.Logger,
		assist: o.Assist, stop: func(string) error { return nil },
	}
	if o.PublicURL != "" {
		a.publicURL = o.PublicURL
	}
	if a.oids, err = config.oids(); err != nil {
		return nil, err
	}
	if a.db, err = openDatabase(ctx, dir, config.Database); err != nil {
		return nil, err
	}
	if err := a.load(ctx, dir, o); err != nil {
		return nil, errors.Join(fmt.Errorf("open authority: %w", err), a.db.Close())
	}
	return a, nil
}

// Close ends the database. Keys go with the process.
func (a *Authority) Close() error { return a.db.Close() }

func (a *Authority) load(ctx context.Context, dir string, o Options) error {
	ring, err := newKeyring(dir, o.Passphrase)
	if err != nil {
		return err
	}
	ring.tokens = a.tokens
	defer ring.wipe()
	for purpose, into := range map[string]*crypto.Signer{keyOCSP: &a.ocsp.key, keyPass: &a.passKey, keyAudit: &a.audit.key} {
		if *into, err = ring.readSigner(ctx, purpose); err != nil {
			return err
		}
	}
	a.audit.now, a.audit.oids = a.now, a.oids
	if err := ring.ensure(keyIdentity, func() ([]byte, error) { return protocol.Random(issuance.IdentityKeySize) }); err != nil {
		return err // folders of before it existed show no identity numbers
	}
	if a.identityKey, err = ring.read(keyIdentity); err != nil {
		return err
	}
	kek, err := ring.read(keyKEK)
	if err != nil {
		return err
	}
	defer clear(kek)
	if a.kmc, err = kmc.New(kek, a.auditRelease, a.now); err != nil {
		return err
	}
	if err := a.loadTimestamps(ctx, ring); err != nil {
		return err
	}
	if err := a.loadAssist(ctx, ring, o.RealName); err != nil {
		return err
	}
	if a.root, err = a.newestOf(ctx, issuance.Root, rootName); err != nil {
		return err
	}
	if err := sameAsFile(filepath.Join(dir, rootName+".pem"), a.root); err != nil {
		return err
	}
	if err := a.rememberShards(ctx); err != nil {
		return err
	}
	return a.loadIssuers(ctx, ring)
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

// Config of the authority.
func (a *Authority) Config() Config { return a.config }

// OIDs by which certificates of this authority are read.
func (a *Authority) OIDs() trust.OIDs { return a.oids }

// URL under which the API is reached.
func (a *Authority) URL() string { return a.publicURL }

// Root certificate.
func (a *Authority) Root() *smx509.Certificate { return a.root }

// Issuing is the certificate of the authority that issues now; earlier ones are
// in Info.
func (a *Authority) Issuing() *smx509.Certificate { return a.issuers.current().Certificate() }

// PassKey is the public key under which device passes verify.
func (a *Authority) PassKey() crypto.PublicKey { return a.passKey.Public() }

// PassIssuer is the iss of device passes.
func (a *Authority) PassIssuer() string { return a.config.BaseURL }

// above is the chain above every leaf that is issued now: issuing authority,
// root.
func (a *Authority) above() []protocol.Bytes { return a.issuers.current().chain(a.root) }

// Info is what anyone may know of the authority.
func (a *Authority) Info() (*caapi.Info, error) {
	passKey, err := keyOf(a.passKey)
	if err != nil {
		return nil, err
	}
	auditKey, err := keyOf(a.audit.key)
	if err != nil {
		return nil, err
	}
	alg, err := protocol.AlgOf(a.passKey.Public())
	if err != nil {
		return nil, err
	}
	var issuing []protocol.Bytes // the current one first
	for _, i := range slices.Backward(a.issuers) {
		issuing = append(issuing, i.Certificate().Raw)
	}
	gm, sha := trust.Digest(a.root), sha256.Sum256(a.root.Raw)
	return &caapi.Info{
		V: caapi.Version, Name: a.config.Name,
		Roots:      []caapi.Anchor{{SM3: hex.EncodeToString(gm[:]), SHA256: hex.EncodeToString(sha[:]), Certificate: a.root.Raw}},
		Issuing:    issuing,
		PassIssuer: a.PassIssuer(), PassAlg: alg, PassKey: passKey, AuditKey: auditKey, Assist: a.publicURL, ServerTime: a.now().UnixMilli(),
	}, nil
}

// Ready reports whether the authority can serve.
func (a *Authority) Ready(ctx context.Context) error {
	var one int
	if err := a.db.Reader().QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

// newestOf is the newest certificate of a profile under an issuer; the error
// wraps sql.ErrNoRows if there is none.
func (a *Authority) newestOf(ctx context.Context, profile issuance.Name, issuer string) (*smx509.Certificate, error) {
	var der []byte
	if err := a.db.Reader().QueryRowContext(ctx, `SELECT der FROM ca_certificates WHERE profile = $1 AND issuer = $2 AND state = 'good'
		ORDER BY not_before DESC, serial LIMIT 1`, string(profile), issuer).Scan(&der); err != nil {
		return nil, fmt.Errorf("certificate of profile %s: %w", profile, err)
	}
	return trust.ParseCertificate(der)
}
