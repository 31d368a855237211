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

// DB is one database with a writing and several reading connections.
type DB struct {
	write, read *sql.DB
}

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
	db := &DB{write: write, read: read}
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

// Close ends all connections; with the last one the write-ahead log is folded
// into the file.
func (d *DB) Close() error { return errors.Join(d.read.Close(), d.write.Close()) }

// Reader is for queries outside a transaction. Writing through it fails.
func (d *DB) Reader() *sql.DB { return d.read }

// View runs several queries that see the database at one moment, that of the
// first. Writers go on meanwhile.
func (d *DB) View(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := d.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return errors.Join(do(tx), tx.Rollback())
}

// Prepare prepares a statement for use within Update, by tx.StmtContext. It must
// not be called within Update. Close ends it.
func (d *DB) Prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	stmt, err := d.write.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare statement: %w", err)
	}
	return stmt, nil
}

// Update runs one transaction that may write. It is committed when do returns
// nil. An error does not say that nothing was written: a commit that was
// interrupted may have happened, so that every operation must be repeatable.
func (d *DB) Update(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() // no effect after Commit
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
