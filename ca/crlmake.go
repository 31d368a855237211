package ca

import (
	"context"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/asn1"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
	"golang.org/x/sync/singleflight"
)

// crlCache holds the newest list of each name: a list of 20,000 revocations is a
// megabyte, and is asked for much more often than it changes.
type crlCache struct {
	flights singleflight.Group
	shards  map[int]bool // numbers of shards in use; set once, by Open

	mu    sync.Mutex
	lists map[string]CRL
}

func (c *crlCache) get(name string, number int64) (*CRL, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, ok := c.lists[name]
	return &list, ok && list.Number == number
}

func (c *crlCache) put(list *CRL) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lists == nil {
		c.lists = make(map[string]CRL)
	}
	c.lists[list.Issuer] = *list
}

// CRL answers a list by its name, see CRLNames. A new one is signed when the
// status of a certificate on it changed since the last, or when a quarter of its
// life is over; the root's list comes from the ceremony.
func (a *Authority) CRL(ctx context.Context, name string) (*CRL, error) {
	parsed, ok := parseCRLName(name)
	signer := a.issuers.named(parsed.issuer)
	if !ok || parsed.of > 1 && !a.lists.shards[parsed.of] || signer == nil && name != rootName {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no list of that name")
	}
	list, _, err := a.newestCRL(ctx, a.db.Reader(), name)
	if err != nil || name == rootName {
		return list, err
	}
	if due, err := a.crlDue(ctx, parsed, list); err != nil || !due {
		return list, err
	}
	made, err, _ := a.lists.flights.Do(name, func() (any, error) {
		return a.makeCRL(context.WithoutCancel(ctx), signer, parsed, false)
	})
	if err != nil {
		return nil, err
	}
	return made.(*CRL), nil //nolint:forcetypeassert // the function above gives nothing else
}

// SignCRL signs a new full list of the current issuing authority whether or not
// one is due.
func (a *Authority) SignCRL(ctx context.Context) (*CRL, error) {
	signer := a.issuers.current()
	return a.makeCRL(ctx, signer, crlName{issuer: signer.name, of: 1}, true)
}

// SignNamedCRL signs a new list of any name but the root's.
func (a *Authority) SignNamedCRL(ctx context.Context, name string) (*CRL, error) {
	parsed, ok := parseCRLName(name)
	signer := a.issuers.named(parsed.issuer)
	if !ok || signer == nil || parsed.of > 1 && !a.lists.shards[parsed.of] {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no list of that name")
	}
	return a.makeCRL(ctx, signer, parsed, true)
}

// crlDue: the list is old, or lacks a change of status.
func (a *Authority) crlDue(ctx context.Context, name crlName, list *CRL) (bool, error) {
	if list == nil || a.now().Sub(list.ThisUpdate) > time.Duration(a.config.CRLLifetime)/4 {
		return true, nil
	}
	rows, err := a.db.Reader().QueryContext(ctx, `SELECT serial FROM ca_certificates WHERE issuer = $1 AND revision > $2`, name.issuer, list.revision)
	if err != nil {
		return false, fmt.Errorf("read revocations: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return false, fmt.Errorf("read revocations: %w", err)
		}
		serial, err := revokedSerial(text)
		if err != nil {
			return false, err
		}
		if name.holds(serial) {
			return true, nil
		}
	}
	return false, rows.Err()
}

// newestCRL answers the last list of a name, nil if there is none, and by how
// many changes of status the database is ahead of it.
func (a *Authority) newestCRL(ctx context.Context, q kmc.Querier, name string) (*CRL, int64, error) {
	list := CRL{Issuer: name}
	var thisUpdate, nextUpdate, behind int64
	err := q.QueryRowContext(ctx, `SELECT number, this_update, next_update, revision, (SELECT value FROM ca_counters WHERE name = 'revocation') - revision
		FROM ca_crls WHERE issuer = $1 ORDER BY number DESC LIMIT 1`, name).Scan(&list.Number, &thisUpdate, &nextUpdate, &list.revision, &behind)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read revocation list: %w", err)
	}
	if cached, ok := a.lists.get(name, list.Number); ok {
		return cached, behind, nil
	}
	list.ThisUpdate, list.NextUpdate = time.Unix(thisUpdate, 0).UTC(), time.Unix(nextUpdate, 0).UTC()
	if err := q.QueryRowContext(ctx, `SELECT der FROM ca_crls WHERE issuer = $1 AND number = $2`, name, list.Number).Scan(&list.DER); err != nil {
		return nil, 0, fmt.Errorf("read revocation list: %w", err)
	}
	return &list, behind, nil
}

