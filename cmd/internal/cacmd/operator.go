package cacmd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/callsig"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
	"github.com/spf13/cobra"
)

func newCAOperatorCommand(flags *caFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "People who run the authority, each with a certificate and one role",
		Long: `Operators work over HTTP and sign every call with their certificate. Roles: registration (applications and codes), approval
(applications of others, platforms, revocations), recovery (escrowed keys, always two), audit (reads).

  1  bidseal ca operator key --key alice.key --csr alice.csr          at the operator's desk
  2  bidseal ca operator add alice --role recovery --csr alice.csr --out alice.json     on the authority's machine
  3  bidseal ca operator call GET /v1/operator/recoveries --ca URL --key alice.key --certificate alice.json

The first operators are made on the authority's machine, right after the ceremony, with its passphrase.`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCAOperatorKeyCommand(), newCAOperatorAddCommand(flags), newCAOperatorListCommand(flags), newCAOperatorBlockCommand(flags), newCAOperatorCallCommand())
	return cmd
}

func newCAOperatorKeyCommand() *cobra.Command {
	var keyPath, csrPath string
	cmd := &cobra.Command{
		Use: "key", Short: "Make an operator's key and a request for its certificate", Args: cli.NoArgs,
		Example: "  bidseal ca operator key --key alice.key --csr alice.csr",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keyPath == "" || csrPath == "" {
				return cli.Usagef("--key and --csr are needed")
			}
			key, err := sm2.GenerateKey(rand.Reader)
			if err != nil {
				return fmt.Errorf("generate key: %w", err)
			}
			csr, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key)
			if err != nil {
				return fmt.Errorf("certification request: %w", err)
			}
			raw, err := pemfile.EncodePrivateKey(key)
			if err != nil {
				return err
			}
			defer clear(raw)
			if err := pemfile.WritePrivate(keyPath, raw); err != nil {
				return err
			}
			if err := pemfile.WritePrivate(csrPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})); err != nil {
				return err
			}
			return cli.Emit(cmd, map[string]string{"key": keyPath, "csr": csrPath}, func(w io.Writer) { fmt.Fprintf(w, "key in %s, request in %s\n", keyPath, csrPath) })
		},
	}
	cmd.Flags().StringVar(&keyPath, "key", "", "file for the private key; keep it")
	cmd.Flags().StringVar(&csrPath, "csr", "", "file for the certification request (PKCS#10)")
	return cmd
}

func newCAOperatorAddCommand(flags *caFlags) *cobra.Command {
	var n registry.NewOperator
	var role, csrPath, out string
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Certify an operator", Args: cli.ExactArgs(1),
		Example: "  bidseal ca operator add alice --role recovery --csr alice.csr --out alice.json --data ca",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			n.Name = args[0]
			if n.Role, err = registry.ParseRole(role); err != nil {
				return cli.Usagef("%v", err)
			}
			if csrPath == "" || out == "" {
				return cli.Usagef("--csr and --out are needed")
			}
			if n.CSR, err = readPEMBlock(csrPath); err != nil {
				return err
			}
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				made, err := a.Registry.AddOperator(ctx, flags.actor(), n)
				if err != nil {
					return err
				}
				raw, err := json.MarshalIndent(made, "", "  ")
				if err != nil {
					return fmt.Errorf("encode certificate: %w", err)
				}
				if err := pemfile.WritePrivate(out, append(raw, '\n')); err != nil {
					return err
				}
				return cli.Emit(cmd, made, func(w io.Writer) {
					fmt.Fprintf(w, "operator %s (%s): id %s, certificate %s in %s\n", made.Name, made.Role, made.ID, made.Serial, out)
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&role, "role", "", "registration, approval, recovery or audit")
	f.StringVar(&csrPath, "csr", "", "the operator's certification request")
	f.StringVar(&out, "out", "", "file for the certificate")
	f.DurationVar(&n.Validity, "validity", 365*oneDay, "life of the certificate, at most 366 days")
	return cmd
}

// readPEMBlock reads the first block of a PEM file.
func readPEMBlock(path string) ([]byte, error) {
	raw, err := pemfile.ReadBounded(path, pemfile.MaxKey)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, cli.Usagef("%s is not PEM", path)
	}
	return block.Bytes, nil
}

