package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// maxBatch is how many waiting operations one transaction takes.
const maxBatch = 128

// op is one write. run is called within a transaction, under a savepoint; what
// it returns as late runs after all operations of the batch, when the ledger is
// at hand. Both may run again where a batch failed as a whole.
type op struct {
	ctx  context.Context // the caller's: an operation whose caller is gone is not begun
	run  func(tx *txn) (late, error)
	late late
	err  error
	done chan error
}

// late is the second part of an operation; it needs the ledger.
type late func(tx *txn, l *ledger) error

// write hands an operation to the writer and waits for its commit. An error of
// ctx does not say that nothing was written.
func (s *Store) write(ctx context.Context, run func(tx *txn) (late, error)) error {
	o := &op{ctx: ctx, run: run, done: make(chan error, 1)}
	select {
	case s.queue <- o:
	case <-s.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		select {
		case err := <-o.done: // answered while the writer ended
			return err
		default:
			return ErrClosed
		}
	}
}

// exec is write for one statement.
func (s *Store) exec(ctx context.Context, query string, args ...any) (affected int64, err error) {
	var n int64
	err = s.write(ctx, func(tx *txn) (late, error) {
		result, err := tx.Exec(query, args...)
		if err != nil {
			return nil, err
		}
		n, err = result.RowsAffected()
		return nil, err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// writer is the one goroutine that writes.
func (s *Store) writer() {
	defer close(s.done)
	for {
		select {
		case o := <-s.queue:
			s.commit([]*op{o}, s.gather)
		case <-s.stop:
			for {
				select {
				case o := <-s.queue:
					s.commit([]*op{o}, s.gather)
				default:
					s.commit(nil, nil) // the last nonces
					return
				}
			}
		}
	}
}

// gather adds what is waiting.
func (s *Store) gather(batch []*op) []*op {
	for len(batch) < maxBatch {
		select {
		case o := <-s.queue:
			batch = append(batch, o)
		default:
			return batch
		}
	}
	return batch
}

// errLate marks a failure that undoes the whole batch because of one operation.
var errLate = errors.New("second part failed")

// commitLimit bounds a transaction on a server, which may be out of reach.
const commitLimit = 30 * time.Second

// commit runs a batch in one transaction and then reports to the callers. more adds
// to the batch once the transaction has begun, which may have waited for other
// writers.
func (s *Store) commit(batch []*op, more func([]*op) []*op) {
	ctx, cancel := s.batchContext()
	defer cancel()
	var unsaved []nonce
	missing := map[string]struct{}{}
	err := s.db.Update(ctx, func(tx *sql.Tx) error {
		t := &txn{ctx: ctx, tx: tx, prepared: s.prepared, missing: missing}
		if more != nil {
			batch = more(batch)
		}
		unsaved = s.nonces.take() // after the last operation came: its nonce is among them
		if err := saveNonces(t, unsaved); err != nil {
			return err
		}
		return s.runAll(t, batch)
	})
	if err != nil {
		s.nonces.putBack(unsaved)
	}
	if errors.Is(err, errLate) && len(batch) > 1 {
		for _, o := range batch { // one by one: only the culprit fails
			s.commit([]*op{o}, nil)
		}
		return
	}
	for _, o := range batch {
		if err != nil {
			o.err = err
		}
		o.done <- o.err
	}
	if err == nil && !s.shared {
		s.prepareAll(missing)
	}
}

// batchContext belongs to no single caller, so that none of theirs ends a batch.
// A file needs no limit, and its driver pays for one with each statement.
func (s *Store) batchContext() (context.Context, context.CancelFunc) {
	if s.shared {
		return context.WithTimeout(context.Background(), commitLimit)
	}
	return context.Background(), func() {}
}

// prepareAll prepares for the next batch what this one had to parse. A query
// that cannot be prepared is parsed again.
func (s *Store) prepareAll(missing map[string]struct{}) {
	for query := range missing {
		if stmt, err := s.db.Prepare(context.Background(), query); err == nil { //nolint:sqlclosecheck // lives as long as the store
			s.prepared[query] = stmt
		}
	}
}

func (s *Store) runAll(tx *txn, batch []*op) error {
	for _, o := range batch {
		o.late = nil
		if o.err = o.ctx.Err(); o.err != nil {
			continue
		}
		if err := s.runOne(tx, o); err != nil {
			return err
		}
	}
	l := &ledger{}
	for _, o := range batch {
		if o.err != nil || o.late == nil {
			continue
		}
		if err := o.late(tx, l); err != nil {
			return fmt.Errorf("%w: %w", errLate, err)
		}
	}
	return l.save(tx)
}

// runOne runs the first part under a savepoint: a refused operation leaves nothing.
func (s *Store) runOne(tx *txn, o *op) error {
	if err := s.savepoint(tx); err != nil {
		return err
	}
	if o.late, o.err = o.run(tx); o.err != nil {
		_, err := tx.Exec(`ROLLBACK TO SAVEPOINT op`)
		return err
	}
	return nil
}

// savepoint begins an operation and keeps the one before, in one round trip where
// the database is not in this process.
func (s *Store) savepoint(tx *txn) (err error) {
	switch {
	case !tx.savepoint:
		_, err = tx.Exec(`SAVEPOINT op`)
		tx.savepoint = true
	case s.shared:
		_, err = tx.tx.ExecContext(tx.ctx, `RELEASE SAVEPOINT op; SAVEPOINT op`)
	default:
		if _, err = tx.Exec(`RELEASE SAVEPOINT op`); err == nil {
			_, err = tx.Exec(`SAVEPOINT op`)
		}
	}
	return err
}
