package ca_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

// applicant is a platform with its keys.
type applicant struct {
	request *sm2.PrivateKey
	api     *ecdsa.PrivateKey
	body    caapi.PlatformRequest
}

func newApplicant(t *testing.T) *applicant {
	t.Helper()
	request, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	api, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	spki, err := protocol.MarshalKey(api.Public())
	must(t, err)
	return &applicant{request, api, caapi.PlatformRequest{
		V: 1, Name: "示例招标平台", Organisation: "示例交易中心", Contact: "ops@example.org", Origins: []string{"https://bid.example"},
		CSR: csrOf(t, request), APIKey: spki,
	}}
}

func (p *applicant) apply(t *testing.T, f *fixture) (*caapi.PlatformState, error) {
	t.Helper()
	body, err := protocol.EncodeJSON(p.body)
	must(t, err)
	return f.Registry.RequestPlatform(t.Context(), signedCall(t, p.api, "", caapi.PathPlatformRequests, body, f.clock.Now()))
}

func TestPlatformFromRequestToRegistration(t *testing.T) {
	f := newFixture(t)
	p := newApplicant(t)
	state, err := p.apply(t, f)
	must(t, err)
	if state.State != caapi.PlatformPending || state.Registration != nil {
		t.Fatalf("%+v", state)
	}
	p.body.CSR = csrOf(t, p.request) // the same key proves itself anew
	again, err := p.apply(t, f)
	must(t, err)
	if again.ID != state.ID {
		t.Error("the same keys got another application")
	}
	operator := f.open(t)
	registration, err := operator.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: state.ID, PlatformID: "demo"})
	must(t, err)
	collected, err := f.Registry.PlatformState(t.Context(), state.ID)
	must(t, err)
	if collected.State != caapi.PlatformIssued || collected.Registration.PlatformID != "demo" || len(collected.Registration.Chain) != 3 ||
		string(collected.Registration.Chain[0]) != string(registration.Chain[0]) {
		t.Fatalf("%+v", collected)
	}
	second, err := operator.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: state.ID})
	must(t, err)
	if second.PlatformID != "demo" || string(second.Chain[0]) != string(registration.Chain[0]) {
		t.Error("the second approval gave another certificate")
	}
	cert, err := trust.ParseCertificate(registration.Chain[0])
	must(t, err)
	id, err := trust.ReadSubject(cert, f.Folder.OIDs())
	must(t, err)
	if id.Kind != trust.Platform || id.PlatformID != "demo" || id.CommonName != p.body.Name || !p.request.PublicKey.Equal(cert.PublicKey) {
		t.Errorf("identity %+v", id)
	}
	all, err := f.Registry.Platforms(t.Context())
	must(t, err)
	if len(all) != 1 || all[0].State != caapi.PlatformIssued || len(all[0].RequestKey) != 64 {
		t.Errorf("%+v", all)
	}
	other := newApplicant(t)
	taken, err := other.apply(t, f)
	must(t, err)
	_, err = f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: taken.ID, PlatformID: "demo"})
	refusedWith(t, err, protocol.CodeConflict)
	_, err = f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: taken.ID, PlatformID: "Demo 2"})
	refusedWith(t, err, protocol.CodeLintFailed)
	if _, err := f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: taken.ID, PlatformID: "demo-2", Validity: 400 * 24 * time.Hour}); err != nil {
		t.Errorf("a long validity is shortened to the profile's: %v", err)
	}
}

func TestPlatformApprovalSurvivesACrash(t *testing.T) {
	f := newFixture(t)
	state, err := newApplicant(t).apply(t, f)
	must(t, err)
	crashed := f.open(t)
	stopAt(crashed, stepSigned)
	if _, err := crashed.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: state.ID, PlatformID: "demo"}); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	if err := f.Registry.RejectPlatform(t.Context(), audit.Local(""), state.ID, "too late"); protocol.CodeOf(err) != protocol.CodeConflict {
		t.Errorf("an approved application was rejected: %v", err)
	}
	_, err = f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: state.ID})
	must(t, err)
	if n := f.count(t, `SELECT count(*) FROM ca_certificates WHERE profile = 'platform'`); n != 1 {
		t.Errorf("%d certificates", n)
	}
}

