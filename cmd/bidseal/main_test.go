package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/cmd/internal/cli/clitest"
	"github.com/bidseal/bidseal/protocol"
)

// bidsealRun runs one command line in this process.
func bidsealRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return clitest.Run(t, newRootCommand(), args...)
}

func TestExitCodes(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"success", []string{"version"}, cli.ExitOK},
		{"unknown command", []string{"nonsense"}, cli.ExitUsage},
		{"unknown flag", []string{"version", "--nonsense"}, cli.ExitUsage},
		{"superfluous argument", []string{"version", "x"}, cli.ExitUsage},
		{"missing flag", []string{"platform", "request"}, cli.ExitUsage},
		{"nothing to fetch", []string{"platform", "fetch", "--dir", missing, "--relay", "http://127.0.0.1:1", "--app", "http://127.0.0.1:1", "--root", "x"}, cli.ExitUsage},
		{"authority not there", []string{"platform", "request", "--dir", missing, "--ca", "http://127.0.0.1:1", "--name", "n", "--organisation", "o", "--contact", "c", "--origin", "http://127.0.0.1:2"}, cli.ExitFailed},
	} {
		if code, _, stderr := bidsealRun(t, c.args...); code != c.want {
			t.Errorf("%s: exit code %d, want %d; stderr: %s", c.name, code, c.want, stderr)
		}
	}
}

func TestFailureIsAProblemDocument(t *testing.T) {
	code, stdout, stderr := bidsealRun(t, "platform", "request", "--json", "--dir", t.TempDir(), "--ca", "http://127.0.0.1:1",
		"--name", "n", "--organisation", "o", "--contact", "c", "--origin", "http://127.0.0.1:2")
	if code != cli.ExitFailed {
		t.Fatalf("exit code %d", code)
	}
	var p protocol.Problem
	if err := json.Unmarshal([]byte(stdout), &p); err != nil || p.Code != protocol.CodeNetwork {
		t.Fatalf("stdout %q: %v", stdout, err)
	}
	if !strings.Contains(stderr, "网络连接失败") || !strings.Contains(stderr, "(network") {
		t.Errorf("stderr %q", stderr)
	}
}

// TestEveryCommandHasAnExample holds the rule of the command line for all of
// them, also those that are added later.
func TestEveryCommandHasAnExample(t *testing.T) { clitest.CheckHelp(t, newRootCommand()) }
