package cacmd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/spf13/cobra"
)

// caBackupPassphraseEnv may hold the passphrase of backups.
const caBackupPassphraseEnv = "BIDSEAL_CA_BACKUP_PASSPHRASE"

const backupPasswordUsage = "file with the passphrase of the backup; otherwise $" + caBackupPassphraseEnv + " or a prompt"

func newCABackupCommand(flags *caFlags) *cobra.Command {
	var out, passwordFile string
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Write a sealed copy of the authority, also while it serves",
		Long: `Writes database, key files (still under their own passphrase), configuration, certificates and records into one file,
sealed under a passphrase of its own, with the digest of each. root.key is not in it: its copies are made at the
ceremony. A PostgreSQL database is not in it either: take it with pg_dump right after this command.`,
		Example: "  bidseal ca backup --data ca --out /backups/ca-2026-03-01.bak --backup-password-file backup-pass",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return cli.Usagef("--out FILE is needed")
			}
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				passphrase, err := cli.ReadNewSecret(cmd, passwordFile, caBackupPassphraseEnv, "passphrase of the backup: ")
				if err != nil {
					return err
				}
				defer clear(passphrase)
				manifest, err := a.Folder.Backup(ctx, folder.Backup{File: out, Passphrase: passphrase})
				if err != nil {
					return err
				}
				result := struct {
					File     string                 `json:"file"`
					Manifest *folder.BackupManifest `json:"manifest"`
				}{out, manifest}
				return cli.Emit(cmd, result, func(w io.Writer) {
					fmt.Fprintf(w, "%d files in %s, audit log up to entry %d\n", len(manifest.Files), out, manifest.Head.Seq)
					if manifest.Server {
						fmt.Fprintln(w, "the database is on a server and NOT in the backup: take it with pg_dump now")
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to be written; it must not exist")
	cmd.Flags().StringVar(&passwordFile, "backup-password-file", "", backupPasswordUsage)
	return cmd
}

// caRestore is the command line of a restoration.
type caRestore struct {
	passwordFile string
	heads, lists []string
	acceptLoss   bool
}

func newCARestoreCommand(flags *caFlags) *cobra.Command {
	var r caRestore
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the authority's folder from a backup",
		Long: `Opens a backup into a new folder, holds every file against the manifest and the database against the audit log, and
makes what came back safe to run: open enrolment codes are void, and new revocation lists are signed. Give heads of the
audit log that were kept elsewhere (verify-log --keep): a backup that is older than one of them is refused, unless
--accept-loss. Give the revocation lists that were published last: revocations that the backup lacks are made again.`,
		Example: "  bidseal ca restore /backups/ca-2026-03-01.bak --data ca --head head.json --crl issuing-1.crl",
		Args:    cli.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return r.run(cmd, flags, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&r.passwordFile, "backup-password-file", "", backupPasswordUsage)
	f.StringArrayVar(&r.heads, "head", nil, "kept head of the audit log; may be given several times")
	f.StringArrayVar(&r.lists, "crl", nil, "published revocation list in DER; may be given several times")
	f.BoolVar(&r.acceptLoss, "accept-loss", false, "restore although a kept head shows that entries are lost")
	return cmd
}

func (r *caRestore) run(cmd *cobra.Command, flags *caFlags, file string) error {
	if flags.data == "" {
		return cli.Usagef("--data DIR is needed")
	}
	restoration := folder.Restoration{File: file, Dir: flags.data, AcceptLoss: r.acceptLoss, Actor: flags.actor()}
	options := ca.Options{Now: time.Now, Logger: cli.NewLogger(cmd, slog.LevelWarn), Tokens: newTokens()}
	for _, path := range r.heads {
		head, err := readHead(path)
		if err != nil {
			return err
		}
		restoration.Kept = append(restoration.Kept, head)
	}
	for _, path := range r.lists {
		der, err := os.ReadFile(path)
		if err != nil {
			return cli.Usagef("--crl: %v", err)
		}
		restoration.Lists = append(restoration.Lists, der)
	}
	var err error
	if restoration.BackupPassphrase, err = cli.ReadSecret(cmd, r.passwordFile, caBackupPassphraseEnv, "passphrase of the backup: "); err != nil {
		return err
	}
	defer clear(restoration.BackupPassphrase)
	if options.Passphrase, err = cli.ReadSecret(cmd, flags.passwordFile, caPassphraseEnv, "passphrase of the authority: "); err != nil {
		return err
	}
	defer clear(options.Passphrase)
	report, err := ca.Restore(cmd.Context(), restoration, options)
	if err != nil {
		return err
	}
	return cli.Emit(cmd, report, func(w io.Writer) { printRestored(w, flags.data, report) })
}

func printRestored(w io.Writer, dir string, report *folder.RestoreReport) {
	fmt.Fprintf(w, "authority restored in %s: backup of %s, audit log up to entry %d verified, %d certificates\n", dir,
		time.UnixMilli(report.Manifest.Created).UTC().Format(time.RFC3339), report.Log.Head.Seq, report.Log.Certificates)
	switch {
	case report.Lost < 0:
		fmt.Fprintln(w, "WARNING: no kept head was given: nothing shows whether entries after the backup are lost")
	case report.Lost > 0:
		fmt.Fprintf(w, "WARNING: %d entries of the audit log after the backup are LOST: certificates issued since are unknown to this authority\n", report.Lost)
	}
	fmt.Fprintf(w, "%d open enrolment codes are void; %d certificates were revoked again from the lists\n", report.CodesVoided, len(report.Revoked))
	for _, serial := range report.Unknown {
		fmt.Fprintf(w, "WARNING: %s is on a revocation list and unknown to this authority; it was issued after the backup\n", serial)
	}
	fmt.Fprintln(w, "put root.key back from its own copy when the root has to sign")
}
