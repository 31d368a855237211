//go:build postgres

package benchcmd

import (
	"testing"

	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

func runTests(m *testing.M) int { return pgtest.Main(m) }
