package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Dir keeps files in one folder of the operating system, mode 0600 in a folder
// of mode 0700. Locks hold between processes where the system has flock, and
// always within the process. Make it with OpenDir.
type Dir struct {
	path string

	mu    sync.Mutex
	locks map[string]*sync.Mutex
}

// tempPattern cannot collide with a name: names do not start with a dot.
const (
	tempPattern = ".write-*"
	lockSuffix  = ".lock"
)

// OpenDir makes the folder if it is not there.
func OpenDir(path string) (*Dir, error) {
	if path == "" {
		return nil, errors.New("state folder: no path")
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	return &Dir{path: path, locks: make(map[string]*sync.Mutex)}, nil
}

// Read implements Files.
func (d *Dir) Read(_ context.Context, name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("read %s: larger than %d bytes", name, MaxFile)
	}
	return data, nil
}

// Write implements Files: temporary file, fsync, rename, fsync of the folder.
func (d *Dir) Write(_ context.Context, name string, data []byte) (err error) {
	if err := checkWrite(name, data); err != nil {
		return err
	}
	f, err := os.CreateTemp(d.path, tempPattern) // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(d.path, name))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return d.sync()
}

// Remove implements Files.
func (d *Dir) Remove(_ context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(d.path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return d.sync()
}

// List implements Files.
func (d *Dir) List(_ context.Context, prefix string) ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list state folder: %w", err)
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if e.Type().IsRegular() && strings.HasPrefix(name, prefix) && CheckName(name) == nil && !strings.HasSuffix(name, lockSuffix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Lock implements Files.
func (d *Dir) Lock(_ context.Context, name string) (func(), error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	own, ok := d.locks[name]
	if !ok {
		own = new(sync.Mutex)
		d.locks[name] = own
	}
	d.mu.Unlock()
	own.Lock()
	f, err := os.OpenFile(filepath.Join(d.path, name+lockSuffix), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = lockFile(f)
	}
	if err != nil {
		if f != nil {
			f.Close()
		}
		own.Unlock()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return sync.OnceFunc(func() {
		f.Close() // the lock goes with the descriptor
		own.Unlock()
	}), nil
}

// sync makes a rename or removal durable.
func (d *Dir) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	defer f.Close()
	if err := syncDir(f); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	return nil
}
