package main

import (
	"strings"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/benchcmd"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/cmd/internal/cli/clitest"
	"github.com/spf13/cobra"
)

// A usage error is two lines, what is wrong and a command that shows the help. A wrong command names the near one.
func TestUsageErrorsAreTwoLines(t *testing.T) {
	for line, want := range map[string]struct{ near, help string }{
		"demmo":                {"did you mean demo?", "bidseal --help"},
		"ca lsit":              {"or list?", "bidseal ca --help"},
		"ca platform aprove":   {"did you mean approve?", "bidseal ca platform --help"},
		"completion bsh":       {"did you mean bash or", "bidseal completion --help"},
		"completion bash more": {"takes 0 argument(s)", "bidseal completion bash --help"},
		"ca something":         {`bidseal ca has no command "something"`, "bidseal ca --help"},
		"version --nonsense":   {"unknown flag: --nonsense", "bidseal version --help"},
		"platform renew":       {"--dir is needed", "bidseal platform renew --help"},
	} {
		code, stdout, stderr := bidsealRun(t, strings.Fields(line)...)
		lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
		if code != cli.ExitUsage || stdout != "" || len(lines) != 2 || !strings.Contains(lines[0], want.near) || lines[1] != "help: "+want.help {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", line, code, stdout, stderr)
			continue
		}
		if code, _, stderr := bidsealRun(t, strings.Fields(want.help)[1:]...); code != cli.ExitOK {
			t.Errorf("%s: exit code %d: %s", want.help, code, stderr)
		}
	}
}

// Every group refuses a command that it does not have.
func TestEveryGroupRefusesWrongCommands(t *testing.T) {
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if !cmd.HasSubCommands() {
			return
		}
		args := append(strings.Fields(cmd.CommandPath())[1:], "nonsense")
		if code, _, stderr := bidsealRun(t, args...); code != cli.ExitUsage {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRootCommand())
}

func TestVersionAndCompletionOfBothBinaries(t *testing.T) {
	for name, root := range map[string]func() *cobra.Command{"bidseal": newRootCommand, "bidseal-bench": benchcmd.NewRoot} {
		code, flag, _ := clitest.Run(t, root(), "--version")
		_, command, _ := clitest.Run(t, root(), "version")
		if code != cli.ExitOK || flag != command || !strings.HasPrefix(flag, name+" ") {
			t.Errorf("%s --version: exit code %d, %q and %q", name, code, flag, command)
		}
		if _, document, _ := clitest.Run(t, root(), "--version", "--json"); !strings.HasPrefix(document, `{"version":`) {
			t.Errorf("%s --version --json: %q", name, document)
		}
		for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
			if code, script, stderr := clitest.Run(t, root(), "completion", shell); code != cli.ExitOK || !strings.Contains(script, name) {
				t.Errorf("%s completion %s: exit code %d, %d bytes, %s", name, shell, code, len(script), stderr)
			}
		}
	}
	if _, help, _ := bidsealRun(t, "--help"); !strings.Contains(help, "completion") {
		t.Error("the help does not name completion")
	}
	if _, offered, _ := bidsealRun(t, "__complete", "ca", "re"); !strings.Contains(offered, "revoke") {
		t.Errorf("completion offers %q", offered)
	}
}
