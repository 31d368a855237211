package cacmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/cmd/internal/cli"
)

// caLine runs `bidseal ca ... --json` on one authority and reads the document.
func caLine(t *testing.T, base []string, v any, args ...string) {
	t.Helper()
	code, stdout, stderr := bidsealRun(t, append(append([]string{"ca", "--json"}, base...), args...)...)
	if code != cli.ExitOK {
		t.Fatalf("ca %v: exit code %d\n%s", args, code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), v); err != nil {
		t.Fatalf("ca %v: %v\n%s", args, err, stdout)
	}
}

func TestAuthorityCommands(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "passphrase.txt")
	if err := os.WriteFile(secret, []byte("a passphrase for tests\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := []string{"--data", filepath.Join(dir, "ca"), "--password-file", secret, "--operator", "tester"}

	var made struct{ Certificates []folder.Fingerprint }
	caLine(t, base, &made, "init", "--documentation-oids", "--base-url", "http://ca.example", "--name", "Test CA")
	if len(made.Certificates) != 2 || len(made.Certificates[0].SM3) != 64 {
		t.Errorf("ceremony: %+v", made)
	}

	file := filepath.Join(dir, "code.json")
	var code struct{ File string }
	caLine(t, base, &code, "enrolment-code", "--name", "张三", "--organisation", "示例建设有限公司", "--credit-code", "91330100MA27XL0G0X", "--role", "user", "--out", file)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var handed caapi.EnrolmentFile
	if err := json.Unmarshal(raw, &handed); err != nil || handed.Code == "" || handed.CA != "http://ca.example" || handed.Roots[0] != made.Certificates[0].SM3 {
		t.Errorf("enrolment file %s: %v", raw, err)
	}

	var list struct{ Certificates []status.CertificateInfo }
	caLine(t, base, &list, "list")
	if len(list.Certificates) != 4 {
		t.Errorf("certificates: %+v", list)
	}
	var crl struct{ Number int }
	caLine(t, base, &crl, "crl", "--out", filepath.Join(dir, "list.crl"))
	first := crl.Number
	if first == 0 {
		t.Error("the list has no number")
	}
	caLine(t, base, &crl, "crl", "--out", filepath.Join(dir, "list2.crl"))
	if crl.Number <= first {
		t.Errorf("list %d after %d", crl.Number, first)
	}
	caLine(t, base, &crl, "crl", "--root", "--root-password-file", secret)
	if crl.Number < 1_600_000_000 { // of the clock
		t.Errorf("root's second list has number %d", crl.Number)
	}
	var platforms struct{ Platforms []registry.PlatformInfo }
	caLine(t, base, &platforms, "platform", "list")

	head := filepath.Join(dir, "head.json")
	var report audit.Report
	caLine(t, base, &report, "verify-log", "--keep", head)
	caLine(t, base, &report, "verify-log", "--head", head)
	if report.Certificates != 4 || report.Head.Seq != report.Entries {
		t.Errorf("log: %+v", report)
	}
}

func TestAuthorityCommandsRefuse(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "ca")
	t.Setenv(caPassphraseEnv, "a passphrase for tests")
	if code, _, stderr := bidsealRun(t, "ca", "init", "--documentation-oids", "--data", data, "--base-url", "http://ca.example"); code != cli.ExitOK {
		t.Fatal(stderr)
	}
	strict := filepath.Join(dir, "serve.toml")
	if err := os.WriteFile(strict, []byte("listne = \"127.0.0.1:0\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]struct {
		args []string
		want int
	}{
		"no folder":           {[]string{"ca", "list"}, cli.ExitUsage},
		"no authority":        {[]string{"ca", "list", "--data", filepath.Join(dir, "none")}, cli.ExitFailed},
		"second ceremony":     {[]string{"ca", "init", "--documentation-oids", "--data", data, "--base-url", "http://ca.example"}, cli.ExitFailed},
		"no base URL":         {[]string{"ca", "init", "--data", filepath.Join(dir, "x")}, cli.ExitUsage},
		"no name":             {[]string{"ca", "enrolment-code", "--data", data, "--out", "x"}, cli.ExitUsage},
		"unknown reason":      {[]string{"ca", "revoke", "--data", data, "--serial", "1", "--reason", "because"}, cli.ExitUsage},
		"unknown serial":      {[]string{"ca", "revoke", "--data", data, "--serial", "1234"}, cli.ExitFailed},
		"no application":      {[]string{"ca", "platform", "approve", "abc", "--data", data}, cli.ExitFailed},
		"no id":               {[]string{"ca", "platform", "approve", "--data", data}, cli.ExitUsage},
		"rejected in silence": {[]string{"ca", "platform", "reject", "abc", "--data", data}, cli.ExitUsage},
		"unknown key":         {[]string{"ca", "serve", "--config", strict}, cli.ExitUsage},
		"credit code":         {[]string{"ca", "enrolment-code", "--data", data, "--name", "张三", "--organisation", "o", "--credit-code", "1", "--role", "user", "--out", filepath.Join(dir, "c")}, cli.ExitFailed},
	} {
		if code, _, stderr := bidsealRun(t, v.args...); code != v.want {
			t.Errorf("%s: exit code %d, want %d; stderr: %s", name, code, v.want, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "c")); err == nil {
		t.Error("a file was written for a code that was refused")
	}
}

// TestServeConfig: flags win over the file, the file over the defaults, and what
// is printed can be read again.
func TestServeConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "serve.toml")
	if err := os.WriteFile(path, []byte("data = \"/srv/ca\"\nlisten = \"127.0.0.1:1\"\nconcurrent = 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := bidsealRun(t, "ca", "serve", "--config", path, "--listen", "127.0.0.1:2", "--print-config")
	if code != cli.ExitOK {
		t.Fatal(stderr)
	}
	for _, want := range []string{"'/srv/ca'", "'127.0.0.1:2'", "concurrent = 7"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%s is missing in\n%s", want, stdout)
		}
	}
	if err := os.WriteFile(path, []byte(stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, again, stderr := bidsealRun(t, "ca", "serve", "--config", path, "--print-config"); code != cli.ExitOK || again != stdout {
		t.Errorf("read again: %d\n%s%s", code, again, stderr)
	}
}
