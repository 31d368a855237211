// Package clitest runs command lines in the test's own process, for the tests of the command rooms.
package clitest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/spf13/cobra"
)

// Run executes one command line below root, with nothing on stdin, and returns its exit code and what it wrote.
func Run(t *testing.T, root *cobra.Command, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = cli.Execute(t.Context(), root, args, strings.NewReader(""), &out, &errOut)
	return code, out.String(), errOut.String()
}

// CheckHelp holds the rule that every command says in a line what it does, and that every one that does something shows
// an example.
func CheckHelp(t *testing.T, root *cobra.Command) {
	t.Helper()
	if root.Short == "" {
		t.Errorf("%s has no short description", root.CommandPath())
	}
	if !root.HasSubCommands() && root.Name() != "help" && root.Example == "" {
		t.Errorf("%s has no example", root.CommandPath())
	}
	for _, sub := range root.Commands() {
		CheckHelp(t, sub)
	}
}
