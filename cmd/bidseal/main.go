// Command bidseal is the one binary of the project: wiring only. Each part has
// a file of its own here; what they share of the command line is in cli.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/bidseal/bidseal/protocol"
	"github.com/spf13/cobra"
)

// Exit codes of every command.
const (
	exitOK     = 0
	exitFailed = 1 // refused or failed; the reason with its stable code is on stderr, with --json on stdout
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(errOut, "%s\n\n%s", usage.Error(), cmd.UsageString())
		return exitUsage
	}
	report(cmd, err)
	return exitFailed
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "bidseal",
		Short:         "Scan-to-sign for electronic bidding: relay, SDK, authority, phone and a demo site",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().Bool("json", false, "one JSON document on stdout; logs go to stderr")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(commands()...)
	return root
}

// report tells a person what happened, whose side it is on and what to do, the
// code small behind it; with --json it is the problem document.
func report(cmd *cobra.Command, err error) {
	if wantJSON(cmd) {
		_ = writeJSON(cmd.OutOrStdout(), protocol.ProblemOf(err))
	}
	w := cmd.ErrOrStderr()
	var own *protocol.Error
	if !errors.As(err, &own) {
		fmt.Fprintf(w, "bidseal: %v\n", err)
		return
	}
	e := protocol.Lookup(own.Code)
	fmt.Fprintf(w, "%s。%s\n%s %s\n(%s)\n", e.TitleZH, e.ActionZH, e.Title, e.Action, err)
}
