// Package evidencecmd is the commands that judge and timestamp evidence files.
package evidencecmd

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/trust"
	"github.com/spf13/cobra"
)

// New judges evidence files without any configuration.
func New() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "Verify the evidence file of a sign-in offline; timestamp one that has no timestamp",
		Args:  cli.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEvidenceVerifyCommand(), newEvidenceStampCommand())
	return cmd
}

func newEvidenceVerifyCommand() *cobra.Command {
	var believed trustFlags
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Verify a file against the trust files given, and nothing else",
		Long: `Verifies every part of an evidence file: the platform's request and its
certificate, the signed statement and the signer's certificate, their status at
that time, what the phone showed, the receipt, the relay's promise and the
timestamp. A file without a timestamp is valid, and the answer says so. Nothing is
asked over the network; only the authorities in the trust files are believed. A file that does not
hold is refused with the name of the part.`,
		Example: `  bidseal evidence verify login.json --trust trust.json
  bidseal evidence verify login.json --trust trust.json --json`,
		Args: cli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			anchors, err := believed.store(cmd)
			if err != nil {
				return err
			}
			file, err := readEvidence(args[0])
			if err != nil {
				return err
			}
			report, err := bidseal.Verifier{Anchors: anchors}.VerifyEvidence(file)
			if err != nil {
				return err
			}
			return cli.Emit(cmd, report, func(w io.Writer) { printEvidence(w, report) })
		},
	}
	believed.Register(cmd)
	return cmd
}

// trustFlags say under which authorities a file has to stand.
type trustFlags struct{ cli.TrustFlags }

func (t *trustFlags) store(cmd *cobra.Command) (*trust.Store, error) {
	file, err := t.Read(cmd)
	if err != nil {
		return nil, err
	}
	return file.Store()
}

func readEvidence(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read evidence: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, protocol.MaxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read evidence: %w", err)
	}
	return raw, nil
}

// newEvidenceStampCommand is for files from while the authority could not be
// reached.
func newEvidenceStampCommand() *cobra.Command {
	var believed trustFlags
	var url, out string
	cmd := &cobra.Command{
		Use:   "stamp FILE",
		Short: "Add a timestamp to a file that has none",
		Long: `Asks a timestamp authority (RFC 3161) for a token over everything in the file and writes a new file with it. The
authority's certificate has to stand under the roots given. A file that has a timestamp is left as it is.`,
		Example: `  bidseal evidence stamp login.json --tsa https://ca.example.cn/tsa --trust trust.json --out login-stamped.json`,
		Args:    cli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !believed.Given() || url == "" || out == "" {
				return cli.Usagef("--tsa, --trust and --out are needed")
			}
			anchors, err := believed.store(cmd)
			if err != nil {
				return err
			}
			file, err := readEvidence(args[0])
			if err != nil {
				return err
			}
			verifier := bidseal.Verifier{Anchors: anchors}
			if file, err = verifier.AddTimestamp(cmd.Context(), file, bidseal.HTTPTimestamps{URL: url, HTTP: cli.NewHTTPClient()}); err != nil {
				return err
			}
			report, err := verifier.VerifyEvidence(file)
			if err != nil {
				return err
			}
			if err := pemfile.WritePrivate(out, file); err != nil {
				return err
			}
			return cli.Emit(cmd, report, func(w io.Writer) {
				fmt.Fprintln(w, out)
				printTimestamp(w, report.Timestamp)
			})
		},
	}
	f := cmd.Flags()
	believed.Register(cmd)
	f.StringVar(&url, "tsa", "", "URL of the timestamp authority")
	f.StringVar(&out, "out", "", "file to be written")
	return cmd
}

func printTimestamp(w io.Writer, stamp *bidseal.TimestampReport) {
	if stamp == nil {
		fmt.Fprintln(w, "  时间戳 / timestamp: 无：时间以各方所述为准 / none: the times rest on the word of those who made the file")
		return
	}
	fmt.Fprintf(w, "  时间戳 / timestamp: %s ± %s (%s, %s)\n", stamp.Time.Format(time.RFC3339), stamp.Accuracy, stamp.Authority, stamp.Serial)
	if stamp.Late {
		fmt.Fprintln(w, "  时间戳为事后补加，仅证明文件在该时刻已存在 / the timestamp was added later: it says only that the file existed then")
	}
}

func printEvidence(w io.Writer, r *bidseal.Report) {
	fmt.Fprintf(w, "证据有效 / evidence is valid\n")
	for _, line := range []struct{ label, value string }{
		{"操作 / operation", r.Kind},
		{"平台 / platform", r.PlatformName + " (" + r.Platform + ")"},
		{"签名人 / signer", r.Holder.Person},
		{"单位 / organisation", r.Holder.Organisation},
		{"统一社会信用代码 / credit code", r.Holder.CreditCode},
		{"证书序列号 / certificate serial", r.Holder.CertificateSerial},
		{"信任根 / trust anchor", r.Holder.Anchor},
		{"证书谱系 / lineage", r.Holder.Lineage},
		{"请求时间 / requested", r.Requested.Format(time.RFC3339)},
		{"签名时间 / signed", r.Signed.Format(time.RFC3339)},
		{"编号 / challenge", r.CID},
		{"台账序号 / ledger entry", fmt.Sprint(r.LedgerIndex)},
		{"台账密钥 / ledger key", r.LedgerKey},
	} {
		if line.value != "" {
			fmt.Fprintf(w, "  %s: %s\n", line.label, line.value)
		}
	}
	printTimestamp(w, r.Timestamp)
	for _, shown := range r.Shown {
		fmt.Fprintf(w, "  手机显示 / shown: %s\n", shown)
	}
}
