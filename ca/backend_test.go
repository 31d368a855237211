//go:build !postgres

package ca_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/ca/folder"
)

// watchesAll says that the hooks of TestMain see every write.
const watchesAll = true

func runTests(m *testing.M) int { return m.Run() }

// testDatabase is where a fixture's authority keeps its data: here in its
// folder, with the build tag postgres on a server.
func testDatabase(testing.TB) folder.Database { return folder.Database{} }

// diskFull has certificates refused until diskMended.
const (
	diskFull   = `CREATE TRIGGER full_disk BEFORE INSERT ON ca_certificates BEGIN SELECT RAISE(ABORT, 'disk full'); END`
	diskMended = `DROP TRIGGER full_disk`
)

// holds reports whether the database, whose files are among those that were
// written, holds a value.
func holds(_ testing.TB, _ *fixture, written map[string][]byte, value []byte) bool {
	return bytes.Contains(written[databaseFile+"-wal"], value) || bytes.Contains(written[databaseFile], value[:200])
}

// copyDatabase copies the file and its write-ahead log.
func (f *fixture) copyDatabase(t *testing.T) (location string) {
	t.Helper()
	location = filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		raw, err := os.ReadFile(filepath.Join(f.dir, databaseFile+suffix))
		must(t, err)
		must(t, os.WriteFile(location+suffix, raw, 0o600))
	}
	return location
}
