package platformcmd

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/sdk/onboard"
	"github.com/spf13/cobra"
)

func newPlatformRenewCommand() *cobra.Command {
	var dir, contact string
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Renew the platform's certificate under its id, with a new request key",
		Long: `Run it twice. First it makes a new request key and applies, signed for by the present one. When the authority's operator
has approved, it collects the certificate and points the configuration at both. The present key and certificate stay in
the folder and in force until their end: restart the platform's processes one by one, and register registration.json at
the relay again.`,
		Example: "  bidseal platform renew --dir platform",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return cli.Usagef("--dir is needed")
			}
			folder := onboard.Folder{Dir: dir, HTTP: cli.NewHTTPClient()}
			state, err := folder.Renew(cmd.Context(), contact)
			if err != nil {
				return err
			}
			return cli.Emit(cmd, state, func(w io.Writer) {
				if state.State == caapi.PlatformIssued {
					fmt.Fprintf(w, "platform %s is renewed\nnext: the relay's operator runs: bidseal relay platform add --file %s\n",
						state.Registration.PlatformID, filepath.Join(dir, onboard.RegistrationFile))
					return
				}
				fmt.Fprintf(w, "application %s is %s\nnext: the authority's operator runs: bidseal ca platform approve %s; then run this again\n", state.ID, state.State, state.ID)
			})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the platform's folder")
	cmd.Flags().StringVar(&contact, "contact", "", "whom the operator can reach")
	return cmd
}
