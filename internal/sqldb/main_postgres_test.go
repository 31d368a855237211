//go:build postgres

package sqldb

import (
	"os"
	"testing"

	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
