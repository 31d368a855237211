package bidseal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/go-json-experiment/json/v1"
)

// FileStore is a Store in a folder, one file per record, for platforms of one
// machine. Several processes may share the folder: a lock file keeps their
// writes apart. A record is replaced by a rename after its bytes reached the
// disk, so that a crash leaves the old or the new one.
type FileStore struct {
	dir  string
	lock *os.File

	mu    sync.Mutex
	index map[string]indexEntry // of record files, by name
}

// indexEntry spares reading a file that has not changed.
type indexEntry struct {
	file         fs.FileInfo
	due, expires time.Time
}

// unchanged reports whether the file is still the one that was read: each
// write makes a new file, and a reused inode has another time or size.
func (e indexEntry) unchanged(info fs.FileInfo) bool {
	return e.file != nil && os.SameFile(e.file, info) && e.file.ModTime().Equal(info.ModTime()) && e.file.Size() == info.Size()
}

// fileRecord is the JSON of a record's file. Form is the version of the file's
// format; a file without one is version 1, too.
type fileRecord struct {
	Form    int    `json:"v"`
	Key     string `json:"key"`
	Version uint64 `json:"version"`
	Due     int64  `json:"due,omitempty"` // Unix ms
	Expires int64  `json:"expires"`       // Unix ms
	Value   []byte `json:"value"`
	protocol.Kept
}

// fileForm is the newest format that this program knows.
const fileForm = 1

const (
	recordSuffix = ".json"
	lockName     = "lock"
	tempSuffix   = ".new"
)

// OpenFileStore opens or makes the folder.
func OpenFileStore(dir string) (*FileStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open file store: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open file store: %w", err)
	}
	return &FileStore{dir: dir, lock: lock, index: make(map[string]indexEntry)}, nil
}

// Close gives the folder up.
func (s *FileStore) Close() error { return s.lock.Close() }

// exclusively runs f while no other goroutine or process writes.
func (s *FileStore) exclusively(f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := lockFile(s.lock); err != nil {
		return fmt.Errorf("lock file store: %w", err)
	}
	err := f()
	return errors.Join(err, unlockFile(s.lock))
}

func (s *FileStore) path(key string) string {
	return filepath.Join(s.dir, strings.ReplaceAll(key, "/", "-")+recordSuffix)
}

// Put implements Store.
func (s *FileStore) Put(_ context.Context, r StoreRecord) error {
	if err := r.Check(); err != nil {
		return err
	}
	return s.exclusively(func() error {
		if _, err := os.Lstat(s.path(r.Key)); err == nil {
			return ErrConflict
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("store record: %w", err)
		}
		r.Version = 1
		return s.write(r, protocol.Kept{})
	})
}

// Get implements Store.
func (s *FileStore) Get(_ context.Context, key string) (StoreRecord, error) {
	return s.read(s.path(key))
}

// CompareAndSwap implements Store.
func (s *FileStore) CompareAndSwap(_ context.Context, r StoreRecord) error {
	if err := r.Check(); err != nil {
		return err
	}
	return s.exclusively(func() error {
		old, err := readFile(s.path(r.Key))
		if errors.Is(err, ErrNotFound) || err == nil && old.Version != r.Version {
			return ErrConflict
		}
		if err != nil {
			return err
		}
		r.Version++
		return s.write(r, old.Kept)
	})
}

// List implements Store.
func (s *FileStore) List(_ context.Context, due time.Time, limit int) ([]StoreRecord, error) {
	s.mu.Lock()
	names, err := s.refresh()
	var found []string
	for _, name := range names {
		if at := s.index[name].due; !at.IsZero() && !at.After(due) {
			found = append(found, name)
		}
	}
	slices.SortFunc(found, func(a, b string) int { return s.index[a].due.Compare(s.index[b].due) })
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var records []StoreRecord
	for _, name := range found[:min(limit, len(found))] {
		r, err := s.read(filepath.Join(s.dir, name))
		if errors.Is(err, ErrNotFound) || err == nil && (r.Due.IsZero() || r.Due.After(due)) {
			continue // changed meanwhile
		}
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

// Expire implements Store.
func (s *FileStore) Expire(_ context.Context, now time.Time) error {
	return s.exclusively(func() error {
		names, err := s.refresh()
		if err != nil {
			return err
		}
		for _, name := range names {
			if !s.index[name].expires.Before(now) {
				continue
			}
			if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("expire record: %w", err)
			}
			delete(s.index, name)
		}
		return nil
	})
}

// refresh brings the index up to date and lists the record files. The caller
// holds mu.
func (s *FileStore) refresh() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list file store: %w", err)
	}
	seen := make(map[string]indexEntry, len(entries))
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, recordSuffix) {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list file store: %w", err)
		}
		known := s.index[name]
		if !known.unchanged(info) {
			r, err := s.read(filepath.Join(s.dir, name))
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			known = indexEntry{info, r.Due, r.Expires}
		}
		seen[name] = known
		names = append(names, name)
	}
	s.index = seen
	return names, nil
}

func readFile(path string) (f fileRecord, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, ErrNotFound
	}
	if err != nil {
		return f, fmt.Errorf("read record: %w", err)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("read record %s: %w", filepath.Base(path), err)
	}
	if f.Form > fileForm {
		return f, fmt.Errorf("read record %s: its format is version %d, this program knows %d", filepath.Base(path), f.Form, fileForm)
	}
	return f, nil
}

func (s *FileStore) read(path string) (StoreRecord, error) {
	f, err := readFile(path)
	if err != nil {
		return StoreRecord{}, err
	}
	r := StoreRecord{Key: f.Key, Version: f.Version, Value: f.Value, Expires: time.UnixMilli(f.Expires)}
	if f.Due != 0 {
		r.Due = time.UnixMilli(f.Due)
	}
	return r, nil
}

// write replaces the file of a record durably; kept is what the file before it had
// beside the record. The caller holds the lock.
func (s *FileStore) write(r StoreRecord, kept protocol.Kept) error {
	f := fileRecord{Form: fileForm, Kept: kept, Key: r.Key, Version: r.Version, Expires: r.Expires.UnixMilli(), Value: r.Value}
	if !r.Due.IsZero() {
		f.Due = r.Due.UnixMilli()
	}
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	path := s.path(r.Key)
	if err := writeDurably(path+tempSuffix, data); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := os.Rename(path+tempSuffix, path); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	delete(s.index, filepath.Base(path))
	return syncDir(s.dir)
}

func writeDurably(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
