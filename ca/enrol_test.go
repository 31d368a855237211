package ca_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

func TestEnrolGivesADualCertificate(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	store, err := trust.NewStore(trust.DocumentationAuthority(f.Folder.Root()))
	must(t, err)
	for usage, leaf := range map[trust.Usage]*smx509.Certificate{trust.Signing: e.sign, trust.Encryption: e.encr} {
		v, err := store.Verify([]*smx509.Certificate{leaf, f.Status.Current().Certificate()}, trust.VerifyOptions{Time: f.clock.Now(), Usage: usage})
		must(t, err)
		id, err := trust.ReadIdentity(v)
		must(t, err)
		want := trust.Identity{Anchor: id.Anchor, Lineage: e.answer.Lineage, Kind: trust.Organisation, CommonName: "张三",
			Organisation: "示例建设有限公司", CreditCode: "91330100MA27XL0G0X", Role: trust.RoleAdmin}
		if id != want {
			t.Errorf("%v: %+v", usage, id)
		}
	}
	if !e.signing.PublicKey.Equal(e.sign.PublicKey) || !e.key.PublicKey.Equal(e.encr.PublicKey) || e.key.Equal(e.signing) {
		t.Error("keys and certificates do not belong together")
	}
	pass, err := protocol.VerifyPass(f.Life.PassKey(), e.answer.Pass, f.clock.Now())
	must(t, err)
	if pass.Account != e.answer.Account || pass.Account == "" || pass.Iss != f.Folder.Config().BaseURL {
		t.Errorf("pass %+v", pass.Pass)
	}
	if len(e.answer.Chain) != 2 || !bytes.Equal(e.answer.Chain[0], f.Status.Current().Certificate().Raw) || !bytes.Equal(e.answer.Chain[1], f.Folder.Root().Raw) {
		t.Error("chain is not issuing authority, root")
	}
}

