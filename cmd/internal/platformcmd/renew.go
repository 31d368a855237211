package platformcmd

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
	"github.com/spf13/cobra"
)

// renewalFile is what a platform's folder remembers of a renewal under way.
const renewalFile = "renewal.json"

// renewal names the new files, so that key and chain change with the one
// configuration that names them.
type renewal struct {
	RequestKey string `json:"request_key"`
	Chain      string `json:"chain"`
	ID         string `json:"id,omitempty"` // of the application, once it was made
}

func newPlatformRenewCommand() *cobra.Command {
	var dir, contact string
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Renew the platform's certificate under its id, with a new request key",
		Long: `Run it twice. First it makes a new request key and applies, signed for by the present one. When the authority's operator
has approved, it collects the certificate and points the configuration at both. The present key and certificate stay in
the folder and in force until their end: restart the platform's processes one by one, and register registration.json at
the relay again.`,
		Example: "  bidseal platform renew --dir platform",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return cli.Usagef("--dir is needed")
			}
			r := Registrar{Dir: dir, Http: cli.NewHTTPClient(), Clock: time.Now}
			state, err := r.renew(cmd.Context(), contact)
			if err != nil {
				return err
			}
			return cli.Emit(cmd, state, func(w io.Writer) {
				if state.State == caapi.PlatformIssued {
					fmt.Fprintf(w, "platform %s is renewed\nnext: the relay's operator runs: bidseal relay platform add --file %s\n",
						state.Registration.PlatformID, filepath.Join(dir, RegistrationFile))
					return
				}
				fmt.Fprintf(w, "application %s is %s\nnext: the authority's operator runs: bidseal ca platform approve %s; then run this again\n", state.ID, state.State, state.ID)
			})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the platform's folder")
	cmd.Flags().StringVar(&contact, "contact", "", "whom the operator can reach")
	return cmd
}

// renew goes one step on, and may be repeated at any point.
func (r Registrar) renew(ctx context.Context, contact string) (*caapi.PlatformState, error) {
	var app application
	var next renewal
	var config bidseal.Registration
	for name, into := range map[string]any{applicationFile: &app, ConfigFile: &config, renewalFile: &next} {
		if err := r.readJSON(name, into); err != nil && (name != renewalFile || !errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
	}
	if next.RequestKey == "" {
		fresh, err := protocol.Random(4)
		if err != nil {
			return nil, err
		}
		suffix := hex.EncodeToString(fresh)
		next = renewal{RequestKey: "request-" + suffix + ".key.pem", Chain: "chain-" + suffix + ".pem"}
		if err := r.writeJSON(renewalFile, next); err != nil {
			return nil, err
		}
	}
	if next.ID == "" {
		return r.applyForRenewal(ctx, app.CA, contact, &config, &next)
	}
	state, err := r.state(ctx, app.CA, next.ID)
	if err != nil || state.State != caapi.PlatformIssued {
		return state, err
	}
	return state, r.takeRenewal(state.Registration, config, next)
}

// applyForRenewal applies with the new key, signed for by the present one.
func (r Registrar) applyForRenewal(ctx context.Context, authority, contact string, config *bidseal.Registration, next *renewal) (*caapi.PlatformState, error) {
	body, err := r.renewalBody(config, contact)
	if err != nil {
		return nil, err
	}
	fresh, err := r.key(next.RequestKey, func() (crypto.Signer, error) { return sm2.GenerateKey(rand.Reader) })
	if err != nil {
		return nil, err
	}
	present, err := cli.ReadSigner(filepath.Join(r.Dir, config.RequestKey))
	if err != nil {
		return nil, err
	}
	apiKey, err := cli.ReadSigner(filepath.Join(r.Dir, config.APIKey))
	if err != nil {
		return nil, err
	}
	if body.CSR, err = smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, fresh); err != nil {
		return nil, fmt.Errorf("make the certification request: %w", err)
	}
	if body.APIKey, err = protocol.MarshalKey(apiKey.Public()); err != nil {
		return nil, err
	}
	if body.Succession, err = protocol.Sign(present, body.SuccessionMessage()); err != nil {
		return nil, err
	}
	state, err := r.apply(ctx, authority, apiKey, *body)
	if err != nil {
		return nil, err
	}
	next.ID = state.ID
	return state, r.writeJSON(renewalFile, next)
}

// renewalBody repeats what the present certificate says.
func (r Registrar) renewalBody(config *bidseal.Registration, contact string) (*caapi.PlatformRequest, error) {
	chain, err := cli.ReadCertificates(filepath.Join(r.Dir, config.Chain))
	if err != nil {
		return nil, err
	}
	id, err := trust.ReadSubject(chain[0], trust.DocumentationOIDs())
	if err != nil {
		return nil, fmt.Errorf("present certificate: %w", err)
	}
	return &caapi.PlatformRequest{V: caapi.Version, Name: id.CommonName, Organisation: id.Organisation, CreditCode: id.CreditCode, Contact: contact,
		Origins: config.Origins, Renews: config.Platform}, nil
}

func (r Registrar) state(ctx context.Context, authority, id string) (*caapi.PlatformState, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, authority+caapi.PathPlatformRequests+"/"+id, nil)
	if err != nil {
		return nil, cli.Usagef("authority %q: %v", authority, err)
	}
	var state caapi.PlatformState
	if err := r.do(req, &state); err != nil {
		return nil, err
	}
	if state.State == caapi.PlatformRejected {
		return nil, protocol.Errorf(protocol.CodeForbidden, "the application was rejected: %s", state.Reason)
	}
	return &state, nil
}

// takeRenewal checks the certificate and points the configuration at it. The
// configuration goes last: where it stands, everything it names does.
func (r Registrar) takeRenewal(reg *caapi.PlatformRegistration, config bidseal.Registration, next renewal) error {
	roots, err := cli.ReadCertificates(filepath.Join(r.Dir, config.Roots))
	if err != nil {
		return err
	}
	if reg.PlatformID != config.Platform {
		return protocol.Errorf(protocol.CodePlatformUntrusted, "the certificate is for platform %s", reg.PlatformID)
	}
	if err := r.checkIssued(reg, roots, next.RequestKey); err != nil {
		return err
	}
	chain := make([][]byte, 0, len(reg.Chain))
	for _, der := range reg.Chain {
		chain = append(chain, der)
	}
	if err := cli.WritePrivate(filepath.Join(r.Dir, next.Chain), cli.CertificatesPEM(chain)); err != nil {
		return err
	}
	config.RequestKey, config.Chain = next.RequestKey, next.Chain
	if err := errors.Join(r.writeJSON(RegistrationFile, reg), r.writeJSON(ConfigFile, config)); err != nil {
		return err
	}
	return os.Remove(filepath.Join(r.Dir, renewalFile))
}

func (r Registrar) readJSON(name string, v any) error {
	raw, err := cli.ReadBounded(filepath.Join(r.Dir, name), cli.MaxAnswer)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

func (r Registrar) writeJSON(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return cli.WritePrivate(filepath.Join(r.Dir, name), raw)
}
