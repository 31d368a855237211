//go:build postgres

package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

func runTests(m *testing.M) int { return pgtest.Main(m) }

// passwordFile holds the password of the tests' server, and nothing else does.
func passwordFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "database.pass")
	fatal(t, os.WriteFile(file, []byte(os.Getenv("PGPASSWORD")+"\n"), 0o600))
	t.Setenv("PGPASSWORD", "")
	return file
}

// TestRelayOnPostgres: the commands of a relay's operator work on a server, also
// while a node serves; a second node without Redis is refused.
func TestRelayOnPostgres(t *testing.T) {
	database := pgtest.Database(t)
	file := passwordFile(t)
	f := newRelayFolder(t)
	appendConfig(t, f, "[database]\nurl = '"+database+"?lock_timeout=100'\npassword_file = '"+file+"'\n")
	f.run(t, exitOK, "platform", "add", "--file", f.registration(t, "p-one", "One", nil))
	serveBriefly(t, f, func(base string) {
		resp, err := http.Get(base + "/readyz") //nolint:noctx // a test
		fatal(t, err)
		defer resp.Body.Close()
		if raw, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s, %v", resp.Status, raw, err)
		}
		if listed := f.run(t, exitOK, "platform", "list"); !strings.Contains(listed, "p-one") {
			t.Errorf("listed: %s", listed)
		}
		code, _, stderr := bidsealRun(t, "relay", "serve", "--config", f.config, "--listen", "127.0.0.1:0")
		if code != exitFailed || !strings.Contains(stderr, "[redis]") {
			t.Errorf("a second node: exit code %d\n%s", code, stderr)
		}
	})
	serveBriefly(t, f, func(string) {}) // the first has made room
	if report := f.run(t, exitOK, "verify-log"); !strings.Contains(report, `"entries":0`) {
		t.Errorf("report: %s", report)
	}
	if _, err := os.Stat(filepath.Join(f.dir, relayDatabaseFile)); err == nil {
		t.Error("there is a file, too")
	}
	fatal(t, os.WriteFile(file, []byte("kennwort\n"), 0o600))
	if code, _, stderr := bidsealRun(t, "relay", "verify-log", "--config", f.config); code == exitOK || strings.Contains(stderr, "kennwort") {
		t.Errorf("a wrong password: exit code %d\n%s", code, stderr)
	}
}

// TestCAOnPostgres: ceremony and operators' commands on a server; a database
// takes one authority.
func TestCAOnPostgres(t *testing.T) {
	database := pgtest.Database(t)
	password := os.Getenv("PGPASSWORD")
	file := passwordFile(t)
	t.Setenv(caPassphraseEnv, "a passphrase for tests")
	dir := filepath.Join(t.TempDir(), "ca")
	ceremony := func(dir string) (code int, stderr string) {
		code, _, stderr = bidsealRun(t, "ca", "init", "--data", dir, "--base-url", "http://127.0.0.1:8402", "--documentation-oids",
			"--database", database, "--database-password-file", file)
		return code, stderr
	}
	if code, stderr := ceremony(dir); code != exitOK {
		t.Fatal(stderr)
	}
	for _, command := range [][]string{{"enrolment-code", "--name", "张三", "--out", filepath.Join(t.TempDir(), "code.json")}, {"list"}, {"verify-log"}} {
		if code, _, stderr := bidsealRun(t, append([]string{"ca", "--data", dir}, command...)...); code != exitOK {
			t.Errorf("%s: exit code %d\n%s", command[0], code, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ca.db")); err == nil {
		t.Error("there is a file, too")
	}
	another := filepath.Join(t.TempDir(), "ca")
	if code, stderr := ceremony(another); code == exitOK || !strings.Contains(stderr, "an authority already") {
		t.Errorf("a second ceremony: exit code %d\n%s", code, stderr)
	}
	if _, err := os.Stat(another); err == nil {
		t.Error("the refused ceremony left a folder")
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "ca.toml")); err != nil || strings.Contains(string(raw), password) {
		t.Errorf("the configuration holds the password, %v", err)
	}
}
