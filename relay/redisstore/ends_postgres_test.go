//go:build redis && postgres

package redisstore

import (
	"testing"

	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

func runTests(m *testing.M) int { return pgtest.Main(m) }

func newEnds(t testing.TB) (location string) {
	t.Helper()
	return pgtest.Database(t)
}
