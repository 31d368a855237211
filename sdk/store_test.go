package bidseal_test

import (
	"os"
	"path/filepath"
	"testing"

	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

func openFiles(t testing.TB, dir string) *bidseal.FileStore {
	t.Helper()
	s, err := bidseal.OpenFileStore(dir)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func TestMemoryStore(t *testing.T) {
	sdktest.TestStore(t, func(testing.TB) bidseal.Store { return bidseal.NewMemoryStore() }, nil)
}

func TestFileStore(t *testing.T) {
	dirs := map[bidseal.Store]string{}
	sdktest.TestStore(t, func(t testing.TB) bidseal.Store {
		dir := t.TempDir()
		s := openFiles(t, dir)
		dirs[s] = dir
		return s
	}, func(t testing.TB, s bidseal.Store) bidseal.Store { return openFiles(t, dirs[s]) })
}

// What a crash left half-written is not taken for a record.
func TestFileStoreAfterCrash(t *testing.T) {
	dir := t.TempDir()
	s := openFiles(t, dir)
	must(t, s.Put(t.Context(), bidseal.StoreRecord{Key: "c/1", Value: []byte("whole"), Due: testTime(), Expires: testTime()}))
	must(t, os.WriteFile(filepath.Join(dir, "c-1.json.new"), []byte(`{"key":"c/1","ver`), 0o600))
	again := openFiles(t, dir)
	r, err := again.Get(t.Context(), "c/1")
	must(t, err)
	if string(r.Value) != "whole" {
		t.Errorf("got %q", r.Value)
	}
	found, err := again.List(t.Context(), testTime(), 10)
	must(t, err)
	if len(found) != 1 {
		t.Errorf("%d records", len(found))
	}
	r.Value = []byte("newer")
	must(t, again.CompareAndSwap(t.Context(), r))
	info, err := os.Stat(filepath.Join(dir, "c-1.json"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}
