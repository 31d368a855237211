package ca

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

	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// crlContent is what a list says.
type crlContent struct {
	number int64
	url    string
	// authorities: the root's list, of authorities' certificates. It states no
	// URL: verifiers that look for the root's own certificate on it, too, as
	// OpenSSL's -crl_check_all does, find none there that could match.
	authorities            bool
	thisUpdate, nextUpdate time.Time
	entries                []smx509.RevocationListEntry
}

// signedCRL is a list with what is asked of it most.
type signedCRL struct {
	number                 int64
	thisUpdate, nextUpdate time.Time
	der                    []byte
}

// signCRL signs a list (RFC 5280 5) with a critical issuing distribution point,
// so that no list can stand for another. Without a URL it covers all certificates
// of its issuer's, whatever shard they point to.
func signCRL(issuer *smx509.Certificate, key crypto.Signer, c crlContent) (*signedCRL, error) {
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
	return &signedCRL{number: c.number, thisUpdate: c.thisUpdate, nextUpdate: c.nextUpdate, der: der}, nil
}

// keptCRLs is how many lists of one name stay in the database; the audit log has
// the digest of each that ever was.
const keptCRLs = 4

// storeCRL keeps a list under its name and forgets old ones.
func storeCRL(ctx context.Context, tx kmc.Querier, audit *auditLog, actor, issuer string, revision int64, list *signedCRL) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_crls (issuer, number, this_update, next_update, revision, der) VALUES ($1, $2, $3, $4, $5, $6)`,
		issuer, list.number, list.thisUpdate.Unix(), list.nextUpdate.Unix(), revision, list.der); err != nil {
		return fmt.Errorf("store revocation list: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM ca_crls WHERE issuer = $1 AND number < (SELECT MIN(number) FROM
		(SELECT number FROM ca_crls WHERE issuer = $1 ORDER BY number DESC LIMIT $2) newest)`, issuer, keptCRLs); err != nil {
		return fmt.Errorf("forget old revocation lists: %w", err)
	}
	return audit.append(ctx, tx, actor, eventCRL, map[string]any{"issuer": issuer, "number": list.number, "sm3": fmt.Sprintf("%x", protocol.H(list.der))})
}

// CRL is a revocation list to be published.
type CRL struct {
	DER                    []byte    `json:"-"`
	Issuer                 string    `json:"issuer"`
	Number                 int64     `json:"number"`
	ThisUpdate, NextUpdate time.Time `json:"-"`

	revision int64 // of ca_counters 'revocation' up to which it holds everything
}

// rootCRLLifetime is how long the root's list is good for: signing one means to
// bring the root's key.
const rootCRLLifetime = 366 * 24 * time.Hour

// SignRootCRL signs a new list of the root with the root's key from a folder,
// the authority's own if empty, under the root's passphrase.
func (a *Authority) SignRootCRL(ctx context.Context, keyDir string, passphrase []byte) (*CRL, error) {
	key, err := a.rootKey(ctx, keyDir, passphrase)
	if err != nil {
		return nil, err
	}
	var list *CRL
	err = a.db.Update(ctx, func(tx *sql.Tx) (err error) {
		list, err = a.signRootCRL(ctx, tx, key)
		return err
	})
	return list, err
}

func (a *Authority) signRootCRL(ctx context.Context, tx *sql.Tx, key crypto.Signer) (*CRL, error) {
	last, _, err := a.newestCRL(ctx, tx, rootName)
	if err != nil || last == nil {
		return nil, fmt.Errorf("the root's last list: %w", errors.Join(err, sql.ErrNoRows))
	}
	now := a.now().UTC().Truncate(time.Second)
	content := crlContent{
		number: nextCRLNumber(last, now), authorities: true, thisUpdate: now, nextUpdate: now.Add(rootCRLLifetime),
	}
	var revision int64
	if content.entries, revision, err = readRevoked(ctx, tx, crlName{issuer: rootName, of: 1}, last); err != nil {
		return nil, err
	}
	signed, err := signCRL(a.root, key, content)
	if err != nil {
		return nil, err
	}
	list := &CRL{DER: signed.der, Issuer: rootName, Number: signed.number, ThisUpdate: signed.thisUpdate, NextUpdate: signed.nextUpdate, revision: revision}
	return list, storeCRL(ctx, tx, &a.audit, a.operator, rootName, revision, signed)
}