func newCAOperatorListCommand(flags *caFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List operators", Example: "  bidseal ca operator list --data ca", Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				all, err := a.Registry.Operators(ctx)
				if err != nil {
					return err
				}
				return cli.Emit(cmd, map[string]any{"operators": all}, func(w io.Writer) {
					for _, o := range all {
						fmt.Fprintf(w, "%s  %-12s  %-8s  %s  certificate %s\n", o.ID, o.Role, o.State, o.Name, o.Serial)
					}
				})
			})
		},
	}
}

func newCAOperatorBlockCommand(flags *caFlags) *cobra.Command {
	return &cobra.Command{
		Use: "block ID", Short: "Block an operator, at once and for good", Example: "  bidseal ca operator block 0f3c... --data ca", Args: cli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd, func(ctx context.Context, a *ca.Authority) error {
				if err := a.Registry.BlockOperator(ctx, flags.actor(), args[0]); err != nil {
					return err
				}
				return cli.Emit(cmd, map[string]string{"id": args[0], "state": "blocked"}, func(w io.Writer) { fmt.Fprintln(w, "blocked; the certificate is revoked") })
			})
		},
	}
}

// operatorFlags say who calls which authority.
type operatorFlags struct{ ca, key, certificate string }

func (o *operatorFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.ca, "ca", "", "URL of the authority")
	f.StringVar(&o.key, "key", "", "the operator's private key (PEM)")
	f.StringVar(&o.certificate, "certificate", "", "the operator's certificate, as \"operator add\" wrote it")
}

// call makes a signed call and returns the body.
func (o *operatorFlags) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	if o.ca == "" || o.key == "" || o.certificate == "" {
		return nil, cli.Usagef("--ca, --key and --certificate are needed")
	}
	key, err := pemfile.ReadSigner(o.key)
	if err != nil {
		return nil, err
	}
	raw, err := pemfile.ReadBounded(o.certificate, pemfile.MaxKey)
	if err != nil {
		return nil, err
	}
	var certificate caapi.OperatorCertificate
	if err := protocol.DecodeJSON(raw, &certificate); err != nil {
		return nil, fmt.Errorf("%s: %w", o.certificate, err)
	}
	var content io.Reader
	if len(body) > 0 {
		content = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(o.ca, "/")+path, content)
	if err != nil {
		return nil, cli.Usagef("%v", err)
	}
	if err := callsig.SignSM2(request, key, certificate.Serial, time.Now()); err != nil {
		return nil, err
	}
	return exchange(request)
}

// exchange makes a call of the command line; a refusal is an error with its code.
func exchange(request *http.Request) ([]byte, error) {
	if request.Body != nil && request.Body != http.NoBody {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := cli.NewHTTPClient().Do(request)
	if err != nil {
		return nil, fmt.Errorf("call the authority: %w", err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, httpapi.MaxResponse))
	if err != nil {
		return nil, fmt.Errorf("call the authority: %w", err)
	}
	if answer.StatusCode == http.StatusOK {
		return raw, nil
	}
	var problem protocol.Problem
	if err := protocol.DecodeJSONOpen(raw, &problem, nil); err != nil {
		return nil, fmt.Errorf("the authority returned %s", answer.Status)
	}
	return nil, problem.Err()
}

func newCAOperatorCallCommand() *cobra.Command {
	var o operatorFlags
	var bodyPath string
	cmd := &cobra.Command{
		Use: "call METHOD PATH", Short: "Make a call of the API as an operator", Args: cli.ExactArgs(2),
		Long: `Signs one call and prints the response. GET /openapi.yaml describes the API.`,
		Example: "  bidseal ca operator call GET '/v1/operator/applications?state=pending' --ca URL --key bob.key --certificate bob.json\n" +
			"  bidseal ca operator call POST /v1/operator/revocations --body order.json --ca URL --key bob.key --certificate bob.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			var body []byte
			if bodyPath != "" {
				var err error
				if body, err = pemfile.ReadBounded(bodyPath, pemfile.MaxKey); err != nil {
					return err
				}
			}
			raw, err := o.call(cmd.Context(), strings.ToUpper(args[0]), args[1], body)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(raw))
			return err
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&bodyPath, "body", "", "file with the JSON body")
	return cmd
}

func newCARecoveryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recovery",
		Short: "Recover an escrowed key: one operator asks, another approves",
		Long: `An escrowed encryption key is released outside of a reissue only by two recovery operators, enveloped under the key that
the first one named. The recovery stands in the audit log and in the public listing, and the holder's phone shows it.`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCARecoveryRequestCommand(), newCARecoveryDecideCommand("approve"), newCARecoveryDecideCommand("reject"), newCARecoveryShowCommand())
	return cmd
}

