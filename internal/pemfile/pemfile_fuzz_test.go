package pemfile_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

// FuzzFiles: a file of any content is read whole or refused; none brings the process down, and what is taken can be used.
// Slow.
func FuzzFiles(f *testing.F) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	private, err := pemfile.EncodePrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	spki, err := protocol.MarshalKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{
		private, pemfile.EncodePublicKey(spki), pemfile.EncodeCertificates([][]byte{catest.New(f, catest.Options{}).Folder.Root().Raw}),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if public, err := pemfile.ReadPublicKey(path); err == nil {
			if _, err := protocol.MarshalKey(public); err != nil {
				t.Fatalf("a public key that cannot be written: %v", err)
			}
		}
		if signer, err := pemfile.ReadSigner(path); err == nil && signer.Public() == nil {
			t.Fatal("a key without a public half")
		}
		if certs, err := pemfile.ReadCertificates(path); err == nil && len(certs) == 0 {
			t.Fatal("no certificate, and no error")
		}
	})
}
