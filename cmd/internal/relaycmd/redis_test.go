package relaycmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
)

// appendConfig makes a relay's configuration with other sections than it has.
func appendConfig(t *testing.T, f relayFolder, sections string) {
	t.Helper()
	raw, err := os.ReadFile(f.config)
	fatal(t, err)
	text, _, found := strings.Cut(string(raw), "[limits]")
	if !found {
		t.Fatalf("no [limits] in %s", raw)
	}
	fatal(t, os.WriteFile(f.config, []byte(text+sections), 0o600))
}

// TestRelayRedisConfig: what cannot be meant is refused before anything listens.
func TestRelayRedisConfig(t *testing.T) {
	f := newRelayFolder(t)
	original, err := os.ReadFile(f.config)
	fatal(t, err)
	fatal(t, os.WriteFile(filepath.Join(f.dir, "empty"), []byte("\n"), 0o600))
	for sections, want := range map[string]string{
		"[redis]\nmaster = 'relay'\n":                                                                     "names no addresses",
		"[redis]\naddresses = ['127.0.0.1:1']\nadresses = []\n":                                           "unknown keys",
		"[redis]\naddresses = ['127.0.0.1:1']\nca_file = 'roots.pem'\n":                                   "tls = true",
		"[redis]\naddresses = ['127.0.0.1:1']\ntls = true\nca_file = 'relay.toml'\n":                      "has no certificate",
		"[redis]\naddresses = ['127.0.0.1:1']\ntls = true\ncert_file = 'roots.pem'\n":                     "client certificate",
		"[redis]\naddresses = ['127.0.0.1:1']\nusername = 'relay'\n":                                      "without a password file",
		"[redis]\naddresses = ['127.0.0.1:1']\nusername = 'relay'\npassword_file = 'nowhere'\n":           "read password",
		"[redis]\naddresses = ['127.0.0.1:1']\nusername = 'relay'\npassword_file = 'empty'\n":             "is empty",
		"[redis]\naddresses = ['127.0.0.1:1']\ntimeout = 'soon'\n":                                        "want a duration",
		"[redis]\naddresses = ['127.0.0.1:1', '127.0.0.1:2']\ndatabase = 1\n":                             "no database but 0",
		"[redis]\naddresses = ['127.0.0.1:1']\ncluster = true\nmaster = 'relay'\n":                        "no master's name",
		"[redis]\naddresses = ['127.0.0.1:1']\nprefix = '{a}'\n":                                          "of their own",
		"[redis]\naddresses = ['127.0.0.1:1']\npool_size = -1\n":                                          "negative",
		"[limits]\nkeep_ended = '400h'\n[redis]\naddresses = ['127.0.0.1:1']\n":                           "at most 360h",
		"[redis]\naddresses = ['127.0.0.1:1']\ntimeout = '1ms'\n[limits]\nconnections = 1\nwaiters = 1\n": "read store id",
	} {
		fatal(t, os.WriteFile(f.config, original, 0o600))
		appendConfig(t, f, sections)
		if code, _, stderr := bidsealRun(t, "relay", "serve", "--config", f.config, "--listen", "127.0.0.1:0"); code == cli.ExitOK || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit code %d, want %q in:\n%s", sections, code, want, stderr)
		}
	}
}
