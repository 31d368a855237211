// Package catest runs a whole authority inside a test: a ceremony in a temporary
// folder, the HTTP API on the loopback, and holders and platforms that enrol
// through it as real ones do.
//
//	authority := catest.New(t, catest.Options{Now: clock.Now})
//	admin := authority.Organisation("张三", "示例建设有限公司", "91330100MA27XL0G0X", trust.RoleAdmin)
//	site := authority.Platform("示例招标平台", "https://bid.example")
//	authority.Revoke(admin.Signing)
package catest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// Passphrase of a test authority's key files.
const Passphrase = "a passphrase for tests"

// Options of a test authority.
type Options struct {
	// Now is the clock of the authority; time.Now if nil.
	Now func() time.Time
	// Logger; discarded if nil.
	Logger *slog.Logger
	// AppOrigins may call the API from a browser.
	AppOrigins []string
	// Configure may change the configuration before the ceremony.
	Configure func(*folder.Config)
}

// CA is a running authority. Its methods end the test when something fails.
type CA struct {
	*ca.Authority
	// URL of the API.
	URL string
	// Dir is the authority's folder, as the command line would be given it.
	Dir string
	// Now is the clock.
	Now func() time.Time

	client *http.Client
	t      testing.TB
}

// New makes an authority and ends it with the test.
func New(t testing.TB, o Options) *CA {
	t.Helper()
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	listening := httptest.NewUnstartedServer(nil)
	c := &CA{URL: "http://" + listening.Listener.Addr().String(), Dir: filepath.Join(t.TempDir(), "ca"), Now: o.Now, client: &http.Client{Timeout: time.Minute}, t: t}
	config := folder.DefaultConfig()
	config.DocumentationOIDs = true
	config.BaseURL, config.Name = c.URL, "测试CA"
	if o.Configure != nil {
		o.Configure(&config)
	}
	_, err := folder.Init(c.context(), folder.Ceremony{
		Dir: c.Dir, Config: config, Passphrase: []byte(Passphrase), KDF: FastKDF(), Now: o.Now, Operator: "test",
	})
	c.must(err)
	c.Authority, err = ca.Open(c.context(), c.Dir, ca.Options{Passphrase: []byte(Passphrase), Now: o.Now, Logger: o.Logger})
	c.must(err)
	listening.Config.Handler = ca.NewHandler(c.Authority, server.Options{AppOrigins: o.AppOrigins, Concurrent: 64, Limits: server.Limits{PerSecond: -1}})
	listening.Start()
	t.Cleanup(func() {
		listening.Close()
		if err := c.Authority.Close(); err != nil {
			t.Errorf("close authority: %v", err)
		}
	})
	return c
}

// FastKDF are parameters that cost nothing and protect nothing.
func FastKDF() folder.KDF { return folder.KDF{Time: 1, MemoryKiB: 8, Threads: 1} }

// context outlives the test's own, which ends before the clean-up.
func (c *CA) context() context.Context { return context.WithoutCancel(c.t.Context()) }

func (c *CA) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("catest: %v", err)
	}
}

// Store with this authority alone.
func (c *CA) Store() *trust.Store {
	c.t.Helper()
	store, err := trust.NewStore(c.Folder.TrustAuthority())
	c.must(err)
	return store
}

// Holder is somebody with a phone: all keys and certificates in the open.
type Holder struct {
	Subject             caapi.Subject
	SigningKey          *sm2.PrivateKey
	EncryptionKey       *sm2.PrivateKey
	Signing, Encryption *smx509.Certificate
	// Chain is the signing certificate, the issuing authority and the root.
	Chain []*smx509.Certificate
	// CSR is the PKCS#10 request, Response the answer to it (CSRResponse of GM/T
	// 0092) and EnvelopedKey what it holds for the signing key (GB/T 35276).
	CSR, Response, EnvelopedKey []byte
	DeviceKey                   crypto.Signer
	DeviceID                    string
	Pass                        string
	Account                     string
	Lineage                     string
}

