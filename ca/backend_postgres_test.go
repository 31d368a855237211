//go:build postgres

package ca_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

// watchesAll says that the hooks of TestMain see every write; they are SQLite's.
const watchesAll = false

// runTests runs them with a server.
func runTests(m *testing.M) int { return pgtest.Main(m) }

// testDatabase is a new database, with the one function of SQLite's that the
// tests use.
func testDatabase(t testing.TB) folder.Database {
	t.Helper()
	url := pgtest.Database(t)
	pgtest.Exec(t, url, `CREATE FUNCTION zeroblob(n int) RETURNS bytea IMMUTABLE LANGUAGE sql AS $$ SELECT decode(repeat('00', n), 'hex') $$`)
	return folder.Database{URL: url}
}

// diskFull has certificates refused until diskMended.
const (
	diskFull = `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk full'; END $$;
		CREATE TRIGGER full_disk BEFORE INSERT ON ca_certificates EXECUTE FUNCTION full_disk()`
	diskMended = `DROP TRIGGER full_disk ON ca_certificates`
)

// holds adds all rows of all tables to what was written, and reports whether
// they hold a value.
func holds(t testing.TB, f *fixture, written map[string][]byte, value []byte) bool {
	t.Helper()
	rows := []byte(pgtest.Text(t, f.Folder.Config().Database.URL+"?xmlbinary=hex", `SELECT database_to_xml(true, true, '')::text`))
	written["database"] = bytes.ToLower(rows)
	return bytes.Contains(written["database"], []byte(hex.EncodeToString(value)))
}

// copyDatabase returns the database itself: on a server a copy is no file.
func (f *fixture) copyDatabase(*testing.T) (location string) { return f.Folder.Config().Database.URL }
