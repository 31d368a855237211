package cacmd

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/spf13/cobra"
)

func newCACRLCommand(flags *caFlags) *cobra.Command {
	var name, out, rootKeys, rootPasswordFile string
	var root bool
	cmd := &cobra.Command{
		Use: "crl", Short: "Sign a new revocation list now", Args: cli.NoArgs,
		Long: `The server signs the issuing authorities' lists when they are due; this signs one at once and may write it to a file:
the full list of the current issuing authority, or the one that --list names, as a shard (issuing-1.4of16) or the list of an
earlier authority.
The root's list lives for a year and needs the root's key: sign a new one in time with --root.`,
		Example: "  bidseal ca crl --data ca --out issuing-1.crl\n  bidseal ca crl --data ca --list issuing-1.4of16\n  bidseal ca crl --data ca --root --root-keys /media/root-key",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				if root && name != "" {
					return cli.Usagef("either --root or --list")
				}
				list, err := signList(ctx, cmd, flags, a, name, root, rootKeys, rootPasswordFile)
				if err != nil {
					return err
				}
				if out != "" {
					if err := pemfile.WritePrivate(out, list.DER); err != nil {
						return err
					}
				}
				result := map[string]any{"issuer": list.Issuer, "number": list.Number, "this_update": list.ThisUpdate.Unix(), "next_update": list.NextUpdate.Unix(), "file": out}
				return cli.Emit(cmd, result, func(w io.Writer) {
					fmt.Fprintf(w, "list %d of %s, next update %s\n", list.Number, list.Issuer, list.NextUpdate.Format(time.RFC3339))
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "file for the list in DER")
	f.StringVar(&name, "list", "", "name of the list, as in its URL")
	f.BoolVar(&root, "root", false, "sign the root's list")
	f.StringVar(&rootKeys, "root-keys", "", "folder with root.key, if it was carried away")
	f.StringVar(&rootPasswordFile, "root-password-file", "", "file with the passphrase of root.key; otherwise $"+caRootPassphraseEnv+" or a prompt")
	return cmd
}

// caRootPassphraseEnv may hold the passphrase of the root's key.
const caRootPassphraseEnv = "BIDSEAL_CA_ROOT_PASSPHRASE"

func signList(ctx context.Context, cmd *cobra.Command, flags *caFlags, a *ca.Authority, name string, root bool, keys, passwordFile string) (*status.CRL, error) {
	if !root {
		return a.Life.SignCRL(ctx, flags.actor(), name)
	}
	passphrase, err := cli.ReadSecret(cmd, passwordFile, caRootPassphraseEnv, "passphrase of the root's key: ")
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	return a.Folder.SignRootCRL(ctx, flags.actor(), keys, passphrase)
}

// newCATSACommand shows the timestamp authority.
func newCATSACommand(flags *caFlags) *cobra.Command {
	return &cobra.Command{
		Use: "tsa", Short: "Show the timestamp authority: certificate, policy, last token", Args: cli.NoArgs,
		Long: `The server stamps time under /tsa (RFC 3161). Its key was made in the ceremony; its certificate is replaced automatically a year
before its end. Blocks of serial numbers are set aside in the audit log before they are used, and none is used twice.`,
		Example: "  bidseal ca tsa --data ca",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				state, err := a.Life.Timestamps(ctx)
				if err != nil {
					return err
				}
				return cli.Emit(cmd, state, func(w io.Writer) {
					fmt.Fprintf(w, "%s\n  certificate %s until %s\n  policy %s\n  blocks of serial numbers %d\n", state.URL, state.Serial, state.NotAfter.Format(time.DateOnly), state.Policy, state.Blocks)
					if state.LatestToken != nil {
						fmt.Fprintf(w, "  no token later than %s\n", state.LatestToken.Format(time.RFC3339))
					}
				})
			})
		},
	}
}
