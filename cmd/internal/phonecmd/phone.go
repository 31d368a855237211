// Package phonecmd is a phone on the command line: the phone core with a folder for memory and a terminal for screen.
package phonecmd

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/trust"
	"github.com/spf13/cobra"
)

// New is the phone on the command line: the same core as the app,
// with a folder as its memory and a terminal as its screen.
func New() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "phone",
		Short: "A phone on the command line: get certificates, scan codes, sign",
		Long: `A complete phone without a screen. Its state is a folder: keystore, device key, settings.
The certificate password comes from a file or a prompt, never from an argument.

  1  bidseal phone --state DIR enrol --code FILE     keys are made here; the file is what the authority's operator handed out
  2  bidseal phone --state DIR certs                 what the phone holds
  3  bidseal phone --state DIR scan CODE.png         show who asks for what, then approve or reject`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().String("state", "", "folder with the phone's state (made at the first enrol)")
	cmd.PersistentFlags().Bool("verbose", false, "log what the phone does, to stderr")
	cmd.AddCommand(newPhoneEnrolCommand(), newPhoneCertsCommand(), newPhoneScanCommand(), newPhoneRecordsCommand(), newPhoneRecoveriesCommand(), newPhoneDeviceCommand(), newPhonePasswordCommand())
	return cmd
}

// openPhone opens the phone of a command line.
func openPhone(cmd *cobra.Command) (*core.Core, *keystore.Store, error) {
	dir, err := cmd.Flags().GetString("state")
	if err != nil || dir == "" {
		return nil, nil, cli.Usagef("--state DIR is needed")
	}
	level := slog.LevelWarn
	if on, err := cmd.Flags().GetBool("verbose"); err == nil && on {
		level = slog.LevelDebug
	}
	return openPhoneDir(cmd.Context(), dir, cli.NewLogger(cmd, level))
}

// openPhoneDir opens the phone whose state lies in dir; one that is not there is made.
func openPhoneDir(ctx context.Context, dir string, log *slog.Logger) (*core.Core, *keystore.Store, error) {
	files, err := storage.OpenDir(dir)
	if err != nil {
		return nil, nil, err
	}
	keys, err := keystore.New(files, keystore.DefaultKDF())
	if err != nil {
		return nil, nil, err
	}
	phone, err := core.Open(ctx, core.Options{Files: files, Keys: keys, Transport: NewTransport(),
		App: "bidseal-cli/" + cli.Version, Now: time.Now, Log: log})
	return phone, keys, err
}

func newPhoneEnrolCommand() *cobra.Command {
	var codeFile, passwordFile string
	var setup core.Setup
	var anchors []string
	var trustFile string
	cmd := &cobra.Command{
		Use:   "enrol",
		Short: "Get a dual certificate for a one-use code: the first, a renewed, changed or reissued one",
		Long: `Makes the signing key on this phone, under the certificate password, and gets the certificates for it. What the code is for
stands in the file: a first certificate, a renewal or change of name (on the phone that holds the certificate), or a reissue
(on a new phone, with every key for old files, each proved by a trial decryption). Interrupted, it goes on with the same keys when it is run again with the same code and password.`,
		Example: "  bidseal phone --state phone-a enrol --code code.json --password-file password.txt",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if codeFile == "" {
				return cli.Usagef("--code FILE is needed")
			}
			switch {
			case trustFile == "":
			case cli.IsPEMFile(cmd, trustFile):
				anchors = append(anchors, trustFile)
			default:
				raw, err := pemfile.ReadBounded(trustFile, trust.MaxFile)
				if err != nil {
					return err
				}
				setup.Trust = raw
			}
			for _, name := range anchors {
				der, err := readCertificateFile(name)
				if err != nil {
					return err
				}
				setup.Anchors = append(setup.Anchors, der)
			}
			return phoneEnrol(cmd, codeFile, passwordFile, setup)
		},
	}
	f := cmd.Flags()
	f.StringVar(&codeFile, "code", "", "enrolment file from the authority's operator")
	f.StringVar(&passwordFile, "password-file", "", "file with the certificate password (8 characters or more); asked for on a terminal where it is left out")
	f.StringVar(&setup.Relay, "relay", "", "origin of the relay, where the enrolment file does not name it")
	f.StringSliceVar(&setup.AppOrigins, "app-origin", nil, "origin of the codes to accept, where the enrolment file does not name it")
	f.StringVar(&trustFile, "trust", "", "trust file to believe instead of the one inside the enrolment file")
	f.StringSliceVar(&anchors, "anchor", nil, "certificate files of the roots to believe, for authorities without a trust file")
	return cmd
}

func phoneEnrol(cmd *cobra.Command, codeFile, passwordFile string, setup core.Setup) error {
	raw, err := pemfile.ReadBounded(codeFile, core.MaxEnrolmentFile)
	if err != nil {
		return err
	}
	file, err := core.ParseEnrolmentFile(raw)
	if err != nil {
		return err
	}
	phone, keys, err := openPhone(cmd)
	if err != nil {
		return err
	}
	password, err := newPhonePassword(cmd, keys, passwordFile)
	if err != nil {
		return err
	}
	defer clear(password)
	certs, err := phone.Enrol(cmd.Context(), file, setup, password)
	if err != nil {
		return phoneError(cmd, keys, err)
	}
	out := struct {
		OK           bool               `json:"ok"`
		Device       string             `json:"device"`
		Certificates []core.Certificate `json:"certificates"`
	}{true, phone.Device(), certs}
	return cli.Emit(cmd, out, func(w io.Writer) {
		fmt.Fprintln(w, "证书已下载到本机 / the certificates are on this phone")
		printCertificates(w, certs)
	})
}

// newPhonePassword asks twice where a password is chosen on a terminal.
func newPhonePassword(cmd *cobra.Command, keys *keystore.Store, file string) ([]byte, error) {
	held, err := keys.Certificates(cmd.Context())
	if err != nil {
		return nil, err
	}
	read := cli.ReadSecret
	if len(held) == 0 {
		read = cli.ReadNewSecret
	}
	return read(cmd, file, "", "证书密码（至少 8 位）/ certificate password: ")
}

func newPhoneCertsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "certs",
		Short:   "List the certificates on the phone",
		Example: "  bidseal phone --state phone-a certs --json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			phone, keys, err := openPhone(cmd)
			if err != nil {
				return err
			}
			certs, err := phone.Certificates(cmd.Context())
			if err != nil {
				return err
			}
			left, err := keys.TriesLeft(cmd.Context())
			if err != nil {
				return err
			}
			out := struct {
				Device       string             `json:"device"`
				TriesLeft    int                `json:"tries_left"`
				Certificates []core.Certificate `json:"certificates"`
			}{phone.Device(), left, certs}
			return cli.Emit(cmd, out, func(w io.Writer) { printCertificates(w, certs) })
		},
	}
}

func newPhoneRecordsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "records",
		Short:   "List what was approved and rejected on this phone",
		Example: "  bidseal phone --state phone-a records --json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			phone, _, err := openPhone(cmd)
			if err != nil {
				return err
			}
			records, err := phone.UsageRecords(cmd.Context())
			if err != nil {
				return err
			}
			return cli.Emit(cmd, map[string]any{"records": records}, func(w io.Writer) { printRecords(w, records) })
		},
	}
}

// readCertificateFile reads one certificate, DER or PEM.
func readCertificateFile(name string) ([]byte, error) {
	raw, err := pemfile.ReadBounded(name, 64<<10)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(raw); block != nil {
		return block.Bytes, nil
	}
	return raw, nil
}
