// Command bidseal-bench takes the measurements of the project. It is a binary of its own, so that the product carries
// neither load generators nor the libraries that draw charts.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/bidseal/bidseal/cmd/internal/benchcmd"
	"github.com/bidseal/bidseal/cmd/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Execute(ctx, benchcmd.NewRoot(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