func newCARecoveryRequestCommand() *cobra.Command {
	var o operatorFlags
	var r caapi.RecoveryRequest
	var to string
	cmd := &cobra.Command{
		Use: "request", Short: "Ask for an escrowed key", Args: cli.NoArgs,
		Example: `  bidseal ca recovery request --serial 5F3A... --to receiver.pem --reason "order of the court, file 12" --ca URL --key alice.key --certificate alice.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Serial == "" || to == "" || r.Reason == "" {
				return cli.Usagef("--serial, --to and --reason are needed")
			}
			spki, err := readRecipient(to)
			if err != nil {
				return err
			}
			id, err := protocol.Random(caapi.RequestIDSize)
			if err != nil {
				return err
			}
			r.V, r.RequestID, r.To = caapi.Version, id, spki
			body, err := protocol.EncodeJSON(r)
			if err != nil {
				return err
			}
			return o.recovery(cmd, http.MethodPost, caapi.PathOperatorRecoveries, body, "")
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&r.Serial, "serial", "", "serial number of an encryption certificate over the key")
	cmd.Flags().StringVar(&to, "to", "", "PEM file with the certificate or public key (SM2) under which the key is enveloped")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why, for the file")
	return cmd
}

// readRecipient returns the public key in a file that holds it or a certificate.
func readRecipient(path string) ([]byte, error) {
	der, err := readPEMBlock(path)
	if err != nil {
		return nil, err
	}
	if cert, err := smx509.ParseCertificate(der); err == nil {
		return cert.RawSubjectPublicKeyInfo, nil
	}
	return der, nil
}

func newCARecoveryDecideCommand(verb string) *cobra.Command {
	var o operatorFlags
	var d caapi.Decision
	var out string
	cmd := &cobra.Command{
		Use: verb + " ID", Short: "Decide on another operator's request: " + verb, Args: cli.ExactArgs(1),
		Example: "  bidseal ca recovery " + verb + " 0f3c... --ca URL --key bob.key --certificate bob.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			path := caapi.PathOperatorRecoveries + "/" + args[0]
			if verb == "approve" && d.Digest == "" || verb == "reject" && d.Reason == "" {
				return cli.Usagef("approve needs the --digest that \"recovery show\" prints beside what is approved, reject a --reason")
			}
			d.V = caapi.Version
			body, err := protocol.EncodeJSON(d)
			if err != nil {
				return err
			}
			return o.recovery(cmd, http.MethodPost, path+"/"+verb, body, out)
		},
	}
	o.register(cmd)
	if verb == "approve" {
		cmd.Flags().StringVar(&d.Digest, "digest", "", "digest of the request, compared with the other operator")
		cmd.Flags().StringVar(&out, "out", "", "file for the SM2EnvelopedKey (GB/T 35276, DER)")
	} else {
		cmd.Flags().StringVar(&d.Reason, "reason", "", "why")
	}
	return cmd
}

func newCARecoveryShowCommand() *cobra.Command {
	var o operatorFlags
	var out string
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show the state of a recovery, and get the envelope", Args: cli.ExactArgs(1),
		Example: "  bidseal ca recovery show 0f3c... --out key.der --ca URL --key alice.key --certificate alice.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.recovery(cmd, http.MethodGet, caapi.PathOperatorRecoveries+"/"+args[0], nil, out)
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&out, "out", "", "file for the SM2EnvelopedKey, once it was released")
	return cmd
}

// recovery makes a call whose response is a recovery, and prints it.
func (o *operatorFlags) recovery(cmd *cobra.Command, method, path string, body []byte, out string) error {
	raw, err := o.call(cmd.Context(), method, path, body)
	if err != nil {
		return err
	}
	var info caapi.RecoveryInfo
	if err := protocol.DecodeJSON(raw, &info); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if out != "" && len(info.Enveloped) > 0 {
		if err := pemfile.WritePrivate(out, info.Enveloped); err != nil {
			return err
		}
	}
	return cli.Emit(cmd, info, func(w io.Writer) {
		fmt.Fprintf(w, "recovery %s: %s\n  certificate %s\n  to key      %x\n  reason      %s\n  digest      %s\n  asked by    %s, open until %s\n", info.ID, info.State,
			info.Request.Serial, protocol.H(info.Request.To), info.Request.Reason, info.Digest, info.RequestedBy, time.Unix(info.Expires, 0).UTC().Format(time.RFC3339))
	})
}
