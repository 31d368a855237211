package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	"github.com/spf13/cobra"
)

// Exit codes of every command.
const (
	ExitOK     = 0
	ExitFailed = 1 // refused or failed; the reason with its stable code is on stderr, with --json on stdout
	ExitUsage  = 2
)

// Execute runs one command line and returns its exit code.
func Execute(ctx context.Context, root *cobra.Command, args []string, in io.Reader, out, errOut io.Writer) int {
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	addCompletion(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	var usage *usageError
	if errors.As(err, &usage) || errors.Is(err, pemfile.ErrFormat) {
		fmt.Fprintf(errOut, "%s\nhelp: %s --help\n", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "), cmd.CommandPath())
		return ExitUsage
	}
	report(cmd, err)
	return ExitFailed
}

// NewRoot is the top of a binary's command line: what all of its commands have in common.
func NewRoot(use, short string, commands ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:           use,
		Short:         short,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          NoArgs,
	}
	version := root.Flags().Bool("version", false, "print the version")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *version {
			return emitVersion(cmd)
		}
		return cmd.Help()
	}
	root.PersistentFlags().Bool("json", false, "one JSON document on stdout; logs go to stderr")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(commands...)
	root.AddCommand(newVersionCommand())
	return root
}

// addCompletion adds cobra's command for shell completion, under the rules of every other command. It writes to what is
// root's output by then.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Args = NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		for _, shell := range cmd.Commands() {
			shell.Args = NoArgs
			shell.Example = "  " + shell.CommandPath()
		}
	}
}

// unknownCommand says that a group has no such command, and which ones are near.
func unknownCommand(group *cobra.Command, name string) error {
	if group.SuggestionsMinimumDistance <= 0 {
		group.SuggestionsMinimumDistance = 2 // cobra's own default, which SuggestionsFor does not set
	}
	near := ""
	if names := group.SuggestionsFor(name); len(names) > 0 {
		near = "; did you mean " + strings.Join(names, " or ") + "?"
	}
	return Usagef("%s has no command %q%s", group.CommandPath(), name, near)
}

// report tells a person what happened, whose side it is on and what to do, the
// code small behind it; with --json it is the problem document.
func report(cmd *cobra.Command, err error) {
	if WantJSON(cmd) {
		_ = WriteJSON(cmd.OutOrStdout(), protocol.ProblemOf(err))
	}
	w := cmd.ErrOrStderr()
	var own *protocol.Error
	if !errors.As(err, &own) {
		fmt.Fprintf(w, "%s: %v\n", cmd.Root().Name(), err)
		return
	}
	e := protocol.Lookup(own.Code)
	fmt.Fprintf(w, "%s。%s\n%s %s\n(%s)\n", e.TitleZH, e.ActionZH, e.Title, e.Action, err)
}
