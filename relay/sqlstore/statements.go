package sqlstore

import (
	"context"
	"database/sql"
	"sync"
)

// txn is a transaction that uses prepared statements where they exist. Which
// queries it ran is noted, so that the writer prepares them for the next one.
// Queries are constants of this package: there are few.
type txn struct {
	ctx      context.Context // of the whole batch
	tx       *sql.Tx
	prepared map[string]*sql.Stmt
	missing  map[string]struct{}
	// savepoint: one is open.
	savepoint bool
}

func (t *txn) stmt(query string) *sql.Stmt {
	if s := t.prepared[query]; s != nil {
		return t.tx.StmtContext(t.ctx, s)
	}
	t.missing[query] = struct{}{}
	return nil
}

// Exec runs a statement.
func (t *txn) Exec(query string, args ...any) (sql.Result, error) {
	if s := t.stmt(query); s != nil { //nolint:sqlclosecheck // lives as long as the store
		return s.ExecContext(t.ctx, args...)
	}
	return t.tx.ExecContext(t.ctx, query, args...)
}

// QueryRow reads one row.
func (t *txn) QueryRow(query string, args ...any) *sql.Row {
	if s := t.stmt(query); s != nil { //nolint:sqlclosecheck // lives as long as the store
		return s.QueryRowContext(t.ctx, args...)
	}
	return t.tx.QueryRowContext(t.ctx, query, args...)
}

// reads are the prepared statements of the reading connections. PostgreSQL's
// driver prepares by itself, for each connection.
type reads struct {
	db      *sql.DB
	prepare bool
	mu      sync.RWMutex
	by      map[string]*sql.Stmt
}

func newReads(db *sql.DB, prepare bool) *reads {
	return &reads{db: db, prepare: prepare, by: map[string]*sql.Stmt{}}
}

func (r *reads) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.RLock()
	s := r.by[query]
	r.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	s, err := r.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.by[query]; other != nil {
		return other, s.Close() //nolint:sqlclosecheck // somebody was faster
	}
	r.by[query] = s
	return s, nil
}

// rows reads rows; the caller closes them and asks their Err.
func (r *reads) rows(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if !r.prepare {
		return r.db.QueryContext(ctx, query, args...)
	}
	s, err := r.stmt(ctx, query) //nolint:sqlclosecheck // lives as long as the store
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// row reads one row into dest.
func (r *reads) row(ctx context.Context, query string, args ...any) scanner {
	if !r.prepare {
		return r.db.QueryRowContext(ctx, query, args...)
	}
	s, err := r.stmt(ctx, query) //nolint:sqlclosecheck // lives as long as the store
	if err != nil {
		return failed{err}
	}
	return s.QueryRowContext(ctx, args...)
}

// scanner is a row, or the failure to read one.
type scanner interface{ Scan(dest ...any) error }

type failed struct{ err error }

// Scan returns the failure.
func (f failed) Scan(...any) error { return f.err }
