package phonecmd

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/protocol"
)

// Wrong use ends with 2, a refusal with 1 and its code, before anything is
// claimed or made.
func TestPhoneRefusals(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "phone")
	text := filepath.Join(dir, "note.txt")
	if err := os.WriteFile(text, []byte("not a picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		exit int
		code protocol.Code
	}{
		{"no state", []string{"certs"}, cli.ExitUsage, ""},
		{"no code file", []string{"--state", state, "enrol"}, cli.ExitUsage, ""},
		{"nothing to scan", []string{"--state", state, "scan", "--approve"}, cli.ExitUsage, ""},
		{"no terminal and no decision", []string{"--state", state, "scan", "https://app/q#1"}, cli.ExitUsage, ""},
		{"both decisions", []string{"--state", state, "scan", "https://app/q#1", "--approve", "--reject", "other"}, cli.ExitUsage, ""},
		{"unknown reason", []string{"--state", state, "scan", "https://app/q#1", "--reject", "because"}, cli.ExitUsage, ""},
		{"not enrolled", []string{"--state", state, "certs"}, cli.ExitFailed, protocol.CodeNotEnrolled},
		{"scan before enrolment", []string{"--state", state, "scan", "https://app/q#1", "--approve"}, cli.ExitFailed, protocol.CodeNotEnrolled},
		{"no picture", []string{"--state", state, "scan", text, "--approve"}, cli.ExitFailed, protocol.CodePictureNoCode},
		{"no enrolment file", []string{"--state", state, "enrol", "--code", text}, cli.ExitFailed, protocol.CodeEnrolmentCode},
	} {
		t.Run(c.name, func(t *testing.T) {
			exit, stdout, stderr := bidsealRun(t, append([]string{"phone", "--json"}, c.args...)...)
			if exit != c.exit {
				t.Fatalf("exit code %d, want %d: %s", exit, c.exit, stderr)
			}
			if c.code == "" {
				return
			}
			var p protocol.Problem
			if err := json.Unmarshal([]byte(stdout), &p); err != nil || p.Code != c.code {
				t.Errorf("code %q, want %q (%v)", p.Code, c.code, err)
			}
			if !strings.Contains(stderr, protocol.Lookup(c.code).TitleZH) {
				t.Errorf("stderr %q", stderr)
			}
		})
	}
}

// What a person answers on the terminal, and what it means.
func TestPhoneDecision(t *testing.T) {
	for _, c := range []struct {
		typed  string
		reason protocol.RejectReason
		fails  bool
	}{
		{"y\n", "", false},
		{"YES\n", "", false},
		{"\n\n", protocol.RejectOther, false},
		{"n\n1\n", protocol.RejectNotMe, false},
		{"nein\n2\n", protocol.RejectWrongContent, false},
		{"n", protocol.RejectOther, false},
		{"", "", true},
	} {
		cmd := New()
		cmd.SetErr(io.Discard)
		p := &prompt{cmd: cmd, in: bufio.NewReader(strings.NewReader(c.typed))}
		reason, err := p.decide(scanFlags{})
		if reason != c.reason || (err != nil) != c.fails {
			t.Errorf("%q: reason %q, %v", c.typed, reason, err)
		}
	}
}
