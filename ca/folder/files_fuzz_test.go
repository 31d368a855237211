package folder_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/protocol"
	"github.com/pelletier/go-toml/v2"
)

// FuzzKeyFile: a key file gives the secret that was written or an error, and the error holds nothing of it.
// Slow.
func FuzzKeyFile(f *testing.F) {
	dir := f.TempDir()
	ring, err := folder.NewKeyring(dir, []byte("a passphrase for tests"))
	must(f, err)
	secret := bytes.Repeat([]byte("secret"), 8)
	must(f, ring.Write("root", secret, folder.KDF{Time: 1, MemoryKiB: 8, Threads: 1}, make([]byte, folder.SaltSize)))
	good, err := os.ReadFile(filepath.Join(dir, "root.key"))
	must(f, err)
	f.Add(good)
	f.Add([]byte(`{"v":1,"purpose":"root","kdf":"argon2id"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var file folder.KeyFile
		if protocol.DecodeJSON(raw, &file) == nil && (file.MemoryKiB > 64 || file.Time > 2) {
			return // allowed, and as slow as it says
		}
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "root.key"), raw, 0o600))
		ring, err := folder.NewKeyring(dir, []byte("a passphrase for tests"))
		must(t, err)
		got, err := ring.Read("root")
		if err == nil && !bytes.Equal(got, secret) {
			t.Fatalf("%q was taken for the secret", got)
		}
		if err != nil && (got != nil || bytes.Contains([]byte(err.Error()), secret[:6])) {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

// FuzzConfig: a configuration that is taken can be written and taken again.
// Slow.
func FuzzConfig(f *testing.F) {
	config := folder.DefaultConfig()
	config.BaseURL = "http://ca.example"
	good, err := toml.Marshal(config)
	must(f, err)
	f.Add(good)
	f.Add([]byte("base_url = \"http://ca.example\"\ncrl_lifetime = \"1h\"\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "ca.toml"), raw, 0o600))
		config, err := folder.ReadConfig(dir)
		if err != nil {
			return
		}
		again, err := toml.Marshal(config)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "ca.toml"), again, 0o600))
		if _, err := folder.ReadConfig(dir); err != nil {
			t.Fatalf("taken once, but not twice: %v", err)
		}
	})
}