func TestEnrolIsIdempotent(t *testing.T) {
	f := newFixture(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	first, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	f.clock.add(40 * 24 * time.Hour) // the code has expired meanwhile
	second, err := f.open(t).Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	if !bytes.Equal(first, second) {
		t.Error("the same request gave another answer")
	}
	id, code := p.request(t).RequestID, p.request(t).Code
	p.write(t, id, code) // another PKCS#10 under the same id
	_, err = f.Life.Enrol(t.Context(), p.call(t))
	refusedWith(t, err, protocol.CodeIssuanceConflict)
	if n := f.count(t, `SELECT count(*) FROM ca_certificates WHERE issuance <> ''`); n != 2 {
		t.Errorf("%d certificates", n)
	}
}

func TestEnrolOfOneRequestAtOnce(t *testing.T) {
	f := newFixture(t)
	other := f.open(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	answers := make([][]byte, 16)
	var group sync.WaitGroup
	for i := range answers {
		a := f.Authority
		if i%2 == 1 {
			a = other
		}
		call := p.call(t)
		group.Go(func() {
			raw, err := a.Life.Enrol(t.Context(), call)
			if err != nil {
				t.Error(err)
			}
			answers[i] = raw
		})
	}
	group.Wait()
	for _, raw := range answers {
		if !bytes.Equal(raw, answers[0]) {
			t.Fatal("two answers to one request")
		}
	}
	if n := f.count(t, `SELECT count(*) FROM ca_certificates WHERE issuance <> ''`); n != 2 {
		t.Errorf("%d certificates", n)
	}
	report, err := f.Audit.Verify(t.Context())
	must(t, err)
	if report.Certificates != 6 {
		t.Errorf("%d certificates in the log", report.Certificates)
	}
}

// TestDeviceKeyIsNoSigningKey: what a phone signs with for calls is never what
// it signs statements with.
func TestDeviceKeyIsNoSigningKey(t *testing.T) {
	f := newFixture(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	r := p.request(t)
	var err error
	r.DeviceKey, err = protocol.MarshalKey(p.signing.Public())
	must(t, err)
	body, err := protocol.EncodeJSON(r)
	must(t, err)
	_, err = f.Life.Enrol(t.Context(), signedCall(t, p.signing, "", caapi.PathEnrol, body, f.clock.Now()))
	refusedWith(t, err, protocol.CodeMalformed)
	_, err = f.Life.Enrol(t.Context(), p.call(t)) // the code is still there
	must(t, err)
}

// TestOneCodeManyPhones: the same code from different phones at the same moment,
// over two processes.
func TestOneCodeManyPhones(t *testing.T) {
	f := newFixture(t)
	other, code := f.open(t), f.code(t, 0)
	codes := make(chan protocol.Code, 12)
	var group sync.WaitGroup
	for i := range cap(codes) {
		a := f.Authority
		if i%2 == 1 {
			a = other
		}
		call := newPhone(t, f.clock, code).call(t)
		group.Go(func() {
			_, err := a.Life.Enrol(t.Context(), call)
			if err == nil {
				codes <- ""
				return
			}
			codes <- protocol.CodeOf(err)
		})
	}
	group.Wait()
	close(codes)
	count := make(map[protocol.Code]int)
	for code := range codes {
		count[code]++
	}
	if count[""] != 1 || count[protocol.CodeEnrolmentCode] != cap(codes)-1 {
		t.Errorf("outcomes %v", count)
	}
	if n := f.count(t, `SELECT count(*) FROM ca_certificates WHERE issuance <> ''`); n != 2 {
		t.Errorf("%d certificates", n)
	}
}

func TestEnrolRefuses(t *testing.T) {
	f := newFixture(t)
	used := newPhone(t, f.clock, f.code(t, 0))
	_, err := f.Life.Enrol(t.Context(), used.call(t))
	must(t, err)

	thief := newPhone(t, f.clock, used.request(t).Code)
	_, err = f.Life.Enrol(t.Context(), thief.call(t))
	refusedWith(t, err, protocol.CodeEnrolmentCode)

	_, err = f.Life.Enrol(t.Context(), newPhone(t, f.clock, "AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH").call(t))
	refusedWith(t, err, protocol.CodeEnrolmentCode)

	late := newPhone(t, f.clock, f.code(t, 0))
	f.clock.add(7 * 24 * time.Hour)
	_, err = f.Life.Enrol(t.Context(), late.call(t))
	refusedWith(t, err, protocol.CodeEnrolmentCode)

	again := newPhone(t, f.clock, f.code(t, 0))
	again.signing = used.signing // a key that has a certificate
	id := again.request(t).RequestID
	again.write(t, id, f.code(t, 0))
	_, err = f.Life.Enrol(t.Context(), again.call(t))
	refusedWith(t, err, protocol.CodeIssuanceConflict)

	for name, change := range map[string]func(*caapi.EnrolRequest){
		"version":         func(r *caapi.EnrolRequest) { r.V = 2 },
		"short id":        func(r *caapi.EnrolRequest) { r.RequestID = r.RequestID[:8] },
		"altered PKCS#10": func(r *caapi.EnrolRequest) { r.CSR[len(r.CSR)-1] ^= 1 },
		"no PKCS#10":      func(r *caapi.EnrolRequest) { r.CSR = nil },
		"RSA PKCS#10": func(r *caapi.EnrolRequest) {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			must(t, err)
			r.CSR = csrOf(t, key)
		},
		"huge PKCS#10": func(r *caapi.EnrolRequest) {
			der, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{DNSNames: []string{strings.Repeat("a", 4<<10)}}, again.signing)
			must(t, err)
			r.CSR = der
		},
		"PKCS#10 with a tail": func(r *caapi.EnrolRequest) { r.CSR = append(r.CSR, 0) },
		"P-256 PKCS#10":       func(r *caapi.EnrolRequest) { r.CSR = csrOf(t, again.device) },
		"not a device key":    func(r *caapi.EnrolRequest) { r.DeviceKey = []byte{1, 2, 3} },
	} {
		p := newPhone(t, f.clock, f.code(t, 0))
		r := p.request(t)
		change(&r)
		p.body, err = protocol.EncodeJSON(r)
		must(t, err)
		if _, err := f.Life.Enrol(t.Context(), p.call(t)); protocol.CodeOf(err) != protocol.CodeMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func csrOf(t *testing.T, key any) []byte {
	t.Helper()
	der, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key)
	must(t, err)
	return der
}

func TestEnrolNeedsTheDeviceKey(t *testing.T) {
	f := newFixture(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	other := newPhone(t, f.clock, f.code(t, 0))
	stolen := p.call(t)
	stolen.Proof = signedCall(t, other.device, "", caapi.PathEnrol, p.body, f.clock.Now()).Proof
	_, err := f.Life.Enrol(t.Context(), stolen)
	refusedWith(t, err, protocol.CodeUnauthorized)
	altered := p.call(t)
	altered.Body = other.body
	_, err = f.Life.Enrol(t.Context(), altered)
	refusedWith(t, err, protocol.CodeUnauthorized)
	elsewhere := p.call(t)
	elsewhere.Path = caapi.PathPass
	_, err = f.Life.Enrol(t.Context(), elsewhere)
	refusedWith(t, err, protocol.CodeUnauthorized)
	old := p.call(t)
	f.clock.add(protocol.MaxSkew + time.Second)
	_, err = f.Life.Enrol(t.Context(), old)
	refusedWith(t, err, protocol.CodeClockSkew)
	// none of them used the code up
	_, err = f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
}

func TestSecondCertificateOfOneDeviceKeepsTheAccount(t *testing.T) {
	f := newFixture(t)
	first := f.enrol(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	p.device = first.device
	p.write(t, p.request(t).RequestID, f.code(t, 0))
	raw, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	if second := p.read(t, raw); second.answer.Account != first.answer.Account || second.answer.Lineage == first.answer.Lineage {
		t.Errorf("account %s and %s, lineage %s and %s", first.answer.Account, second.answer.Account, first.answer.Lineage, second.answer.Lineage)
	}
}

// TestOneDeviceHasOneAccount: two enrolments of a new device overlap.
func TestOneDeviceHasOneAccount(t *testing.T) {
	f := newFixture(t)
	first, second := newPhone(t, f.clock, f.code(t, 0)), newPhone(t, f.clock, f.code(t, 0))
	second.device = first.device
	second.write(t, second.request(t).RequestID, second.request(t).Code)
	crashed := f.open(t)
	stopAt(crashed, stepPending)
	if _, err := crashed.Life.Enrol(t.Context(), first.call(t)); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	accounts := make(map[string]bool)
	for _, p := range []*phone{second, first} {
		raw, err := f.Life.Enrol(t.Context(), p.call(t))
		must(t, err)
		e := p.read(t, raw)
		accounts[e.answer.Account] = true
		answer, err := f.Life.RenewPass(t.Context(), signedCall(t, p.device, e.answer.Pass, caapi.PathPass, []byte(`{"v":1}`), f.clock.Now()))
		must(t, err)
		pass, err := protocol.VerifyPass(f.Life.PassKey(), answer.Pass, f.clock.Now())
		must(t, err)
		accounts[pass.Account] = true
	}
	if len(accounts) != 1 {
		t.Errorf("accounts %v of one device", accounts)
	}
}

// TestRefusedByAnother: a process that lost the race against a refusal has no
// answer to give.
func TestRefusedByAnother(t *testing.T) {
	f := newFixture(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	slow := f.open(t)
	slow.StopWith(func(step string) error {
		if step != stepSigned {
			return nil
		}
		return exec(t, f, `UPDATE ca_issuances SET state = 'refused', refusal = 'lint x: y'`)
	})
	raw, err := slow.Life.Enrol(t.Context(), p.call(t))
	refusedWith(t, err, protocol.CodeLintFailed)
	if raw != nil {
		t.Errorf("answer %s", raw)
	}
}

// TestLintEndsAnIssuance: the code was good when it was made, but now the
// certificates would outlive their issuer.
func TestLintEndsAnIssuance(t *testing.T) {
	f := newFixture(t, func(c *folder.Config) { c.IssuingYears = 1 })
	p := newPhone(t, f.clock, f.code(t, 360*24*time.Hour))
	f.clock.add(6 * 24 * time.Hour)
	for range 2 {
		_, err := f.Life.Enrol(t.Context(), p.call(t))
		refusedWith(t, err, protocol.CodeLintFailed)
	}
	if n := f.count(t, `SELECT count(*) FROM ca_certificates WHERE issuance <> ''`); n != 0 {
		t.Errorf("%d certificates", n)
	}
	if n := f.count(t, `SELECT count(*) FROM ca_audit WHERE event = 'issuance.refused'`); n != 1 {
		t.Errorf("%d refusals in the log", n)
	}
	_, err := f.Life.NewEnrolmentCode(t.Context(), audit.Local(""), life.CodeRequest{Subject: adminSubject(), Validity: 360 * 24 * time.Hour})
	refusedWith(t, err, protocol.CodeLintFailed)
}

func TestCodeForSubjectsThatCannotBe(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*life.CodeRequest){
		"no name":                  func(r *life.CodeRequest) { r.Subject.Name = "" },
		"name with a line break":   func(r *life.CodeRequest) { r.Subject.Name = "a\nb" },
		"no kind":                  func(r *life.CodeRequest) { r.Subject.Kind = "" },
		"unknown role":             func(r *life.CodeRequest) { r.Subject.Role = "root" },
		"short credit code":        func(r *life.CodeRequest) { r.Subject.CreditCode = "123" },
		"person with organisation": func(r *life.CodeRequest) { r.Subject.Kind = "person" },
		"four years":               func(r *life.CodeRequest) { r.Validity = 4 * 366 * 24 * time.Hour },
		"expiry of a year":         func(r *life.CodeRequest) { r.Expires = 365 * 24 * time.Hour },
	} {
		r := life.CodeRequest{Subject: adminSubject()}
		change(&r)
		if _, err := f.Life.NewEnrolmentCode(t.Context(), audit.Local(""), r); err == nil || protocol.CodeOf(err) == protocol.CodeInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := f.count(t, `SELECT count(*) FROM ca_codes`); n != 0 {
		t.Errorf("%d codes were stored", n)
	}
}

func TestRenewPass(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	body := []byte(`{"v":1}`)
	f.clock.add(100 * 24 * time.Hour) // the pass has expired long ago
	answer, err := f.Life.RenewPass(t.Context(), signedCall(t, e.device, e.answer.Pass, caapi.PathPass, body, f.clock.Now()))
	must(t, err)
	pass, err := protocol.VerifyPass(f.Life.PassKey(), answer.Pass, f.clock.Now())
	must(t, err)
	if pass.Account != e.answer.Account {
		t.Errorf("account %s", pass.Account)
	}
	thief := newPhone(t, f.clock, f.code(t, 0))
	_, err = f.Life.RenewPass(t.Context(), signedCall(t, thief.device, e.answer.Pass, caapi.PathPass, body, f.clock.Now()))
	refusedWith(t, err, protocol.CodeUnauthorized)
	foreign := newFixture(t)
	_, err = foreign.Life.RenewPass(t.Context(), signedCall(t, e.device, e.answer.Pass, caapi.PathPass, body, foreign.clock.Now()))
	refusedWith(t, err, protocol.CodeUnauthorized)
	must(t, exec(t, f, `UPDATE ca_devices SET state = 'blocked'`))
	_, err = f.Life.RenewPass(t.Context(), signedCall(t, e.device, e.answer.Pass, caapi.PathPass, body, f.clock.Now()))
	refusedWith(t, err, protocol.CodeForbidden)
}

// TestRenewingAllDayWritesLittle: a phone that renews its pass again and again
// gets the same one, and the log does not grow.
func TestRenewingAllDayWritesLittle(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	body := []byte(`{"v":1}`)
	exp := make(map[int64]bool)
	for range 20 {
		answer, err := f.Life.RenewPass(t.Context(), signedCall(t, e.device, e.answer.Pass, caapi.PathPass, body, f.clock.Now()))
		must(t, err)
		pass, err := protocol.VerifyPass(f.Life.PassKey(), answer.Pass, f.clock.Now())
		must(t, err)
		exp[pass.EXP] = true
		f.clock.add(time.Minute)
	}
	entries := f.count(t, `SELECT count(*) FROM ca_audit WHERE event = 'pass.renewed'`)
	if len(exp) != 1 || entries != 1 {
		t.Errorf("%d passes, %d entries within 20 minutes", len(exp), entries)
	}
	f.clock.add(time.Hour)
	answer, err := f.Life.RenewPass(t.Context(), signedCall(t, e.device, e.answer.Pass, caapi.PathPass, body, f.clock.Now()))
	must(t, err)
	pass, err := protocol.VerifyPass(f.Life.PassKey(), answer.Pass, f.clock.Now())
	must(t, err)
	if exp[pass.EXP] {
		t.Error("the pass was not renewed after an hour")
	}
}
