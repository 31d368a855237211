package cacmd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/pelletier/go-toml/v2"
)

// FuzzHeadsAndConfiguration: heads and configurations that the authority's commands are given are read whole or refused, and what is
// taken can be written again.
func FuzzHeadsAndConfiguration(f *testing.F) {
	config, err := toml.Marshal(caServeConfig{Data: "ca", Listen: "127.0.0.1:0"})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{
		config, []byte(`{"seq":1,"hash":"AAAA"}`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readHead(path); err == nil && len(raw) == 0 {
			t.Fatal("a head out of nothing")
		}
		var served caServeConfig
		if cli.LoadConfig(path, &served) == nil {
			if _, err := toml.Marshal(served); err != nil {
				t.Fatalf("a configuration that cannot be written: %v", err)
			}
		}
	})
}
