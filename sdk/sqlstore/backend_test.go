//go:build !postgres

package sqlstore_test

import (
	"path/filepath"
	"testing"
)

// newLocation is a new file, with the build tag postgres a new database.
func newLocation(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "platform.db")
}
