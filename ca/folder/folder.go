// Package folder is the authority's sixth room: what lies on its disk. The
// configuration, the keys under a passphrase or in tokens, the ceremony that makes
// them ([Init]) and its record, the issuing authorities and their rotation, backup
// and restoration.
package folder

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/listing"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Options are what a folder that was opened works with. All of it is
// required but where it says otherwise.
type Options struct {
	Now func() time.Time
	// PublicURL under which the API is reached.
	PublicURL string
	Audit     *audit.Log
	Status    *status.Status
	Life      *life.Life
	Registry  *registry.Registry
	// Stop is called at each step of a rotation and may end it there, as a crash
	// would; nil for never.
	Stop func(step string) error
}

// Folder is the authority as it lies on its disk: configuration, keys, root.
type Folder struct {
	dir       string
	config    Config
	oids      trust.OIDs
	publicURL string
	now       func() time.Time
	db        *sqldb.DB
	tokens    Tokens
	root      *smx509.Certificate
	audit     *audit.Log
	status    *status.Status
	life      *life.Life
	registry  *registry.Registry
	stop      func(step string) error
}

// New gives the rooms their issuing authorities, and makes the configured
// number of shards known.
func New(ctx context.Context, f *Opened, o Options) (*Folder, error) {
	a := &Folder{
		dir: f.dir, config: f.Config, oids: f.OIDs, publicURL: o.PublicURL, now: o.Now, db: f.DB, tokens: f.tokens, root: f.Root,
		audit: o.Audit, status: o.Status, life: o.Life, registry: o.Registry, stop: o.Stop,
	}
	if a.stop == nil {
		a.stop = func(string) error { return nil }
	}
	known, err := a.status.LoadShards(ctx)
	if err == nil && !known {
		err = a.db.Update(ctx, func(tx *sql.Tx) error { return a.status.AddShards(ctx, tx) })
	}
	if err != nil {
		return nil, err
	}
	for _, i := range f.issuers {
		a.status.AddIssuer(i.name, i.key, i.issuer)
	}
	return a, nil
}

// Close ends the database. Keys go with the process.
func (f *Folder) Close() error { return f.db.Close() }

// LogChecks are what the audit log is held against: every table whose rows it
// commits to, and the public listing.
func LogChecks() audit.Checks {
	return audit.Checks{Tables: slices.Concat(status.Tables(), life.Tables(), registry.Tables()), Listing: listing.Follow}
}

// Info is what anyone may know of the authority.
func (f *Folder) Info() (*caapi.Info, error) {
	passKey, err := protocol.MarshalKey(f.life.PassKey())
	if err != nil {
		return nil, err
	}
	auditKey, err := protocol.MarshalKey(f.audit.Key())
	if err != nil {
		return nil, err
	}
	alg, err := protocol.AlgOf(f.life.PassKey())
	if err != nil {
		return nil, err
	}
	var issuing []protocol.Bytes // the current one first
	for _, i := range slices.Backward(f.status.Issuers()) {
		issuing = append(issuing, i.Certificate().Raw)
	}
	gm, sha := trust.Digest(f.root), sha256.Sum256(f.root.Raw)
	return &caapi.Info{
		V: caapi.Version, Name: f.config.Name,
		Roots:      []caapi.Anchor{{SM3: hex.EncodeToString(gm[:]), SHA256: hex.EncodeToString(sha[:]), Certificate: f.root.Raw}},
		Issuing:    issuing,
		PassIssuer: f.config.BaseURL, PassAlg: alg, PassKey: passKey, AuditKey: auditKey, Assist: f.publicURL, ServerTime: f.now().UnixMilli(),
	}, nil
}

// Ready reports whether the authority can serve.
func (f *Folder) Ready(ctx context.Context) error {
	var one int
	if err := f.db.Reader().QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

// Config of the authority.
func (f *Folder) Config() Config { return f.config }

// OIDs by which certificates of this authority are read.
func (f *Folder) OIDs() trust.OIDs { return f.oids }

// URL under which the API is reached.
func (f *Folder) URL() string { return f.publicURL }

// Root certificate.
func (f *Folder) Root() *smx509.Certificate { return f.root }
