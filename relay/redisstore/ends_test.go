//go:build redis && !postgres

package redisstore

import (
	"path/filepath"
	"testing"
)

func runTests(m *testing.M) int { return m.Run() }

// newEnds is where ends stand beside Redis: a file here, with the build tag
// postgres a database of a server.
func newEnds(t testing.TB) (location string) {
	t.Helper()
	return filepath.Join(t.TempDir(), "relay.db")
}
