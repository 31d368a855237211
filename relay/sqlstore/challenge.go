package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

// stamp takes the platform's next rev and counts its open challenges.
func (s *Store) stamp(tx *txn, platform string, opened int64) (rev, open int64, err error) {
	err = tx.QueryRow(`INSERT INTO relay_feed (platform, last_rev, open) VALUES ($1, $2, $3)
		ON CONFLICT (platform) DO UPDATE SET open = relay_feed.open + excluded.open,
			last_rev = CASE WHEN relay_feed.last_rev >= excluded.last_rev THEN relay_feed.last_rev + 1 ELSE excluded.last_rev END
		RETURNING last_rev, open`, platform, s.clock().UnixMicro(), opened).Scan(&rev, &open)
	if err != nil {
		return 0, 0, fmt.Errorf("take rev: %w", err)
	}
	return rev, open, nil
}

// Create stores a new challenge.
func (s *Store) Create(ctx context.Context, c relay.Challenge, request []byte, maxOpen int) (relay.Challenge, bool, error) {
	record, err := c.Encode()
	if err != nil {
		return relay.Challenge{}, false, err
	}
	var stored relay.Challenge
	var created bool
	err = s.write(ctx, func(tx *txn) (late, error) {
		old, digest, err := get(tx, c.CID)
		switch {
		case err == nil && old.Platform == c.Platform && bytes.Equal(digest, c.CreateDigest):
			stored, created = old, false
			return nil, nil
		case err == nil:
			return nil, relay.ErrExists
		case !errors.Is(err, relay.ErrNotFound):
			return nil, err
		}
		rev, open, err := s.stamp(tx, c.Platform, 1)
		if err != nil {
			return nil, err
		}
		if open > int64(maxOpen) {
			return nil, relay.ErrFull
		}
		if _, err := tx.Exec(`INSERT INTO relay_challenge (cid, platform, rev, create_digest, open, due, changed, record) VALUES ($1, $2, $3, $4, 1, $5, $6, $7)`,
			c.CID[:], c.Platform, rev, c.CreateDigest, c.Progress.Due(), c.ChangedAt, record); err != nil {
			return nil, err
		}
		stored, created = c, true
		stored.Rev = rev
		return nil, putParts(tx, c.CID, []relay.Part{{Name: relay.PartRequest, Data: request}})
	})
	if err != nil {
		return relay.Challenge{}, false, fmt.Errorf("create challenge: %w", err)
	}
	return stored, created, nil
}

func putParts(tx *txn, cid protocol.CID, parts []relay.Part) error {
	for _, p := range parts {
		if _, err := tx.Exec(`INSERT INTO relay_part (cid, name, data) VALUES ($1, $2, $3) ON CONFLICT (cid, name) DO NOTHING`, cid[:], p.Name, p.Data); err != nil {
			return fmt.Errorf("store part: %w", err)
		}
	}
	return nil
}

const selectChallenge = `SELECT platform, rev, create_digest, record FROM relay_challenge WHERE cid = $1`

func get(tx *txn, cid protocol.CID) (relay.Challenge, []byte, error) {
	return scanChallenge(cid, tx.QueryRow(selectChallenge, cid[:]))
}

func scanChallenge(cid protocol.CID, row scanner) (relay.Challenge, []byte, error) {
	var platform string
	var rev int64
	var digest, record []byte
	if err := row.Scan(&platform, &rev, &digest, &record); err != nil {
		return relay.Challenge{}, nil, missing(err)
	}
	c, err := relay.DecodeChallenge(cid, platform, rev, record)
	return c, digest, err
}

// Get reads a challenge.
func (s *Store) Get(ctx context.Context, cid protocol.CID) (relay.Challenge, error) {
	c, _, err := scanChallenge(cid, s.reads.row(ctx, selectChallenge, cid[:]))
	if err != nil {
		return relay.Challenge{}, fmt.Errorf("read challenge: %w", err)
	}
	return c, nil
}

// Part reads bytes beside a challenge.
func (s *Store) Part(ctx context.Context, cid protocol.CID, name string) ([]byte, error) {
	var data []byte
	err := s.reads.row(ctx, `SELECT data FROM relay_part WHERE cid = $1 AND name = $2`, cid[:], name).Scan(&data)
	if err != nil {
		return nil, fmt.Errorf("read part %s: %w", name, missing(err))
	}
	return data, nil
}

