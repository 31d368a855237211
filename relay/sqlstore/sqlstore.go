// Package sqlstore keeps a relay's state, ends, ledger and directory in one SQL
// database: it is a relay.Store, relay.Outcomes, relay.Joint and
// relay.Directory.
//
// All writes go through one goroutine. It takes what is waiting, up to 128
// operations, and commits them in one transaction, each under a savepoint of its
// own; the ledger's head is taken last; answers are given after the commit. What
// was answered is durable.
package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is the backend. It is safe for concurrent use.
type Store struct {
	db    *sqldb.DB
	clock func() time.Time
	id    string
	hits  *counters
	reads *reads

	nonces   nonces
	prepared map[string]*sql.Stmt // owned by the writer

	queue chan *op
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when the writer has ended
	once  sync.Once
}

var (
	_ relay.Store     = (*Store)(nil)
	_ relay.Outcomes  = (*Store)(nil)
	_ relay.Joint     = (*Store)(nil)
	_ relay.Directory = (*Store)(nil)
)

// ErrClosed: the store was closed before it took the operation.
var ErrClosed = errors.New("store is closed")

// Open opens the database file, brings its schema up to date and starts the
// writer. The clock gives the store's time.
func Open(ctx context.Context, path string, clock func() time.Time) (*Store, error) {
	db, err := sqldb.OpenSQLite(ctx, path)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, clock: clock, hits: newCounters(clock), reads: newReads(db.Reader()),
		nonces: nonces{until: map[string]int64{}}, prepared: map[string]*sql.Stmt{}, queue: make(chan *op, maxBatch),
		stop: make(chan struct{}), done: make(chan struct{})}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := s.loadNonces(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	go s.writer()
	return s, nil
}

func (s *Store) prepare(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := s.db.Migrate(ctx, "relay", files); err != nil {
		return err
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return fmt.Errorf("draw store id: %w", err)
	}
	return s.db.Update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO relay_meta (name, value) VALUES ('store_id', $1) ON CONFLICT (name) DO NOTHING`, hex.EncodeToString(id)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO relay_ledger_head (one, size, head) VALUES (1, 0, $1) ON CONFLICT (one) DO NOTHING`, make([]byte, protocol.HashSize)); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT value FROM relay_meta WHERE name = 'store_id'`).Scan(&s.id)
	})
}

// Close finishes what was taken and closes the database.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.stop) })
	<-s.done
	return s.db.Close()
}

// ID names this database.
func (s *Store) ID(ctx context.Context) (string, error) {
	var id string
	err := s.reads.row(ctx, `SELECT value FROM relay_meta WHERE name = 'store_id'`).Scan(&id)
	return id, err
}

// missing turns an empty result into relay.ErrNotFound.
func missing(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return relay.ErrNotFound
	}
	return err
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
