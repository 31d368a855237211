//go:build postgres

package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

// with adds parameters to a URL.
func with(t *testing.T, location string, params ...string) string {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	for i := 0; i < len(params); i += 2 {
		query.Set(params[i], params[i+1])
	}
	u.RawQuery = query.Encode()
	return u.String()
}

const createKeys = `CREATE TABLE k (id BIGINT PRIMARY KEY, seq BIGINT NOT NULL UNIQUE);`

func migrated(t *testing.T, source Source) *DB {
	t.Helper()
	db := open(t, source)
	if err := db.Migrate(t.Context(), "a", files(createKeys)); err != nil {
		t.Fatal(err)
	}
	return db
}

// put inserts a key with the next number, as the audit log and the ledger do, and
// does nothing where the key stands: it may be repeated.
func put(ctx context.Context, db *DB, id int) error {
	return db.Update(ctx, func(tx *sql.Tx) error {
		var next, there int64
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM k WHERE id = $1`, id).Scan(&there); err != nil || there > 0 {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) + 1 FROM k`).Scan(&next); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO k (id, seq) VALUES ($1, $2)`, id, next)
		return err
	})
}

// gapless fails unless the keys are those from 1 to n, and the numbers, too.
func gapless(t *testing.T, db *DB, n int) {
	t.Helper()
	var count, ids, seqs int
	if err := db.Reader().QueryRowContext(t.Context(), `SELECT count(*), coalesce(max(id), 0), coalesce(max(seq), 0) FROM k`).Scan(&count, &ids, &seqs); err != nil {
		t.Fatal(err)
	}
	if count != n || ids != n || seqs != n {
		t.Errorf("%d rows up to key %d, number %d; want %d of each", count, ids, seqs, n)
	}
}

// TestCutConnections: a connection is cut in the middle of a transaction, before
// the commit arrives, and after it happened. The caller gets an error and repeats.
func TestCutConnections(t *testing.T) {
	for name, c := range map[string]struct {
		cut     pgtest.Cut
		written int
	}{
		"in the middle":            {pgtest.Cut{At: "INSERT INTO k"}, 0},
		"in the middle, answered":  {pgtest.Cut{At: "INSERT INTO k", Answered: true}, 0},
		"before the commit":        {pgtest.Cut{At: "commit\x00"}, 0},
		"written, and not told so": {pgtest.Cut{At: "commit\x00", Answered: true}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			direct := Source{Location: pgtest.Database(t), Component: "test"}
			look := migrated(t, direct)
			proxy, through := pgtest.NewProxy(t, direct.Location)
			db := open(t, Source{Location: through, Component: "test"})
			proxy.Next(c.cut)
			if err := put(t.Context(), db, 1); err == nil || proxy.Cuts() != 1 {
				t.Fatalf("cut %d times: %v", proxy.Cuts(), err)
			}
			// The next writer waits until the server has ended the transaction.
			if err := look.Update(t.Context(), func(*sql.Tx) error { return nil }); err != nil {
				t.Fatal(err)
			}
			gapless(t, look, c.written)
			for range 2 {
				if err := put(t.Context(), db, 1); err != nil {
					t.Fatal(err)
				}
			}
			gapless(t, look, 1)
		})
	}
}

// TestLostWhileIdle: connections that went away between two operations cost
// nobody an error.
func TestLostWhileIdle(t *testing.T) {
	source := Source{Location: pgtest.Database(t), Component: "test"}
	proxy, through := pgtest.NewProxy(t, source.Location)
	migrated(t, source)
	db := open(t, Source{Location: through, Component: "test"})
	for id := 1; id <= 3; id++ {
		if err := put(t.Context(), db, id); err != nil {
			t.Fatal(err)
		}
		proxy.CutAll()
	}
	pgtest.Exec(t, source.Location, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bidseal test'`)
	if err := put(t.Context(), db, 4); err != nil {
		t.Fatal(err)
	}
	gapless(t, open(t, source), 4)
}

// TestRestartUnderLoad: the server crashes and comes back while writers work; what
// was answered stands, what failed is repeated, and nothing is doubled.
func TestRestartUnderLoad(t *testing.T) {
	server := pgtest.Start(t)
	source := Source{Location: server.Database(t), Component: "test"}
	dbs := []*DB{migrated(t, source), open(t, source)}
	const workers, each = 8, 40
	var group sync.WaitGroup
	var failed atomic.Int64
	started, back := make(chan struct{}, workers*each), make(chan struct{})
	errs := make(chan error, workers)
	for w := range workers {
		group.Go(func() {
			for i := range each {
				id := w*each + i + 1
				if err := put(context.Background(), dbs[w%2], id); err != nil {
					failed.Add(1)
					<-back
					if err := put(context.Background(), dbs[w%2], id); err != nil {
						errs <- fmt.Errorf("after the restart: %w", err)
						return
					}
				}
				started <- struct{}{}
			}
		})
	}
	for range workers * each / 4 {
		<-started
	}
	server.Stop()
	server.Again(t)
	close(back)
	group.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if failed.Load() == 0 {
		t.Error("the restart came too late: nobody noticed")
	}
	gapless(t, dbs[0], workers*each)
}

