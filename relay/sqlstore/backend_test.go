//go:build !postgres

package sqlstore

import (
	"path/filepath"
	"testing"
)

// newLocation is where a test's store keeps its data: a file here, with the build
// tag postgres a database of a server.
func newLocation(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "relay.db")
}
