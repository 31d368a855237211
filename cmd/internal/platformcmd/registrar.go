package platformcmd

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

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/cmd/internal/cli"
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
	ledgerKeyFile    = "ledger.pem"
	storeKeyFile     = "store.key"
	storeFolder      = "store"
)

// Registrar takes a platform from nothing to a configuration that the SDK opens.
type Registrar struct {
	Dir   string
	Http  *http.Client
	Clock func() time.Time
}

// application is what the folder remembers between request and fetch.
type application struct {
	CA string `json:"ca"`
	ID string `json:"id"`
}

// request makes the keys where the folder has none and applies; the same keys
// asking again get the same application.
func (r Registrar) Request(ctx context.Context, authority string, body caapi.PlatformRequest) (*caapi.PlatformState, error) {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the platform's folder: %w", err)
	}
	requestKey, err := r.key(requestKeyFile, func() (crypto.Signer, error) { return sm2.GenerateKey(rand.Reader) })
	if err != nil {
		return nil, err
	}
	apiKey, err := r.key(apiKeyFile, func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })
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
	state, err := r.apply(ctx, authority, apiKey, body)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(application{CA: authority, ID: state.ID})
	if err != nil {
		return nil, fmt.Errorf("remember the application: %w", err)
	}
	return state, cli.WritePrivate(filepath.Join(r.Dir, applicationFile), raw)
}