// TestHungWriter: who holds the lock and does nothing loses it.
func TestHungWriter(t *testing.T) {
	location := pgtest.Database(t)
	healthy := migrated(t, Source{Location: location, Component: "test"})
	hung := open(t, Source{Location: with(t, location, "idle_in_transaction_session_timeout", "50"), Component: "test"})
	err := hung.Update(t.Context(), func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(t.Context(), `INSERT INTO k (id, seq) VALUES (9, 9)`); err != nil {
			return err
		}
		return put(t.Context(), healthy, 1) // waits for the lock of the hung one
	})
	if err == nil {
		t.Error("the hung writer committed")
	}
	gapless(t, healthy, 1)
	if err := put(t.Context(), hung, 2); err != nil {
		t.Error(err)
	}
}

// TestWaitingEnds: a writer that waits in vain is told so; another component does
// not wait at all.
func TestWaitingEnds(t *testing.T) {
	location := pgtest.Database(t)
	db := migrated(t, Source{Location: location, Component: "test"})
	impatient := open(t, Source{Location: with(t, location, "lock_timeout", "50"), Component: "test"})
	other := open(t, Source{Location: location, Component: "other"})
	if err := db.Update(t.Context(), func(*sql.Tx) error {
		if err := put(t.Context(), impatient, 1); err == nil || !strings.Contains(err.Error(), "wait for the writer's lock") {
			t.Errorf("the impatient one: %v", err)
		}
		return put(t.Context(), other, 1)
	}); err != nil {
		t.Fatal(err)
	}
	gapless(t, db, 1)
}

func TestClaim(t *testing.T) {
	location := pgtest.Database(t)
	one := open(t, Source{Location: location, Component: "test"})
	two := open(t, Source{Location: with(t, location, "lock_timeout", "50"), Component: "test"})
	release, err := one.Claim(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Claim(t.Context(), "x"); !errors.Is(err, ErrClaimed) {
		t.Errorf("a second claim: %v", err)
	}
	if _, err := two.Claim(t.Context(), "y"); err != nil {
		t.Errorf("another name: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Claim(t.Context(), "x"); err != nil {
		t.Errorf("after the release: %v", err)
	}
}

// TestClaimLeavesReader: a pool of the smallest size still reads beside a claim.
func TestClaimLeavesReader(t *testing.T) {
	db := open(t, Source{Location: pgtest.Database(t), Component: "test", Readers: 1})
	release, err := db.Claim(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var one int
	if err := db.Reader().QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
		t.Errorf("read beside a claim: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}

// TestServingRole: once the schema is up to date, a role that may create nothing
// will do.
func TestServingRole(t *testing.T) {
	location := pgtest.Database(t)
	migrated(t, Source{Location: location, Component: "test"})
	role := "r" + strings.TrimPrefix(mustParse(t, location).Path, "/")
	pgtest.Exec(t, location, `CREATE ROLE `+role+` LOGIN PASSWORD '`+password+`'`)
	pgtest.Exec(t, location, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`)
	pgtest.Exec(t, location, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO `+role)
	t.Cleanup(func() {
		pgtest.Exec(t, location, `DROP OWNED BY `+role, `DROP ROLE `+role)
	})
	u := mustParse(t, location)
	u.User = url.User(role)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	db := migrated(t, Source{Location: u.String(), PasswordFile: file, Component: "test"})
	if err := put(t.Context(), db, 1); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("another"+password), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := Open(t.Context(), Source{Location: u.String(), PasswordFile: file, Component: "test"})
	if err == nil {
		other.Close()
		t.Fatal("a wrong password was accepted")
	}
	if strings.Contains(err.Error(), password) {
		t.Errorf("the password stands in %v", err)
	}
}

func mustParse(t *testing.T, location string) *url.URL {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestUnsuitableServers: another encoding, and nobody there.
func TestUnsuitableServers(t *testing.T) {
	location := pgtest.Database(t)
	u := mustParse(t, location)
	name := strings.TrimPrefix(u.Path, "/") + "_ascii"
	pgtest.Exec(t, location, `CREATE DATABASE `+name+` ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0`)
	t.Cleanup(func() { pgtest.Exec(t, location, `DROP DATABASE `+name+` WITH (FORCE)`) })
	u.Path = "/" + name
	if _, err := Open(t.Context(), Source{Location: u.String(), Component: "test"}); err == nil || !strings.Contains(err.Error(), "SQL_ASCII") {
		t.Errorf("another encoding: %v", err)
	}
	u.Host = "127.0.0.1:1"
	if _, err := Open(t.Context(), Source{Location: u.String(), Component: "test"}); err == nil {
		t.Error("nobody listens there")
	}
}
