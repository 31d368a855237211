package sqldb

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFileMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	open(t, Source{Location: path})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "text.db")
	if err := os.WriteFile(path, []byte("this is a text file and no database at all, long enough to be looked at............................."), 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err := OpenSQLite(t.Context(), path); err == nil {
		db.Close()
		t.Fatal("a text file was opened")
	}
}
