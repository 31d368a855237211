package relaycmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
)

// TestDatabaseConfig: what cannot be meant is refused, and nothing quotes a
// password.
func TestDatabaseConfig(t *testing.T) {
	f := newRelayFolder(t)
	original, err := os.ReadFile(f.config)
	fatal(t, err)
	fatal(t, os.WriteFile(filepath.Join(f.dir, "empty"), []byte("\n"), 0o600))
	for section, want := range map[string]string{
		"password_file = 'empty'": "names no url",
		"connections = 4":         "names no url",
		"url = 'relay.db'":        "does not begin with postgres://",
		"url = 'postgres://u@127.0.0.1:1/d'\nconnections = -1":                        "negative number",
		"url = 'postgres://u@127.0.0.1:1/d'\npool = 1":                                "unknown keys",
		"url = 'postgres://u:kennwort@127.0.0.1:1/d'":                                 "password stands in the URL",
		"url = 'postgres://u@127.0.0.1:1/d?password=kennwort'":                        "password stands in the URL",
		"url = 'postgres://u@127.0.0.1:1/d'\npassword_file = 'none'":                  "read password",
		"url = 'postgres://u@127.0.0.1:1/d'\npassword_file = 'empty'":                 "is empty",
		"url = 'postgres://u@127.0.0.1:1/d?synchronous_commit=off'":                   "not be durable",
		"url = 'postgres://u@127.0.0.1:1/d?sslmode=verify-full&sslrootcert=/nowhere'": "cannot be read",
		"url = 'postgres://u@127.0.0.1:1/d'":                                          "open database d on 127.0.0.1",
	} {
		fatal(t, os.WriteFile(f.config, original, 0o600))
		appendConfig(t, f, "[database]\n"+section+"\n")
		for _, command := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"platform", "list"}} {
			code, _, stderr := bidsealRun(t, append([]string{"relay", "--config", f.config}, command...)...)
			if code == cli.ExitOK || !strings.Contains(stderr, want) || strings.Contains(stderr, "kennwort") {
				t.Errorf("%q, %s: exit code %d, want %q in:\n%s", section, command[0], code, want, stderr)
			}
		}
	}
}
