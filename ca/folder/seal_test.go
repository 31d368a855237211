package folder_test

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/protocol"
)

func seal(t testing.TB, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := folder.NewSealWriter(&out, []byte("p"), folder.KDF{Time: 1, MemoryKiB: 8, Threads: 1})
	must(t, err)
	for chunk := range slices.Chunk(content, 1000) {
		_, err := w.Write(chunk)
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

func unseal(sealed []byte, passphrase string) ([]byte, error) {
	r, err := folder.NewOpenReader(bytes.NewReader(sealed), []byte(passphrase))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// TestSealedStream: what was sealed opens, and nothing that was altered, cut,
// exchanged or lengthened.
func TestSealedStream(t *testing.T) {
	for _, size := range []int{0, 1, folder.BackupChunk - 1, folder.BackupChunk, folder.BackupChunk + 1, 3*folder.BackupChunk + 7} {
		content := make([]byte, size)
		_, err := rand.Read(content)
		must(t, err)
		sealed := seal(t, content)
		opened, err := unseal(sealed, "p")
		must(t, err)
		if !bytes.Equal(opened, content) {
			t.Errorf("%d bytes: others came out", size)
		}
	}
	sealed := seal(t, make([]byte, 3*folder.BackupChunk))
	start := bytes.IndexByte(sealed, '\n') + 1
	const whole = folder.BackupChunk + 16
	exchanged := slices.Concat(sealed[:start], sealed[start+whole:start+2*whole], sealed[start:start+whole], sealed[start+2*whole:])
	flipped := bytes.Clone(sealed)
	flipped[start+whole+5] ^= 1
	for name, bad := range map[string][]byte{
		"passphrase": nil, "cut at a chunk": sealed[:start+2*whole], "cut within": sealed[:len(sealed)-1], "header only": sealed[:start], "nothing": {},
		"lengthened": append(bytes.Clone(sealed), 0), "twice": append(bytes.Clone(sealed), sealed[start:]...), "exchanged": exchanged, "flipped": flipped,
		"header": bytes.Replace(sealed, []byte(`"time":1`), []byte(`"time":2`), 1), "no header": bytes.Repeat([]byte("x"), 4096),
	} {
		passphrase := "p"
		if bad == nil {
			bad, passphrase = sealed, "q"
		}
		if _, err := unseal(bad, passphrase); !errors.Is(err, folder.ErrBackup) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzBackup: whatever stands in a sealed backup, it opens to the files of its
// manifest or not at all.
func FuzzBackup(f *testing.F) {
	file := []byte("content")
	raw, err := protocol.EncodeJSON(folder.BackupManifest{V: folder.BackupVersion, Head: audit.Head{Hash: file, Signature: file}, Files: []folder.BackupFile{
		{Name: "ca.toml", Size: int64(len(file)), SM3: hex.EncodeToString(protocol.H(file))}}})
	must(f, err)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, member := range []struct {
		name    string
		content []byte
	}{{folder.ManifestFile, raw}, {"ca.toml", file}} {
		name, content := member.name, member.content
		must(f, w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content))}))
		_, err := w.Write(content)
		must(f, err)
	}
	must(f, w.Close())
	f.Add(archive.Bytes())
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := filepath.Join(t.TempDir(), "inside")
		must(t, os.Mkdir(dir, 0o700))
		manifest, err := folder.ExtractBackup(bytes.NewReader(seal(t, content)), []byte("p"), dir)
		outside, globErr := filepath.Glob(filepath.Join(dir, "..", "*"))
		must(t, globErr)
		inside, globErr := os.ReadDir(dir)
		must(t, globErr)
		if len(outside) != 1 || err == nil && len(inside) != len(manifest.Files) {
			t.Errorf("%d files, %v", len(inside), err)
		}
	})
}
