//go:build !postgres

package sqldb

import (
	"path/filepath"
	"testing"
)

// newSource is a new file, with the build tag postgres a new database.
func newSource(t *testing.T) Source {
	t.Helper()
	return Source{Location: filepath.Join(t.TempDir(), "x ?#.db"), Component: "test"}
}
