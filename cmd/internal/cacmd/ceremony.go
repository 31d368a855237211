package cacmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
	"github.com/spf13/cobra"
)

// caInit is what the command line says of a ceremony.
type caInit struct {
	config                    folder.Config // flags over the file
	configFile                string
	rootDir, rootPasswordFile string
	witnesses                 []string
}

func newCAInitCommand(flags *caFlags) *cobra.Command {
	given := caInit{config: folder.DefaultConfig()}
	var print bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Perform the ceremony: make root, issuing authority, services and keys",
		Long: `Makes an authority in a new folder from one configuration file (--print-config writes one with every setting
explained), prints the fingerprints of its certificates, to be compared and written down, and leaves the record of the
ceremony, ` + folder.CeremonyRecordFile + `, sealed by the root's key. With --root-dir the root's key is written to a medium of its own;
the server runs without it. Only a new issuing authority, the root's yearly revocation list and the revocation of an
issuing authority need it. docs/ceremony.md is the guide.`,
		Example: `  bidseal ca init --print-config > ceremony.toml          # edit it
  bidseal ca init --data ca --config ceremony.toml --root-dir /media/root-key --witness 张三 --witness 李四
  bidseal ca init --data ca --base-url http://127.0.0.1:8402 --documentation-oids     # to try it`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := ceremonyConfig(cmd, given.configFile, given.config)
			if err != nil {
				return err
			}
			if print {
				return cli.PrintConfig(cmd, config)
			}
			return performCeremony(cmd, flags, config, given)
		},
	}
	f := cmd.Flags()
	f.StringVar(&given.configFile, "config", "", "TOML file with the authority's configuration")
	f.BoolVar(&print, "print-config", false, "print the effective configuration and do nothing")
	f.StringVar(&given.config.BaseURL, "base-url", given.config.BaseURL, "URL under which the authority is reached; it stands in every certificate")
	f.StringVar(&given.config.Name, "name", given.config.Name, "name of the authority")
	f.StringVar(&given.config.Organisation, "organisation", given.config.Organisation, "who runs the authority")
	f.StringVar(&given.config.Database.URL, "database", "", "postgres:// URL of the authority's database, without a password; a file in its folder if empty")
	f.StringVar(&given.config.Database.PasswordFile, "database-password-file", "", "file with the password of the database; absolute path")
	f.BoolVar(&given.config.DocumentationOIDs, "documentation-oids", false, "take identifiers of the arc for documentation; for demonstrations")
	f.StringVar(&given.rootDir, "root-dir", "", "existing folder for root.key, on a medium that is carried away; the authority's folder if empty")
	f.StringVar(&given.rootPasswordFile, "root-password-file", "", "file with a passphrase of its own for the root's key")
	f.StringArrayVar(&given.witnesses, "witness", nil, "who watches, for the record; may be given several times")
	return cmd
}

// ceremonyConfig reads the file; flags that were given win over it.
func ceremonyConfig(cmd *cobra.Command, path string, given folder.Config) (folder.Config, error) {
	config := folder.DefaultConfig()
	if err := cli.LoadConfig(path, &config); err != nil {
		return config, err
	}
	for name, field := range map[string]struct{ from, to *string }{
		"base-url": {&given.BaseURL, &config.BaseURL}, "name": {&given.Name, &config.Name}, "organisation": {&given.Organisation, &config.Organisation},
		"database": {&given.Database.URL, &config.Database.URL}, "database-password-file": {&given.Database.PasswordFile, &config.Database.PasswordFile},
	} {
		if cmd.Flags().Changed(name) {
			*field.to = *field.from
		}
	}
	if cmd.Flags().Changed("documentation-oids") {
		config.DocumentationOIDs = given.DocumentationOIDs
	}
	return config, nil
}

// program is what stands in records.
func program() string { return "bidseal " + cli.Version + " " + cli.Revision() }

