package bidseal

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxValue bounds the value of a record, in bytes.
const maxValue = 4 << 20

// Check holds the rules of a record that every Store shares.
func (r StoreRecord) Check() error {
	if r.Key == "" || len(r.Key) > 128 || strings.Trim(r.Key, "abcdefghijklmnopqrstuvwxyz0123456789/") != "" {
		return fmt.Errorf("store record: key %q is not 1 to 128 of a-z, 0-9 and '/'", r.Key)
	}
	if len(r.Value) > maxValue {
		return fmt.Errorf("store record: value of %d bytes exceeds %d", len(r.Value), maxValue)
	}
	if r.Expires.IsZero() {
		return fmt.Errorf("store record: no time of expiry")
	}
	return nil
}

// MemoryStore is a Store inside one process; what it holds is lost with it.
type MemoryStore struct {
	mu      sync.Mutex
	records map[string]StoreRecord
}

// NewMemoryStore makes an empty store.
func NewMemoryStore() *MemoryStore { return &MemoryStore{records: make(map[string]StoreRecord)} }

// Put implements Store.
func (s *MemoryStore) Put(_ context.Context, r StoreRecord) error {
	if err := r.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, found := s.records[r.Key]; found {
		return ErrConflict
	}
	r.Version, r.Value = 1, bytes.Clone(r.Value)
	s.records[r.Key] = r
	return nil
}

// Get implements Store.
func (s *MemoryStore) Get(_ context.Context, key string) (StoreRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, found := s.records[key]
	if !found {
		return StoreRecord{}, ErrNotFound
	}
	r.Value = bytes.Clone(r.Value)
	return r, nil
}

// CompareAndSwap implements Store.
func (s *MemoryStore) CompareAndSwap(_ context.Context, r StoreRecord) error {
	if err := r.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, found := s.records[r.Key]; !found || old.Version != r.Version {
		return ErrConflict
	}
	r.Version, r.Value = r.Version+1, bytes.Clone(r.Value)
	s.records[r.Key] = r
	return nil
}

// List implements Store.
func (s *MemoryStore) List(_ context.Context, due time.Time, limit int) ([]StoreRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []StoreRecord
	for _, r := range s.records {
		if !r.Due.IsZero() && !r.Due.After(due) {
			r.Value = bytes.Clone(r.Value)
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b StoreRecord) int { return a.Due.Compare(b.Due) })
	return found[:min(limit, len(found))], nil
}

// Expire implements Store.
func (s *MemoryStore) Expire(_ context.Context, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, r := range s.records {
		if r.Expires.Before(now) {
			delete(s.records, key)
		}
	}
	return nil
}
