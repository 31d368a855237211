//go:build postgres

package relaycmd

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/sqldb/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

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
	f.run(t, cli.ExitOK, "platform", "add", "--file", f.registration(t, "p-one", "One", nil))
	serveBriefly(t, f, func(base string) {
		resp, err := http.Get(base + "/readyz") //nolint:noctx // a test
		fatal(t, err)
		defer resp.Body.Close()
		if raw, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s, %v", resp.Status, raw, err)
		}
		if listed := f.run(t, cli.ExitOK, "platform", "list"); !strings.Contains(listed, "p-one") {
			t.Errorf("listed: %s", listed)
		}
		code, _, stderr := bidsealRun(t, "relay", "serve", "--config", f.config, "--listen", "127.0.0.1:0")
		if code != cli.ExitFailed || !strings.Contains(stderr, "[redis]") {
			t.Errorf("a second node: exit code %d\n%s", code, stderr)
		}
	})
	serveBriefly(t, f, func(string) {}) // the first has made room
	if report := f.run(t, cli.ExitOK, "verify-log"); !strings.Contains(report, `"entries":0`) {
		t.Errorf("report: %s", report)
	}
	if _, err := os.Stat(filepath.Join(f.dir, relayDatabaseFile)); err == nil {
		t.Error("there is a file, too")
	}
	fatal(t, os.WriteFile(file, []byte("kennwort\n"), 0o600))
	if code, _, stderr := bidsealRun(t, "relay", "verify-log", "--config", f.config); code == cli.ExitOK || strings.Contains(stderr, "kennwort") {
		t.Errorf("a wrong password: exit code %d\n%s", code, stderr)
	}
}
