// Package sqlstore keeps a relay's state, ends, ledger and directory in one SQL
// database, an SQLite file or PostgreSQL: it is a relay.Store, relay.Outcomes,
// relay.Joint and relay.Directory.
//
// All writes go through one goroutine. It takes what is waiting, up to 128
// operations, and commits them in one transaction, each under a savepoint of its
// own; the ledger's head is taken last; answers are given after the commit. What
// was answered is durable.
//
// A file has one node. On PostgreSQL any number of nodes may share one database:
// their writers take turns (see package sqldb), and what one of them waits with
// is gathered when its turn has come, so that batches grow with the load. Nothing
// that decides is kept in a node's memory there: nonces are rows, not a cache.
// Only counters (Hit) stay each node's own. What a database does not do is wake
// the other nodes: nodes that share one need the Bus of another backend, and one
// that has none says so with Alone.
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
	// shared: other nodes may write to the database, too.
	shared bool

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

// Database says where a Store keeps its data.
type Database struct {
	// Location is the path of a file, or the URL of a PostgreSQL database without
	// a password: postgres://relay@db.example.cn/bidseal?sslmode=verify-full. See
	// package sqldb for its parameters.
	Location string
	// PasswordFile holds the password for PostgreSQL in its first line.
	PasswordFile string
	// Readers bounds the reading connections to PostgreSQL; 0 chooses by processors.
	Readers int
}

func (d Database) source() sqldb.Source {
	return sqldb.Source{Location: d.Location, PasswordFile: d.PasswordFile, Readers: d.Readers, Component: component}
}

// component is the relay's name in a database with others.
const component = "relay"

// Server reports whether the location is a PostgreSQL URL and not a file.
func (d Database) Server() bool { return d.source().Server() }

// Open is OpenDatabase for a location that needs nothing besides.
func Open(ctx context.Context, location string, clock func() time.Time) (*Store, error) {
	return OpenDatabase(ctx, Database{Location: location}, clock)
}

// OpenDatabase opens a database, brings its schema up to date and starts the
// writer. The clock gives the store's time.
func OpenDatabase(ctx context.Context, d Database, clock func() time.Time) (*Store, error) {
	db, err := sqldb.Open(ctx, d.source())
	if err != nil {
		return nil, err
	}
	shared := d.Server()
	s := &Store{db: db, clock: clock, hits: newCounters(clock), reads: newReads(db.Reader(), !shared), shared: shared,
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

// ErrNotAlone: another node serves on the same database.
var ErrNotAlone = errors.New("another relay node serves on this database")

// Alone claims the database for a node that wakes no other, and fails with
// ErrNotAlone if another has claimed it. It holds until release, or until the connection is lost:
// it is a guard against a wrong configuration, and nothing that is stored depends
// on it. It waits a moment for a node that has just died.
func (s *Store) Alone(ctx context.Context) (release func() error, err error) {
	release, err = s.db.Claim(ctx, "relay node without a bus")
	if errors.Is(err, sqldb.ErrClaimed) {
		err = ErrNotAlone
	}
	return release, err
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