func TestPlatformReject(t *testing.T) {
	f := newFixture(t)
	state, err := newApplicant(t).apply(t, f)
	must(t, err)
	must(t, f.Registry.RejectPlatform(t.Context(), audit.Local(""), state.ID, "keys not confirmed"))
	state, err = f.Registry.PlatformState(t.Context(), state.ID)
	must(t, err)
	if state.State != caapi.PlatformRejected || state.Reason != "keys not confirmed" {
		t.Errorf("%+v", state)
	}
	_, err = f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: state.ID})
	refusedWith(t, err, protocol.CodeConflict)
	_, err = f.Registry.PlatformState(t.Context(), "none")
	refusedWith(t, err, protocol.CodeNotFound)
}

func TestPlatformRequestRefuses(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*applicant){
		"no name":            func(p *applicant) { p.body.Name = "" },
		"deceiving name":     func(p *applicant) { p.body.Name = "a\u202eb" },
		"no origin":          func(p *applicant) { p.body.Origins = nil },
		"plain http":         func(p *applicant) { p.body.Origins = []string{"http://bid.example"} },
		"origin with a path": func(p *applicant) { p.body.Origins = []string{"https://bid.example/x"} },
		"origin in capitals": func(p *applicant) { p.body.Origins = []string{"https://Bid.example"} },
		"origin with a user": func(p *applicant) { p.body.Origins = []string{"https://a@bid.example"} },
		"SM2 API key":        func(p *applicant) { p.body.APIKey, _ = protocol.MarshalKey(p.request.Public()) },
		"P-256 request":      func(p *applicant) { p.body.CSR = csrOf(t, p.api) },
		"altered request":    func(p *applicant) { p.body.CSR[len(p.body.CSR)-1] ^= 1 },
		"version":            func(p *applicant) { p.body.V = 9 },
		"too long a contact": func(p *applicant) { p.body.Contact = string(make([]byte, 257)) },
		"contact with a second line, which could pass for the fingerprint that the operator compares": func(p *applicant) {
			p.body.Contact = "x\n    request key SM3 00"
		},
		"contact that moves the cursor": func(p *applicant) { p.body.Contact = "x\x1b[2A" },
		"credit code of another form":   func(p *applicant) { p.body.CreditCode = "91330100\x1b[1A" },
		"origin turned around":          func(p *applicant) { p.body.Origins = []string{"https://a\u202eb.example"} },
		"origin beyond ASCII":           func(p *applicant) { p.body.Origins = []string{"https://例子.example"} },
		"origin for every host":         func(p *applicant) { p.body.Origins = []string{"https://*"} },
		"two origins in one":            func(p *applicant) { p.body.Origins = []string{"https://a.example,b.example"} },
		"origin with the usual port":    func(p *applicant) { p.body.Origins = []string{"https://bid.example:443"} },
		"origin with an empty port":     func(p *applicant) { p.body.Origins = []string{"https://bid.example:"} },
		"origin with port 70000":        func(p *applicant) { p.body.Origins = []string{"https://bid.example:70000"} },
		"relative origin":               func(p *applicant) { p.body.Origins = []string{"bid.example"} },
		"origin of javascript":          func(p *applicant) { p.body.Origins = []string{"javascript:alert(1)"} },
	} {
		p := newApplicant(t)
		change(p)
		if _, err := p.apply(t, f); protocol.CodeOf(err) != protocol.CodeMalformed && protocol.CodeOf(err) != protocol.CodeUnauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := f.count(t, `SELECT count(*) FROM ca_platforms`); n != 0 {
		t.Errorf("%d applications were stored", n)
	}
	p := newApplicant(t)
	_, err := p.apply(t, f)
	must(t, err)
	p.body.Name = "另一平台"
	_, err = p.apply(t, f)
	refusedWith(t, err, protocol.CodeConflict)
}

func TestPlatformRequestsAreBounded(t *testing.T) {
	f := newFixture(t)
	state, err := newApplicant(t).apply(t, f)
	must(t, err)
	must(t, exec(t, f, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO ca_platforms (id, keys_digest, name, organisation, credit_code, contact, origins, spki, api_key, state, created_at)
		SELECT 'x' || i, 'k' || i, name, organisation, credit_code, contact, origins, spki, api_key, state, created_at FROM n, ca_platforms WHERE id = $2`,
		1000-1, state.ID))
	_, err = newApplicant(t).apply(t, f)
	refusedWith(t, err, protocol.CodeOverloaded)
}
