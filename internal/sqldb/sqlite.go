package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"modernc.org/sqlite"
)

// busyTimeout is how long a writer waits for one in another process.
const busyTimeout = 10 * time.Second

// OpenSQLite opens a file, which it makes if there is none (readable by its
// owner only), and checks that it is a database.
func OpenSQLite(ctx context.Context, path string) (*DB, error) {
	file, err := os.OpenFile(filepath.Clean(path), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	write, err := connect(path, "")
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	read, err := connect(path, "query_only(1)")
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(max(2, runtime.GOMAXPROCS(0)))
	read.SetMaxIdleConns(max(2, runtime.GOMAXPROCS(0)))
	db := &DB{write: write, read: read, engine: sqliteEngine{}}
	for _, pool := range []*sql.DB{write, read} { // the writer first: it sets the journal mode
		if err := pool.PingContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("open database %s: %w", filepath.Base(path), err), db.Close())
		}
	}
	return db, nil
}

func connect(path, pragma string) (*sql.DB, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
	}}
	if pragma != "" {
		query["_pragma"] = append(query["_pragma"], pragma)
	}
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(absolute), RawQuery: query.Encode()}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return sql.OpenDB(connector), nil
}

type sqliteEngine struct{}

// begin takes the writer's lock by _txlock=immediate.
func (sqliteEngine) begin(ctx context.Context, write *sql.DB) (*sql.Tx, error) {
	return write.BeginTx(ctx, nil)
}

func (sqliteEngine) view() *sql.TxOptions { return &sql.TxOptions{ReadOnly: true} }

func (sqliteEngine) migrating(ctx context.Context, tx *sql.Tx) (known bool, err error) {
	var n int
	err = tx.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'`).Scan(&n)
	return n > 0, err
}

func (sqliteEngine) claim(context.Context, *sql.DB, string) (func() error, error) {
	return func() error { return nil }, nil
}
