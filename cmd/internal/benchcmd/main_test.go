package benchcmd

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/cmd/internal/cli/clitest"
	"github.com/bidseal/bidseal/cmd/internal/relaycmd"
	"github.com/spf13/cobra"
)

// asCommand makes the test binary behave as one of the binaries, whose name is its value, so that tests can kill one.
const asCommand = "BIDSEAL_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if config := os.Getenv(asPlatform); config != "" {
		if err := runPlatform(config, os.Getenv(asPlatformID)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(cli.ExitFailed)
		}
		os.Exit(cli.ExitOK)
	}
	switch os.Getenv(asCommand) {
	case "bidseal-bench":
		runCommand(NewRoot())
	case "bidseal":
		runCommand(cli.NewRoot("bidseal", "", relaycmd.New()))
	}
	os.Exit(runTests(m))
}

func runCommand(root *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := cli.Execute(ctx, root, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// benchRun runs one line of bidseal-bench in this process.
func benchRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return clitest.Run(t, NewRoot(), args...)
}

func TestEveryCommandHasAnExample(t *testing.T) { clitest.CheckHelp(t, NewRoot()) }
