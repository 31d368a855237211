package status

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509/pkix"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// crlContent is the content of a list.
type crlContent struct {
	name     string
	number   int64
	revision int64
	url      string
	// authorities: the root's list, of authorities' certificates. It states no
	// URL: verifiers that look for the root's own certificate on it, too, as
	// OpenSSL's -crl_check_all does, find none there that could match.
	authorities            bool
	thisUpdate, nextUpdate time.Time
	entries                []smx509.RevocationListEntry
}

// signCRL signs a list (RFC 5280 5) with a critical issuing distribution point,
// so that no list can stand for another. Without a URL it covers all certificates
// of its issuer's, whatever shard they point to.
func signCRL(issuer *smx509.Certificate, key crypto.Signer, c crlContent) (*CRL, error) {
	var urls []string
	if c.url != "" {
		urls = []string{c.url}
	}
	point, err := trust.NewIssuingDistributionPoint(c.authorities, urls...)
	if err != nil {
		return nil, err
	}
	der, err := smx509.CreateRevocationList(rand.Reader, &smx509.RevocationList{
		Number: big.NewInt(c.number), ThisUpdate: c.thisUpdate, NextUpdate: c.nextUpdate, RevokedCertificateEntries: c.entries,
		ExtraExtensions: []pkix.Extension{{Id: trust.OIDIssuingDistributionPoint(), Critical: true, Value: point}},
	}, issuer, key)
	if err != nil {
		return nil, fmt.Errorf("sign revocation list: %w", err)
	}
	return &CRL{DER: der, Issuer: c.name, Number: c.number, ThisUpdate: c.thisUpdate, NextUpdate: c.nextUpdate, revision: c.revision}, nil
}

// keptCRLs is how many lists of one name stay in the database; the audit log has
// the digest of each that ever was.
const keptCRLs = 4

// StoreCRL keeps a list under its name and forgets old ones.
func (s *Status) StoreCRL(ctx context.Context, tx kmc.Querier, actor audit.Actor, list *CRL) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_crls (issuer, number, this_update, next_update, revision, der) VALUES ($1, $2, $3, $4, $5, $6)`,
		list.Issuer, list.Number, list.ThisUpdate.Unix(), list.NextUpdate.Unix(), list.revision, list.DER); err != nil {
		return fmt.Errorf("store revocation list: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM ca_crls WHERE issuer = $1 AND number < (SELECT MIN(number) FROM
		(SELECT number FROM ca_crls WHERE issuer = $1 ORDER BY number DESC LIMIT $2) newest)`, list.Issuer, keptCRLs); err != nil {
		return fmt.Errorf("forget old revocation lists: %w", err)
	}
	return s.audit.Append(ctx, tx, actor, audit.EventCRL, map[string]any{"issuer": list.Issuer, "number": list.Number, "sm3": fmt.Sprintf("%x", protocol.H(list.DER))})
}

// ForgetLists removes the lists of the issuing authorities, so that new ones are
// signed at the next question: newer ones than a restored database has may be
// published.
func (s *Status) ForgetLists(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM ca_crls WHERE issuer <> $1`, RootName); err != nil {
		return fmt.Errorf("forget revocation lists: %w", err)
	}
	return nil
}

// CRL is a revocation list to be published.
type CRL struct {
	DER                    []byte    `json:"-"`
	Issuer                 string    `json:"issuer"`
	Number                 int64     `json:"number"`
	ThisUpdate, NextUpdate time.Time `json:"-"`

	revision int64 // of ca_counters 'revocation' up to which it holds everything
}

// rootCRLLifetime is how long the root's list is valid: signing one takes the
// root's key.
const rootCRLLifetime = 366 * 24 * time.Hour

// FirstRootCRL is the root's list of a ceremony: nothing is revoked.
func FirstRootCRL(root *smx509.Certificate, key crypto.Signer, at time.Time) (*CRL, error) {
	return signCRL(root, key, crlContent{
		name: RootName, number: nextCRLNumber(nil, at), authorities: true, thisUpdate: at, nextUpdate: at.Add(rootCRLLifetime),
	})
}

// SignRootCRL signs a new list of the root's with its key, and stores it.
func (s *Status) SignRootCRL(ctx context.Context, tx *sql.Tx, actor audit.Actor, key crypto.Signer) (*CRL, error) {
	last, _, err := s.newestCRL(ctx, tx, RootName)
	if err != nil || last == nil {
		return nil, fmt.Errorf("the root's last list: %w", errors.Join(err, sql.ErrNoRows))
	}
	now := s.now().UTC().Truncate(time.Second)
	content := crlContent{
		name: RootName, number: nextCRLNumber(last, now), authorities: true, thisUpdate: now, nextUpdate: now.Add(rootCRLLifetime),
	}
	if content.entries, content.revision, err = readRevoked(ctx, tx, crlName{issuer: RootName, of: 1}, last); err != nil {
		return nil, err
	}
	list, err := signCRL(s.root, key, content)
	if err != nil {
		return nil, err
	}
	return list, s.StoreCRL(ctx, tx, actor, list)
}
