// Command bidseal is the product: relay, authority, phone, platform's tools and
// demo in one binary. Here is wiring only: each command stands in a room of its
// own under cmd/internal.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/bidseal/bidseal/cmd/internal/cacmd"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/cmd/internal/demo"
	"github.com/bidseal/bidseal/cmd/internal/evidencecmd"
	"github.com/bidseal/bidseal/cmd/internal/phonecmd"
	"github.com/bidseal/bidseal/cmd/internal/platformcmd"
	"github.com/bidseal/bidseal/cmd/internal/relaycmd"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	return cli.Execute(ctx, newRootCommand(), args, in, out, errOut)
}

func newRootCommand() *cobra.Command {
	return cli.NewRoot("bidseal", "Scan-to-sign for electronic bidding: relay, SDK, authority, phone and a demo site",
		demo.New(),
		phonecmd.New(),
		platformcmd.New(),
		relaycmd.New(),
		cacmd.New(),
		evidencecmd.New(),
	)
}
