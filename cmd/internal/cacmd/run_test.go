package cacmd

import (
	"testing"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/cmd/internal/cli/clitest"
)

// bidsealRun runs one line of this room's command in this process.
func bidsealRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return clitest.Run(t, cli.NewRoot("bidseal", "", New()), args...)
}
