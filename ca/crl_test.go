package ca_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
	"github.com/pelletier/go-toml/v2"
)

// keptCRLs is how many lists of one name stay in the database.
const keptCRLs = 4

func sharded(n int) func(*folder.Config) { return func(c *folder.Config) { c.CRLShards = n } }

// lists are all lists that cover certificates of the current issuing authority.
func (f *fixture) lists(t testing.TB, a *ca.Authority) map[string]*status.CRL {
	t.Helper()
	all := make(map[string]*status.CRL)
	for _, name := range a.Status.CRLNames() {
		if name == status.RootName {
			continue
		}
		list, err := a.Life.CRL(t.Context(), name)
		must(t, err)
		all[name] = list
	}
	return all
}

func (f *fixture) parse(t testing.TB, list *status.CRL) *trust.CRL {
	t.Helper()
	crl, err := trust.VerifyCRL(list.DER, f.Status.Current().Certificate(), trust.CRLOptions{Now: f.clock.Now()})
	must(t, err)
	return crl
}

// pointer is the name of the list to which a certificate points.
func pointer(t testing.TB, cert *smx509.Certificate) string {
	t.Helper()
	if len(cert.CRLDistributionPoints) != 1 {
		t.Fatalf("%d distribution points", len(cert.CRLDistributionPoints))
	}
	name, ok := strings.CutPrefix(cert.CRLDistributionPoints[0], testBase+"/crl/")
	if !ok {
		t.Fatalf("points to %s", cert.CRLDistributionPoints[0])
	}
	return strings.TrimSuffix(name, ".crl")
}

// TestShards: each certificate is on the list to which it points and on the full
// one, and on no other; no other list can speak of it.
func TestShards(t *testing.T) {
	f := newFixture(t, sharded(4))
	var certs []*smx509.Certificate
	for range 3 {
		e := f.enrol(t)
		certs = append(certs, e.sign, e.encr)
	}
	before := f.lists(t, f.Authority)
	if len(before) != 5 {
		t.Fatalf("lists %v", f.Status.CRLNames())
	}
	for _, cert := range certs {
		_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(cert.SerialNumber), Reason: trust.KeyCompromise})
		must(t, err)
	}
	after := f.lists(t, f.open(t))
	used := make(map[string]int)
	for _, cert := range certs {
		own := pointer(t, cert)
		used[own]++
		var ders [][]byte
		for name, list := range after {
			crl := f.parse(t, list)
			status, err := crl.Status(cert)
			switch {
			case name != own && name != issuingName:
				if !errors.Is(err, trust.ErrStatusMismatch) {
					t.Errorf("%s speaks of a certificate that points to %s: %v", name, own, err)
				}
				ders = append(ders, list.DER)
			case err != nil || status.State != trust.Revoked || status.Reason != trust.KeyCompromise:
				t.Errorf("%s: %+v, %v", name, status, err)
			}
		}
		options := trust.CRLOptions{Now: f.clock.Now()}
		if _, err := trust.VerifyCRLs(ders, cert, f.Status.Current().Certificate(), options); !errors.Is(err, trust.ErrStatusMismatch) {
			t.Errorf("the other shards stand for %s: %v", own, err)
		}
		status, err := trust.VerifyCRLs(append(ders, after[own].DER), cert, f.Status.Current().Certificate(), options)
		if err != nil || status.State != trust.Revoked {
			t.Errorf("among all shards: %+v, %v", status, err)
		}
		old, err := trust.VerifyCRLs([][]byte{after[own].DER, before[own].DER}, cert, f.Status.Current().Certificate(), options)
		if err != nil || old.State != trust.Revoked {
			t.Errorf("beside an older list: %+v, %v", old, err)
		}
	}
	for name, list := range after {
		parsed, err := smx509.ParseRevocationList(list.DER)
		must(t, err)
		want := used[name]
		if name == issuingName {
			want = len(certs)
		}
		if got := len(parsed.RevokedCertificateEntries); got != want {
			t.Errorf("%s has %d entries, want %d", name, got, want)
		}
	}
	for name, list := range after { // what did not change was not signed anew
		if name != issuingName && (used[name] > 0) != (list.Number != before[name].Number) {
			t.Errorf("%s: %d revocations, list %d after %d", name, used[name], list.Number, before[name].Number)
		}
	}
	for _, name := range []string{"issuing-1.4of4", "issuing-1.0of8", "issuing-1.0of1", "issuing-1.-1of4", "issuing-1.00of4", "issuing-2", "root.0of4", ""} {
		_, err := f.Life.CRL(t.Context(), name)
		refusedWith(t, err, protocol.CodeNotFound)
	}
}

