package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/protocol"
	"github.com/spf13/cobra"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  bidseal version --json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := struct {
				Version  string `json:"version"`
				Protocol int    `json:"protocol"`
				Go       string `json:"go"`
				Revision string `json:"revision,omitempty"`
			}{cli.Version, protocol.Version, runtime.Version(), cli.Revision()}
			return cli.Emit(cmd, v, func(w io.Writer) {
				fmt.Fprintf(w, "bidseal %s (protocol %d, %s)\n", v.Version, v.Protocol, v.Go)
			})
		},
	}
}
