package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bidseal/bidseal/app/core/storage"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Every storage passes the same suite.
func TestFiles(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) storage.Files{
		"memory": func(*testing.T) storage.Files { return storage.NewMemory() },
		"folder": func(t *testing.T) storage.Files {
			d, err := storage.OpenDir(filepath.Join(t.TempDir(), "state"))
			must(t, err)
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("content", func(t *testing.T) { content(t, open(t)) })
			t.Run("names", func(t *testing.T) { names(t, open(t)) })
			t.Run("lock", func(t *testing.T) { lock(t, open(t)) })
		})
	}
}

func content(t *testing.T, files storage.Files) {
	ctx := t.Context()
	_, err := files.Read(ctx, "a.json")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing file: %v", err)
	}
	data := []byte("first")
	must(t, files.Write(ctx, "a.json", data))
	data[0] = 'X' // the storage keeps its own copy
	must(t, files.Write(ctx, "b.json", nil))
	got, err := files.Read(ctx, "a.json")
	must(t, err)
	if string(got) != "first" {
		t.Fatalf("read %q", got)
	}
	must(t, files.Write(ctx, "a.json", []byte("second")))
	if got, err = files.Read(ctx, "a.json"); err != nil || string(got) != "second" {
		t.Fatalf("read %q, %v", got, err)
	}
	if got, err = files.Read(ctx, "b.json"); err != nil || len(got) != 0 {
		t.Fatalf("empty file: %q, %v", got, err)
	}
	must(t, files.Remove(ctx, "a.json"))
	must(t, files.Remove(ctx, "a.json"))
	if _, err = files.Read(ctx, "a.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("removed file: %v", err)
	}
	if err := files.Write(ctx, "large", make([]byte, storage.MaxFile+1)); err == nil {
		t.Fatal("an oversized file was written")
	}
}

func names(t *testing.T, files storage.Files) {
	ctx := t.Context()
	for _, name := range []string{"out-2.json", "out-1.json", "other"} {
		must(t, files.Write(ctx, name, []byte("x")))
	}
	release, err := files.Lock(ctx, "out-3")
	must(t, err)
	defer release()
	got, err := files.List(ctx, "out-")
	must(t, err)
	if !slices.Equal(got, []string{"out-1.json", "out-2.json"}) {
		t.Fatalf("list: %q", got)
	}
	for _, bad := range []string{"", ".hidden", "../up", "a/b", `a\b`, "Upper", "a b", "ü", strings.Repeat("a", 97)} {
		if err := files.Write(ctx, bad, nil); err == nil {
			t.Errorf("name %q was accepted", bad)
		}
		if _, err := files.Read(ctx, bad); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("reading %q: %v", bad, err)
		}
		if err := files.Remove(ctx, bad); err == nil {
			t.Errorf("removing %q was accepted", bad)
		}
		if _, err := files.Lock(ctx, bad); err == nil {
			t.Errorf("locking %q was accepted", bad)
		}
	}
}

// lock counts with a read-change-write that loses updates without the lock.
func lock(t *testing.T, files storage.Files) {
	ctx := t.Context()
	must(t, files.Write(ctx, "count", nil))
	var group sync.WaitGroup
	const workers, each = 4, 10
	for range workers {
		group.Go(func() {
			for range each {
				if err := grow(ctx, files); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	got, err := files.Read(ctx, "count")
	must(t, err)
	if len(got) != workers*each {
		t.Fatalf("%d of %d changes survived", len(got), workers*each)
	}
}

func grow(ctx context.Context, files storage.Files) error {
	release, err := files.Lock(ctx, "count")
	if err != nil {
		return err
	}
	defer release()
	data, err := files.Read(ctx, "count")
	if err != nil {
		return err
	}
	return files.Write(ctx, "count", append(data, '.'))
}

func TestDirIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	files, err := storage.OpenDir(path)
	must(t, err)
	must(t, files.Write(t.Context(), "secret", []byte("s")))
	for name, want := range map[string]fs.FileMode{path: 0o700, filepath.Join(path, "secret"): 0o600} {
		info, err := os.Stat(name)
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", filepath.Base(name), info.Mode().Perm(), want)
		}
	}
	entries, err := os.ReadDir(path)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("%d files left behind", len(entries)-1)
	}
}

// What another program left half-written is never taken for content.
func TestDirIgnoresStrangers(t *testing.T) {
	path := t.TempDir()
	files, err := storage.OpenDir(path)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(path, ".write-123"), []byte("half"), 0o600))
	must(t, os.WriteFile(filepath.Join(path, "big"), bytes.Repeat([]byte{1}, storage.MaxFile+1), 0o600))
	got, err := files.List(t.Context(), "")
	must(t, err)
	if !slices.Equal(got, []string{"big"}) {
		t.Fatalf("list: %q", got)
	}
	if _, err := files.Read(t.Context(), "big"); err == nil {
		t.Fatal("an oversized file was read")
	}
}
