// Package sqlstore is a Store of the SDK in an SQL database: in an SQLite file for
// the processes of one machine, or in PostgreSQL for any number of a platform's
// backends.
//
//	store, err := sqlstore.Open(ctx, sqlstore.Config{
//		Location:     "postgres://platform@db.example.cn/bids?sslmode=verify-full",
//		PasswordFile: "/etc/platform/database.password",
//	})
//	client, err := bidseal.New(bidseal.Config{Store: store, ...})
//
// It makes one table, sdk_record, beside the platform's own if need be. Every
// operation is one statement, atomic by itself: backends neither wait for each
// other's transactions nor hold locks, and whichever of them comes first with a
// record wins. What was answered is durable; an error does not say that nothing
// was written, as everywhere with a Store.
//
// The SDK itself imports no SQL: only who imports this package links the engines.
package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/bidseal/bidseal/internal/sqldb"
	bidseal "github.com/bidseal/bidseal/sdk"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config says which database to use. Only Location is required.
type Config struct {
	// Location is the path of an SQLite file, made where there is none, or the URL
	// of a PostgreSQL database (15 or newer, in UTF8) with the parameters of libpq
	// and without a password. sslmode is verify-full unless the URL says otherwise
	// or the server is this machine.
	Location string
	// PasswordFile holds the password for PostgreSQL in its first line and is read
	// for each new connection. Without it $PGPASSWORD and ~/.pgpass count.
	PasswordFile string
	// Connections bounds those to PostgreSQL, half for reading and half for
	// writing; 16 where 0.
	Connections int
}

const defaultConnections = 16

// Store implements bidseal.Store. It is safe for concurrent use.
type Store struct{ db *sqldb.DB }

var _ bidseal.Store = (*Store)(nil)

// Open opens the database and makes the table where it is missing. Several
// processes may do so at once.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Connections <= 0 {
		c.Connections = defaultConnections
	}
	half := max(1, c.Connections/2)
	db, err := sqldb.Open(ctx, sqldb.Source{Location: c.Location, PasswordFile: c.PasswordFile, Component: "sdk", Readers: half, Writers: half})
	if err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err == nil {
		err = db.Migrate(ctx, "sdk", files)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Store{db: db}, nil
}

// Close ends the connections.
func (s *Store) Close() error { return s.db.Close() }

// Put implements bidseal.Store.
func (s *Store) Put(ctx context.Context, r bidseal.StoreRecord) error {
	if err := r.Check(); err != nil {
		return err
	}
	return s.one(ctx, `INSERT INTO sdk_record (name, version, value, due, expires) VALUES ($1, 1, $2, $3, $4) ON CONFLICT (name) DO NOTHING`,
		r.Key, value(r), due(r), r.Expires.UnixMilli())
}

// CompareAndSwap implements bidseal.Store.
func (s *Store) CompareAndSwap(ctx context.Context, r bidseal.StoreRecord) error {
	if err := r.Check(); err != nil {
		return err
	}
	return s.one(ctx, `UPDATE sdk_record SET version = version + 1, value = $1, due = $2, expires = $3 WHERE name = $4 AND version = $5`,
		value(r), due(r), r.Expires.UnixMilli(), r.Key, int64(r.Version))
}

// one runs a statement that changes one row, or finds another there.
func (s *Store) one(ctx context.Context, query string, args ...any) error {
	n, err := s.db.Exec(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if n != 1 {
		return bidseal.ErrConflict
	}
	return nil
}

// value is never NULL.
func value(r bidseal.StoreRecord) []byte {
	if r.Value == nil {
		return []byte{}
	}
	return r.Value
}

func due(r bidseal.StoreRecord) int64 {
	if r.Due.IsZero() {
		return 0
	}
	return max(1, r.Due.UnixMilli())
}

const columns = `name, version, value, due, expires FROM sdk_record `

func scan(row interface{ Scan(dest ...any) error }) (bidseal.StoreRecord, error) {
	var r bidseal.StoreRecord
	var version, due, expires int64
	if err := row.Scan(&r.Key, &version, &r.Value, &due, &expires); err != nil {
		return bidseal.StoreRecord{}, err
	}
	r.Version, r.Expires = uint64(version), time.UnixMilli(expires)
	if due > 0 {
		r.Due = time.UnixMilli(due)
	}
	return r, nil
}

// Get implements bidseal.Store.
func (s *Store) Get(ctx context.Context, key string) (bidseal.StoreRecord, error) {
	r, err := scan(s.db.Reader().QueryRowContext(ctx, `SELECT `+columns+`WHERE name = $1`, key))
	if errors.Is(err, sql.ErrNoRows) {
		return bidseal.StoreRecord{}, bidseal.ErrNotFound
	}
	if err != nil {
		return bidseal.StoreRecord{}, fmt.Errorf("read record: %w", err)
	}
	return r, nil
}

// List implements bidseal.Store.
func (s *Store) List(ctx context.Context, until time.Time, limit int) ([]bidseal.StoreRecord, error) {
	rows, err := s.db.Reader().QueryContext(ctx, `SELECT `+columns+`WHERE due > 0 AND due <= $1 ORDER BY due LIMIT $2`, until.UnixMilli(), limit)
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	defer rows.Close()
	var list []bidseal.StoreRecord
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list records: %w", err)
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	return list, nil
}

// Expire implements bidseal.Store.
func (s *Store) Expire(ctx context.Context, now time.Time) error {
	if _, err := s.db.Exec(ctx, `DELETE FROM sdk_record WHERE expires < $1`, now.UnixMilli()); err != nil {
		return fmt.Errorf("expire records: %w", err)
	}
	return nil
}
