package ca

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/pelletier/go-toml/v2"
)

// FuzzKeyFile: a key file gives the secret that was written or an error, and the error holds nothing of it.
// Slow.
func FuzzKeyFile(f *testing.F) {
	dir := f.TempDir()
	ring, err := newKeyring(dir, []byte(testPassphrase))
	must(f, err)
	secret := bytes.Repeat([]byte("secret"), 8)
	must(f, ring.write(keyRoot, secret, fastKDF(), make([]byte, saltSize)))
	good, err := os.ReadFile(filepath.Join(dir, keyFileName(keyRoot)))
	must(f, err)
	f.Add(good)
	f.Add([]byte(`{"v":1,"purpose":"root","kdf":"argon2id"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var file keyFile
		if protocol.DecodeJSON(raw, &file) == nil && (file.MemoryKiB > 64 || file.Time > 2) {
			return // allowed, and as slow as it says
		}
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, keyFileName(keyRoot)), raw, 0o600))
		ring, err := newKeyring(dir, []byte(testPassphrase))
		must(t, err)
		got, err := ring.read(keyRoot)
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
	config := DefaultConfig()
	config.BaseURL = testBase
	good, err := toml.Marshal(config)
	must(f, err)
	f.Add(good)
	f.Add([]byte("base_url = \"http://ca.example\"\ncrl_lifetime = \"1h\"\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, configFile), raw, 0o600))
		config, err := readConfig(dir)
		if err != nil {
			return
		}
		again, err := toml.Marshal(config)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, configFile), again, 0o600))
		if _, err := readConfig(dir); err != nil {
			t.Fatalf("taken once, but not twice: %v", err)
		}
	})
}