func (r Registrar) apply(ctx context.Context, authority string, apiKey crypto.Signer, body caapi.PlatformRequest) (*caapi.PlatformState, error) {
	raw, err := protocol.EncodeJSON(body)
	if err != nil {
		return nil, err
	}
	url := authority + caapi.PathPlatformRequests
	proof, err := protocol.NewProof(apiKey, "", protocol.Call{Method: http.MethodPost, URL: url, Body: raw}, r.Clock())
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return nil, cli.Usagef("authority %q: %v", authority, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(protocol.HeaderProof, proof)
	var state caapi.PlatformState
	return &state, r.do(req, &state)
}

func (r Registrar) do(req *http.Request, v any) error {
	resp, err := r.Http.Do(req)
	if err != nil {
		return protocol.Errorf(protocol.CodeNetwork, "%v", err)
	}
	return cli.DecodeAnswer(resp, v)
}

// key reads a PKCS#8 key of the folder or makes and stores one.
func (r Registrar) key(name string, generate func() (crypto.Signer, error)) (crypto.Signer, error) {
	path := filepath.Join(r.Dir, name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return cli.ReadSigner(path)
	}
	key, err := generate()
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	text, err := cli.PrivateKeyPEM(key)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return key, cli.WritePrivate(path, text)
}

// FetchOptions are what the platform's operator knows besides the folder.
type FetchOptions struct {
	Relay, App    string
	RootFiles     []string
	ledgerKeyFile string // empty: ask the relay once
	ocspURL       string
	tsaURL        string // empty: the authority's own; "none" for none
}

// fetch collects the certificate, checks it against the given roots and the
// folder's own keys, and writes the configuration.
func (r Registrar) Fetch(ctx context.Context, o FetchOptions) (*caapi.PlatformRegistration, error) {
	app, err := r.application()
	if err != nil {
		return nil, err
	}
	reg, err := r.collect(ctx)
	if err != nil {
		return nil, err
	}
	roots, err := cli.ReadCertificates(o.RootFiles...)
	if err != nil {
		return nil, err
	}
	if err := r.checkIssued(reg, roots, requestKeyFile); err != nil {
		return nil, err
	}
	ledger, err := r.ledgerKey(ctx, o)
	if err != nil {
		return nil, err
	}
	storeKey, err := r.storeKey()
	if err != nil {
		return nil, err
	}
	switch o.tsaURL {
	case "":
		o.tsaURL = app.CA + ca.PathTimestamp
	case "none":
		o.tsaURL = ""
	}
	config := bidseal.Registration{
		V: 1, Platform: reg.PlatformID, Name: reg.Name, Relay: o.Relay, App: o.App, OCSPURL: o.ocspURL, TSAURL: o.tsaURL,
		LedgerKey: ledgerKeyFile, RequestKey: requestKeyFile, Chain: chainFile, APIKey: apiKeyFile, Roots: cli.RootsFile,
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
	rootDER := make([][]byte, 0, len(roots))
	for _, c := range roots {
		rootDER = append(rootDER, c.Raw)
	}
	// the configuration goes last: where it stands, everything it names does
	for _, f := range []struct {
		name string
		data []byte
	}{
		{chainFile, cli.CertificatesPEM(chain)}, {cli.RootsFile, cli.CertificatesPEM(rootDER)},
		{ledgerKeyFile, cli.PublicKeyPEM(ledger)},
		{storeKeyFile, storeKey}, {RegistrationFile, regJSON}, {ConfigFile, configJSON},
	} {
		if err := cli.WritePrivate(filepath.Join(r.Dir, f.name), f.data); err != nil {
			return nil, err
		}
	}
	return reg, nil
}

func (r Registrar) collect(ctx context.Context) (*caapi.PlatformRegistration, error) {
	app, err := r.application()
	if err != nil {
		return nil, err
	}
	state, err := r.state(ctx, app.CA, app.ID)
	if err != nil {
		return nil, err
	}
	if state.State == caapi.PlatformIssued {
		return state.Registration, nil
	}
	return nil, protocol.Errorf(protocol.CodeRequestPending, "application %s is %s", state.ID, state.State)
}

// application is what request wrote.
func (r Registrar) application() (*application, error) {
	raw, err := os.ReadFile(filepath.Join(r.Dir, applicationFile))
	if err != nil {
		return nil, cli.Usagef("no application in %s: run bidseal platform request first", r.Dir)
	}
	var app application
	if err := json.Unmarshal(raw, &app); err != nil {
		return nil, fmt.Errorf("read the application: %w", err)
	}
	return &app, nil
}

// checkIssued refuses a certificate for another key or under another root.
func (r Registrar) checkIssued(reg *caapi.PlatformRegistration, roots []*smx509.Certificate, keyFile string) error {
	anchors, err := trust.NewStore(trust.DocumentationAuthority(roots...))
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
	verified, err := anchors.Verify(chain, trust.VerifyOptions{Time: r.Clock(), Usage: trust.PlatformRequest})
	if err != nil {
		return protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	key, err := r.key(keyFile, func() (crypto.Signer, error) { return nil, errors.New("the request key is gone") })
	if err != nil {
		return err
	}
	if pub, ok := key.Public().(*ecdsa.PublicKey); !ok || !pub.Equal(verified.Leaf().PublicKey) {
		return protocol.Errorf(protocol.CodePlatformUntrusted, "the certificate is for another key than the one in %s", r.Dir)
	}
	return nil
}

func (r Registrar) ledgerKey(ctx context.Context, o FetchOptions) ([]byte, error) {
	if o.ledgerKeyFile != "" {
		key, err := cli.ReadPublicKey(o.ledgerKeyFile)
		if err != nil {
			return nil, err
		}
		return protocol.MarshalKey(key)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.Relay+"/v1/info", nil)
	if err != nil {
		return nil, cli.Usagef("relay %q: %v", o.Relay, err)
	}
	var info protocol.RelayInfo
	if err := r.do(req, &info); err != nil {
		return nil, err
	}
	_, err = protocol.ParseKey(info.LedgerKey)
	return info.LedgerKey, err
}

func (r Registrar) storeKey() ([]byte, error) {
	if old, err := os.ReadFile(filepath.Join(r.Dir, storeKeyFile)); err == nil {
		return old, nil
	}
	key, err := protocol.Random(32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return []byte(hex.EncodeToString(key) + "\n"), nil
}
