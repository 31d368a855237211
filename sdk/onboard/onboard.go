// Package onboard takes a bidding platform to its first challenge: keys that are made in a folder and never leave it, an
// application to the authority, the certificate that it issues, and the configuration that bidseal.LoadConfig opens.
//
//	Request   makes the keys and applies; the authority's operator reads the application and approves it
//	State     says how far the application is
//	Fetch     collects the certificate, verifies it under the trust file given and against the folder's key, writes the configuration
//	Renew     takes the platform to its next certificate under the same id, with a new request key
//
// Fetch leaves registration.json, which the relay's operator registers. Every file is written whole or not at all and can
// be read by its owner alone; platform.json is written last, so that where it stands, everything it names does.
//
// A refusal of the authority or the relay is a *protocol.Error with its stable code: network where there is no answer,
// request_pending from Fetch before the approval, forbidden where the application was rejected, platform_untrusted for a
// certificate that is not for this folder's key or does not stand under the trust file's authorities.
package onboard

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// Files of a platform's folder.
const (
	requestKeyFile   = "request.key.pem"
	apiKeyFile       = "api.key.pem"
	applicationFile  = "application.json"
	RegistrationFile = "registration.json"
	ConfigFile       = "platform.json"
	chainFile        = "chain.pem"
	storeKeyFile     = "store.key"
	storeFolder      = "store"
)

// ErrNoApplication says that a folder holds no application: nothing was requested there.
var ErrNoApplication = errors.New("no application")

// callTimeout bounds a call where Folder.HTTP is nil.
const callTimeout = 30 * time.Second

// Folder takes a platform from nothing to a configuration that the SDK opens. Its methods may be repeated at any point;
// they are not for several processes at a time.
type Folder struct {
	Dir   string           // made by Request, readable by its owner only
	HTTP  *http.Client     // nil: one with a time limit of 30 seconds
	Clock func() time.Time // nil: time.Now
}

func (f Folder) client() *http.Client {
	if f.HTTP == nil {
		return &http.Client{Timeout: callTimeout}
	}
	return f.HTTP
}

func (f Folder) now() time.Time {
	if f.Clock == nil {
		return time.Now()
	}
	return f.Clock()
}

// application is what the folder remembers between request and fetch.
type application struct {
	V  int    `json:"v,omitzero"` // absent means 1
	CA string `json:"ca"`
	ID string `json:"id"`
	protocol.Kept
}

// stateVersion is the version of what the folder remembers for itself.
const stateVersion = 1

// Request makes the keys where the folder has none and applies; the same keys
// asking again get the same application.
func (f Folder) Request(ctx context.Context, authority string, body caapi.PlatformRequest) (*caapi.PlatformState, error) {
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the platform's folder: %w", err)
	}
	requestKey, err := f.key(requestKeyFile, func() (crypto.Signer, error) { return sm2.GenerateKey(rand.Reader) })
	if err != nil {
		return nil, err
	}
	apiKey, err := f.key(apiKeyFile, func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })
	if err != nil {
		return nil, err
	}
	body.V = caapi.Version
	if body.CSR, err = smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, requestKey); err != nil {
		return nil, fmt.Errorf("make the certification request: %w", err)
	}
	if body.APIKey, err = protocol.MarshalKey(apiKey.Public()); err != nil {
		return nil, err
	}
	state, err := f.apply(ctx, authority, apiKey, body)
	if err != nil {
		return nil, err
	}
	raw, err := protocol.EncodeJSON(application{V: stateVersion, CA: authority, ID: state.ID})
	if err != nil {
		return nil, fmt.Errorf("remember the application: %w", err)
	}
	return state, pemfile.WritePrivate(filepath.Join(f.Dir, applicationFile), raw)
}

func (f Folder) apply(ctx context.Context, authority string, apiKey crypto.Signer, body caapi.PlatformRequest) (*caapi.PlatformState, error) {
	raw, err := protocol.EncodeJSON(body)
	if err != nil {
		return nil, err
	}
	url := authority + caapi.PathPlatformRequests
	proof, err := protocol.NewProof(apiKey, "", protocol.Call{Method: http.MethodPost, URL: url, Body: raw}, f.now())
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeMalformed, "authority %q: %v", authority, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(protocol.HeaderProof, proof)
	var state caapi.PlatformState
	return &state, f.do(req, &state)
}

