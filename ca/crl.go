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
	"github.com/bidseal/bidseal/ca/trust"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/smx509"
)

// crlContent is what a list says.
type crlContent struct {
	number                 int64
	url                    string
	authorities            bool // a list of authorities' certificates
	thisUpdate, nextUpdate time.Time
	entries                []smx509.RevocationListEntry
}

// signedCRL is a list with what is asked of it most.
type signedCRL struct {
	number                 int64
	thisUpdate, nextUpdate time.Time
	der                    []byte
}

// signCRL signs a full list (RFC 5280 5) with a critical issuing distribution
// point, so that no list can stand for another.
func signCRL(issuer *smx509.Certificate, key crypto.Signer, c crlContent) (*signedCRL, error) {
	point, err := trust.NewIssuingDistributionPoint(c.authorities, c.url)
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

func storeCRL(ctx context.Context, tx kmc.Querier, audit *auditLog, actor, issuer string, revision int64, list *signedCRL) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO ca_crls (issuer, number, this_update, next_update, revision, der) VALUES ($1, $2, $3, $4, $5, $6)`,
		issuer, list.number, list.thisUpdate.Unix(), list.nextUpdate.Unix(), revision, list.der); err != nil {
		return fmt.Errorf("store revocation list: %w", err)
	}
	return audit.append(ctx, tx, actor, eventCRL, map[string]any{"issuer": issuer, "number": list.number, "sm3": fmt.Sprintf("%x", protocol.H(list.der))})
}

// CRL is a revocation list to be published.
type CRL struct {
	DER                    []byte    `json:"-"`
	Issuer                 string    `json:"issuer"`
	Number                 int64     `json:"number"`
	ThisUpdate, NextUpdate time.Time `json:"-"`
}

// CRL answers the list of an authority, "root" or "issuing-1". A new one is
// signed when a certificate was revoked since the last, or when a quarter of its
// life is over; the root's list comes from the ceremony.
func (a *Authority) CRL(ctx context.Context, issuer string) (*CRL, error) {
	signer := a.issuers.named(issuer)
	if issuer != rootName && signer == nil {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no list of that name")
	}
	list, revision, err := a.newestCRL(ctx, a.db.Reader(), issuer)
	if err != nil {
		return nil, err
	}
	if issuer == rootName || list != nil && !a.crlDue(list, revision) {
		return list, nil
	}
	return a.signNewCRL(ctx, signer, false)
}

// SignCRL signs a new list of the current issuing authority whether or not one
// is due.
func (a *Authority) SignCRL(ctx context.Context) (*CRL, error) {
	return a.signNewCRL(ctx, a.issuers.current(), true)
}

// rootCRLLifetime is how long the root's list is good for: signing one means to
// bring the root's key.
const rootCRLLifetime = 366 * 24 * time.Hour

// SignRootCRL signs a new list of the root with the root's key from a folder,
// the authority's own if empty, under the root's passphrase.
func (a *Authority) SignRootCRL(ctx context.Context, keyDir string, passphrase []byte) (*CRL, error) {
	if keyDir == "" {
		keyDir = a.dir
	}
	ring, err := newKeyring(keyDir, passphrase)
	if err != nil {
		return nil, err
	}
	defer ring.wipe()
	key, err := ring.readSigner(keyRoot)
	if err != nil {
		return nil, err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(a.root.PublicKey) {
		return nil, errors.New("the key is not the root's")
	}
	var list *CRL
	err = a.db.Update(ctx, func(tx *sql.Tx) error {
		last, _, err := a.newestCRL(ctx, tx, rootName)
		if err != nil || last == nil {
			return fmt.Errorf("the root's last list: %w", errors.Join(err, sql.ErrNoRows))
		}
		now := a.now().UTC().Truncate(time.Second)
		signed, err := signCRL(a.root, key, crlContent{
			number: last.Number + 1, url: a.config.crlURL(rootName), authorities: true, thisUpdate: now, nextUpdate: now.Add(rootCRLLifetime),
		})
		if err != nil {
			return err
		}
		list = &CRL{DER: signed.der, Issuer: rootName, Number: signed.number, ThisUpdate: signed.thisUpdate, NextUpdate: signed.nextUpdate}
		return storeCRL(ctx, tx, &a.audit, a.operator, rootName, 0, signed)
	})
	return list, err
}

// crlDue: behind is the number of revocations that the list lacks.
func (a *Authority) crlDue(list *CRL, behind int64) bool {
	return behind != 0 || a.now().Sub(list.ThisUpdate) > time.Duration(a.config.CRLLifetime)/4
}

// newestCRL answers the last list, nil if there is none, and by how many
// revocations the database is ahead of it.
func (a *Authority) newestCRL(ctx context.Context, q kmc.Querier, issuer string) (*CRL, int64, error) {
	list := CRL{Issuer: issuer}
	var thisUpdate, nextUpdate, behind int64
	err := q.QueryRowContext(ctx, `SELECT number, this_update, next_update, der, (SELECT value FROM ca_counters WHERE name = 'revocation') - revision
		FROM ca_crls WHERE issuer = $1 ORDER BY number DESC LIMIT 1`, issuer).Scan(&list.Number, &thisUpdate, &nextUpdate, &list.DER, &behind)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read revocation list: %w", err)
	}
	list.ThisUpdate, list.NextUpdate = time.Unix(thisUpdate, 0).UTC(), time.Unix(nextUpdate, 0).UTC()
	return &list, behind, nil
}

func (a *Authority) signNewCRL(ctx context.Context, signer *issuing, force bool) (*CRL, error) {
	var list *CRL
	err := a.db.Update(ctx, func(tx *sql.Tx) error {
		last, behind, err := a.newestCRL(ctx, tx, signer.name)
		if err != nil {
			return err
		}
		if !force && last != nil && !a.crlDue(last, behind) { // another process was faster
			list = last
			return nil
		}
		content := crlContent{number: 1, url: a.config.crlURL(signer.name), thisUpdate: a.now().UTC().Truncate(time.Second)}
		if last != nil {
			content.number = last.Number + 1
		}
		content.nextUpdate = content.thisUpdate.Add(time.Duration(a.config.CRLLifetime))
		var revision int64
		if content.entries, revision, err = revokedEntries(ctx, tx, signer.name); err != nil {
			return err
		}
		signed, err := signCRL(signer.Certificate(), signer.key, content)
		if err != nil {
			return err
		}
		list = &CRL{DER: signed.der, Issuer: signer.name, Number: signed.number, ThisUpdate: signed.thisUpdate, NextUpdate: signed.nextUpdate}
		return storeCRL(ctx, tx, &a.audit, a.operator, signer.name, revision, signed)
	})
	return list, err
}

// revokedEntries are all revoked certificates, expired ones too: signatures are
// judged years later.
func revokedEntries(ctx context.Context, tx *sql.Tx, issuer string) ([]smx509.RevocationListEntry, int64, error) {
	var revision int64
	if err := tx.QueryRowContext(ctx, `SELECT value FROM ca_counters WHERE name = 'revocation'`).Scan(&revision); err != nil {
		return nil, 0, fmt.Errorf("read revocations: %w", err)
	}
	rows, err := tx.QueryContext(ctx, `SELECT serial, revoked_at, reason FROM ca_certificates WHERE issuer = $1 AND state = 'revoked' ORDER BY revision, serial`, issuer)
	if err != nil {
		return nil, 0, fmt.Errorf("read revocations: %w", err)
	}
	defer rows.Close()
	var entries []smx509.RevocationListEntry
	for rows.Next() {
		var text string
		var at int64
		var reason int
		if err := rows.Scan(&text, &at, &reason); err != nil {
			return nil, 0, fmt.Errorf("read revocations: %w", err)
		}
		serial, err := trust.ParseSerialHex(text)
		if err != nil {
			return nil, 0, fmt.Errorf("read revocations: %w", err)
		}
		entries = append(entries, smx509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Unix(at, 0), ReasonCode: reason})
	}
	return entries, revision, rows.Err()
}
