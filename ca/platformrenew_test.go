package ca_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
)

// certified is a platform with its registration.
func (p *applicant) certified(t *testing.T, f *fixture) *caapi.PlatformRegistration {
	t.Helper()
	state, err := p.apply(t, f)
	must(t, err)
	registration, err := f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: state.ID})
	must(t, err)
	return registration
}

// renewal is the same platform with a new request key, signed for by the old.
func (p *applicant) renewal(t *testing.T, platformID string) *applicant {
	t.Helper()
	request, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	next := &applicant{request, p.api, p.body}
	next.body.CSR, next.body.Renews = csrOf(t, request), platformID
	next.body.Succession, err = protocol.Sign(p.request, next.body.SuccessionMessage())
	must(t, err)
	return next
}

func TestPlatformRenewal(t *testing.T) {
	f := newFixture(t)
	p := newApplicant(t)
	old := p.certified(t, f)
	f.clock.add(300 * 24 * time.Hour)
	next := p.renewal(t, old.PlatformID)
	state, err := next.apply(t, f)
	must(t, err)
	_, err = f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: state.ID, PlatformID: "another"})
	refusedWith(t, err, protocol.CodeConflict)
	renewed, err := f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: state.ID})
	must(t, err)
	again, err := f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: state.ID})
	must(t, err)
	if renewed.PlatformID != old.PlatformID || string(again.Chain[0]) != string(renewed.Chain[0]) || string(renewed.Chain[0]) == string(old.Chain[0]) {
		t.Errorf("renewed %+v", renewed)
	}
	for _, der := range []protocol.Bytes{old.Chain[0], renewed.Chain[0]} { // they overlap
		cert, err := trust.ParseCertificate(der)
		must(t, err)
		f.wantStatus(t, cert, trust.Good, 0)
	}
	_, err = p.renewal(t, old.PlatformID).apply(t, f) // by the key before the last
	refusedWith(t, err, protocol.CodeForbidden)
	third, err := next.renewal(t, old.PlatformID).apply(t, f)
	must(t, err)
	if _, err := f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: third.ID}); err != nil {
		t.Error(err)
	}
}

// TestPlatformRenewalByOldKey: what a stolen key applied for before its platform
// was renewed is worth nothing after.
func TestPlatformRenewalByOldKey(t *testing.T) {
	f := newFixture(t)
	p := newApplicant(t)
	old := p.certified(t, f)
	stolen, err := p.renewal(t, old.PlatformID).apply(t, f)
	must(t, err)
	f.clock.add(time.Hour)
	state, err := p.renewal(t, old.PlatformID).apply(t, f)
	must(t, err)
	_, err = f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: state.ID})
	must(t, err)
	_, err = f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: stolen.ID})
	refusedWith(t, err, protocol.CodeForbidden)
}

func TestPlatformRenewalRefuses(t *testing.T) {
	f := newFixture(t)
	p, stranger := newApplicant(t), newApplicant(t)
	old := p.certified(t, f)
	strangers := stranger.certified(t, f)
	for name, next := range map[string]*applicant{
		"another platform's key": stranger.renewal(t, old.PlatformID),
		"unknown platform":       p.renewal(t, "p-none"),
		"another name": func() *applicant {
			next := p.renewal(t, old.PlatformID)
			next.body.Name = "另一平台"
			return next
		}(),
		"another request key under the signature": func() *applicant {
			next := p.renewal(t, old.PlatformID)
			next.body.CSR = csrOf(t, stranger.renewal(t, strangers.PlatformID).request)
			return next
		}(),
		"no signature": func() *applicant {
			next := p.renewal(t, old.PlatformID)
			next.body.Succession = nil
			return next
		}(),
	} {
		if _, err := next.apply(t, f); protocol.CodeOf(err) != protocol.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	state, err := p.renewal(t, old.PlatformID).apply(t, f)
	must(t, err)
	cert, err := trust.ParseCertificate(old.Chain[0])
	must(t, err)
	_, err = f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(cert.SerialNumber), Reason: trust.KeyCompromise})
	must(t, err)
	_, err = f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: state.ID}) // applied before, not approved after
	refusedWith(t, err, protocol.CodeForbidden)
	_, err = p.renewal(t, old.PlatformID).apply(t, f)
	refusedWith(t, err, protocol.CodeForbidden)
}

func TestApplicationsExpire(t *testing.T) {
	f := newFixture(t)
	p := newApplicant(t)
	first, err := p.apply(t, f)
	must(t, err)
	f.clock.add(30 * 24 * time.Hour)
	_, err = f.Registry.PlatformState(t.Context(), first.ID)
	refusedWith(t, err, protocol.CodeNotFound)
	_, err = f.Registry.ApprovePlatform(t.Context(), audit.Local(""), registry.PlatformApproval{ID: first.ID})
	refusedWith(t, err, protocol.CodeNotFound)
	second, err := p.apply(t, f)
	must(t, err)
	if second.ID == first.ID {
		t.Error("the old application came back")
	}
	if n := f.count(t, `SELECT count(*) FROM ca_platforms`); n != 1 {
		t.Errorf("%d applications are kept", n)
	}
}

func TestApplicationsOfOneCaller(t *testing.T) {
	f := newFixture(t)
	apply := func(caller string) error {
		p := newApplicant(t)
		body, err := protocol.EncodeJSON(p.body)
		must(t, err)
		call := signedCall(t, p.api, "", caapi.PathPlatformRequests, body, f.clock.Now())
		call.Caller = registry.Caller(caller)
		_, err = f.Registry.RequestPlatform(t.Context(), call)
		return err
	}
	for range 20 {
		must(t, apply("2001:db8:1:2::1"))
	}
	refusedWith(t, apply("2001:db8:1:2:ffff::9"), protocol.CodeRateLimited) // the same network
	must(t, apply("2001:db8:1:3::1"))
	must(t, apply("192.0.2.1"))
	for range 20 + 1 {
		must(t, apply("127.0.0.1")) // a proxy may stand there for everyone
	}
	f.clock.add(30 * 24 * time.Hour)
	must(t, apply("2001:db8:1:2::1"))
}

func TestCaller(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:a:b:c::1": "2001:db8:a:b::/64",
		"127.0.0.1": "", "::1": "", "10.1.2.3": "", "fd00::1": "", "fe80::1%eth0": "", "": "", "not an address": "",
	} {
		if got := registry.Caller(address); got != want {
			t.Errorf("%q is %q, want %q", address, got, want)
		}
	}
}
