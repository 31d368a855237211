//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// check is one row that the Java judge reads; Verify.java says which fields each kind takes.
type check map[string]any

// judge collects objects and checks in a folder and hands them to BouncyCastle.
type judge struct {
	t      *testing.T
	dir    string
	checks []check
}

func newJudge(t *testing.T) *judge {
	t.Helper()
	return &judge{t: t, dir: t.TempDir()}
}

// file stores an object and returns the name by which a check refers to it.
func (j *judge) file(name string, data []byte) string {
	j.t.Helper()
	if len(data) == 0 {
		j.t.Fatalf("%s is empty", name)
	}
	write(j.t, filepath.Join(j.dir, name), data)
	return name
}

// valid expects the judge to accept.
func (j *judge) valid(kind, name string, fields check) { j.add(kind, name, "valid", fields) }

// refused expects the judge to refuse, and for this reason.
func (j *judge) refused(kind, name, reason string, fields check) {
	j.add(kind, name, "refused:"+reason, fields)
}

func (j *judge) add(kind, name, expect string, fields check) {
	row := check{"kind": kind, "name": name, "expect": expect}
	for key, value := range fields {
		row[key] = value
	}
	j.checks = append(j.checks, row)
}

// run compiles the judge, lets it see every check, and fails the test with its own words when one comes out otherwise.
func (j *judge) run() {
	j.t.Helper()
	list, err := json.Marshal(map[string]any{"checks": j.checks})
	if err != nil {
		j.t.Fatal(err)
	}
	j.file("checks.json", list)
	sources, err := filepath.Glob("*.java")
	if err != nil || len(sources) == 0 {
		j.t.Fatalf("no Java source: %v", err)
	}
	classes := j.t.TempDir()
	libraries := bouncyCastle(j.t)
	output(j.t, "javac", append([]string{"-Xlint:all,-path", "-Werror", "-proc:none", "-d", classes, "-cp", libraries}, sources...)...)
	said := output(j.t, "java", "-cp", classes+string(os.PathListSeparator)+libraries, "Verify", j.dir)
	j.t.Logf("BouncyCastle:\n%s", said)
	if passed := strings.Count(said, "\nok   ") + strings.Count(said[:min(5, len(said))], "ok   "); passed != len(j.checks) {
		j.t.Errorf("the judge reports %d of %d checks", passed, len(j.checks))
	}
}

// bouncyCastle is the class path of Debian's packages.
func bouncyCastle(t *testing.T) string {
	t.Helper()
	var jars []string
	for _, name := range []string{"bcprov", "bcpkix", "bcutil"} {
		jar := "/usr/share/java/" + name + ".jar"
		if _, err := os.Stat(jar); err != nil {
			t.Fatalf("Debian's packages libbcprov-java and libbcpkix-java are needed: %v", err)
		}
		jars = append(jars, jar)
	}
	return strings.Join(jars, string(os.PathListSeparator))
}

// output runs a tool that has to succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := attempt(t, name, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return out
}

// attempt runs a tool and returns all it said, and whether it succeeded.
func attempt(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is needed: %v", name, err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
	return said.String(), err
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	return must(os.ReadFile(path))(t)
}

// pemFile writes a certificate the way OpenSSL reads it.
func pemFile(t *testing.T, dir, name string, der []byte) string {
	t.Helper()
	path := filepath.Join(dir, name+".pem")
	write(t, path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return path
}

// flipped is data with the lowest bit of its last byte turned: in a DER object that ends with its signature, the
// encoding stays whole and the signature is wrong.
func flipped(data []byte) []byte {
	out := slices.Clone(data)
	out[len(out)-1] ^= 1
	return out
}