// makeCRL signs a list outside of the transaction that stores it: reading and
// signing 20,000 revocations holds up nobody who issues. Where another process
// stored one meanwhile, that one is taken if it says as much.
func (a *Authority) makeCRL(ctx context.Context, signer *issuing, name crlName, force bool) (*CRL, error) {
	for {
		list, err := a.signState(ctx, signer, name)
		if err != nil {
			return nil, err
		}
		var newer *CRL
		if err := a.db.Update(ctx, func(tx *sql.Tx) error {
			last, _, err := a.newestCRL(ctx, tx, name.String())
			if err != nil {
				return err
			}
			if newer = nil; last != nil && last.Number >= list.Number {
				newer = last
				return nil
			}
			signed := &signedCRL{number: list.Number, thisUpdate: list.ThisUpdate, nextUpdate: list.NextUpdate, der: list.DER}
			return storeCRL(ctx, tx, &a.audit, a.operator, name.String(), list.revision, signed)
		}); err != nil {
			return nil, err
		}
		if newer == nil {
			a.lists.put(list)
			return list, nil
		}
		if !force && newer.revision >= list.revision {
			return newer, nil
		}
	}
}

// signState reads one state of the database and signs it.
func (a *Authority) signState(ctx context.Context, signer *issuing, name crlName) (*CRL, error) {
	list := &CRL{Issuer: name.String(), ThisUpdate: a.now().UTC().Truncate(time.Second)}
	list.NextUpdate = list.ThisUpdate.Add(time.Duration(a.config.CRLLifetime))
	var entries []smx509.RevocationListEntry
	err := a.db.View(ctx, func(tx *sql.Tx) error {
		last, _, err := a.newestCRL(ctx, tx, name.String())
		if err != nil {
			return err
		}
		list.Number = nextCRLNumber(last, list.ThisUpdate)
		entries, list.revision, err = readRevoked(ctx, tx, name, last)
		return err
	})
	if err != nil {
		return nil, err
	}
	signed, err := signCRL(signer.Certificate(), signer.key, crlContent{
		number: list.Number, url: a.crlURLOf(name), thisUpdate: list.ThisUpdate, nextUpdate: list.NextUpdate, entries: entries,
	})
	if err != nil {
		return nil, err
	}
	list.DER = signed.der
	return list, nil
}

// nextCRLNumber grows with each list (RFC 5280 5.2.3), and with the clock: after
// an old copy of the database was restored it is still beyond every number that
// the lost lists had.
func nextCRLNumber(last *CRL, thisUpdate time.Time) int64 {
	number := thisUpdate.Unix()
	if last != nil {
		number = max(number, last.Number+1)
	}
	return number
}

// revokedQuery names everything that the index over revoked certificates holds,
// and nothing else: no row of the table is read.
const revokedQuery = `SELECT serial, revoked_at, reason, invalid_at FROM ca_certificates
	WHERE issuer = $1 AND state = 'revoked' AND (not_after >= $2 OR revision > $3) ORDER BY revision, serial`

// readRevoked are the revocations that belong on a list. A certificate that was
// on the last list after its own end leaves it now, none before that (RFC 5280
// 3.3).
func readRevoked(ctx context.Context, tx *sql.Tx, name crlName, last *CRL) ([]smx509.RevocationListEntry, int64, error) {
	var revision, lastUpdate, lastRevision int64
	if err := tx.QueryRowContext(ctx, `SELECT value FROM ca_counters WHERE name = 'revocation'`).Scan(&revision); err != nil {
		return nil, 0, fmt.Errorf("read revocations: %w", err)
	}
	if last != nil {
		lastUpdate, lastRevision = last.ThisUpdate.Unix(), last.revision
	}
	rows, err := tx.QueryContext(ctx, revokedQuery, name.issuer, lastUpdate, lastRevision)
	if err != nil {
		return nil, 0, fmt.Errorf("read revocations: %w", err)
	}
	defer rows.Close()
	var entries []smx509.RevocationListEntry
	for rows.Next() {
		var text string
		var revokedAt, invalidAt int64
		var reason int
		if err := rows.Scan(&text, &revokedAt, &reason, &invalidAt); err != nil {
			return nil, 0, fmt.Errorf("read revocations: %w", err)
		}
		serial, err := revokedSerial(text)
		if err != nil {
			return nil, 0, err
		}
		if !name.holds(serial) {
			continue
		}
		entry := smx509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Unix(revokedAt, 0).UTC(), ReasonCode: reason}
		if invalidAt != 0 {
			if entry.ExtraExtensions, err = invalidityDate(time.Unix(invalidAt, 0)); err != nil {
				return nil, 0, err
			}
		}
		entries = append(entries, entry)
	}
	return entries, revision, rows.Err()
}

// invalidityDate is since when a key is thought to be in other hands (RFC 5280
// 5.3.2).
func invalidityDate(at time.Time) ([]pkix.Extension, error) {
	der, err := asn1.MarshalWithParams(at.UTC(), "generalized")
	if err != nil {
		return nil, fmt.Errorf("invalidity date: %w", err)
	}
	return []pkix.Extension{{Id: trust.OIDInvalidityDate(), Value: der}}, nil
}