// TestShardsMayChange: certificates keep the list to which they point.
func TestShardsMayChange(t *testing.T) {
	f := newFixture(t)
	first := f.enrol(t)
	f.reshard(t, 3)
	second := f.enrol(t)
	f.reshard(t, 5)
	third := f.enrol(t)
	if pointer(t, first.sign) != issuingName || !strings.HasSuffix(pointer(t, second.sign), "of3") || !strings.HasSuffix(pointer(t, third.sign), "of5") {
		t.Fatal(pointer(t, first.sign), pointer(t, second.sign), pointer(t, third.sign))
	}
	for _, e := range []*enrolled{first, second, third} {
		_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(e.sign.SerialNumber)})
		must(t, err)
		for _, cert := range []*smx509.Certificate{e.sign, e.encr} {
			list, err := f.Life.CRL(t.Context(), pointer(t, cert))
			must(t, err)
			status, err := f.parse(t, list).Status(cert)
			must(t, err)
			if (status.State == trust.Revoked) != (cert == e.sign) {
				t.Errorf("%s: %v", list.Issuer, status.State)
			}
		}
	}
}

// reshard opens the authority again with another number of shards.
func (f *fixture) reshard(t testing.TB, n int) {
	t.Helper()
	config := f.Folder.Config()
	config.CRLShards = n
	raw, err := toml.Marshal(config)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(f.dir, "ca.toml"), raw, 0o600))
	f.Authority = f.open(t)
}

// TestCRLNumbersGrow, also where the last lists were lost with a restored copy.
func TestCRLNumbersGrow(t *testing.T) {
	f := newFixture(t)
	var last int64
	for range 3 {
		list, err := f.Life.SignCRL(t.Context(), audit.Local(""), "") // all within one second
		must(t, err)
		if list.Number <= last || f.parse(t, list).Number.Int64() != list.Number {
			t.Errorf("list %d after %d", list.Number, last)
		}
		last = list.Number
	}
	f.clock.add(time.Hour)
	must(t, exec(t, f, `DELETE FROM ca_crls WHERE issuer = $1`, issuingName))
	list, err := f.open(t).Life.CRL(t.Context(), issuingName)
	must(t, err)
	if list.Number <= last {
		t.Errorf("list %d after %d and a restored copy", list.Number, last)
	}
}

// TestListThatDidNotChange is not sent again.
func TestListThatDidNotChange(t *testing.T) {
	f := newFixture(t)
	first := f.serve(t, http.MethodGet, "/crl/issuing-1.crl", nil, nil)
	known := http.Header{"If-None-Match": {first.Header.Get("ETag")}}
	if again := f.serve(t, http.MethodGet, "/crl/issuing-1.crl", known, nil); again.status != http.StatusNotModified || len(again.body) != 0 {
		t.Errorf("status %d with %d bytes", again.status, len(again.body))
	}
	_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(f.enrol(t).sign.SerialNumber)})
	must(t, err)
	if again := f.serve(t, http.MethodGet, "/crl/issuing-1.crl", known, nil); again.status != http.StatusOK || len(again.body) == 0 {
		t.Errorf("after a revocation: status %d with %d bytes", again.status, len(again.body))
	}
}

func TestOldListsAreForgotten(t *testing.T) {
	f := newFixture(t)
	var newest *status.CRL
	for range 3 * keptCRLs {
		var err error
		newest, err = f.Life.SignCRL(t.Context(), audit.Local(""), "")
		must(t, err)
	}
	if n := f.count(t, `SELECT count(*) FROM ca_crls WHERE issuer = 'issuing-1'`); n != keptCRLs {
		t.Errorf("%d lists are kept", n)
	}
	list, err := f.open(t).Life.CRL(t.Context(), issuingName)
	must(t, err)
	if !bytes.Equal(list.DER, newest.DER) {
		t.Error("not the newest")
	}
	_, err = f.Life.CRL(t.Context(), status.RootName)
	must(t, err)
}

