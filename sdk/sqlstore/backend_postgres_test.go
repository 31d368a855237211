//go:build postgres

package sqlstore_test

import (
	"os"
	"testing"

	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func newLocation(t testing.TB) string {
	t.Helper()
	return pgtest.Database(t)
}
