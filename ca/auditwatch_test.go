package ca_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"modernc.org/sqlite"
)

// TestMain watches every transaction of every test of this package: one that
// changes a table of the authority and appends nothing to the audit log does not
// commit. At the end it holds every write of all tests against owners.
func TestMain(m *testing.M) {
	sqlite.RegisterConnectionHook(watchConnection)
	code := runTests(m)
	if wrong := written.wrong(watchesAll && flag.Lookup("test.run").Value.String() == ""); code == 0 && len(wrong) > 0 {
		fmt.Fprintln(os.Stderr, strings.Join(wrong, "\n"))
		code = 1
	}
	os.Exit(code)
}

// tampering counts the tests that are changing the database behind the
// authority's back, see exec.
var tampering atomic.Int64

func watchConnection(conn sqlite.ExecQuerierContext, _ string) error {
	hooks, ok := conn.(sqlite.HookRegisterer)
	if !ok {
		return errors.New("a connection without hooks: nothing watches the audit log")
	}
	changed := make(map[string]bool)
	hooks.RegisterPreUpdateHook(func(d sqlite.SQLitePreUpdateData) {
		changed[d.TableName] = true
		written.note(d.TableName)
	})
	hooks.RegisterRollbackHook(func() { clear(changed) })
	hooks.RegisterCommitHook(func() int32 {
		defer clear(changed)
		if tables := unaudited(changed); len(tables) > 0 && tampering.Load() == 0 {
			fmt.Fprintf(os.Stderr, "a transaction changed %v and left nothing in the audit log\n", tables)
			return 1 // the commit becomes a rollback
		}
		return 0
	})
	return nil
}

// unaudited are the tables of a transaction that lacks its entry in the log.
func unaudited(changed map[string]bool) []string {
	if changed["ca_audit"] || changed["schema_migrations"] {
		return nil
	}
	var tables []string
	for table := range changed {
		if needsAudit(table) {
			tables = append(tables, table)
		}
	}
	return tables
}

// needsAudit leaves out what says nothing by itself: nonces that were seen, and
// the numbers by which revocation lists know that they are old.
func needsAudit(table string) bool {
	return (strings.HasPrefix(table, "ca_") || strings.HasPrefix(table, "kmc_")) && table != "ca_nonces" && table != "ca_counters"
}

// verifyAtEnd holds the whole database against the log when a test ends, unless
// the test altered it.
func (f *fixture) verifyAtEnd(t testing.TB) {
	t.Cleanup(func() {
		if f.tampered {
			return
		}
		if _, err := f.Audit.Verify(context.Background()); errors.Is(err, audit.ErrLog) {
			t.Errorf("after the test: %v", err)
		}
	})
}

// TestUnauditedChangeDoesNotCommit: the watch works, for every table. It is
// SQLite's; what all tests do there, they do on PostgreSQL.
func TestUnauditedChangeDoesNotCommit(t *testing.T) {
	f := newFixture(t, func(c *folder.Config) { c.Database = folder.Database{} })
	f.enrol(t)
	f.tampered = true
	for _, table := range []string{"ca_certificates", "ca_issuances", "ca_codes", "ca_devices", "ca_crls", "kmc_keys"} {
		before := f.count(t, `SELECT count(*) FROM `+table)
		if err := execWatched(t, f, `DELETE FROM `+table); err == nil || before == 0 || f.count(t, `SELECT count(*) FROM `+table) != before {
			t.Errorf("%s: %d rows, and their removal without an entry gave %v", table, before, err)
		}
	}
}
