package onboard

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// renewalFile is what a platform's folder remembers of a renewal under way.
const renewalFile = "renewal.json"

// renewal names the new files, so that key and chain change with the one
// configuration that names them.
type renewal struct {
	V          int    `json:"v,omitzero"` // absent means 1
	RequestKey string `json:"request_key"`
	Chain      string `json:"chain"`
	ID         string `json:"id,omitzero"` // of the application, once it was made
	protocol.Kept
}

// Renew goes one step on, and may be repeated at any point.
func (f Folder) Renew(ctx context.Context, contact string) (*caapi.PlatformState, error) {
	var app application
	var next renewal
	var config bidseal.ConfigFile
	for name, into := range map[string]any{applicationFile: &app, ConfigFile: &config, renewalFile: &next} {
		if err := f.readJSON(name, into); err != nil && (name != renewalFile || !errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
	}
	if next.RequestKey == "" {
		fresh, err := protocol.Random(4)
		if err != nil {
			return nil, err
		}
		suffix := hex.EncodeToString(fresh)
		next = renewal{V: stateVersion, RequestKey: "request-" + suffix + ".key.pem", Chain: "chain-" + suffix + ".pem"}
		if err := f.writeState(renewalFile, next); err != nil {
			return nil, err
		}
	}
	if next.ID == "" {
		return f.applyForRenewal(ctx, app.CA, contact, &config, &next)
	}
	state, err := f.state(ctx, app.CA, next.ID)
	if err != nil || state.State != caapi.PlatformIssued {
		return state, err
	}
	return state, f.takeRenewal(state.Registration, config, next)
}

// applyForRenewal applies with the new key, signed for by the present one.
func (f Folder) applyForRenewal(ctx context.Context, authority, contact string, config *bidseal.ConfigFile, next *renewal) (*caapi.PlatformState, error) {
	body, err := f.renewalBody(config, contact)
	if err != nil {
		return nil, err
	}
	fresh, err := f.key(next.RequestKey, func() (crypto.Signer, error) { return sm2.GenerateKey(rand.Reader) })
	if err != nil {
		return nil, err
	}
	present, err := pemfile.ReadSigner(filepath.Join(f.Dir, config.RequestKey))
	if err != nil {
		return nil, err
	}
	apiKey, err := pemfile.ReadSigner(filepath.Join(f.Dir, config.APIKey))
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
	state, err := f.apply(ctx, authority, apiKey, *body)
	if err != nil {
		return nil, err
	}
	next.ID = state.ID
	return state, f.writeState(renewalFile, next)
}

// renewalBody repeats what the present certificate says.
func (f Folder) renewalBody(config *bidseal.ConfigFile, contact string) (*caapi.PlatformRequest, error) {
	chain, err := pemfile.ReadCertificates(filepath.Join(f.Dir, config.Chain))
	if err != nil {
		return nil, err
	}
	believed, err := f.configured(config)
	if err != nil {
		return nil, err
	}
	anchors, err := believed.Store()
	if err != nil {
		return nil, err
	}
	authority, err := anchors.Named(chain)
	if err != nil {
		return nil, fmt.Errorf("present certificate: %w", err)
	}
	id, err := trust.ReadSubject(chain[0], authority.OIDs)
	if err != nil {
		return nil, fmt.Errorf("present certificate: %w", err)
	}
	return &caapi.PlatformRequest{V: caapi.Version, Name: id.CommonName, Organisation: id.Organisation, CreditCode: id.CreditCode, Contact: contact,
		Origins: config.Origins, Renews: config.Platform}, nil
}

// configured is whom the folder's configuration believes. A configuration from
// before there were trust files names roots.
func (f Folder) configured(config *bidseal.ConfigFile) (*trust.File, error) {
	if config.Trust != "" {
		return readTrust(filepath.Join(f.Dir, config.Trust))
	}
	roots, err := pemfile.ReadCertificates(filepath.Join(f.Dir, config.Roots))
	if err != nil {
		return nil, err
	}
	return &trust.File{Authorities: []trust.Authority{trust.DocumentationAuthority(roots...)}}, nil
}

func (f Folder) state(ctx context.Context, authority, id string) (*caapi.PlatformState, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, authority+caapi.PathPlatformRequests+"/"+id, nil)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeMalformed, "authority %q: %v", authority, err)
	}
	var state caapi.PlatformState
	if err := f.do(req, &state); err != nil {
		return nil, err
	}
	if state.State == caapi.PlatformRejected {
		return nil, protocol.Errorf(protocol.CodeForbidden, "the application was rejected: %s", state.Reason)
	}
	return &state, nil
}

// takeRenewal checks the certificate and points the configuration at it. The
// configuration goes last: where it stands, everything it names does.
func (f Folder) takeRenewal(reg *caapi.PlatformRegistration, config bidseal.ConfigFile, next renewal) error {
	believed, err := f.configured(&config)
	if err != nil {
		return err
	}
	if reg.PlatformID != config.Platform {
		return protocol.Errorf(protocol.CodePlatformUntrusted, "the certificate is for platform %s", reg.PlatformID)
	}
	if err := f.checkIssued(reg, believed, next.RequestKey); err != nil {
		return err
	}
	chain := make([][]byte, 0, len(reg.Chain))
	for _, der := range reg.Chain {
		chain = append(chain, der)
	}
	if err := pemfile.WritePrivate(filepath.Join(f.Dir, next.Chain), pemfile.EncodeCertificates(chain)); err != nil {
		return err
	}
	config.RequestKey, config.Chain = next.RequestKey, next.Chain
	if err := errors.Join(f.writeJSON(RegistrationFile, reg), f.writeJSON(ConfigFile, config)); err != nil {
		return err
	}
	return os.Remove(filepath.Join(f.Dir, renewalFile))
}

func (f Folder) readJSON(name string, v any) error {
	raw, err := pemfile.ReadBounded(filepath.Join(f.Dir, name), httpapi.MaxResponse)
	if err != nil {
		return err
	}
	if err := protocol.DecodeJSON(raw, v); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// writeState writes what the folder remembers for itself.
func (f Folder) writeState(name string, v any) error {
	raw, err := protocol.EncodeJSON(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return pemfile.WritePrivate(filepath.Join(f.Dir, name), raw)
}

// writeJSON writes what other people read, indented.
func (f Folder) writeJSON(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return pemfile.WritePrivate(filepath.Join(f.Dir, name), raw)
}
