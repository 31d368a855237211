// Package platformcmd is the commands of a bidding platform: apply for a certificate, collect it, renew it.
package platformcmd

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/sdk/onboard"
	"github.com/spf13/cobra"
)

// New is the platform's own part of its onboarding; the
// operator's are "ca platform approve" and "relay platform add".
func New() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "platform",
		Short: "Register a bidding platform: ask for its certificate and collect it",
		Long: `The steps from nothing to a platform's first challenge:

  1  bidseal platform request    keys are made in a folder, the application goes to the authority
  2  bidseal ca platform approve the authority's operator issues the platform certificate
  3  bidseal platform fetch      certificate and configuration are written into the folder
  4  bidseal relay platform add  the relay's operator registers it

The folder is then what bidseal.LoadConfig opens. The private keys never leave it.`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPlatformRequestCommand(), newPlatformFetchCommand(), newPlatformRenewCommand())
	return cmd
}

func newPlatformRequestCommand() *cobra.Command {
	var dir string
	var body caapi.PlatformRequest
	var authority string
	cmd := &cobra.Command{
		Use:   "request",
		Short: "Make the platform's keys and apply for its certificate",
		Example: `  bidseal platform request --dir platform --ca https://ca.example.cn --name 示例交易平台 \
    --organisation 示例交易中心 --contact ops@example.cn --origin https://bid.example.cn`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" || authority == "" || body.Name == "" || body.Organisation == "" || body.Contact == "" || len(body.Origins) == 0 {
				return cli.Usagef("--dir, --ca, --name, --organisation, --contact and --origin are needed")
			}
			folder := onboard.Folder{Dir: dir, HTTP: cli.NewHTTPClient()}
			state, err := folder.Request(cmd.Context(), authority, body)
			if err != nil {
				return err
			}
			return cli.Emit(cmd, state, func(w io.Writer) {
				fmt.Fprintf(w, "application %s is %s\nnext: the authority's operator runs: bidseal ca platform approve %s\n", state.ID, state.State, state.ID)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "", "folder for keys and configuration, made if it is missing")
	f.StringVar(&authority, "ca", "", "base URL of the authority")
	f.StringVar(&body.Name, "name", "", "name that phones show on every request")
	f.StringVar(&body.Organisation, "organisation", "", "who runs the platform")
	f.StringVar(&body.CreditCode, "credit-code", "", "unified social credit code (GB 32100), optional")
	f.StringVar(&body.Contact, "contact", "", "whom the operator can reach")
	f.StringArrayVar(&body.Origins, "origin", nil, "web origin of the platform's pages; may be given several times")
	return cmd
}

func newPlatformFetchCommand() *cobra.Command {
	var dir, relay, app, trustFile, ledgerKey, ocspURL, tsaURL string
	var roots []string
	cmd := &cobra.Command{
		Use:   "fetch",
		Short: "Collect the issued certificate and write the platform's configuration",
		Example: `  bidseal platform fetch --dir platform --relay https://relay.example.cn --app https://app.example.cn \
    --trust relay/trust.json`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" || relay == "" || app == "" || (trustFile == "") == (len(roots) == 0) {
				return cli.Usagef("--dir, --relay, --app and --trust are needed")
			}
			if trustFile != "" && cli.IsPEMFile(cmd, trustFile) {
				roots, trustFile = []string{trustFile}, ""
			}
			folder := onboard.Folder{Dir: dir, HTTP: cli.NewHTTPClient()}
			reg, err := folder.Fetch(cmd.Context(), onboard.FetchOptions{Relay: relay, App: app, TrustFile: trustFile, RootFiles: roots, LedgerKeyFile: ledgerKey, OCSPURL: ocspURL, TSAURL: tsaURL})
			if errors.Is(err, onboard.ErrNoApplication) {
				return cli.Usagef("%v: run bidseal platform request first", err)
			}
			if err != nil {
				return err
			}
			out := struct {
				Platform     string `json:"platform"`
				Config       string `json:"config"`
				Registration string `json:"registration"`
			}{reg.PlatformID, filepath.Join(dir, onboard.ConfigFile), filepath.Join(dir, onboard.RegistrationFile)}
			return cli.Emit(cmd, out, func(w io.Writer) {
				fmt.Fprintf(w, "platform %s: configuration in %s\nnext: the relay's operator runs: bidseal relay platform add --file %s\n", out.Platform, out.Config, out.Registration)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "", "the folder of the request")
	f.StringVar(&relay, "relay", "", "origin of the relay")
	f.StringVar(&app, "app", "", "origin of the phone app, the one in QR codes")
	f.StringVar(&trustFile, "trust", "", "trust file with the authority and the relay, obtained from the relay's operator")
	f.StringArrayVar(&roots, "root", nil, "in place of --trust: PEM file with the root of an authority that has no trust file; may be given several times")
	f.StringVar(&ledgerKey, "ledger-key", "", "PEM file with the relay's ledger key, where the trust file does not name the relay; without it the relay is asked once")
	f.StringVar(&ocspURL, "ocsp", "", "OCSP responder to ask in place of the one named in certificates")
	f.StringVar(&tsaURL, "tsa", "", "timestamp authority for evidence files in place of the certificate authority's; \"none\" for none")
	return cmd
}
