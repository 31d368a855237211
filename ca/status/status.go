// Package status is the authority's third room: the certificates, and what they are
// worth. It stores a certificate with its leaf and its entry ([Status.Store]), moves
// its status, signs revocation lists (RFC 5280), whole and in shards, and answers
// OCSP (RFC 6960).
//
// It is handed the transaction in which it writes.
package status

import (
	"context"
	"crypto"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/ca/listing"
	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/smx509"
)

// RootName is the name of the root, in file names, URLs and ca_certificates.issuer.
const RootName = "root"

// Options are what the room works with; all of it is required.
type Options struct {
	Audit   *audit.Log
	Listing *listing.Listing
	DB      *sqldb.DB
	Now     func() time.Time
	// Root certificate; nil while a ceremony makes it.
	Root *smx509.Certificate
	// OCSPKey signs answers for all issuing authorities.
	OCSPKey crypto.Signer
	// OCSPLifetime and CRLLifetime are from an answer or a list to its nextUpdate.
	OCSPLifetime, CRLLifetime time.Duration
	// CRLShards is over how many lists the revocations of new certificates are
	// spread.
	CRLShards int
	// CRLURL is where the list of a name is published.
	CRLURL func(name string) string
}

// Status holds the certificates and says what they are worth.
type Status struct {
	audit    *audit.Log
	listing  *listing.Listing
	db       *sqldb.DB
	now      func() time.Time
	root     *smx509.Certificate
	issuers  issuers
	ocsp     responder
	lists    crlCache
	ocspLife time.Duration
	crlLife  time.Duration
	shards   int
	crlURL   func(name string) string
}

// New is the room without issuing authorities; AddIssuer brings them.
func New(o Options) *Status {
	return &Status{
		audit: o.Audit, listing: o.Listing, db: o.DB, now: o.Now, root: o.Root, ocsp: responder{key: o.OCSPKey},
		ocspLife: o.OCSPLifetime, crlLife: o.CRLLifetime, shards: o.CRLShards, crlURL: o.CRLURL,
	}
}

// Tables are the tables of the room whose rows the audit log commits to.
func Tables() []audit.Table {
	return []audit.Table{audit.NewTable("ca_certificates", "serial", "serial", "serials")}
}

// Root certificate.
func (s *Status) Root() *smx509.Certificate { return s.root }

// AddIssuer makes an issuing authority known; the one that was added last is the
// current one. It is called while the authority is opened.
func (s *Status) AddIssuer(name string, key crypto.Signer, issuer *issuance.Issuer) {
	s.issuers = append(s.issuers, &Issuer{Name: name, key: key, Issuer: issuer, crlURL: s.shardURL(name)})
}

// Issuers are all issuing authorities, oldest first.
func (s *Status) Issuers() []*Issuer { return s.issuers }

// Current is the authority that issues now.
func (s *Status) Current() *Issuer { return s.issuers[len(s.issuers)-1] }

// Issuer of a name; nil if there is none.
func (s *Status) Issuer(name string) *Issuer { return s.issuers.named(name) }

// Above is the chain above every leaf that is issued now: issuing authority, root.
func (s *Status) Above() []protocol.Bytes { return s.Current().Chain(s.root) }

// Raise changes a counter of the authority's, from 0 if there is none yet.
func (s *Status) Raise(ctx context.Context, tx *sql.Tx, name string, change func(int64) int64) (int64, error) {
	var value int64
	err := tx.QueryRowContext(ctx, `SELECT value FROM ca_counters WHERE name = $1`, name).Scan(&value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("counter %s: %w", name, err)
	}
	value = change(value)
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_counters (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2`, name, value); err != nil {
		return 0, fmt.Errorf("counter %s: %w", name, err)
	}
	return value, nil
}
