package sqlstore

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bidseal/bidseal/relay"
	"github.com/emmansun/gmsm/sm2"
)

// idle is a store whose writer does not run, so that a test decides what one
// batch holds.
func idle(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), newLocation(t), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s.once.Do(func() { close(s.stop) })
	<-s.done
	s.stop, s.done = nil, nil // operations wait in the queue from now on
	t.Cleanup(func() { s.db.Close() })
	return s
}

func newOp(ctx context.Context, run func(tx *txn) (late, error)) *op {
	return &op{ctx: ctx, run: run, done: make(chan error, 1)}
}

func putNonce(tx *txn, nonce string) error {
	_, err := tx.Exec(`INSERT INTO relay_nonce (nonce, until) VALUES ($1, 0)`, nonce)
	return err
}

func (s *Store) stored(t *testing.T) []string {
	t.Helper()
	rows, err := s.db.Reader().QueryContext(t.Context(), `SELECT nonce FROM relay_nonce ORDER BY nonce`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var n string
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestBatch: the second parts run after all first parts, a refused operation
// leaves nothing, one without a caller is not begun, and no caller gets a result
// before the commit.
func TestBatch(t *testing.T) {
	s := idle(t)
	refused := errors.New("refused")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var order []string
	note := func(name string, err error) func(tx *txn) (late, error) {
		return func(tx *txn) (late, error) {
			order = append(order, name)
			if insertErr := putNonce(tx, name); insertErr != nil {
				return nil, insertErr
			}
			return func(*txn, *ledger) error {
				order = append(order, "late "+name)
				if n := s.stored(t); len(n) != 0 {
					t.Errorf("visible before the commit: %v", n)
				}
				return nil
			}, err
		}
	}
	batch := []*op{newOp(t.Context(), note("a", nil)), newOp(t.Context(), note("b", refused)), newOp(gone, note("c", nil)), newOp(t.Context(), note("d", nil))}
	s.commit(batch, nil)
	if want := []string{"a", "b", "d", "late a", "late d"}; !slices.Equal(order, want) {
		t.Fatalf("order %q", order)
	}
	if got := s.stored(t); !slices.Equal(got, []string{"a", "d"}) {
		t.Fatalf("stored %q", got)
	}
	for i, want := range []error{nil, refused, context.Canceled, nil} {
		if err := <-batch[i].done; !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("operation %d: %v, want %v", i, err, want)
		}
	}
}

// TestNonceOfGathered: an operation that joins a batch whose transaction has
// begun is stored with the nonce of its call.
func TestNonceOfGathered(t *testing.T) {
	s := idle(t)
	s.shared = false // else a nonce is an operation of its own
	joined := newOp(t.Context(), func(tx *txn) (late, error) { return nil, putNonce(tx, "change") })
	s.commit([]*op{newOp(t.Context(), func(*txn) (late, error) { return nil, nil })}, func(batch []*op) []*op {
		if ok, err := s.UseNonce(t.Context(), "nonce", time.Now().Add(time.Minute)); err != nil || !ok {
			t.Errorf("a new nonce: %t, %v", ok, err)
		}
		return append(batch, joined)
	})
	if err := <-joined.done; err != nil {
		t.Fatal(err)
	}
	if got := s.stored(t); !slices.Equal(got, []string{"change", "nonce"}) {
		t.Fatalf("stored %q", got)
	}
}

// TestNonceOutlivesClocks: a nonce is kept for a node whose clock is behind.
func TestNonceOutlivesClocks(t *testing.T) {
	now := time.Now()
	s, err := Open(t.Context(), newLocation(t), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	until := now.Add(time.Minute)
	fresh := func() bool {
		t.Helper()
		if _, err := s.Purge(t.Context(), 0, 10); err != nil {
			t.Fatal(err)
		}
		ok, err := s.UseNonce(t.Context(), "nonce", until)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !fresh() {
		t.Fatal("a new nonce is not fresh")
	}
	now = until.Add(time.Minute)
	if fresh() {
		t.Fatal("forgotten while a node a minute behind would take it")
	}
	now = until.Add(nonceMargin + time.Minute)
	if !fresh() {
		t.Fatal("never forgotten")
	}
}

// TestBatchFailsAsAWhole: what undoes the transaction is answered to everybody.
func TestBatchFailsAsAWhole(t *testing.T) {
	s := idle(t)
	batch := []*op{
		newOp(t.Context(), func(tx *txn) (late, error) { return nil, putNonce(tx, "a") }),
		newOp(t.Context(), func(tx *txn) (late, error) { return nil, errors.Join(tx.tx.Rollback()) }),
		newOp(t.Context(), func(tx *txn) (late, error) { return nil, putNonce(tx, "b") }),
	}
	s.commit(batch, nil)
	for i, o := range batch {
		if err := <-o.done; err == nil {
			t.Errorf("operation %d succeeded", i)
		}
	}
	if got := s.stored(t); len(got) != 0 {
		t.Fatalf("stored %q", got)
	}
}

// TestEndsOfOneBatch: two ends of one challenge and the ends of others in one
// transaction; the chain has one entry for each challenge.
func TestEndsOfOneBatch(t *testing.T) {
	s := idle(t)
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := relay.SignPromises(key)
	end := func(n int, device string) relay.End { return rejection(t, key, n, device) }
	one, other := "0123456789abcdef0123456789abcdef", "1123456789abcdef0123456789abcdef"
	won := make([]relay.End, 4)
	errs := make([]error, 4)
	given := []relay.End{end(1, one), end(2, one), end(1, other), end(3, one)}
	done := make(chan int, len(given))
	for i := range given {
		go func() {
			won[i], errs[i] = s.End(t.Context(), given[i], sign)
			done <- i
		}()
	}
	var batch []*op
	for range given {
		batch = append(batch, <-s.queue)
	}
	s.commit(batch, nil)
	for range given {
		if i := <-done; errs[i] != nil {
			t.Fatal(errs[i])
		}
	}
	if won[0].Device != won[2].Device || won[0].Promise.Index != won[2].Promise.Index {
		t.Fatalf("two ends of one challenge: %+v and %+v", won[0], won[2])
	}
	report, err := relay.VerifyLedger(t.Context(), s, key.Public(), nil)
	if err != nil || report.Entries != 3 {
		t.Fatalf("%+v, %v", report, err)
	}
}
