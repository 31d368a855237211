package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/spf13/cobra"
)

// newEvidenceCommand judges evidence files without any configuration.
func newEvidenceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "Verify the evidence file of a sign-in offline",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEvidenceVerifyCommand())
	return cmd
}

func newEvidenceVerifyCommand() *cobra.Command {
	var roots []string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Verify a file against the roots given, and nothing else",
		Long: `Verifies every part of an evidence file: the platform's request and its
certificate, the signed statement and the signer's certificate, their status at
that time, what the phone showed, the receipt and the relay's promise. Nothing is
asked over the network; only the roots given are believed. A file that does not
hold is refused with the name of the part.`,
		Example: `  bidseal evidence verify login.json --trust root.pem
  bidseal evidence verify login.json --trust root.pem --json`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(roots) == 0 {
				return usagef("--trust is needed: the PEM file of the root certificate that you believe")
			}
			certs, err := readCertificates(roots...)
			if err != nil {
				return err
			}
			file, err := readEvidence(args[0])
			if err != nil {
				return err
			}
			report, err := bidseal.Verifier{Roots: certs}.VerifyEvidence(file)
			if err != nil {
				return err
			}
			return emit(cmd, report, func(w io.Writer) { printEvidence(w, report) })
		},
	}
	cmd.Flags().StringArrayVar(&roots, "trust", nil, "PEM file with a root certificate; may be given several times")
	return cmd
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
	for _, shown := range r.Shown {
		fmt.Fprintf(w, "  手机显示 / shown: %s\n", shown)
	}
}
