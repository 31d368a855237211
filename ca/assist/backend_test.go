//go:build !postgres

package assist

import (
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/internal/sqldb"
)

// testDatabase is a file here, with the build tag postgres a database of a server.
func testDatabase(t testing.TB) sqldb.Source {
	t.Helper()
	return sqldb.Source{Location: filepath.Join(t.TempDir(), "assist.db")}
}