func (f Folder) do(req *http.Request, v any) error {
	resp, err := f.client().Do(req)
	if err != nil {
		return protocol.Errorf(protocol.CodeNetwork, "%v", err)
	}
	defer resp.Body.Close()
	return httpapi.DecodeResponse(resp, v)
}

// key reads a PKCS#8 key of the folder or makes and stores one.
func (f Folder) key(name string, generate func() (crypto.Signer, error)) (crypto.Signer, error) {
	path := filepath.Join(f.Dir, name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return pemfile.ReadSigner(path)
	}
	key, err := generate()
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	text, err := pemfile.EncodePrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return key, pemfile.WritePrivate(path, text)
}

// FetchOptions are what the platform's operator knows besides the folder.
type FetchOptions struct {
	Relay, App    string
	TrustFile     string   // with the authority and, unless LedgerKeyFile is given, the relay; obtained from their operators
	RootFiles     []string // in place of TrustFile: PEM files with the roots of an authority that uses the documentation arc
	LedgerKeyFile string   // PEM file with the relay's ledger key, where TrustFile does not name the relay; without it the relay is asked once
	OCSPURL       string   // responder to ask in place of the one that certificates name
	TSAURL        string   // timestamp authority; empty takes the authority's own, bidseal.NoTSA takes none
}

// Fetch collects the certificate, checks it against the trust file and the
// folder's own keys, and writes the configuration with a trust file of its own.
func (f Folder) Fetch(ctx context.Context, o FetchOptions) (*caapi.PlatformRegistration, error) {
	app, err := f.application()
	if err != nil {
		return nil, err
	}
	reg, err := f.collect(ctx)
	if err != nil {
		return nil, err
	}
	believed, err := f.believed(ctx, app, o)
	if err != nil {
		return nil, err
	}
	trustJSON, err := believed.Encode()
	if err != nil {
		return nil, err
	}
	if err := f.checkIssued(reg, believed, requestKeyFile); err != nil {
		return nil, err
	}
	storeKey, err := f.storeKey()
	if err != nil {
		return nil, err
	}
	config := bidseal.ConfigFile{
		V: 1, Platform: reg.PlatformID, Name: reg.Name, Relay: o.Relay, App: o.App, OCSPURL: o.OCSPURL, TSAURL: o.TSAURL,
		Trust: trust.FileName, RequestKey: requestKeyFile, Chain: chainFile, APIKey: apiKeyFile,
		Store: storeFolder, StoreKey: storeKeyFile, Origins: reg.Origins,
	}
	configJSON, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	regJSON, err := json.MarshalIndent(reg, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode registration: %w", err)
	}
	chain := make([][]byte, 0, len(reg.Chain))
	for _, der := range reg.Chain {
		chain = append(chain, der)
	}
	// the configuration goes last: where it stands, everything it names does
	for _, file := range []struct {
		name string
		data []byte
	}{
		{chainFile, pemfile.EncodeCertificates(chain)}, {trust.FileName, trustJSON},
		{storeKeyFile, storeKey}, {RegistrationFile, regJSON}, {ConfigFile, configJSON},
	} {
		if err := pemfile.WritePrivate(filepath.Join(f.Dir, file.name), file.data); err != nil {
			return nil, err
		}
	}
	return reg, nil
}

// State asks the authority how far the folder's application is.
func (f Folder) State(ctx context.Context) (*caapi.PlatformState, error) {
	app, err := f.application()
	if err != nil {
		return nil, err
	}
	return f.state(ctx, app.CA, app.ID)
}

func (f Folder) collect(ctx context.Context) (*caapi.PlatformRegistration, error) {
	app, err := f.application()
	if err != nil {
		return nil, err
	}
	state, err := f.state(ctx, app.CA, app.ID)
	if err != nil {
		return nil, err
	}
	if state.State == caapi.PlatformIssued {
		return state.Registration, nil
	}
	return nil, protocol.Errorf(protocol.CodeRequestPending, "application %s is %s", state.ID, state.State)
}

