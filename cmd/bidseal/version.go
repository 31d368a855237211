package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/bidseal/bidseal/protocol"
	"github.com/spf13/cobra"
)

// version is set by the linker at release (-X main.version=...).
var version = "dev"

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  bidseal version --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := struct {
				Version  string `json:"version"`
				Protocol int    `json:"protocol"`
				Go       string `json:"go"`
				Revision string `json:"revision,omitempty"`
			}{version, protocol.Version, runtime.Version(), revision()}
			return emit(cmd, v, func(w io.Writer) {
				fmt.Fprintf(w, "bidseal %s (protocol %d, %s)\n", v.Version, v.Protocol, v.Go)
			})
		},
	}
}

func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
