package main

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
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// Files of a platform's folder.
const (
	requestKeyFile     = "request.key.pem"
	apiKeyFile         = "api.key.pem"
	applicationFile    = "application.json"
	registrationFile   = "registration.json"
	platformConfigFile = "platform.json"
	chainFile          = "chain.pem"
	rootsFile          = "roots.pem"
	ledgerKeyFile      = "ledger.pem"
	storeKeyFile       = "store.key"
	storeFolder        = "store"
)

// registrar takes a platform from nothing to a configuration that the SDK opens.
type registrar struct {
	dir   string
	http  *http.Client
	clock func() time.Time
}

// application is what the folder remembers between request and fetch.
type application struct {
	CA string `json:"ca"`
	ID string `json:"id"`
}

// request makes the keys where the folder has none and applies; the same keys
// asking again get the same application.
func (r registrar) request(ctx context.Context, authority string, body caapi.PlatformRequest) (*caapi.PlatformState, error) {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
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
	return state, writePrivate(filepath.Join(r.dir, applicationFile), raw)
}

func (r registrar) apply(ctx context.Context, authority string, apiKey crypto.Signer, body caapi.PlatformRequest) (*caapi.PlatformState, error) {
	raw, err := protocol.EncodeJSON(body)
	if err != nil {
		return nil, err
	}
	url := authority + caapi.PathPlatformRequests
	proof, err := protocol.NewProof(apiKey, "", protocol.Call{Method: http.MethodPost, URL: url, Body: raw}, r.clock())
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return nil, usagef("authority %q: %v", authority, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(protocol.HeaderProof, proof)
	var state caapi.PlatformState
	return &state, r.do(req, &state)
}

func (r registrar) do(req *http.Request, v any) error {
	resp, err := r.http.Do(req)
	if err != nil {
		return protocol.Errorf(protocol.CodeNetwork, "%v", err)
	}
	return decodeAnswer(resp, v)
}

// key reads a PKCS#8 key of the folder or makes and stores one.
func (r registrar) key(name string, generate func() (crypto.Signer, error)) (crypto.Signer, error) {
	path := filepath.Join(r.dir, name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return readSigner(path)
	}
	key, err := generate()
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	text, err := privateKeyPEM(key)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return key, writePrivate(path, text)
}

// fetchOptions are what the platform's operator knows besides the folder.
type fetchOptions struct {
	relay, app    string
	rootFiles     []string
	ledgerKeyFile string // empty: ask the relay once
	ocspURL       string
	tsaURL        string // empty: the authority's own; "none" for none
}

// fetch collects the certificate, checks it against the given roots and the
// folder's own keys, and writes the configuration.
func (r registrar) fetch(ctx context.Context, o fetchOptions) (*caapi.PlatformRegistration, error) {
	app, err := r.application()
	if err != nil {
		return nil, err
	}
	reg, err := r.collect(ctx)
	if err != nil {
		return nil, err
	}
	roots, err := readCertificates(o.rootFiles...)
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
		V: 1, Platform: reg.PlatformID, Name: reg.Name, Relay: o.relay, App: o.app, OCSPURL: o.ocspURL, TSAURL: o.tsaURL,
		LedgerKey: ledgerKeyFile, RequestKey: requestKeyFile, Chain: chainFile, APIKey: apiKeyFile, Roots: rootsFile,
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
		{chainFile, certificatesPEM(chain)}, {rootsFile, certificatesPEM(rootDER)},
		{ledgerKeyFile, publicKeyPEM(ledger)},
		{storeKeyFile, storeKey}, {registrationFile, regJSON}, {platformConfigFile, configJSON},
	} {
		if err := writePrivate(filepath.Join(r.dir, f.name), f.data); err != nil {
			return nil, err
		}
	}
	return reg, nil
}

func (r registrar) collect(ctx context.Context) (*caapi.PlatformRegistration, error) {
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
func (r registrar) application() (*application, error) {
	raw, err := os.ReadFile(filepath.Join(r.dir, applicationFile))
	if err != nil {
		return nil, usagef("no application in %s: run bidseal platform request first", r.dir)
	}
	var app application
	if err := json.Unmarshal(raw, &app); err != nil {
		return nil, fmt.Errorf("read the application: %w", err)
	}
	return &app, nil
}

// checkIssued refuses a certificate for another key or under another root.
func (r registrar) checkIssued(reg *caapi.PlatformRegistration, roots []*smx509.Certificate, keyFile string) error {
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
	verified, err := anchors.Verify(chain, trust.VerifyOptions{Time: r.clock(), Usage: trust.PlatformRequest})
	if err != nil {
		return protocol.Errorf(protocol.CodePlatformUntrusted, "%v", err)
	}
	key, err := r.key(keyFile, func() (crypto.Signer, error) { return nil, errors.New("the request key is gone") })
	if err != nil {
		return err
	}
	if pub, ok := key.Public().(*ecdsa.PublicKey); !ok || !pub.Equal(verified.Leaf().PublicKey) {
		return protocol.Errorf(protocol.CodePlatformUntrusted, "the certificate is for another key than the one in %s", r.dir)
	}
	return nil
}

func (r registrar) ledgerKey(ctx context.Context, o fetchOptions) ([]byte, error) {
	if o.ledgerKeyFile != "" {
		key, err := readPublicKey(o.ledgerKeyFile)
		if err != nil {
			return nil, err
		}
		return protocol.MarshalKey(key)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.relay+"/v1/info", nil)
	if err != nil {
		return nil, usagef("relay %q: %v", o.relay, err)
	}
	var info protocol.RelayInfo
	if err := r.do(req, &info); err != nil {
		return nil, err
	}
	_, err = protocol.ParseKey(info.LedgerKey)
	return info.LedgerKey, err
}

func (r registrar) storeKey() ([]byte, error) {
	if old, err := os.ReadFile(filepath.Join(r.dir, storeKeyFile)); err == nil {
		return old, nil
	}
	key, err := protocol.Random(32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return []byte(hex.EncodeToString(key) + "\n"), nil
}