func performCeremony(cmd *cobra.Command, flags *caFlags, config folder.Config, given caInit) error {
	if flags.data == "" {
		return cli.Usagef("--data DIR is needed")
	}
	if err := config.Check(); err != nil {
		return cli.Usagef("configuration: %v", err)
	}
	if err := config.CheckIdentifiers(); err != nil {
		return cli.Usagef("configuration: %v (--documentation-oids)", err)
	}
	passphrase, err := cli.ReadNewSecret(cmd, flags.passwordFile, caPassphraseEnv, "new passphrase of the authority: ")
	if err != nil {
		return err
	}
	defer clear(passphrase)
	var rootPassphrase []byte
	if given.rootPasswordFile != "" {
		if rootPassphrase, err = cli.ReadSecret(cmd, given.rootPasswordFile, "", ""); err != nil {
			return err
		}
		defer clear(rootPassphrase)
	}
	prints, err := folder.Init(cmd.Context(), folder.Ceremony{
		Dir: flags.data, RootDir: given.rootDir, Config: config, Passphrase: passphrase, RootPassphrase: rootPassphrase, Now: time.Now,
		Tokens: newTokens(), Operator: flags.operatorName(), Witnesses: given.witnesses, Program: program(),
	})
	if err != nil {
		return err
	}
	record := filepath.Join(flags.data, folder.CeremonyRecordFile)
	out := struct {
		Data          string               `json:"data"`
		Record        string               `json:"record"`
		Documentation bool                 `json:"documentation_oids,omitempty"`
		Certificates  []folder.Fingerprint `json:"certificates"`
	}{flags.data, record, config.DocumentationOIDs, prints}
	return cli.Emit(cmd, out, func(w io.Writer) {
		fmt.Fprintf(w, "authority made in %s; write the fingerprints down\n", flags.data)
		for _, p := range prints {
			printFingerprint(w, flags.data, p)
		}
		fmt.Fprintf(w, "\nrecord for the witnesses: %s\n", record)
		if config.DocumentationOIDs {
			fmt.Fprintln(w, "WARNING: identifiers of the arc for documentation; certificates of this authority are for demonstrations")
		}
	})
}

func printFingerprint(w io.Writer, dir string, p folder.Fingerprint) {
	fmt.Fprintf(w, "\n%s (%s)\n  serial  %s\n  SM3     %s\n  SHA-256 %s\n  until   %s\n", p.Name, filepath.Join(dir, p.File), p.Serial, p.SM3, p.SHA256, unixDay(p.NotAfter))
}

// rootFlags say where the root's key is.
type rootFlags struct{ dir, passwordFile string }

func (r *rootFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.dir, "root-dir", "", "folder with root.key, if it was carried away")
	f.StringVar(&r.passwordFile, "root-password-file", "", "file with the passphrase of root.key; otherwise $"+caRootPassphraseEnv+" or a prompt")
}

func (r *rootFlags) passphrase(cmd *cobra.Command) ([]byte, error) {
	return cli.ReadSecret(cmd, r.passwordFile, caRootPassphraseEnv, "passphrase of the root's key: ")
}

