package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/pelletier/go-toml/v2"
)

// FuzzFiles: every kind of file that a command is given is read whole or refused; none brings the process down, and what
// is taken can be used.
// Slow.
func FuzzFiles(f *testing.F) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	private, err := privateKeyPEM(key)
	if err != nil {
		f.Fatal(err)
	}
	spki, err := protocol.MarshalKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	config, err := toml.Marshal(caServeConfig{Data: "ca", Listen: "127.0.0.1:0"})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{
		private, publicKeyPEM(spki), certificatesPEM([][]byte{catest.New(f, catest.Options{}).Root().Raw}), config,
		[]byte(`{"seq":1,"hash":"AAAA"}`), []byte(`{"index":1,"head":"AAAA","signature":"AAAA"}`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if public, err := readPublicKey(path); err == nil {
			if _, err := protocol.MarshalKey(public); err != nil {
				t.Fatalf("a public key that cannot be written: %v", err)
			}
		}
		if signer, err := readSigner(path); err == nil && signer.Public() == nil {
			t.Fatal("a key without a public half")
		}
		if certs, err := readCertificates(path); err == nil && len(certs) == 0 {
			t.Fatal("no certificate, and no error")
		}
		if head, err := readLedgerHead(path); err == nil && head == nil {
			t.Fatal("no head, and no error")
		}
		if _, err := readHead(path); err == nil && len(raw) == 0 {
			t.Fatal("a head out of nothing")
		}
		var served caServeConfig
		if loadConfig(path, &served) == nil {
			if _, err := toml.Marshal(served); err != nil {
				t.Fatalf("a configuration that cannot be written: %v", err)
			}
		}
	})
}
