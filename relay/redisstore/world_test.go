//go:build redis

package redisstore

import (
	"os"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// TestMain keeps the client from writing about the connections that tests cut.
func TestMain(m *testing.M) {
	redis.SetLogger(&logging.VoidLogger{})
	os.Exit(runTests(m))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openStore opens a store that ends with the test.
func openStore(t testing.TB, config Config) *Store {
	t.Helper()
	s, err := Open(config)
	must(t, err)
	t.Cleanup(func() { s.client.Close() })
	return s
}

// freshPrefix keeps tests on one server apart.
func freshPrefix(t testing.TB) string {
	t.Helper()
	id, err := randomText()
	must(t, err)
	return "t" + id[:12]
}
