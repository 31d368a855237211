//go:build postgres

package assist

import (
	"os"
	"testing"

	"github.com/bidseal/bidseal/internal/sqldb"
	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func testDatabase(t testing.TB) sqldb.Source {
	t.Helper()
	return sqldb.Source{Location: pgtest.Database(t), Component: "assist"}
}