// application is what request wrote.
func (f Folder) application() (*application, error) {
	raw, err := os.ReadFile(filepath.Join(f.Dir, applicationFile))
	if err != nil {
		return nil, fmt.Errorf("%w in %s", ErrNoApplication, f.Dir)
	}
	var app application
	if err := protocol.DecodeJSON(raw, &app); err != nil {
		return nil, fmt.Errorf("read the application: %w", err)
	}
	return &app, nil
}

// believed is whom the platform believes from now on: the authority, and the relay
// with its ledger key.
func (f Folder) believed(ctx context.Context, app *application, o FetchOptions) (*trust.File, error) {
	if (o.TrustFile == "") == (len(o.RootFiles) == 0) {
		return nil, protocol.Errorf(protocol.CodeMalformed, "give a trust file, or roots")
	}
	var file *trust.File
	var err error
	if o.TrustFile != "" {
		file, err = readTrust(o.TrustFile)
	} else {
		file, err = documentationTrust(app, o.RootFiles)
	}
	if err != nil {
		return nil, err
	}
	if len(file.LedgerKeys(o.Relay)) > 0 && o.LedgerKeyFile == "" {
		return file, nil
	}
	key, err := f.ledgerKey(ctx, o)
	if err != nil {
		return nil, err
	}
	return file.WithRelay(trust.Relay{Origin: o.Relay, LedgerKeys: []crypto.PublicKey{key}}), nil
}

// documentationTrust is the trust file of an authority that has none.
func documentationTrust(app *application, rootFiles []string) (*trust.File, error) {
	roots, err := pemfile.ReadCertificates(rootFiles...)
	if err != nil {
		return nil, err
	}
	authority := trust.DocumentationAuthority(roots...)
	authority.TSA = app.CA + caapi.PathTimestamp
	return &trust.File{Authorities: []trust.Authority{authority}}, nil
}

// checkIssued refuses a certificate for another key or under another authority.
func (f Folder) checkIssued(reg *caapi.PlatformRegistration, believed *trust.File, keyFile string) error {
	anchors, err := believed.Store()
	if err != nil {
		return err
	}
	ders := make([][]byte, 0, len(reg.Chain))
	for _, der := range reg.Chain {
		ders = append(ders, der)
	}
	chain, err := trust.ParseChain(ders)
	if err != nil {
		return protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	verified, err := anchors.Verify(chain, trust.VerifyOptions{Time: f.now(), Usage: trust.PlatformRequest})
	if err != nil {
		return protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	key, err := f.key(keyFile, func() (crypto.Signer, error) { return nil, errors.New("the request key is gone") })
	if err != nil {
		return err
	}
	if pub, ok := key.Public().(*ecdsa.PublicKey); !ok || !pub.Equal(verified.Leaf().PublicKey) {
		return protocol.Errorf(protocol.CodePlatformUntrusted, "the certificate is for another key than the one in %s", f.Dir)
	}
	return nil
}

func (f Folder) ledgerKey(ctx context.Context, o FetchOptions) (crypto.PublicKey, error) {
	if o.LedgerKeyFile != "" {
		return pemfile.ReadPublicKey(o.LedgerKeyFile)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.Relay+"/v1/info", nil)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeMalformed, "relay %q: %v", o.Relay, err)
	}
	var info protocol.RelayInfo
	if err := f.do(req, &info); err != nil {
		return nil, err
	}
	return protocol.ParseKey(info.LedgerKey)
}

func (f Folder) storeKey() ([]byte, error) {
	if old, err := os.ReadFile(filepath.Join(f.Dir, storeKeyFile)); err == nil {
		return old, nil
	}
	key, err := protocol.Random(32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return []byte(hex.EncodeToString(key) + "\n"), nil
}

// readTrust reads a trust file.
func readTrust(path string) (*trust.File, error) {
	raw, err := pemfile.ReadBounded(path, trust.MaxFile)
	if err != nil {
		return nil, err
	}
	file, err := trust.ParseFile(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}
