package registry_test

import (
	"testing"

	"github.com/bidseal/bidseal/ca/registry"
)

// TestValidOrigins: origins as browsers write them.
func TestValidOrigins(t *testing.T) {
	for _, origin := range []string{"https://bid.example", "https://bid.example:8443", "http://127.0.0.1:8400", "http://localhost:8400", "http://[::1]:8400", "https://xn--fsqu00a.example"} {
		if !registry.ValidOrigin(origin) {
			t.Errorf("origin %s refused", origin)
		}
	}
}