// TestExpiredCertificatesLeaveTheList after one list past their end, also where
// they are revoked after it (RFC 5280 3.3).
func TestExpiredCertificatesLeaveTheList(t *testing.T) {
	f := newFixture(t)
	short := func() *smx509.Certificate {
		p := newPhone(t, f.clock, f.code(t, 48*time.Hour))
		raw, err := f.Life.Enrol(t.Context(), p.call(t))
		must(t, err)
		return p.read(t, raw).sign
	}
	revoke := func(cert *smx509.Certificate) {
		_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(cert.SerialNumber)})
		must(t, err)
	}
	listed := func(cert *smx509.Certificate) bool {
		list, err := f.Life.SignCRL(t.Context(), audit.Local(""), "")
		must(t, err)
		status, err := f.parse(t, list).Status(cert)
		must(t, err)
		return status.State == trust.Revoked
	}
	early, late := short(), short()
	revoke(early)
	for day := range 2 {
		if !listed(early) {
			t.Errorf("gone before its end, on day %d", day)
		}
		f.clock.add(24 * time.Hour)
	}
	f.clock.add(time.Hour)
	if !listed(early) {
		t.Error("not on the first list past its end")
	}
	f.clock.add(time.Hour)
	if listed(early) {
		t.Error("still on the second list past its end")
	}
	revoke(late)
	if !listed(late) {
		t.Error("revoked past its end and never listed")
	}
	f.clock.add(time.Hour)
	if listed(late) {
		t.Error("listed for ever")
	}
	answer, err := f.Life.OCSP(t.Context(), ask(t, early, f.Status.Current().Certificate(), nil))
	must(t, err)
	if status := f.judge(t, answer.DER, early, nil); status.State != trust.Revoked {
		t.Errorf("OCSP has forgotten it: %v", status.State)
	}
}

func TestHoldOnLists(t *testing.T) {
	f := newFixture(t, sharded(2))
	e := f.enrol(t)
	serial := trust.SerialHex(e.sign.SerialNumber)
	look := func() *trust.Status {
		list, err := f.Life.CRL(t.Context(), pointer(t, e.sign))
		must(t, err)
		status, err := f.parse(t, list).Status(e.sign)
		must(t, err)
		return status
	}
	_, err := f.Life.Hold(t.Context(), audit.Local(""), life.Hold{Serial: serial})
	must(t, err)
	if status := look(); status.State != trust.Revoked || status.Reason != trust.CertificateHold {
		t.Errorf("on hold: %+v", status)
	}
	_, err = f.Life.Resume(t.Context(), audit.Local(""), life.Hold{Serial: serial})
	must(t, err)
	if status := look(); status.State != trust.Good {
		t.Errorf("resumed: %+v", status)
	}
}

func TestInvalidityDate(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	serial := trust.SerialHex(e.sign.SerialNumber)
	_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: serial, Reason: trust.KeyCompromise, Since: f.clock.Now().Add(time.Hour)})
	refusedWith(t, err, protocol.CodeMalformed)
	since := f.clock.Now().Add(-40 * time.Hour)
	_, err = f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: serial, Reason: trust.KeyCompromise, Since: since})
	must(t, err)
	list, err := f.Life.SignCRL(t.Context(), audit.Local(""), "")
	must(t, err)
	status, err := f.parse(t, list).Status(e.sign)
	must(t, err)
	if !status.InvalidSince.Equal(since) || status.Reason != trust.KeyCompromise {
		t.Errorf("%+v", status)
	}
}

// TestListsByManyAtOnce: askers in two processes, and revocations meanwhile;
// numbers never repeat and the last list has all.
func TestListsByManyAtOnce(t *testing.T) {
	f := newFixture(t, sharded(2))
	other := f.open(t)
	var certs []*smx509.Certificate
	for range 3 {
		e := f.enrol(t)
		certs = append(certs, e.sign, e.encr)
	}
	var group sync.WaitGroup
	for _, a := range []*ca.Authority{f.Authority, other} {
		for _, name := range a.Status.CRLNames() {
			group.Go(func() {
				for range 4 {
					if _, err := a.Life.CRL(t.Context(), name); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	group.Go(func() {
		for _, cert := range certs {
			if _, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(cert.SerialNumber)}); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	for _, cert := range certs {
		list, err := other.Life.CRL(t.Context(), pointer(t, cert))
		must(t, err)
		status, err := f.parse(t, list).Status(cert)
		must(t, err)
		if status.State != trust.Revoked {
			t.Errorf("%s lacks a revocation", list.Issuer)
		}
	}
}

// BenchmarkCRL signs a list of 20,000 revocations.
func BenchmarkCRL(b *testing.B) {
	f := newFixture(b)
	f.fill(b, 20_000)
	for b.Loop() {
		list, err := f.Life.SignCRL(b.Context(), audit.Local(""), "")
		must(b, err)
		b.ReportMetric(float64(len(list.DER)), "bytes")
	}
}

// fill writes revoked certificates of no content.
func (f *fixture) fill(b testing.TB, n int) {
	b.Helper()
	must(b, exec(b, f, fmt.Sprintf(`WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %d)
		INSERT INTO ca_certificates (serial, profile, issuer, not_before, not_after, digest, der, state, revoked_at, reason, revision)
		SELECT printf('7F%%032X', n), 'person-signing', 'issuing-1', 0, 99999999999, '', x'', 'revoked', %d, 1, n FROM c`, n, f.clock.Now().Unix())))
	must(b, exec(b, f, `UPDATE ca_counters SET value = $1 WHERE name = 'revocation'`, n))
}
