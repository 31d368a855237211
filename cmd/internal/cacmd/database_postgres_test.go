//go:build postgres

package cacmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// passwordOutside holds the password of the tests' server, and nothing else does.
func passwordOutside(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "database.pass")
	if err := os.WriteFile(file, []byte(os.Getenv("PGPASSWORD")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGPASSWORD", "")
	return file
}

// TestCAOnPostgres: ceremony and operators' commands on a server; a database
// takes one authority.
func TestCAOnPostgres(t *testing.T) {
	database := pgtest.Database(t)
	password := os.Getenv("PGPASSWORD")
	file := passwordOutside(t)
	t.Setenv(caPassphraseEnv, "a passphrase for tests")
	dir := filepath.Join(t.TempDir(), "ca")
	ceremony := func(dir string) (code int, stderr string) {
		code, _, stderr = bidsealRun(t, "ca", "init", "--data", dir, "--base-url", "http://127.0.0.1:8402", "--documentation-oids",
			"--database", database, "--database-password-file", file)
		return code, stderr
	}
	if code, stderr := ceremony(dir); code != cli.ExitOK {
		t.Fatal(stderr)
	}
	for _, command := range [][]string{{"enrolment-code", "--name", "张三", "--out", filepath.Join(t.TempDir(), "code.json")}, {"list"}, {"verify-log"}} {
		if code, _, stderr := bidsealRun(t, append([]string{"ca", "--data", dir}, command...)...); code != cli.ExitOK {
			t.Errorf("%s: exit code %d\n%s", command[0], code, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ca.db")); err == nil {
		t.Error("there is a file, too")
	}
	another := filepath.Join(t.TempDir(), "ca")
	if code, stderr := ceremony(another); code == cli.ExitOK || !strings.Contains(stderr, "an authority already") {
		t.Errorf("a second ceremony: exit code %d\n%s", code, stderr)
	}
	if _, err := os.Stat(another); err == nil {
		t.Error("the refused ceremony left a folder")
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "ca.toml")); err != nil || strings.Contains(string(raw), password) {
		t.Errorf("the configuration holds the password, %v", err)
	}
}
