package relaycmd

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzLedgerHead: a head that somebody kept is read or refused.
func FuzzLedgerHead(f *testing.F) {
	for _, seed := range [][]byte{
		[]byte(`{"index":1,"head":"AAAA","signature":"AAAA"}`), []byte(`{"size":3,"head":"AAAA"}`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if head, err := readLedgerHead(path); err == nil && head == nil {
			t.Fatal("no head, and no error")
		}
	})
}
