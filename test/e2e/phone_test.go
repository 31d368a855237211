//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// phone is the command-line phone of one person.
type phone struct {
	t            *testing.T
	name         string
	organisation string
	state        string
	passwordFile string
}

// phone returns the demo's person number i, in the order of the ready line.
func (d *demo) phone(i int) *phone {
	d.t.Helper()
	if i >= len(d.Phones) {
		d.t.Fatalf("the demo has %d phones, want number %d", len(d.Phones), i)
	}
	p := d.Phones[i]
	return &phone{t: d.t, name: p.Name, organisation: p.Organisation, state: p.State, passwordFile: p.PasswordFile}
}

// answer is what a run of the command line came to.
type answer struct {
	exit   int
	stdout string
	stderr string
}

// code digs the stable error code out of the JSON answer, wherever the command put it; "" when there is none.
func (a answer) code() string {
	var doc map[string]any
	if json.Unmarshal([]byte(a.stdout), &doc) != nil {
		return ""
	}
	if inner, ok := doc["error"].(map[string]any); ok {
		doc = inner
	}
	code, _ := doc["code"].(string)
	return code
}

// command runs the binary under test.
func command(t *testing.T, args ...string) answer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("bidseal %s: %v", strings.Join(args, " "), err)
	}
	return answer{exit: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// scan scans a payload or a picture with the person's own password.
func (p *phone) scan(code string, flags ...string) answer {
	p.t.Helper()
	return p.scanWith(p.passwordFile, code, flags...)
}

// scanWith scans with a password from another file.
func (p *phone) scanWith(passwordFile, code string, flags ...string) answer {
	p.t.Helper()
	args := []string{"phone", "--state", p.state, "scan", code, "--password-file", passwordFile, "--json"}
	return command(p.t, append(args, flags...)...)
}

// mustScan approves and expects success.
func (p *phone) mustScan(code string, flags ...string) answer {
	p.t.Helper()
	got := p.scan(code, append(flags, "--approve")...)
	if got.exit != 0 {
		p.t.Fatalf("scan by %s: exit %d\n%s\n%s", p.name, got.exit, got.stdout, got.stderr)
	}
	return got
}

// refused expects exit 1 with the stable code.
func (a answer) refused(t *testing.T, code string) {
	t.Helper()
	if a.exit != 1 || a.code() != code {
		t.Fatalf("exit %d, code %q, want a refusal with %q\n%s\n%s", a.exit, a.code(), code, a.stdout, a.stderr)
	}
}

// secret writes a password file of the test's own.
func secret(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
