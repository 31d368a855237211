//go:build !postgres

package relay_test

import (
	"path/filepath"
	"testing"
)

func runTests(m *testing.M) int { return m.Run() }

// newEnds makes room for the ends of a world: here a file, with the build tag
// postgres a database of a server.
func newEnds(t testing.TB) (location string) {
	t.Helper()
	return filepath.Join(t.TempDir(), "relay.db")
}
