package cacmd

import (
	"context"
	"crypto"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	"github.com/spf13/cobra"
)

// verifyLogFlags say what is verified, and what is written on the way.
type verifyLogFlags struct {
	heads                        []string
	keep, export, keyOut         string
	imported, database, auditKey string
}

func newCAVerifyLogCommand(flags *caFlags) *cobra.Command {
	var v verifyLogFlags
	cmd := &cobra.Command{
		Use:   "verify-log",
		Short: "Verify the audit log and compare the database with it",
		Long: `Walks the whole audit log: sequence, hash chain, signatures, and that certificates, issuances, codes, devices, platforms,
operators, escrowed keys and recoveries in the database are those that the log speaks of; each difference is named.
A head that was kept elsewhere (--head) shows that nothing before it was taken away, rolled back or written anew.

An outsider needs the audit key alone: --import verifies an exported log, --database a copy of the database. Neither opens
the authority's folder.`,
		Example: `  bidseal ca verify-log --data ca --head head.json --keep head.json
  bidseal ca verify-log --data ca --export log.jsonl --key-out audit.pem
  bidseal ca verify-log --import log.jsonl --audit-key audit.pem --head head.json
  bidseal ca verify-log --database backup/ca.db --audit-key audit.pem`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(cmd, flags) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&v.heads, "head", nil, "file with a head kept by an earlier run, or fetched from /v1/audit/head; may be given several times")
	f.StringVar(&v.keep, "keep", "", "write the present head to this file")
	f.StringVar(&v.export, "export", "", "write the log to this file, for an outsider; it must not exist")
	f.StringVar(&v.keyOut, "key-out", "", "write the public audit key to this file (PEM)")
	f.StringVar(&v.imported, "import", "", "verify this exported log instead of the folder")
	f.StringVar(&v.database, "database", "", "verify this copy of the database instead of the folder")
	f.StringVar(&v.auditKey, "audit-key", "", "PEM file with the public audit key, for --import and --database")
	return cmd
}

func (v *verifyLogFlags) run(cmd *cobra.Command, flags *caFlags) error {
	var kept []audit.Head
	for _, path := range v.heads {
		head, err := readHead(path)
		if err != nil {
			return err
		}
		kept = append(kept, head)
	}
	if v.imported == "" && v.database == "" {
		return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
			if err := v.write(ctx, a); err != nil {
				return err
			}
			report, err := a.Audit.Verify(ctx, kept...)
			if err != nil {
				return err
			}
			return v.done(cmd, report)
		})
	}
	if v.auditKey == "" || v.imported != "" && v.database != "" || v.export != "" || v.keyOut != "" {
		return cli.Usagef("--import FILE or --database FILE, with --audit-key FILE, and nothing to be exported")
	}
	key, err := pemfile.ReadPublicKey(v.auditKey)
	if err != nil {
		return err
	}
	report, err := v.outside(cmd.Context(), key, kept)
	if err != nil {
		return err
	}
	return v.done(cmd, report)
}

// outside verifies without the authority's folder.
func (v *verifyLogFlags) outside(ctx context.Context, key crypto.PublicKey, kept []audit.Head) (*audit.Report, error) {
	if v.database != "" {
		if _, err := os.Stat(v.database); err != nil {
			return nil, fmt.Errorf("read database: %w", err)
		}
		return ca.VerifyDatabase(ctx, v.database, key, kept...)
	}
	file, err := os.Open(filepath.Clean(v.imported))
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	defer file.Close()
	return ca.VerifyExport(file, key, kept...)
}

// write makes the files for an outsider.
func (v *verifyLogFlags) write(ctx context.Context, a *ca.Authority) (err error) {
	if v.keyOut != "" {
		der, err := protocol.MarshalKey(a.Audit.Key())
		if err != nil {
			return err
		}
		if err := pemfile.WritePrivate(v.keyOut, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})); err != nil {
			return err
		}
	}
	if v.export == "" {
		return nil
	}
	file, err := os.OpenFile(filepath.Clean(v.export), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("export log: %w", err)
	}
	defer file.Close()
	if err := a.Audit.Export(ctx, file); err != nil {
		return err
	}
	return file.Close()
}

func (v *verifyLogFlags) done(cmd *cobra.Command, report *audit.Report) error {
	if v.keep != "" && len(report.Head.Signature) == 0 {
		return cli.Usagef("a copy of the database gives no signed head to keep")
	}
	if err := cli.KeepHead(v.keep, report.Head); err != nil {
		return err
	}
	return cli.Emit(cmd, report, func(w io.Writer) {
		fmt.Fprintf(w, "%d entries, %d certificates, %d revocations, %d rows, %d leaves: the log verifies\nhead %d %x\n",
			report.Entries, report.Certificates, report.Revocations, report.Rows, report.Leaves, report.Head.Seq, []byte(report.Head.Hash))
	})
}

func readHead(path string) (audit.Head, error) {
	raw, err := pemfile.ReadBounded(path, pemfile.MaxKey)
	if err != nil {
		return audit.Head{}, err
	}
	var head audit.Head
	if err := json.Unmarshal(raw, &head); err != nil {
		return audit.Head{}, fmt.Errorf("read head %s: %w", path, err)
	}
	return head, nil
}