// ChainDER is Chain without the root, as phones send it.
func (h *Holder) ChainDER() []protocol.Bytes {
	return []protocol.Bytes{h.Chain[0].Raw, h.Chain[1].Raw}
}

// Organisation enrols a person of an organisation with the role trust.RoleAdmin
// or trust.RoleUser.
func (c *CA) Organisation(name, organisation, creditCode, role string) *Holder {
	c.t.Helper()
	return c.Enrol(caapi.Subject{Kind: string(trust.Organisation), Name: name, Organisation: organisation, CreditCode: creditCode, Role: role}, 0)
}

// Person enrols a natural person.
func (c *CA) Person(name string) *Holder {
	c.t.Helper()
	return c.Enrol(caapi.Subject{Kind: string(trust.Person), Name: name}, 0)
}

// Code makes an enrolment code whose certificates live for validity, a year if
// zero.
func (c *CA) Code(subject caapi.Subject, validity time.Duration) *caapi.EnrolmentFile {
	c.t.Helper()
	file, err := c.Life.NewEnrolmentCode(c.context(), audit.Local("test"), life.CodeRequest{Subject: subject, Validity: validity})
	c.must(err)
	return file
}

// Enrol enrols a subject with a phone of its own.
func (c *CA) Enrol(subject caapi.Subject, validity time.Duration) *Holder {
	c.t.Helper()
	return c.EnrolCode(c.Code(subject, validity))
}

// EnrolCode uses an enrolment code as a phone does, through the HTTP API.
func (c *CA) EnrolCode(file *caapi.EnrolmentFile) *Holder {
	c.t.Helper()
	h := &Holder{Subject: file.Subject, SigningKey: c.sm2()}
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c.must(err)
	h.DeviceKey = device
	spki, err := protocol.MarshalKey(device.Public())
	c.must(err)
	h.DeviceID = protocol.DeviceID(spki)
	id, err := protocol.Random(caapi.RequestIDSize)
	c.must(err)
	h.CSR = c.csr(h.SigningKey)
	body, err := protocol.EncodeJSON(caapi.EnrolRequest{V: caapi.Version, RequestID: id, Code: file.Code, CSR: h.CSR, DeviceKey: spki})
	c.must(err)
	var answer caapi.EnrolAnswer
	c.must(c.Post(caapi.PathEnrol, h.DeviceKey, "", body, &answer))
	c.open(h, &answer)
	return h
}

func (c *CA) open(h *Holder, answer *caapi.EnrolAnswer) {
	c.t.Helper()
	response, err := smx509.ParseCSRResponse(h.SigningKey, answer.Response)
	c.must(err)
	h.Signing, h.Encryption, h.EncryptionKey = response.SignCerts[0], response.EncryptCerts[0], response.EncryptPrivateKey
	h.Pass, h.Account, h.Lineage, h.Response = answer.Pass, answer.Account, answer.Lineage, answer.Response
	var fields struct {
		Signing    asn1.RawValue
		Enveloped  asn1.RawValue `asn1:"tag:0"`
		Encryption asn1.RawValue `asn1:"tag:1"`
	}
	_, err = asn1.Unmarshal(answer.Response, &fields)
	c.must(err)
	h.EnvelopedKey = fields.Enveloped.Bytes
	h.Chain = []*smx509.Certificate{h.Signing, c.Status.Current().Certificate(), c.Folder.Root()}
	for usage, leaf := range map[trust.Usage]*smx509.Certificate{trust.Signing: h.Signing, trust.Encryption: h.Encryption} {
		_, err := c.Store().Verify([]*smx509.Certificate{leaf, c.Status.Current().Certificate()}, trust.VerifyOptions{Time: c.Now(), Usage: usage})
		c.must(err)
	}
}

// Platform is an onboarded platform with its keys.
type Platform struct {
	Registration *caapi.PlatformRegistration
	ID           string
	RequestKey   *sm2.PrivateKey
	APIKey       *ecdsa.PrivateKey
	// Chain is the platform certificate, the issuing authority and the root.
	Chain []*smx509.Certificate
}

