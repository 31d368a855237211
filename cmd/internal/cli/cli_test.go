package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigRefusesUnknownKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte("known = 1\nunknwon = 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := struct {
		Known int `toml:"known"`
	}{}
	err := LoadConfig(path, &cfg)
	if err == nil || !strings.Contains(err.Error(), "unknwon") {
		t.Fatalf("got %v", err)
	}
}
