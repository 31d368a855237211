package cacmd

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
)

// TestDatabaseFlags: a database that cannot be meant is refused, and nothing quotes a password.
func TestDatabaseFlags(t *testing.T) {
	for flags, want := range map[[2]string]string{
		{"relay.db", ""}: "does not begin with postgres://",
		{"", "/etc/x"}:   "without a url",
		{"postgres://u@127.0.0.1:1/d", "relative"}:      "not an absolute path",
		{"postgres://u:kennwort@127.0.0.1:1/d", ""}:     "password stands in the URL",
		{"postgres://u@127.0.0.1:1/d", "/nowhere/pass"}: "read password",
	} {
		t.Setenv(caPassphraseEnv, "a passphrase for tests")
		code, _, stderr := bidsealRun(t, "ca", "init", "--data", filepath.Join(t.TempDir(), "ca"), "--base-url", "http://127.0.0.1:1",
			"--documentation-oids", "--database", flags[0], "--database-password-file", flags[1])
		if code == cli.ExitOK || !strings.Contains(stderr, want) || strings.Contains(stderr, "kennwort") {
			t.Errorf("%q: exit code %d, want %q in:\n%s", flags, code, want, stderr)
		}
	}
}