// Platform applies through the HTTP API, is approved and collected.
func (c *CA) Platform(name string, origins ...string) *Platform {
	c.t.Helper()
	if len(origins) == 0 {
		origins = []string{"https://bid.example"}
	}
	api, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c.must(err)
	p := &Platform{RequestKey: c.sm2(), APIKey: api}
	spki, err := protocol.MarshalKey(api.Public())
	c.must(err)
	body, err := protocol.EncodeJSON(caapi.PlatformRequest{
		V: caapi.Version, Name: name, Organisation: "示例交易中心", Contact: "test@example.org", Origins: origins, CSR: c.csr(p.RequestKey), APIKey: spki,
	})
	c.must(err)
	var state caapi.PlatformState
	c.must(c.Post(caapi.PathPlatformRequests, api, "", body, &state))
	_, err = c.Registry.ApprovePlatform(c.context(), audit.Local("test"), registry.PlatformApproval{ID: state.ID})
	c.must(err)
	c.must(c.Get(caapi.PathPlatformRequests+"/"+state.ID, &state))
	if state.State != caapi.PlatformIssued {
		c.t.Fatalf("catest: platform request is %s", state.State)
	}
	p.Registration, p.ID = state.Registration, state.Registration.PlatformID
	der := make([][]byte, len(p.Registration.Chain))
	for i, b := range p.Registration.Chain {
		der[i] = b
	}
	p.Chain, err = trust.ParseChain(der)
	c.must(err)
	_, err = c.Store().Verify(p.Chain, trust.VerifyOptions{Time: c.Now(), Usage: trust.PlatformRequest})
	c.must(err)
	return p
}

// Revoke revokes one certificate for keyCompromise.
func (c *CA) Revoke(cert *smx509.Certificate) {
	c.t.Helper()
	_, err := c.Authority.Life.Revoke(c.context(), audit.Local("test"), life.Revocation{Serial: trust.SerialHex(cert.SerialNumber), Reason: trust.KeyCompromise})
	c.must(err)
}

// Staple is a fresh OCSP answer about a certificate of the issuing authority.
func (c *CA) Staple(cert *smx509.Certificate) []byte {
	c.t.Helper()
	request, err := trust.NewOCSPRequest(cert, c.Status.Current().Certificate(), nil)
	c.must(err)
	answer, err := c.Life.OCSP(c.context(), request)
	c.must(err)
	return answer.DER
}

// Post makes a signed call and reads the answer into v. A refusal is a
// *protocol.Error.
func (c *CA) Post(path string, key crypto.Signer, pass string, body []byte, v any) error {
	proof, err := protocol.NewProof(key, pass, protocol.Call{Method: http.MethodPost, URL: c.URL + path, Body: body}, c.Now())
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(c.context(), http.MethodPost, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(protocol.HeaderProof, proof)
	if pass != "" {
		request.Header.Set(protocol.HeaderPass, pass)
	}
	return c.do(request, v)
}

// Get makes an open call and reads the answer into v.
func (c *CA) Get(path string, v any) error {
	request, err := http.NewRequestWithContext(c.context(), http.MethodGet, c.URL+path, nil)
	if err != nil {
		return err
	}
	return c.do(request, v)
}

func (c *CA) do(request *http.Request, v any) error {
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, protocol.MaxJSON))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		var problem protocol.Problem
		if err := protocol.DecodeJSON(raw, &problem); err != nil {
			return fmt.Errorf("status %d: %w", response.StatusCode, err)
		}
		return problem.Err()
	}
	return protocol.DecodeJSON(raw, v)
}

func (c *CA) sm2() *sm2.PrivateKey {
	c.t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	c.must(err)
	return key
}

func (c *CA) csr(key *sm2.PrivateKey) []byte {
	c.t.Helper()
	der, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key)
	c.must(err)
	return der
}
