//go:build postgres

// Package pgtest runs Debian's PostgreSQL 15 for tests: one server for a test
// binary, by Main in its TestMain, and a new database for each test, by Database.
// A test that stops its server starts one of its own, by Start.
//
// The server refuses to run as root: it runs as nobody then. It listens on the
// loopback, asks for a password (which $PGPASSWORD holds) and ends with the
// process that started it, also where that one is killed. It does not wait for
// the disk: tests kill processes, not machines.
package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// variable names the server of this test binary, for child processes, too.
const variable = "BIDSEAL_TEST_POSTGRES"

// startLimit is how long making and starting a server may take.
const startLimit = 2 * time.Minute

// Main starts a server, runs the tests and stops it.
func Main(m *testing.M) (code int) {
	return With(m.Run)
}

// With starts a server, has run do its work and stops the server.
func With(run func() int) (code int) {
	if os.Getenv(variable) != "" { // a child of a test
		return run()
	}
	s, err := newServer()
	if err == nil {
		defer s.remove()
		err = s.start()
	}
	if err == nil {
		err = os.Setenv(variable, s.URL("postgres"))
	}
	if err == nil {
		err = os.Setenv("PGPASSWORD", s.password)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return 1
	}
	defer s.Stop()
	return run()
}

// Database makes an empty database on the server of Main and returns its URL. It
// is dropped with the end of the test, whoever is still connected.
func Database(t testing.TB) string {
	t.Helper()
	address := os.Getenv(variable)
	if address == "" {
		t.Fatal("no PostgreSQL server: TestMain does not call pgtest.Main")
	}
	return newDatabase(t, address)
}

// Database makes an empty database on this server, which the test stops.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	t.Setenv("PGPASSWORD", s.password)
	address := s.URL("postgres")
	name := databaseName(t)
	check(t, exec(t.Context(), address, "CREATE DATABASE "+name))
	return at(t, address, name)
}

func newDatabase(t testing.TB, address string) string {
	t.Helper()
	name := databaseName(t)
	check(t, exec(t.Context(), address, "CREATE DATABASE "+name))
	t.Cleanup(func() {
		check(t, exec(context.Background(), address, "DROP DATABASE "+name+" WITH (FORCE)"))
	})
	return at(t, address, name)
}

// Exec runs statements on a database, each outside a transaction, as an operator
// would by psql; at the end of a test, too.
func Exec(t testing.TB, address string, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		check(t, exec(context.WithoutCancel(t.Context()), address, statement))
	}
}

// Text reads one value as text.
func Text(t testing.TB, address, query string) string {
	t.Helper()
	var text string
	check(t, with(address, func(db *sql.DB) error { return db.QueryRowContext(t.Context(), query).Scan(&text) }))
	return text
}

func exec(ctx context.Context, address, statement string) error {
	return with(address, func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, statement)
		return err
	})
}

func with(address string, do func(db *sql.DB) error) error {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	return do(db)
}

func databaseName(t testing.TB) string {
	t.Helper()
	id := make([]byte, 8)
	_, err := rand.Read(id)
	check(t, err)
	return "test_" + hex.EncodeToString(id)
}

func at(t testing.TB, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	check(t, err)
	u.Path = "/" + name
	return u.String()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
}
