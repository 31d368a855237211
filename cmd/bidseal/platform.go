package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/spf13/cobra"
)

// newPlatformCommand is the platform's own part of its onboarding; the
// operator's are "ca platform approve" and "relay platform add".
func newPlatformCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "platform",
		Short: "Register a bidding platform: ask for its certificate and collect it",
		Long: `The way of a bidding platform to its first challenge:

  1  bidseal platform request    keys are made in a folder, the application goes to the authority
  2  bidseal ca platform approve the authority's operator issues the platform certificate
  3  bidseal platform fetch      certificate and configuration are written into the folder
  4  bidseal relay platform add  the relay's operator registers it

The folder is then what bidseal.LoadConfig opens. The private keys never leave it.`,
		Args: noArgs,
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
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" || authority == "" || body.Name == "" || body.Organisation == "" || body.Contact == "" || len(body.Origins) == 0 {
				return usagef("--dir, --ca, --name, --organisation, --contact and --origin are needed")
			}
			r := registrar{dir: dir, http: newHTTPClient(), clock: time.Now}
			state, err := r.request(cmd.Context(), authority, body)
			if err != nil {
				return err
			}
			return emit(cmd, state, func(w io.Writer) {
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
	var dir, relay, app, ledgerKey, ocspURL, tsaURL string
	var roots []string
	cmd := &cobra.Command{
		Use:   "fetch",
		Short: "Collect the issued certificate and write the platform's configuration",
		Example: `  bidseal platform fetch --dir platform --relay https://relay.example.cn --app https://app.example.cn \
    --root root.pem --ledger-key relay-ledger.pem`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" || relay == "" || app == "" || len(roots) == 0 {
				return usagef("--dir, --relay, --app and --root are needed")
			}
			r := registrar{dir: dir, http: newHTTPClient(), clock: time.Now}
			reg, err := r.fetch(cmd.Context(), fetchOptions{relay: relay, app: app, rootFiles: roots, ledgerKeyFile: ledgerKey, ocspURL: ocspURL, tsaURL: tsaURL})
			if err != nil {
				return err
			}
			out := struct {
				Platform     string `json:"platform"`
				Config       string `json:"config"`
				Registration string `json:"registration"`
			}{reg.PlatformID, filepath.Join(dir, platformConfigFile), filepath.Join(dir, registrationFile)}
			return emit(cmd, out, func(w io.Writer) {
				fmt.Fprintf(w, "platform %s: configuration in %s\nnext: the relay's operator runs: bidseal relay platform add --file %s\n", out.Platform, out.Config, out.Registration)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "", "the folder of the request")
	f.StringVar(&relay, "relay", "", "origin of the relay")
	f.StringVar(&app, "app", "", "origin of the phone app, the one in QR codes")
	f.StringArrayVar(&roots, "root", nil, "PEM file with the authority's root, obtained from its operator; may be given several times")
	f.StringVar(&ledgerKey, "ledger-key", "", "PEM file with the relay's ledger key; without it the relay is asked once")
	f.StringVar(&ocspURL, "ocsp", "", "OCSP responder to ask in place of the one named in certificates")
	f.StringVar(&tsaURL, "tsa", "", "timestamp authority for evidence files in place of the certificate authority's; \"none\" for none")
	return cmd
}

// Timeouts of the command line's own calls.
const callTimeout = 30 * time.Second

func newHTTPClient() *http.Client { return &http.Client{Timeout: callTimeout} }

// maxAnswer bounds what is read of any answer.
const maxAnswer = 2 << 20

// writePrivate writes a file that only its owner can read, whole or not at all.
func writePrivate(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// decodeAnswer reads a JSON answer, or the problem document of a refusal.
func decodeAnswer(resp *http.Response, v any) error {
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return protocol.Errorf(protocol.CodeNetwork, "read the answer: %v", err)
	}
	if resp.StatusCode/100 == 2 {
		return protocol.DecodeJSON(raw, v)
	}
	var p protocol.Problem
	if protocol.DecodeJSON(raw, &p) != nil {
		return protocol.Errorf(protocol.CodeNetwork, "the server answered %s", resp.Status)
	}
	return p.Err()
}
