package sdktest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bidseal "github.com/bidseal/bidseal/sdk"
)

// TestStore holds a Store to its contract. open gives a store that starts empty;
// reopen gives another handle on the same one, as a second process has it, or is
// nil where there is no such thing.
func TestStore(t *testing.T, open func(testing.TB) bidseal.Store, reopen func(testing.TB, bidseal.Store) bidseal.Store) {
	t.Helper()
	if reopen == nil {
		reopen = func(_ testing.TB, s bidseal.Store) bidseal.Store { return s }
	}
	for name, test := range map[string]func(*storeTest){
		"put and get":   (*storeTest).putAndGet,
		"swap":          (*storeTest).swap,
		"one wins":      (*storeTest).oneWins,
		"list":          (*storeTest).list,
		"expire":        (*storeTest).expire,
		"refused":       (*storeTest).refused,
		"second handle": (*storeTest).secondHandle,
	} {
		t.Run(name, func(t *testing.T) {
			s := &storeTest{T: t, store: open(t)}
			s.other = reopen(t, s.store)
			test(s)
		})
	}
}

type storeTest struct {
	*testing.T
	store, other bidseal.Store
}

// storeTime is a time to the millisecond, as a store keeps it.
func storeTime(seconds int) time.Time { return time.Unix(1_800_000_000+int64(seconds), 5e6) }

func storeRecord(key, value string) bidseal.StoreRecord {
	return bidseal.StoreRecord{Key: key, Value: []byte(value), Expires: storeTime(1000)}
}

func (s *storeTest) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *storeTest) want(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("got %v, want %v", err, want)
	}
}

func (s *storeTest) get(store bidseal.Store, key string) bidseal.StoreRecord {
	s.Helper()
	r, err := store.Get(s.Context(), key)
	s.must(err)
	return r
}

func (s *storeTest) putAndGet() {
	_, err := s.store.Get(s.Context(), "c/1")
	s.want(err, bidseal.ErrNotFound)
	r := storeRecord("c/1", "\x00value\xff")
	r.Due = storeTime(7)
	s.must(s.store.Put(s.Context(), r))
	got := s.get(s.store, "c/1")
	if got.Version != 1 || string(got.Value) != string(r.Value) || !got.Due.Equal(r.Due) || !got.Expires.Equal(r.Expires) {
		s.Errorf("got %+v", got)
	}
	s.want(s.store.Put(s.Context(), storeRecord("c/1", "other")), bidseal.ErrConflict)
	got.Value[0] = 'x'
	if again := s.get(s.store, "c/1"); string(again.Value) != string(r.Value) {
		s.Error("the caller's slice is the store's")
	}
}

func (s *storeTest) swap() {
	s.want(s.store.CompareAndSwap(s.Context(), storeRecord("c/1", "a")), bidseal.ErrConflict)
	s.must(s.store.Put(s.Context(), storeRecord("c/1", "a")))
	r := s.get(s.store, "c/1")
	r.Value, r.Due = []byte("b"), storeTime(9)
	s.must(s.store.CompareAndSwap(s.Context(), r))
	s.want(s.store.CompareAndSwap(s.Context(), r), bidseal.ErrConflict)
	got := s.get(s.store, "c/1")
	if got.Version != 2 || string(got.Value) != "b" || !got.Due.Equal(storeTime(9)) {
		s.Errorf("got %+v", got)
	}
	got.Due = time.Time{}
	s.must(s.store.CompareAndSwap(s.Context(), got))
	if got = s.get(s.store, "c/1"); !got.Due.IsZero() {
		s.Errorf("due %s", got.Due)
	}
}

func (s *storeTest) oneWins() {
	s.must(s.store.Put(s.Context(), storeRecord("c/1", "start")))
	old := s.get(s.store, "c/1")
	const racers = 16
	var wins, failures atomic.Int32
	var group sync.WaitGroup
	for i := range racers {
		store := s.store
		if i%2 == 1 {
			store = s.other
		}
		group.Go(func() {
			r := old
			r.Value = fmt.Append(nil, i)
			switch err := store.CompareAndSwap(s.Context(), r); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, bidseal.ErrConflict):
				failures.Add(1)
			}
		})
	}
	group.Wait()
	if wins.Load() != 1 || failures.Load() != 0 {
		s.Errorf("%d of %d won, %d failed", wins.Load(), racers, failures.Load())
	}
}

func (s *storeTest) list() {
	for i, due := range []int{30, 10, 20, 40} {
		r := storeRecord(fmt.Sprintf("c/%d", i), "v")
		r.Due = storeTime(due)
		s.must(s.store.Put(s.Context(), r))
	}
	s.must(s.store.Put(s.Context(), storeRecord("c/never", "v")))
	keys := func(due, limit int) string {
		found, err := s.other.List(s.Context(), storeTime(due), limit)
		s.must(err)
		var out []string
		for _, r := range found {
			out = append(out, r.Key)
		}
		return strings.Join(out, " ")
	}
	if got := keys(30, 10); got != "c/1 c/2 c/0" {
		s.Errorf("due at 30: %s", got)
	}
	if got := keys(40, 2); got != "c/1 c/2" {
		s.Errorf("two of them: %s", got)
	}
	r := s.get(s.store, "c/1")
	r.Due = time.Time{}
	s.must(s.store.CompareAndSwap(s.Context(), r))
	if got := keys(30, 10); got != "c/2 c/0" {
		s.Errorf("after one was settled: %s", got)
	}
}

func (s *storeTest) expire() {
	s.must(s.store.Put(s.Context(), storeRecord("c/1", "v")))
	late := storeRecord("c/2", "v")
	late.Expires = storeTime(2000)
	s.must(s.store.Put(s.Context(), late))
	s.must(s.store.Expire(s.Context(), storeTime(1500)))
	_, err := s.store.Get(s.Context(), "c/1")
	s.want(err, bidseal.ErrNotFound)
	s.get(s.store, "c/2")
}

func (s *storeTest) refused() {
	for _, r := range []bidseal.StoreRecord{
		storeRecord("", "v"), storeRecord("../x", "v"), storeRecord("C/1", "v"), storeRecord(strings.Repeat("a", 129), "v"), {Key: "c/1", Value: []byte("v")},
	} {
		if err := s.store.Put(s.Context(), r); err == nil || errors.Is(err, bidseal.ErrConflict) {
			s.Errorf("key %.20q, expires %s: %v", r.Key, r.Expires, err)
		}
	}
}

func (s *storeTest) secondHandle() {
	s.must(s.store.Put(s.Context(), storeRecord("c/1", "a")))
	r := s.get(s.other, "c/1")
	r.Value = []byte("b")
	s.must(s.other.CompareAndSwap(s.Context(), r))
	if got := s.get(s.store, "c/1"); string(got.Value) != "b" {
		s.Errorf("got %s", got.Value)
	}
	s.want(s.store.CompareAndSwap(s.Context(), r), bidseal.ErrConflict)
}
