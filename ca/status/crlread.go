package status

import (
	"context"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/asn1"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/kmc"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// crlCache holds the newest list of each name: a list of 20,000 revocations is a
// megabyte, and is asked for much more often than it changes.
type crlCache struct {
	shards map[int]bool // numbers of shards in use; set once, by Open

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

// CRL returns the newest list of a name, see CRLNames, and whether a new one is
// due: the status of a certificate on it changed since, or a quarter of its life
// is over. The root's list comes from the ceremony and is never due.
func (s *Status) CRL(ctx context.Context, name string) (list *CRL, due bool, err error) {
	parsed, signer := s.listNamed(name)
	if signer == nil && name != RootName {
		return nil, false, protocol.Errorf(protocol.CodeNotFound, "no list of that name")
	}
	list, _, err = s.newestCRL(ctx, s.db.Reader(), name)
	if err != nil || name == RootName {
		return list, false, err
	}
	due, err = s.crlDue(ctx, parsed, list)
	return list, due, err
}

// listNamed returns a nil authority where none publishes a list of that name.
func (s *Status) listNamed(name string) (crlName, *Issuer) {
	parsed, ok := parseCRLName(name)
	if !ok || parsed.of > 1 && !s.lists.shards[parsed.of] {
		return parsed, nil
	}
	return parsed, s.issuers.named(parsed.issuer)
}

// KeepCRL stores a list that SignCRL made. Where another process stored one of
// its number or above meanwhile, it returns that one and stores nothing.
func (s *Status) KeepCRL(ctx context.Context, tx *sql.Tx, actor audit.Actor, list *CRL) (newer *CRL, err error) {
	last, _, err := s.newestCRL(ctx, tx, list.Issuer)
	if err != nil {
		return nil, err
	}
	if last != nil && last.Number >= list.Number {
		return last, nil
	}
	return nil, s.StoreCRL(ctx, tx, actor, list)
}

// RememberCRL keeps a stored list in memory.
func (s *Status) RememberCRL(list *CRL) { s.lists.put(list) }

// Covers reports whether a list holds every change of status that another holds.
func (c *CRL) Covers(other *CRL) bool { return c.revision >= other.revision }

// crlDue: the list is old, or lacks a change of status.
func (s *Status) crlDue(ctx context.Context, name crlName, list *CRL) (bool, error) {
	if list == nil || s.now().Sub(list.ThisUpdate) > s.crlLife/4 {
		return true, nil
	}
	rows, err := s.db.Reader().QueryContext(ctx, `SELECT serial FROM ca_certificates WHERE issuer = $1 AND revision > $2`, name.issuer, list.revision)
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

// newestCRL returns the last list of a name, nil if there is none, and by how
// many changes of status the database is ahead of it.
func (s *Status) newestCRL(ctx context.Context, q kmc.Querier, name string) (*CRL, int64, error) {
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
	if cached, ok := s.lists.get(name, list.Number); ok {
		return cached, behind, nil
	}
	list.ThisUpdate, list.NextUpdate = time.Unix(thisUpdate, 0).UTC(), time.Unix(nextUpdate, 0).UTC()
	if err := q.QueryRowContext(ctx, `SELECT der FROM ca_crls WHERE issuer = $1 AND number = $2`, name, list.Number).Scan(&list.DER); err != nil {
		return nil, 0, fmt.Errorf("read revocation list: %w", err)
	}
	return &list, behind, nil
}

// SignCRL reads one state of the database and signs it, under any name but the
// root's. It stores nothing: reading and signing 20,000 revocations does not
// delay issuance.
func (s *Status) SignCRL(ctx context.Context, name string) (*CRL, error) {
	parsed, signer := s.listNamed(name)
	if signer == nil {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no list of that name")
	}
	content := crlContent{name: name, url: s.crlURLOf(parsed), thisUpdate: s.now().UTC().Truncate(time.Second)}
	content.nextUpdate = content.thisUpdate.Add(s.crlLife)
	err := s.db.View(ctx, func(tx *sql.Tx) error {
		last, _, err := s.newestCRL(ctx, tx, name)
		if err != nil {
			return err
		}
		content.number = nextCRLNumber(last, content.thisUpdate)
		content.entries, content.revision, err = readRevoked(ctx, tx, parsed, last)
		return err
	})
	if err != nil {
		return nil, err
	}
	return signCRL(signer.Certificate(), signer.key, content)
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

// invalidityDate is when a key is thought to have been compromised (RFC 5280
// 5.3.2).
func invalidityDate(at time.Time) ([]pkix.Extension, error) {
	der, err := asn1.MarshalWithParams(at.UTC(), "generalized")
	if err != nil {
		return nil, fmt.Errorf("invalidity date: %w", err)
	}
	return []pkix.Extension{{Id: trust.OIDInvalidityDate(), Value: der}}, nil
}
