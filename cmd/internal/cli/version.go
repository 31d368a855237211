package cli

import (
	"fmt"
	"io"
	"runtime"

	"github.com/bidseal/bidseal/protocol"
	"github.com/spf13/cobra"
)

// newVersionCommand prints what --version prints, too.
func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  bidseal version --json",
		Args:    NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return emitVersion(cmd) },
	}
}

func emitVersion(cmd *cobra.Command) error {
	v := struct {
		Version  string `json:"version"`
		Protocol int    `json:"protocol"`
		Go       string `json:"go"`
		Revision string `json:"revision,omitempty"`
	}{Version, protocol.Version, runtime.Version(), Revision()}
	return Emit(cmd, v, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s (protocol %d, %s)\n", cmd.Root().Name(), v.Version, v.Protocol, v.Go)
	})
}
