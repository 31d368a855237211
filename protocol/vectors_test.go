package protocol_test

import (
	"bytes"
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
)

const vectorDir = "testdata/vectors"

var update = flag.Bool("update", false, "write the vectors and ERRORS.md anew")

// vector is one file under testdata/vectors; its README.md describes the kinds.
type vector struct {
	Name        string `json:"name"` // of the file, without .json
	Description string `json:"description"`
	Kind        string `json:"kind"`
	Input       values `json:"input"`
	Expect      expect `json:"expect"`
}

// expect is either ok with an output, or the code of the refusal. after is
// what a refused transition stores all the same.
type expect struct {
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
	Output values `json:"output,omitempty"`
}

// values are named texts, numbers, lists and objects; bytes are lower-case hex.
type values map[string]any

// plain gives a value the types that reading a file gives.
func plain(t testing.TB, v values) values {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(must(json.Marshal(v))(t)))
	dec.UseNumber()
	var out values
	if err := dec.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// in reads the input of one vector; a value that is not there ends the test.
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
	s := i.text(name)
	if s != strings.ToLower(s) {
		i.t.Fatalf("input %q is not in lower case", name)
	}
	return must(hex.DecodeString(s))(i.t)
}

func (i in) int(name string) int64 {
	i.t.Helper()
	n, ok := i.v[name].(json.Number)
	if !ok {
		i.t.Fatalf("input %q is not a number", name)
	}
	return must(n.Int64())(i.t)
}

func (i in) u32(name string) uint32 { return uint32(i.int(name)) }

func (i in) texts(name string) []string {
	i.t.Helper()
	list, ok := i.v[name].([]any)
	if !ok {
		i.t.Fatalf("input %q is not a list", name)
	}
	out := make([]string, len(list))
	for n, v := range list {
		if out[n], ok = v.(string); !ok {
			i.t.Fatalf("input %q holds something else than texts", name)
		}
	}
	return out
}

// cid reads the form of URLs.
func (i in) cid(name string) protocol.CID {
	i.t.Helper()
	return must(protocol.ParseCID(i.text(name)))(i.t)
}

// run does what a vector says.
func run(t testing.TB, v vector) (values, error) {
	t.Helper()
	do, ok := kinds()[v.Kind]
	if !ok {
		t.Fatalf("kind %q is not known", v.Kind)
	}
	return do(in{t, plain(t, v.Input)})
}

func kinds() map[string]func(in) (values, error) {
	return map[string]func(in) (values, error){
		"key_schedule": runKeySchedule, "commitment": runCommitment, "request_signature": runRequestSignature, "request": runRequest,
		"request_box": runRequestBox, "qr": runQR, "frame_mac": runFrameMAC, "frame_judgement": runFrameJudgement,
		"statement_frame": runStatementFrame, "claim_keys": runClaimKeys, "claim_box": runClaimBox, "result_digest": runResultDigest,
		"shown": runShown, "statement": runStatement, "statement_signature": runStatementSignature, "open_signature": runOpenSignature,
		"receipt": runReceipt, "ledger": runLedger, "promise": runPromise, "pass": runPass, "proof": runProof, "json": runJSON,
		"public_key": runPublicKey, "transition": runTransition,
	}
}

// tried is a vector whose expectation is still to be computed; want is the
// code that it has to be refused with, empty for none.
type tried struct {
	name, kind, description string
	input                   values
	want                    protocol.Code
}

func cases(t testing.TB) []tried {
	return slices.Concat(keyCases(t), requestCases(t), boxCases(t), qrCases(t), statementCases(t), receiptCases(t), passCases(t), jsonCases(t), stateCases(t))
}

// TestVectorFiles holds the files to what the code of today makes: same set,
// same bytes. With -update they are written.
func TestVectorFiles(t *testing.T) {
	made := make(map[string][]byte)
	for _, c := range cases(t) {
		v := vector{Name: c.name, Description: c.description, Kind: c.kind, Input: c.input}
		out, err := run(t, v)
		if got := codeOf(err); got != string(c.want) {
			t.Fatalf("%s: %v, want %q", c.name, err, c.want)
		}
		v.Expect = expect{OK: err == nil, Error: codeOf(err), Output: out}
		var text bytes.Buffer
		enc := json.NewEncoder(&text)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
		file := c.name + ".json"
		if made[file] != nil {
			t.Fatalf("two vectors are named %s", c.name)
		}
		made[file] = text.Bytes()
	}
	if *update {
		writeVectors(t, made)
	}
	files := must(filepath.Glob(filepath.Join(vectorDir, "*.json")))(t)
	for _, f := range files {
		if made[filepath.Base(f)] == nil {
			t.Errorf("%s is not made by any case", f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if got, err := os.ReadFile(filepath.Join(vectorDir, name)); err != nil || !bytes.Equal(got, made[name]) {
			t.Errorf("%s is stale (go test ./protocol -run TestVectorFiles -update): %v", name, err)
		}
	}
}

func writeVectors(t *testing.T, made map[string][]byte) {
	t.Helper()
	for _, f := range must(filepath.Glob(filepath.Join(vectorDir, "*.json")))(t) {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range made {
		if err := os.WriteFile(filepath.Join(vectorDir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestVectors does what each file says and compares every output.
func TestVectors(t *testing.T) {
	files := must(filepath.Glob(filepath.Join(vectorDir, "*.json")))(t)
	refused := 0
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			v := readVector(t, file)
			out, err := run(t, v)
			if got := codeOf(err); got != v.Expect.Error || (err == nil) != v.Expect.OK {
				t.Fatalf("%v, want %q", err, v.Expect.Error)
			}
			got, want := must(json.Marshal(plain(t, out)))(t), must(json.Marshal(plain(t, v.Expect.Output)))(t)
			if !bytes.Equal(got, want) {
				t.Fatalf("output\n %s\nwant\n %s", got, want)
			}
			if !v.Expect.OK {
				refused++
			}
		})
	}
	if len(files) < 100 || refused < 60 {
		t.Fatalf("%d vectors, %d of them refused: some are missing", len(files), refused)
	}
}

func readVector(t testing.TB, file string) vector {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(must(os.ReadFile(file))(t)))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	var v vector
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if v.Name+".json" != filepath.Base(file) || v.Description == "" {
		t.Fatalf("%s: name or description is wrong", file)
	}
	return v
}
