package cacmd

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/cmd/internal/cli"
)

// newTestAuthority makes an authority by its commands and returns the flags that
// every further command needs.
func newTestAuthority(t *testing.T) (dir string, base []string) {
	t.Helper()
	dir = t.TempDir()
	secret := filepath.Join(dir, "passphrase.txt")
	if err := os.WriteFile(secret, []byte("a passphrase for tests\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base = []string{"--data", filepath.Join(dir, "ca"), "--password-file", secret, "--operator", "tester"}
	var made struct{ Certificates []folder.Fingerprint }
	caLine(t, base, &made, "init", "--documentation-oids", "--base-url", "http://ca.example", "--name", "Test CA")
	return dir, base
}

// TestVerifyLogOutside: what an outsider does with an exported log and with a copy
// of the database, and what a rollback gives.
func TestVerifyLogOutside(t *testing.T) {
	dir, base := newTestAuthority(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	var report audit.Report
	caLine(t, base, &report, "verify-log", "--export", file("log"), "--key-out", file("audit.pem"), "--keep", file("early"))
	caLine(t, nil, &report, "verify-log", "--import", file("log"), "--audit-key", file("audit.pem"), "--head", file("early"))
	caLine(t, nil, &report, "verify-log", "--database", filepath.Join(dir, "ca", "ca.db"), "--audit-key", file("audit.pem"), "--head", file("early"))
	if report.Certificates != 4 || report.Rows != 4 {
		t.Errorf("%+v", report)
	}
	caLine(t, base, new(struct{ File string }), "enrolment-code", "--name", "张三", "--out", file("code"))
	caLine(t, base, &report, "verify-log", "--keep", file("late"), "--head", file("early"))
	raw, err := os.ReadFile(file("log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("altered"), bytes.Replace(raw, []byte("local:tester"), []byte("local:nobody"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]struct {
		args []string
		want int
	}{
		"rolled back":    {[]string{"--import", file("log"), "--audit-key", file("audit.pem"), "--head", file("late")}, cli.ExitFailed},
		"altered":        {[]string{"--import", file("altered"), "--audit-key", file("audit.pem")}, cli.ExitFailed},
		"no key":         {[]string{"--import", file("log")}, cli.ExitUsage},
		"no copy":        {[]string{"--database", file("none.db"), "--audit-key", file("audit.pem")}, cli.ExitFailed},
		"written twice":  {append([]string{"--export", file("log")}, base...), cli.ExitFailed},
		"head of a copy": {[]string{"--database", filepath.Join(dir, "ca", "ca.db"), "--audit-key", file("audit.pem"), "--keep", file("x")}, cli.ExitUsage},
	} {
		if code, _, stderr := bidsealRun(t, append([]string{"ca", "verify-log"}, v.args...)...); code != v.want {
			t.Errorf("%s: exit code %d, want %d: %s", name, code, v.want, stderr)
		}
	}
	if _, err := os.Stat(file("none.db")); err == nil {
		t.Error("a database was made where there was none")
	}
}
