package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
)

func open(t *testing.T, path string) *DB {
	t.Helper()
	db, err := OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func files(texts ...string) fstest.MapFS {
	fs := fstest.MapFS{}
	for i, text := range texts {
		fs["000"+string(rune('1'+i))+"_step.sql"] = &fstest.MapFile{Data: []byte(text)}
	}
	return fs
}

const (
	first  = `CREATE TABLE a (id TEXT PRIMARY KEY, n BIGINT NOT NULL, b BYTEA); CREATE INDEX a_n ON a (n);`
	second = `ALTER TABLE a ADD COLUMN c TEXT NOT NULL DEFAULT '';`
)

func TestMigrateOnceEach(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x ?#.db"))
	for _, fs := range []fstest.MapFS{files(first), files(first), files(first, second), files(first, second)} {
		if err := db.Migrate(t.Context(), "a", fs); err != nil {
			t.Fatal(err)
		}
	}
	for name, fs := range map[string]fstest.MapFS{
		"altered":   files(first+" ", second),
		"older":     files(first),
		"none":      {},
		"gap":       {"0002_x.sql": {Data: []byte(first)}},
		"no number": {"x.sql": {Data: []byte(first)}},
	} {
		if err := db.Migrate(t.Context(), "a", fs); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := db.Migrate(t.Context(), "b", files(`CREATE TABLE b (id BIGINT PRIMARY KEY);`, `this is no SQL;`)); err == nil {
		t.Error("a broken migration was taken")
	}
	if _, err := db.Reader().ExecContext(t.Context(), `SELECT id FROM b`); err == nil {
		t.Error("half of a failed migration stayed")
	}
}

func TestUpdateAndReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db := open(t, path)
	if err := db.Migrate(t.Context(), "a", files(first)); err != nil {
		t.Fatal(err)
	}
	want := errors.New("no")
	insert := func(id string, blob []byte, err error) error {
		return db.Update(t.Context(), func(tx *sql.Tx) error {
			// $1 stands twice, and out of order, as PostgreSQL takes it
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO a (b, id, n) VALUES ($2, $1, length($1))`, id, blob); err != nil {
				return err
			}
			return err
		})
	}
	if err := insert("one", []byte{0, 1, 0xFF}, nil); err != nil {
		t.Fatal(err)
	}
	if err := insert("two", nil, want); !errors.Is(err, want) {
		t.Fatalf("got %v", err)
	}
	var n, count int
	var blob []byte
	if err := db.Reader().QueryRowContext(t.Context(), `SELECT n, b, (SELECT count(*) FROM a) FROM a WHERE id = $1`, "one").Scan(&n, &blob, &count); err != nil {
		t.Fatal(err)
	}
	if n != 3 || string(blob) != "\x00\x01\xff" || count != 1 {
		t.Errorf("n %d, blob %x, count %d", n, blob, count)
	}
	if _, err := db.Reader().ExecContext(t.Context(), `DELETE FROM a`); err == nil {
		t.Error("the reader wrote")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestTwoProcesses: two handles on one file, as the server and the command line
// have, write at the same time and lose nothing.
func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	dbs := []*DB{open(t, path), open(t, path)}
	for _, db := range dbs {
		if err := db.Migrate(t.Context(), "a", files(`CREATE TABLE c (n BIGINT NOT NULL); INSERT INTO c (n) VALUES (0);`)); err != nil {
			t.Fatal(err)
		}
	}
	const each = 50
	var group sync.WaitGroup
	errs := make(chan error, 4*each)
	for i := range 4 {
		group.Go(func() {
			for range each {
				errs <- dbs[i%2].Update(context.Background(), func(tx *sql.Tx) error {
					var n int
					if err := tx.QueryRow(`SELECT n FROM c`).Scan(&n); err != nil {
						return err
					}
					_, err := tx.Exec(`UPDATE c SET n = $1`, n+1)
					return err
				})
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	var n int
	if err := dbs[0].Reader().QueryRowContext(t.Context(), `SELECT n FROM c`).Scan(&n); err != nil || n != 4*each {
		t.Fatalf("counted %d, %v", n, err)
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
