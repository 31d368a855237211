package cacmd

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/trust"
	"github.com/spf13/cobra"
)

func newCAIssueCommand(flags *caFlags) *cobra.Command {
	var s life.Single
	var csrFile, out string
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Issue one signing certificate for a certification request (ECDSA and RSA authorities)",
		Long: `Issues a signing certificate for the key of a PKCS#10 request, whose subject is not looked at, in an authority of the
ECDSA or RSA family. The same request gives the same certificate. Phones enrol with SM2 authorities: enrolment-code.`,
		Example: `  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=x -keyout key.pem -out csr.pem
  bidseal ca issue --data ca --csr csr.pem --name "Zhang San" --organisation "Example Ltd." \
    --credit-code 91330100MA27XL0G0X --role admin --out chain.pem`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if csrFile == "" || out == "" || s.Subject.Name == "" {
				return cli.Usagef("--csr, --name and --out are needed")
			}
			raw, err := os.ReadFile(csrFile)
			if err != nil {
				return cli.Usagef("--csr: %v", err)
			}
			s.CSR = raw
			if block, _ := pem.Decode(raw); block != nil {
				s.CSR = block.Bytes
			}
			s.Subject.Kind = string(trust.Person)
			if s.Subject.Organisation != "" {
				s.Subject.Kind = string(trust.Organisation)
			}
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error { return issueSingle(ctx, cmd, a, s, out) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&csrFile, "csr", "", "PKCS#10 request, PEM or DER")
	f.StringVar(&s.Subject.Name, "name", "", "the person's name")
	f.StringVar(&s.Subject.Organisation, "organisation", "", "the person's organisation; without it the subject is a natural person")
	f.StringVar(&s.Subject.CreditCode, "credit-code", "", "the organisation's unified social credit code (GB 32100)")
	f.StringVar(&s.Subject.Role, "role", "", "role in the organisation: admin or user")
	f.DurationVar(&s.Validity, "validity", 365*oneDay, "life of the certificate")
	f.StringVar(&out, "out", "", "file for the chain in PEM, leaf first; it must not exist")
	return cmd
}

func issueSingle(ctx context.Context, cmd *cobra.Command, a *ca.Authority, s life.Single, out string) error {
	made, err := a.Life.IssueSingle(ctx, s)
	if err != nil {
		return err
	}
	chain := make([][]byte, len(made.Chain))
	for i, der := range made.Chain {
		chain[i] = der
	}
	file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // certificates are public
	if err != nil {
		return fmt.Errorf("write chain: %w", err)
	}
	defer file.Close()
	if _, err := file.Write(pemfile.EncodeCertificates(chain)); err != nil {
		return fmt.Errorf("write chain: %w", err)
	}
	result := struct {
		Serial string `json:"serial"`
		File   string `json:"file"`
	}{made.Serial, out}
	return cli.Emit(cmd, result, func(w io.Writer) {
		fmt.Fprintf(w, "certificate %s in %s, issued %s\n", made.Serial, out, time.Now().UTC().Format(time.DateOnly))
	})
}
