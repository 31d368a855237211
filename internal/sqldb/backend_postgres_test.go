//go:build postgres

package sqldb

import (
	"os"
	"testing"

	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func newSource(t *testing.T) Source {
	t.Helper()
	return Source{Location: pgtest.Database(t), Component: "test"}
}
