package sqlstore

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// nonces are, in a database of one node, all nonces that have not expired, in
// memory; the database holds them for the next start. A new one rides with the next commit, so that a call
// pays for one commit and not for two: whatever a call changes is stored with its
// nonce or after it. A crash may forget the nonces of calls that only read.
//
// In a database that nodes share a nonce is new where its row is, and a call pays
// for both commits.
type nonces struct {
	mu      sync.Mutex
	until   map[string]int64 // Unix ms
	unsaved []nonce
}

type nonce struct {
	text  string
	until int64
}

// nonceMargin keeps nonces for nodes whose clocks are behind, and for a clock
// that is set back.
const nonceMargin = 5 * time.Minute

func (s *Store) loadNonces(ctx context.Context) error {
	if s.shared {
		return nil
	}
	rows, err := s.reads.rows(ctx, `SELECT nonce, until FROM relay_nonce WHERE until >= $1`, s.clock().Add(-nonceMargin).UnixMilli())
	if err != nil {
		return fmt.Errorf("read nonces: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var n nonce
		if err := rows.Scan(&n.text, &n.until); err != nil {
			return fmt.Errorf("read nonces: %w", err)
		}
		s.nonces.until[n.text] = n.until
	}
	return rows.Err()
}

// UseNonce remembers a nonce.
func (s *Store) UseNonce(ctx context.Context, text string, until time.Time) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if s.shared {
		inserted, err := s.exec(ctx, insertNonce, text, until.UnixMilli())
		if err != nil {
			return false, fmt.Errorf("store nonce: %w", err)
		}
		return inserted == 1, nil
	}
	n := &s.nonces
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, used := n.until[text]; used {
		return false, nil
	}
	n.until[text] = until.UnixMilli()
	n.unsaved = append(n.unsaved, nonce{text, until.UnixMilli()})
	return true, nil
}

// expiredNonces reports whether the database has nonces to forget, or to learn.
func (s *Store) expiredNonces(ctx context.Context, now int64) (bool, error) {
	if !s.shared {
		return s.nonces.expire(now), nil
	}
	var n int
	if err := s.reads.row(ctx, `SELECT count(*) FROM relay_nonce WHERE until < $1`, now).Scan(&n); err != nil {
		return false, fmt.Errorf("count expired nonces: %w", err)
	}
	return n > 0, nil
}

// expire forgets what has expired and reports whether the database has something
// to do: to forget, or to learn.
func (n *nonces) expire(now int64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	work := len(n.unsaved) > 0
	for text, until := range n.until {
		if until < now {
			delete(n.until, text)
			work = true
		}
	}
	return work
}

func (n *nonces) take() []nonce {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.unsaved
	n.unsaved = nil
	return list
}

// putBack keeps for the next commit what this one could not store.
func (n *nonces) putBack(list []nonce) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unsaved = append(list, n.unsaved...)
}

const insertNonce = `INSERT INTO relay_nonce (nonce, until) VALUES ($1, $2) ON CONFLICT (nonce) DO NOTHING`

func saveNonces(tx *txn, list []nonce) error {
	for _, n := range list {
		if _, err := tx.Exec(insertNonce, n.text, n.until); err != nil {
			return fmt.Errorf("store nonce: %w", err)
		}
	}
	return nil
}