// Swap is the compare-and-swap.
func (s *Store) Swap(ctx context.Context, rev int64, next relay.Challenge, parts ...relay.Part) (relay.Challenge, error) {
	record, err := next.Encode()
	if err != nil {
		return relay.Challenge{}, err
	}
	var stored relay.Challenge
	err = s.write(ctx, func(tx *txn) (late, error) {
		newRev, err := s.swap(tx, rev, next, record)
		if err != nil {
			return nil, err
		}
		stored = next
		stored.Rev = newRev
		return nil, putParts(tx, next.CID, parts)
	})
	if err != nil {
		return relay.Challenge{}, fmt.Errorf("swap challenge: %w", err)
	}
	return stored, nil
}

func (s *Store) swap(tx *txn, rev int64, next relay.Challenge, record []byte) (int64, error) {
	var platform string
	var current, open int64
	if err := tx.QueryRow(`SELECT platform, rev, open FROM relay_challenge WHERE cid = $1`, next.CID[:]).Scan(&platform, &current, &open); err != nil {
		return 0, missing(err)
	}
	if current != rev {
		return 0, relay.ErrConflict
	}
	nowOpen := b2i(!next.Progress.State.Terminal())
	newRev, _, err := s.stamp(tx, platform, nowOpen-open)
	if err != nil {
		return 0, err
	}
	result, err := tx.Exec(`UPDATE relay_challenge SET rev = $1, open = $2, due = $3, changed = $4, record = $5 WHERE cid = $6 AND rev = $7`,
		newRev, nowOpen, next.Progress.Due(), next.ChangedAt, record, next.CID[:], rev)
	if err != nil {
		return 0, err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return 0, errors.Join(relay.ErrConflict, err)
	}
	return newRev, nil
}

// Feed reads a platform's challenges beyond a rev.
func (s *Store) Feed(ctx context.Context, platform string, after int64, limit int) ([]relay.Challenge, error) {
	rows, err := s.reads.rows(ctx, `SELECT cid, rev, record FROM relay_challenge WHERE platform = $1 AND rev > $2 ORDER BY rev LIMIT $3`, platform, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read feed: %w", err)
	}
	defer rows.Close()
	var list []relay.Challenge
	for rows.Next() {
		var id, record []byte
		var rev int64
		if err := rows.Scan(&id, &rev, &record); err != nil {
			return nil, fmt.Errorf("read feed: %w", err)
		}
		c, err := relay.DecodeChallenge(cidOf(id), platform, rev, record)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

func cidOf(b []byte) (cid protocol.CID) {
	copy(cid[:], b)
	return cid
}

// Due lists what the sweeper has to look at.
func (s *Store) Due(ctx context.Context, now int64, limit int) ([]protocol.CID, error) {
	return cids(s.reads.rows(ctx, `SELECT cid FROM relay_challenge WHERE due > 0 AND due < $1 ORDER BY due LIMIT $2`, now, limit))
}

func cids(rows *sql.Rows, err error) ([]protocol.CID, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []protocol.CID
	for rows.Next() {
		var id []byte
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		list = append(list, cidOf(id))
	}
	return list, rows.Err()
}

// Purge forgets old terminal challenges, and nonces that have expired.
func (s *Store) Purge(ctx context.Context, before int64, limit int) ([]protocol.CID, error) {
	old, err := cids(s.reads.rows(ctx, `SELECT cid FROM relay_challenge WHERE open = 0 AND changed < $1 ORDER BY changed LIMIT $2`, before, limit))
	if err != nil {
		return nil, fmt.Errorf("list old challenges: %w", err)
	}
	expired := s.clock().Add(-nonceMargin).UnixMilli()
	if work, err := s.expiredNonces(ctx, expired); err != nil || !work && len(old) == 0 {
		return nil, err
	}
	err = s.write(ctx, func(tx *txn) (late, error) {
		for _, cid := range old {
			if _, err := tx.Exec(`DELETE FROM relay_challenge WHERE cid = $1 AND open = 0`, cid[:]); err != nil {
				return nil, err
			}
			if _, err := tx.Exec(`DELETE FROM relay_part WHERE cid = $1`, cid[:]); err != nil {
				return nil, err
			}
		}
		_, err := tx.Exec(`DELETE FROM relay_nonce WHERE until < $1`, expired)
		return nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("purge: %w", err)
	}
	return old, nil
}

// Hit counts in memory: nodes of one database count each for itself.
func (s *Store) Hit(_ context.Context, key string, window time.Duration) (int, error) {
	return s.hits.hit(key, window), nil
}
