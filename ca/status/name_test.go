package status_test

import (
	"math/big"
	"testing"

	"github.com/bidseal/bidseal/ca/status"
)

func TestCRLNames(t *testing.T) {
	for _, of := range []int{2, 16, 256} {
		seen := make(map[status.ListName]bool)
		for i := range int64(1024) {
			n := status.ListOf("issuing-1", big.NewInt(1<<40+i), of)
			seen[n] = true
			if back, ok := status.ParseListName(n.String()); !ok || back != n || !n.Holds(big.NewInt(1<<40+i)) {
				t.Fatalf("%v reads %v", n, back)
			}
		}
		if len(seen) != of {
			t.Errorf("%d of %d shards are used", len(seen), of)
		}
	}
}

// FuzzCRLName: a name that is read writes itself the same way.
func FuzzCRLName(f *testing.F) {
	for _, name := range []string{"root", "issuing-1", "issuing-1.3of16", "issuing-1.03of16", "x.1of1"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if name, ok := status.ParseListName(text); ok && (name.String() != text || name.Of() < 1 || name.Of() > status.MaxCRLShards) {
			t.Fatalf("%q was read as %q", text, name)
		}
	})
}
