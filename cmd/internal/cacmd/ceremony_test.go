package cacmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/cmd/internal/cli"
)

// TestCeremonyCommands: from one configuration file through rotation, revocation
// of the old issuing authority, backup and restoration, with the root's key on a
// medium of its own.
func TestCeremonyCommands(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(want int, args ...string) string {
		t.Helper()
		code, stdout, stderr := bidsealRun(t, args...)
		if code != want {
			t.Fatalf("%v: exit code %d\n%s", args, code, stderr)
		}
		return stdout + stderr
	}
	secret, rootSecret, backupSecret := write("pass", "one passphrase\n"), write("rootpass", "another\n"), write("backuppass", "a third\n")
	medium := filepath.Join(dir, "medium")
	if err := os.Mkdir(medium, 0o700); err != nil {
		t.Fatal(err)
	}
	// every setting is explained, and what is printed can be read again
	printed := run(cli.ExitOK, "ca", "init", "--print-config", "--base-url", "http://ca.example")
	for _, want := range []string{"# Family of all keys", "# Extension: lineage id", "pkcs11:token", "family = 'SM2'"} {
		if !strings.Contains(printed, want) {
			t.Errorf("%q is missing in\n%s", want, printed)
		}
	}
	config := write("ceremony.toml", printed)
	data := filepath.Join(dir, "ca")
	base := []string{"--data", data, "--password-file", secret, "--operator", "tester"}
	start := append([]string{"ca", "init", "--config", config, "--root-dir", medium, "--root-password-file", rootSecret, "--witness", "王五"}, base...)
	if out := run(cli.ExitUsage, start...); !strings.Contains(out, "documentation") {
		t.Errorf("identifiers of nobody were taken: %s", out)
	}
	var oids strings.Builder
	for line := range strings.Lines(printed) {
		oids.WriteString(strings.ReplaceAll(line, "'1.3.6.1.4.1.32473.", "'1.3.6.1.4.1.55555."))
	}
	write("ceremony.toml", oids.String())
	out := run(cli.ExitOK, start...)
	if !strings.Contains(out, "SM3") || strings.Contains(out, "WARNING") {
		t.Errorf("ceremony: %s", out)
	}
	if _, err := os.Stat(filepath.Join(data, "root.key")); err == nil {
		t.Error("the root's key is in the authority's folder")
	}
	record := filepath.Join(data, folder.CeremonyRecordFile)
	run(cli.ExitOK, "ca", "verify-record", record, "--root", filepath.Join(data, "root.pem"))
	run(cli.ExitFailed, "ca", "verify-record", record, "--root", filepath.Join(data, "issuing-1.pem"))

	root := []string{"--root-dir", medium, "--root-password-file", rootSecret}
	var made folder.Fingerprint
	caLine(t, base, &made, append([]string{"rotate-issuing"}, root...)...)
	if made.Name != "issuing-2" {
		t.Errorf("rotation: %+v", made)
	}
	var again folder.Fingerprint
	caLine(t, base, &again, append([]string{"rotate-issuing", "--to", "issuing-2"}, root...)...)
	if again != made {
		t.Errorf("repeated: %+v", again)
	}
	run(cli.ExitUsage, append([]string{"ca", "revoke-issuing", "issuing-1", "--reason", "because"}, append(base, root...)...)...)
	run(cli.ExitFailed, append([]string{"ca", "revoke-issuing", "issuing-2", "--reason", "superseded"}, append(base, root...)...)...)
	run(cli.ExitOK, append([]string{"ca", "revoke-issuing", "issuing-1", "--reason", "superseded"}, append(base, root...)...)...)

	head, backup := filepath.Join(dir, "head.json"), filepath.Join(dir, "backup")
	run(cli.ExitOK, append([]string{"ca", "backup", "--out", backup, "--backup-password-file", backupSecret}, base...)...)
	run(cli.ExitFailed, append([]string{"ca", "backup", "--out", backup, "--backup-password-file", backupSecret}, base...)...)
	run(cli.ExitOK, append([]string{"ca", "crl"}, base...)...)
	run(cli.ExitOK, append([]string{"ca", "verify-log", "--keep", head}, base...)...)
	restore := []string{"ca", "restore", backup, "--data", filepath.Join(dir, "again"), "--password-file", secret, "--backup-password-file", backupSecret, "--head", head}
	if out := run(cli.ExitFailed, restore...); !strings.Contains(out, "older") {
		t.Errorf("an older state: %s", out)
	}
	if out := run(cli.ExitOK, append(restore, "--accept-loss")...); !strings.Contains(out, "LOST") {
		t.Errorf("loss without a word: %s", out)
	}
	run(cli.ExitOK, "ca", "verify-log", "--data", filepath.Join(dir, "again"), "--password-file", secret)
}
