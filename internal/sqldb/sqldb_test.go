package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"testing/fstest"
)

// open opens one more handle on a source, as another process would.
func open(t *testing.T, source Source) *DB {
	t.Helper()
	db, err := Open(t.Context(), source)
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
	db := open(t, newSource(t))
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
	db := open(t, newSource(t))
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
	if err := db.View(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), `DELETE FROM a`)
		return err
	}); err == nil {
		t.Error("a view wrote")
	}
}

// TestTwoProcesses: two handles on one database, as the server and the command line
// have, write at the same time and lose nothing.
func TestTwoProcesses(t *testing.T) {
	source := newSource(t)
	dbs := []*DB{open(t, source), open(t, source)}
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

// TestMigrateTogether: processes that start at once apply each migration once.
func TestMigrateTogether(t *testing.T) {
	source := newSource(t)
	var group sync.WaitGroup
	errs := make(chan error, 12)
	for i := range 6 {
		db := open(t, source)
		group.Go(func() {
			errs <- db.Migrate(context.Background(), "a", files(first, second))
			errs <- db.Migrate(context.Background(), string(rune('b'+i%2)), files(`CREATE TABLE t`+string(rune('b'+i%2))+` (n BIGINT);`))
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
	if err := open(t, source).Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM schema_migrations`).Scan(&n); err != nil || n != 4 {
		t.Fatalf("%d migrations, %v", n, err)
	}
}

// TestViewSeesOneMoment: what a writer commits meanwhile is not in the view.
func TestViewSeesOneMoment(t *testing.T) {
	db := open(t, newSource(t))
	if err := db.Migrate(t.Context(), "a", files(`CREATE TABLE c (n BIGINT NOT NULL); INSERT INTO c (n) VALUES (0);`)); err != nil {
		t.Fatal(err)
	}
	var before, after, then int
	if err := db.View(t.Context(), func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(t.Context(), `SELECT n FROM c`).Scan(&before); err != nil {
			return err
		}
		if err := db.Update(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), `UPDATE c SET n = 1`)
			return err
		}); err != nil {
			return err
		}
		return tx.QueryRowContext(t.Context(), `SELECT n FROM c`).Scan(&after)
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Reader().QueryRowContext(t.Context(), `SELECT n FROM c`).Scan(&then); err != nil {
		t.Fatal(err)
	}
	if before != 0 || after != 0 || then != 1 {
		t.Errorf("%d, %d in the view, %d after it", before, after, then)
	}
}

// TestOneWriterAtATime: a second writer begins when the first has committed, and
// sees what it wrote.
func TestOneWriterAtATime(t *testing.T) {
	source := newSource(t)
	one, two := open(t, source), open(t, source)
	if err := one.Migrate(t.Context(), "a", files(`CREATE TABLE c (n BIGINT NOT NULL);`)); err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	var seen int
	if err := one.Update(t.Context(), func(tx *sql.Tx) error {
		go func() {
			second <- two.Update(context.Background(), func(tx *sql.Tx) error { return tx.QueryRow(`SELECT count(*) FROM c`).Scan(&seen) })
		}()
		_, err := tx.ExecContext(t.Context(), `INSERT INTO c (n) VALUES (1)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil || seen != 1 {
		t.Fatalf("the second writer saw %d rows, %v", seen, err)
	}
}
