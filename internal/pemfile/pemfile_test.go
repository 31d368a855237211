package pemfile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca/catest"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// file writes content under a name of its own.
func file(t *testing.T, content ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, bytes.Join(content, nil), 0o600))
	return path
}

func TestReadsWhatItEncodes(t *testing.T) {
	root := catest.New(t, catest.Options{}).Folder.Root()
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	private, err := pemfile.EncodePrivateKey(key)
	must(t, err)
	spki, err := protocol.MarshalKey(key.Public())
	must(t, err)
	certificates := pemfile.EncodeCertificates([][]byte{root.Raw, root.Raw})
	// each reader finds its own block between the others
	all := file(t, certificates, pemfile.EncodePublicKey(spki), private)

	signer, err := pemfile.ReadSigner(all)
	must(t, err)
	if !key.Equal(signer) {
		t.Error("another private key")
	}
	public, err := pemfile.ReadPublicKey(all)
	must(t, err)
	if !key.PublicKey.Equal(public) {
		t.Error("another public key")
	}
	certs, err := pemfile.ReadCertificates(all, all)
	must(t, err)
	if len(certs) != 4 || !certs[3].Equal(root) {
		t.Errorf("%d certificates", len(certs))
	}
	secret, err := pemfile.ReadHex(file(t, []byte(" 00ff\n")), 2)
	must(t, err)
	if !bytes.Equal(secret, []byte{0, 0xff}) {
		t.Errorf("read %x", secret)
	}
}

// A file of the wrong kind is ErrFormat, a damaged one is not, and no error says anything of a key.
func TestRefusals(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	private, err := pemfile.EncodePrivateKey(key)
	must(t, err)
	block, _ := pem.Decode(private)
	damaged := bytes.Clone(block.Bytes)
	damaged[1] ^= 1
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	signer := func(path string) error { _, err := pemfile.ReadSigner(path); return err }
	public := func(path string) error { _, err := pemfile.ReadPublicKey(path); return err }
	certificates := func(path string) error { _, err := pemfile.ReadCertificates(path); return err }
	store := func(path string) error { _, err := pemfile.ReadHex(path, 32); return err }
	for name, c := range map[string]struct {
		read    func(string) error
		content []byte
		format  bool
	}{
		"key: text":                 {signer, []byte("secret"), true},
		"key: certificate":          {signer, encode("CERTIFICATE", block.Bytes), true},
		"key: damaged":              {signer, encode("PRIVATE KEY", damaged), false},
		"key: too large":            {signer, bytes.Repeat([]byte{'\n'}, pemfile.MaxKey+1), false},
		"public key: text":          {public, []byte("secret"), true},
		"public key: private":       {public, private, true},
		"public key: damaged":       {public, encode("PUBLIC KEY", block.Bytes), false},
		"certificates: text":        {certificates, []byte("secret"), true},
		"certificates: private key": {certificates, private, true},
		"certificates: damaged":     {certificates, encode("CERTIFICATE", block.Bytes), false},
		"certificates: too large":   {certificates, bytes.Repeat([]byte{'\n'}, pemfile.MaxCertificates+1), false},
		"secret: short":             {store, []byte("00ff"), true},
		"secret: private key":       {store, private, true},
	} {
		err := c.read(file(t, c.content))
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		if errors.Is(err, pemfile.ErrFormat) != c.format {
			t.Errorf("%s: ErrFormat is %v: %v", name, !c.format, err)
		}
		for _, form := range []string{"PRIVATE KEY-----", base64.StdEncoding.EncodeToString(block.Bytes)[:24], hex.EncodeToString(block.Bytes)[:24]} {
			if strings.Contains(err.Error(), form) {
				t.Errorf("%s: the error holds a key: %v", name, err)
			}
		}
	}
}

func TestReadBounded(t *testing.T) {
	path := file(t, []byte("1234"))
	if raw, err := pemfile.ReadBounded(path, 4); err != nil || string(raw) != "1234" {
		t.Errorf("read %q, %v", raw, err)
	}
	var own *protocol.Error
	if _, err := pemfile.ReadBounded(path, 3); !errors.As(err, &own) || own.Code != protocol.CodeTooLarge {
		t.Errorf("a file above its limit: %v", err)
	}
	if _, err := pemfile.ReadBounded(path+"x", 3); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// A write replaces a file whole, for its owner only, and one that fails leaves nothing.
func TestWritePrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	must(t, os.WriteFile(path, []byte("a longer old content"), 0o644)) //nolint:gosec // to be replaced
	must(t, pemfile.WritePrivate(path, []byte("new")))
	raw, err := os.ReadFile(path)
	must(t, err)
	info, err := os.Stat(path)
	must(t, err)
	if string(raw) != "new" || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%q with mode %v", raw, info.Mode())
	}
	folder := filepath.Join(dir, "folder")
	must(t, os.MkdirAll(filepath.Join(folder, "x"), 0o700))
	if pemfile.WritePrivate(folder, []byte("new")) == nil {
		t.Error("a folder was replaced")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
