package sqldb

import (
	"path/filepath"
	"testing"
)

func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Source{Location: filepath.Join(dir, "a.db")})
	if err := db.Migrate(t.Context(), "a", files(first)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "it's a copy.db")
	if err := db.Snapshot(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := db.Snapshot(t.Context(), path); err == nil {
		t.Error("a file was overwritten")
	}
	copied := open(t, Source{Location: path})
	var n int
	if err := copied.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM a`).Scan(&n); err != nil {
		t.Error(err)
	}
	for range 20 { // every reader that is left
		if _, err := db.Reader().ExecContext(t.Context(), `DELETE FROM a`); err == nil {
			t.Fatal("a reader writes after a copy was made")
		}
	}
}
