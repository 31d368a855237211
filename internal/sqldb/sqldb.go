package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// DB is one database with a writing and several reading connections.
type DB struct {
	write, read *sql.DB
	engine      engine
}

// engine is what the two kinds of database do differently.
type engine interface {
	// begin begins a transaction that may write, when no other may.
	begin(ctx context.Context, write *sql.DB) (*sql.Tx, error)
	// view says how a transaction sees one moment.
	view() *sql.TxOptions
	// migrating makes tx the only one that changes any component's schema, and
	// reports whether the table of migrations is there.
	migrating(ctx context.Context, tx *sql.Tx) (known bool, err error)
	// claim is Claim.
	claim(ctx context.Context, pool *sql.DB, name string) (release func() error, err error)
}

// ErrClaimed: another process holds the claim.
var ErrClaimed = errors.New("another process holds the claim")

// Claim reserves a name for one process at a time, until release is called, the
// process ends or its connection is lost: a guard against two that should be one,
// on which nothing stored may depend. It waits a while for a holder that has just
// died. A file has no claims: every one is given.
func (d *DB) Claim(ctx context.Context, name string) (release func() error, err error) {
	return d.engine.claim(ctx, d.read, name)
}

// Close ends all connections. With the last one the write-ahead log of an SQLite
// database is folded into the file.
func (d *DB) Close() error { return errors.Join(d.read.Close(), d.write.Close()) }

// Reader is for queries outside a transaction. Writing through it fails.
func (d *DB) Reader() *sql.DB { return d.read }

// View runs several queries that see the database at one moment, that of the
// first. Writers go on meanwhile.
func (d *DB) View(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := d.read.BeginTx(ctx, d.engine.view())
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err = do(tx)
	if endErr := tx.Rollback(); !errors.Is(endErr, sql.ErrTxDone) { // the context's end has done it
		err = errors.Join(err, endErr)
	}
	return err
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

// Exec runs one statement that may write, and returns how many rows it changed.
// It takes no turn: a statement is atomic by itself, and one that compares before
// it swaps needs no more. An error does not say that nothing was written.
func (d *DB) Exec(ctx context.Context, query string, args ...any) (affected int64, err error) {
	result, err := d.write.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// Update runs one transaction that may write. It is committed when do returns
// nil. An error does not say that nothing was written: a commit that was
// interrupted may have happened, so that every operation must be repeatable.
func (d *DB) Update(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := d.engine.begin(ctx, d.write)
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

// Changed reports whether a statement changed a row; it takes what ExecContext
// returns.
func Changed(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}
