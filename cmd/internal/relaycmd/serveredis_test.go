//go:build redis

package relaycmd

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/relay/redisstore/redistest"
)

// TestRelayServeRedis: the configuration reaches a server that speaks TLS and
// knows one user, with the permissions that the operator's guide names.
func TestRelayServeRedis(t *testing.T) {
	server := redistest.TLS(t)
	f := newRelayFolder(t)
	section := fmt.Sprintf("[redis]\naddresses = ['%s']\ntls = true\nca_file = '%s'\nusername = '%s'\npassword_file = '%s'\n",
		server.Addr, server.CAFile, server.Username, server.PasswordFile)
	appendConfig(t, f, section)
	serveBriefly(t, f, func(base string) {
		resp, err := http.Get(base + "/readyz") //nolint:noctx // a test
		fatal(t, err)
		defer resp.Body.Close()
		if raw, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s, %v", resp.Status, raw, err)
		}
	})
	fatal(t, os.WriteFile(server.PasswordFile, []byte("another\n"), 0o600))
	if code, _, stderr := bidsealRun(t, "relay", "serve", "--config", f.config, "--listen", "127.0.0.1:0"); code == cli.ExitOK {
		t.Errorf("a wrong password was accepted: %s", stderr)
	}
}