func newCARotateCommand(flags *caFlags) *cobra.Command {
	var r folder.Rotation
	var root rootFlags
	cmd := &cobra.Command{
		Use:   "rotate-issuing",
		Short: "Make a new issuing authority under the root",
		Long: `Makes the next issuing authority (issuing-2, ...) with the root's key. The earlier one stays: its certificates keep
their chain, and it goes on signing its revocation lists and its OCSP responder. Start "ca serve" again afterwards: a
server that runs goes on issuing under the one it knows. A rotation that was broken off is simply repeated; one whose
answer was lost is repeated with --to, which changes nothing where that authority exists.`,
		Example: "  bidseal ca rotate-issuing --data ca --root-dir /media/root-key --witness 张三\n  bidseal ca rotate-issuing --data ca --to issuing-2",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) (err error) {
				if r.Passphrase, err = cli.ReadSecret(cmd, flags.passwordFile, caPassphraseEnv, "passphrase of the authority, for the new key: "); err != nil {
					return err
				}
				defer clear(r.Passphrase)
				if r.RootPassphrase, err = root.passphrase(cmd); err != nil {
					return err
				}
				defer clear(r.RootPassphrase)
				r.RootDir, r.Program = root.dir, program()
				print, err := a.Folder.RotateIssuing(ctx, flags.actor(), r)
				if err != nil {
					return err
				}
				return cli.Emit(cmd, print, func(w io.Writer) {
					printFingerprint(w, flags.data, *print)
					fmt.Fprintln(w, "\nstart \"bidseal ca serve\" again: it issues under the new one from then on")
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.To, "to", "", "name of the new one; the next number if empty")
	f.StringVar(&r.KeyURI, "key", "", "PKCS#11 URI for its key; a file under the passphrase if empty")
	f.StringArrayVar(&r.Witnesses, "witness", nil, "who watches, for the record; may be given several times")
	root.register(cmd)
	return cmd
}

func newCARevokeIssuingCommand(flags *caFlags) *cobra.Command {
	var root rootFlags
	var reason string
	cmd := &cobra.Command{
		Use:   "revoke-issuing NAME",
		Short: "Revoke an earlier issuing authority and sign the root's revocation list",
		Long: `Revokes an issuing authority that is not the current one (rotate-issuing before) and signs a new list of the root, in
one step. Every certificate under it is worth nothing from then on: reissue what has to live.`,
		Example: "  bidseal ca revoke-issuing issuing-1 --data ca --reason cACompromise --root-dir /media/root-key",
		Args:    cli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, err := issuingReason(reason)
			if err != nil {
				return err
			}
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				passphrase, err := root.passphrase(cmd)
				if err != nil {
					return err
				}
				defer clear(passphrase)
				list, err := a.Folder.RevokeIssuing(ctx, flags.actor(), args[0], parsed, root.dir, passphrase)
				if err != nil {
					return err
				}
				result := map[string]any{"revoked": args[0], "reason": reason, "number": list.Number, "next_update": list.NextUpdate.Unix()}
				return cli.Emit(cmd, result, func(w io.Writer) {
					fmt.Fprintf(w, "%s is revoked; list %d of the root, next update %s\n", args[0], list.Number, list.NextUpdate.Format(time.RFC3339))
				})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "cACompromise, superseded or cessationOfOperation")
	root.register(cmd)
	return cmd
}

func issuingReason(text string) (trust.Reason, error) {
	for _, r := range []trust.Reason{trust.CACompromise, trust.Superseded, trust.CessationOfOperation} {
		if r.String() == text {
			return r, nil
		}
	}
	return 0, cli.Usagef("--reason is none of cACompromise, superseded, cessationOfOperation")
}

func newCAVerifyRecordCommand() *cobra.Command {
	var rootFile string
	cmd := &cobra.Command{
		Use:     "verify-record FILE",
		Short:   "Check the record of a ceremony against the root's certificate",
		Example: "  bidseal ca verify-record ca/" + folder.CeremonyRecordFile + " --root ca/root.pem",
		Args:    cli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			pem, err := os.ReadFile(rootFile)
			if err != nil {
				return cli.Usagef("--root: %v", err)
			}
			root, err := smx509.ParseCertificatePEM(pem)
			if err != nil {
				return fmt.Errorf("read %s: %w", rootFile, err)
			}
			raw, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("read record: %w", err)
			}
			if err := folder.VerifyCeremonyRecord(raw, root); err != nil {
				return err
			}
			return cli.Emit(cmd, map[string]bool{"valid": true}, func(w io.Writer) { fmt.Fprintln(w, "the record is as the root's key sealed it") })
		},
	}
	cmd.Flags().StringVar(&rootFile, "root", "", "the root's certificate in PEM")
	return cmd
}
