package assist_test

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"encoding/hex"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"
)

const vectorDir = "testdata/vectors"

var update = flag.Bool("update", false, "write the vectors anew")

// vector is one file under testdata/vectors; SPEC.md describes the kinds.
type vector struct {
	Name        string `json:"name"` // of the file, without .json
	Description string `json:"description"`
	Kind        string `json:"kind"`
	Input       values `json:"input"`
	Expect      expect `json:"expect"`
}

type expect struct {
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
	Output values `json:"output,omitempty"`
}

// values are texts, integers, and bytes in lower-case hexadecimal.
type values map[string]any

// with is a copy with some values changed.
func (v values) with(change values) values {
	out := maps.Clone(v)
	maps.Copy(out, change)
	return out
}

// in reads the input of a vector.
type in struct {
	t testing.TB
	v values
}

func (i in) text(name string) string {
	i.t.Helper()
	s, ok := i.v[name].(string)
	if !ok {
		i.t.Fatalf("input %q is not a text", name)
	}
	return s
}

func (i in) hex(name string) []byte {
	i.t.Helper()
	b, err := hex.DecodeString(i.text(name))
	must(i.t, err)
	return b
}

func (i in) int(name string) int64 {
	i.t.Helper()
	n, ok := i.v[name].(json.Number)
	if !ok {
		i.t.Fatalf("input %q is not a number", name)
	}
	v, err := n.Int64()
	must(i.t, err)
	return v
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hexed(b []byte) string { return hex.EncodeToString(b) }

// det is n bytes that follow from a label, n at most 32.
func det(label string, n int) []byte { return protocol.H([]byte("bidseal assist test " + label))[:n] }

// plain gives values the types that reading a file gives.
func plain(t testing.TB, v values) values {
	t.Helper()
	raw, err := json.Marshal(v)
	must(t, err)
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out values
	must(t, dec.Decode(&out))
	return out
}

// tried is a vector whose expectation is still to be computed.
type tried struct {
	name, kind, description string
	input                   values
	want                    protocol.Code // of the refusal, empty for none
}

func run(t testing.TB, kind string, input values) (values, error) {
	t.Helper()
	do, ok := kinds()[kind]
	if !ok {
		t.Fatalf("kind %q is not known", kind)
	}
	return do(in{t, plain(t, input)})
}

// TestVectorFiles holds the files to what the code of today makes.
func TestVectorFiles(t *testing.T) {
	made := make(map[string][]byte)
	for _, c := range cases(t) {
		out, err := run(t, c.kind, c.input)
		if protocol.CodeOf(err) != c.want {
			t.Fatalf("%s: %v, want %q", c.name, err, c.want)
		}
		var text bytes.Buffer
		enc := json.NewEncoder(&text)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		must(t, enc.Encode(vector{c.name, c.description, c.kind, c.input, expect{OK: err == nil, Error: string(protocol.CodeOf(err)), Output: out}}))
		if made[c.name+".json"] != nil {
			t.Fatalf("two vectors are named %s", c.name)
		}
		made[c.name+".json"] = text.Bytes()
	}
	files, err := filepath.Glob(filepath.Join(vectorDir, "*.json"))
	must(t, err)
	if *update {
		for _, f := range files {
			must(t, os.Remove(f))
		}
		for name, text := range made {
			must(t, os.WriteFile(filepath.Join(vectorDir, name), text, 0o644))
		}
	}
	for _, f := range files {
		if made[filepath.Base(f)] == nil && !*update {
			t.Errorf("%s is not made by any case", f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if got, err := os.ReadFile(filepath.Join(vectorDir, name)); err != nil || !bytes.Equal(got, made[name]) {
			t.Errorf("%s is stale (go test ./ca/assist -run TestVectorFiles -update): %v", name, err)
		}
	}
}

// TestVectors does what each file says.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(vectorDir, "*.json"))
	must(t, err)
	refused := 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			must(t, err)
			dec := json.NewDecoder(bytes.NewReader(raw))
			dec.UseNumber()
			dec.DisallowUnknownFields()
			var v vector
			must(t, dec.Decode(&v))
			out, err := run(t, v.Kind, v.Input)
			if string(protocol.CodeOf(err)) != v.Expect.Error || (err == nil) != v.Expect.OK {
				t.Fatalf("%v, want %q", err, v.Expect.Error)
			}
			got, err := json.Marshal(plain(t, out))
			must(t, err)
			want, err := json.Marshal(plain(t, v.Expect.Output))
			must(t, err)
			if !bytes.Equal(got, want) {
				t.Fatalf("output\n %s\nwant\n %s", got, want)
			}
			if !v.Expect.OK {
				refused++
			}
		})
	}
	if len(files) < 50 || refused < 30 {
		t.Fatalf("%d vectors, %d of them refused: some are missing", len(files), refused)
	}
}

// derive is HKDF with SM3, written down once more from SPEC.md.
func derive(t testing.TB, secret, salt []byte, info string, n int) []byte {
	t.Helper()
	key, err := hkdf.Key(sm3.New, secret, salt, info, n)
	must(t, err)
	return key
}

func gcm(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	block, err := sm4.NewCipher(key)
	must(t, err)
	aead, err := cipher.NewGCM(block)
	must(t, err)
	return aead
}
