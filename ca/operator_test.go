package ca_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/internal/callsig"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// operatorDesk is an operator with a key.
type operatorDesk struct {
	f    *fixture
	key  *sm2.PrivateKey
	cert *caapi.OperatorCertificate
}

func (f *fixture) addOperator(t testing.TB, name string, role registry.Role) *operatorDesk {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	csr, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key)
	must(t, err)
	cert, err := f.Registry.AddOperator(t.Context(), audit.Local(""), registry.NewOperator{Name: name, Role: role, CSR: csr})
	must(t, err)
	return &operatorDesk{f: f, key: key, cert: cert}
}

// signed is a call as it goes over the wire.
func (o *operatorDesk) signed(t testing.TB, method, path string, v any) (*http.Request, []byte) {
	t.Helper()
	var body []byte
	request, err := http.NewRequestWithContext(t.Context(), method, testBase+path, http.NoBody)
	must(t, err)
	if v != nil {
		body, err = protocol.EncodeJSON(v)
		must(t, err)
		request, err = http.NewRequestWithContext(t.Context(), method, testBase+path, bytes.NewReader(body))
		must(t, err)
	}
	must(t, callsig.SignSM2(request, o.key, o.cert.Serial, o.f.clock.Now()))
	return request, body
}

// call makes a call and returns what came back.
func (o *operatorDesk) call(t testing.TB, method, path string, v any) reply {
	t.Helper()
	request, body := o.signed(t, method, path, v)
	return o.f.serve(t, method, path, request.Header, body)
}

// must200 makes a call that has to succeed.
func (o *operatorDesk) must200(t testing.TB, method, path string, v, answer any) {
	t.Helper()
	r := o.call(t, method, path, v)
	if r.status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	must(t, protocol.DecodeJSON(r.body, answer))
}

func (r reply) code(t testing.TB) protocol.Code {
	t.Helper()
	if r.status == http.StatusOK {
		return ""
	}
	var problem protocol.Problem
	must(t, protocol.DecodeJSON(r.body, &problem))
	return problem.Code
}

func requestID(t testing.TB) protocol.Bytes {
	t.Helper()
	id, err := protocol.Random(caapi.RequestIDSize)
	must(t, err)
	return id
}

// TestOperatorsWorkInTwoHands: one registers, another approves, the first hands
// the code out, and a phone enrols with it.
func TestOperatorsWorkInTwoHands(t *testing.T) {
	f := newFixture(t)
	registrar, approver := f.addOperator(t, "registrar", registry.RoleRegistration), f.addOperator(t, "approver", registry.RoleApproval)
	subject := adminSubject()
	application := caapi.Application{V: 1, RequestID: requestID(t), Operation: caapi.OperationNew, Subject: &subject, Days: 365}
	var info caapi.ApplicationInfo
	for range 2 { // the answer was lost
		registrar.must200(t, "POST", caapi.PathOperatorApplications, application, &info)
	}
	path := caapi.PathOperatorApplications + "/" + info.ID
	if code := registrar.call(t, "POST", path+"/code", nil).code(t); code != protocol.CodeConflict {
		t.Errorf("a code before the approval: %q", code)
	}
	var list caapi.ApplicationList
	approver.must200(t, "GET", caapi.PathOperatorApplications+"?state=pending&limit=1", nil, &list)
	if len(list.Applications) != 1 || list.Applications[0].Application.Subject.Name != subject.Name || list.After != "" {
		t.Fatalf("%+v", list)
	}
	if code := approver.call(t, "POST", path+"/approve", caapi.Decision{V: 1, Digest: strings.Repeat("0", 64)}).code(t); code != protocol.CodeConflict {
		t.Errorf("approval of something else: %q", code)
	}
	for range 2 {
		approver.must200(t, "POST", path+"/approve", caapi.Decision{V: 1, Digest: list.Applications[0].Digest}, &info)
	}
	if code := approver.call(t, "POST", path+"/reject", caapi.Decision{V: 1, Reason: "no"}).code(t); code != protocol.CodeConflict {
		t.Errorf("rejection after the approval: %q", code)
	}
	other := f.addOperator(t, "other", registry.RoleRegistration)
	if code := other.call(t, "POST", path+"/code", nil).code(t); code != protocol.CodeForbidden {
		t.Errorf("another registrar's code: %q", code)
	}
	var lost, file caapi.EnrolmentFile
	registrar.must200(t, "POST", path+"/code", nil, &lost)
	registrar.must200(t, "POST", path+"/code", nil, &file)
	_, err := f.Life.Enrol(t.Context(), newPhone(t, f.clock, lost.Code).call(t))
	refusedWith(t, err, protocol.CodeEnrolmentCode)
	_, err = f.Life.Enrol(t.Context(), newPhone(t, f.clock, file.Code).call(t))
	must(t, err)
	if code := registrar.call(t, "POST", path+"/code", nil).code(t); code != protocol.CodeConflict {
		t.Errorf("a second code after the first was used: %q", code)
	}
	if n := f.count(t, `SELECT count(*) FROM ca_audit WHERE event IN ('application.registered', 'application.approved', 'code.made') AND actor LIKE 'operator:%'`); n != 4 {
		t.Errorf("%d entries in the operators' names", n)
	}
}

// TestApprovalDoesNotOutliveHold: what was approved before a hold gives no code
// after it, whether or not one was given out before.
func TestApprovalDoesNotOutliveHold(t *testing.T) {
	f := newFixture(t)
	registrar, approver := f.addOperator(t, "registrar", registry.RoleRegistration), f.addOperator(t, "approver", registry.RoleApproval)
	for _, asked := range []int{0, 1, 2} { // codes before the hold; the second application's voids the first's
		e := f.enrol(t)
		var paths []string
		for range 2 {
			var info caapi.ApplicationInfo
			registrar.must200(t, "POST", caapi.PathOperatorApplications, caapi.Application{V: 1, RequestID: requestID(t), Operation: caapi.OperationReissue, Serial: e.serial()}, &info)
			path := caapi.PathOperatorApplications + "/" + info.ID
			approver.must200(t, "POST", path+"/approve", caapi.Decision{V: 1, Digest: info.Digest}, &info)
			paths = append(paths, path)
		}
		for _, path := range paths[:asked] {
			var file caapi.EnrolmentFile
			registrar.must200(t, "POST", path+"/code", nil, &file)
		}
		_, err := f.Life.Hold(t.Context(), audit.Local(""), life.Hold{Lineage: e.answer.Lineage})
		must(t, err)
		for i, path := range paths {
			if code := registrar.call(t, "POST", path+"/code", nil).code(t); code != protocol.CodeConflict {
				t.Errorf("%d codes before the hold, application %d: a code after it: %q", asked, i, code)
			}
		}
	}
	f.sound(t)
}

// TestHoldWhileACodeIsMade: a hold that comes between the steps counts, too.
func TestHoldWhileACodeIsMade(t *testing.T) {
	f := newFixture(t)
	other := f.open(t)
	registrar, approver := f.addOperator(t, "registrar", registry.RoleRegistration), f.addOperator(t, "approver", registry.RoleApproval)
	for _, asked := range []int{0, 1} {
		e := f.enrol(t)
		var info caapi.ApplicationInfo
		registrar.must200(t, "POST", caapi.PathOperatorApplications, caapi.Application{V: 1, RequestID: requestID(t), Operation: caapi.OperationReissue, Serial: e.serial()}, &info)
		path := caapi.PathOperatorApplications + "/" + info.ID
		approver.must200(t, "POST", path+"/approve", caapi.Decision{V: 1, Digest: info.Digest}, &info)
		for range asked {
			var file caapi.EnrolmentFile
			registrar.must200(t, "POST", path+"/code", nil, &file)
		}
		f.StopWith(func(step string) error {
			if step != stepCodeEnded {
				return nil
			}
			_, err := other.Life.Hold(t.Context(), audit.Local(""), life.Hold{Lineage: e.answer.Lineage})
			return err
		})
		if code := registrar.call(t, "POST", path+"/code", nil).code(t); code != protocol.CodeConflict {
			t.Errorf("%d codes before: a code after the hold: %q", asked, code)
		}
		f.StopWith(nil)
	}
	f.sound(t)
}

// TestApproversLeaveOperatorsAlone: an approver revokes holders and platforms,
// neither operators nor the authority's own certificates.
func TestApproversLeaveOperatorsAlone(t *testing.T) {
	f := newFixture(t)
	approver, auditor := f.addOperator(t, "approver", registry.RoleApproval), f.addOperator(t, "auditor", registry.RoleAudit)
	stamps, err := f.Life.TimestampCertificate(t.Context())
	must(t, err)
	for name, serial := range map[string]string{"an auditor": auditor.cert.Serial, "the timestamp authority": trust.SerialHex(stamps.SerialNumber)} {
		order := caapi.RevocationOrder{V: 1, Serial: serial, Reason: "keyCompromise"}
		if code := approver.call(t, "POST", caapi.PathOperatorRevocations, order).code(t); code != protocol.CodeForbidden {
			t.Errorf("%s: %q", name, code)
		}
	}
	f.wantStatus(t, stamps, trust.Good, 0)
}

// TestOperatorRolesHold: every route refuses every role that it does not name, and
// the attempt stands in the log.
func TestOperatorRolesHold(t *testing.T) {
	f := newFixture(t)
	desks := map[registry.Role]*operatorDesk{}
	for _, role := range []registry.Role{registry.RoleRegistration, registry.RoleApproval, registry.RoleRecovery, registry.RoleAudit} {
		desks[role] = f.addOperator(t, string(role), role)
	}
	refused := 0
	for _, r := range operatorRoutes(t) {
		path := strings.Replace(r.path, "{id}", "0123", 1)
		for role, desk := range desks {
			var body any
			if r.method == "POST" {
				body = map[string]int{"v": 1}
			}
			code := desk.call(t, r.method, path, body).code(t)
			allowed := false
			for _, a := range r.roles {
				allowed = allowed || a == role
			}
			if (code == protocol.CodeForbidden) == allowed {
				t.Errorf("%s %s by %s: %q", r.method, path, role, code)
			}
			if !allowed {
				refused++
			}
		}
	}
	if n := f.count(t, `SELECT count(*) FROM ca_audit WHERE event = 'operator.refused'`); n != refused {
		t.Errorf("%d entries for %d attempts", n, refused)
	}
}

// TestOperatorForgeries: what an attacker can do with a call that was overheard,
// with other certificates, and with operators that are no more.
func TestOperatorForgeries(t *testing.T) {
	f := newFixture(t)
	desk := f.addOperator(t, "auditor", registry.RoleAudit)
	request, _ := desk.signed(t, "GET", caapi.PathOperators, nil)
	if r := f.serve(t, "GET", caapi.PathOperators, request.Header, nil); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for name, v := range map[string]struct {
		method, path string
		body         []byte
		want         protocol.Code
	}{
		"replay":            {"GET", caapi.PathOperators, nil, protocol.CodeReplayed},
		"another endpoint":  {"GET", caapi.PathOperatorAudit, nil, protocol.CodeUnauthorized},
		"another query":     {"GET", caapi.PathOperators + "?limit=1", nil, protocol.CodeUnauthorized},
		"another method":    {"POST", caapi.PathOperatorRevocations, nil, protocol.CodeUnauthorized},
		"a body":            {"GET", caapi.PathOperators, []byte(`{"v":1}`), protocol.CodeUnauthorized},
		"an oversized body": {"POST", caapi.PathOperatorRevocations, make([]byte, maxAPIBody+1), protocol.CodeTooLarge},
	} {
		if code := f.serve(t, v.method, v.path, request.Header, v.body).code(t); code != v.want {
			t.Errorf("%s: %q", name, code)
		}
	}
	other := f.open(t) // a second process knows the nonces of the first
	recorder := httptest.NewRecorder()
	again := httptest.NewRequestWithContext(t.Context(), "GET", caapi.PathOperators, nil)
	again.Header = request.Header
	ca.NewHandler(other, server.Options{}).ServeHTTP(recorder, again)
	if !strings.Contains(recorder.Body.String(), string(protocol.CodeReplayed)) {
		t.Errorf("replay at another process: %s", recorder.Body)
	}
	unsigned := f.serve(t, "GET", caapi.PathOperators, nil, nil)
	if unsigned.code(t) != protocol.CodeUnauthorized {
		t.Errorf("without a signature: %s", unsigned.body)
	}
	f.clock.add(2 * callsig.MaxLife)
	late, _ := desk.signed(t, "GET", caapi.PathOperators, nil)
	f.clock.add(2 * callsig.MaxLife)
	if r := f.serve(t, "GET", caapi.PathOperators, late.Header, nil); r.code(t) != protocol.CodeClockSkew || !bytes.Contains(r.body, []byte("server_time")) {
		t.Errorf("late: %s", r.body)
	}
	e := f.enrol(t) // a phone's certificate is no operator's
	phone := &operatorDesk{f: f, key: e.signing, cert: &caapi.OperatorCertificate{Serial: strings.ToUpper(e.sign.SerialNumber.Text(16))}}
	if code := phone.call(t, "GET", caapi.PathOperators, nil).code(t); code != protocol.CodeUnauthorized {
		t.Errorf("with a phone's certificate: %q", code)
	}
	stranger := newFixture(t).addOperator(t, "stranger", registry.RoleAudit) // of another authority
	stranger.f = f
	if code := stranger.call(t, "GET", caapi.PathOperators, nil).code(t); code != protocol.CodeUnauthorized {
		t.Errorf("with another authority's certificate: %q", code)
	}
	must(t, f.Registry.BlockOperator(t.Context(), audit.Local(""), desk.cert.ID))
	must(t, f.Registry.BlockOperator(t.Context(), audit.Local(""), desk.cert.ID))
	if code := desk.call(t, "GET", caapi.PathOperators, nil).code(t); code != protocol.CodeUnauthorized {
		t.Errorf("blocked: %q", code)
	}
	fresh := f.addOperator(t, "auditor", registry.RoleAudit)
	_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: fresh.cert.Serial})
	must(t, err)
	if code := fresh.call(t, "GET", caapi.PathOperators, nil).code(t); code != protocol.CodeUnauthorized {
		t.Errorf("revoked: %q", code)
	}
	old := f.addOperator(t, "old", registry.RoleAudit)
	f.clock.add(400 * 24 * time.Hour)
	if code := old.call(t, "GET", caapi.PathOperators, nil).code(t); code != protocol.CodeUnauthorized {
		t.Errorf("expired: %q", code)
	}
}

// TestBlockedBeforeCertified: a crash left an operator without a certificate, who
// is blocked then; nothing certifies that one later.
func TestBlockedBeforeCertified(t *testing.T) {
	f := newFixture(t)
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	csr, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key)
	must(t, err)
	crashed := f.open(t)
	stopAt(crashed, stepPending)
	n := registry.NewOperator{Name: "gone", Role: registry.RoleRecovery, CSR: csr}
	if _, err := crashed.Registry.AddOperator(t.Context(), audit.Local(""), n); err == nil {
		t.Fatal("no crash")
	}
	all, err := f.Registry.Operators(t.Context())
	must(t, err)
	must(t, f.Registry.BlockOperator(t.Context(), audit.Local(""), all[0].ID))
	_, err = f.Life.Reconcile(t.Context())
	must(t, err)
	_, err = f.Registry.AddOperator(t.Context(), audit.Local(""), n)
	refusedWith(t, err, protocol.CodeForbidden)
	if n := f.count(t, `SELECT count(*) FROM ca_certificates WHERE profile = 'operator'`); n != 0 {
		t.Errorf("%d certificates of a blocked operator", n)
	}
}

// TestOperatorEscalation: the database says which role, and altering it shows.
func TestOperatorEscalation(t *testing.T) {
	f := newFixture(t)
	desk := f.addOperator(t, "auditor", registry.RoleAudit)
	must(t, exec(t, f, `UPDATE ca_operators SET role = 'recovery' WHERE id = $1`, desk.cert.ID))
	if _, err := f.Audit.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "ca_operators "+desk.cert.ID) {
		t.Errorf("got %v", err)
	}
}

func TestAddOperatorRefuses(t *testing.T) {
	f := newFixture(t)
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	csr, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key)
	must(t, err)
	first, err := f.Registry.AddOperator(t.Context(), audit.Local(""), registry.NewOperator{Name: "one", Role: registry.RoleAudit, CSR: csr})
	must(t, err)
	again, err := f.Registry.AddOperator(t.Context(), audit.Local(""), registry.NewOperator{Name: "one", Role: registry.RoleAudit, CSR: csr})
	must(t, err)
	if again.Serial != first.Serial || f.count(t, `SELECT count(*) FROM ca_certificates WHERE profile = 'operator'`) != 1 {
		t.Error("a second certificate for one request")
	}
	for name, v := range map[string]struct {
		n    registry.NewOperator
		code protocol.Code
	}{
		"another role for the key": {registry.NewOperator{Name: "one", Role: registry.RoleRecovery, CSR: csr}, protocol.CodeConflict},
		"another name for the key": {registry.NewOperator{Name: "two", Role: registry.RoleAudit, CSR: csr}, protocol.CodeConflict},
		"no role":                  {registry.NewOperator{Name: "two", Role: "root", CSR: csr}, protocol.CodeMalformed},
		"no name":                  {registry.NewOperator{Role: registry.RoleAudit, CSR: csr}, protocol.CodeMalformed},
		"no request":               {registry.NewOperator{Name: "two", Role: registry.RoleAudit, CSR: []byte("x")}, protocol.CodeMalformed},
		"hidden name":              {registry.NewOperator{Name: "two\u202e", Role: registry.RoleAudit, CSR: csr}, protocol.CodeMalformed},
	} {
		_, err := f.Registry.AddOperator(t.Context(), audit.Local(""), v.n)
		if protocol.CodeOf(err) != v.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	other, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	csr, err = smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, other)
	must(t, err)
	_, err = f.Registry.AddOperator(t.Context(), audit.Local(""), registry.NewOperator{Name: "one", Role: registry.RoleRecovery, CSR: csr})
	refusedWith(t, err, protocol.CodeConflict)
	refusedWith(t, f.Registry.BlockOperator(t.Context(), audit.Local(""), "none"), protocol.CodeNotFound)
}

// TestOperatorPlatformsAndRevocations: the approver's other work, under its name.
func TestOperatorPlatformsAndRevocations(t *testing.T) {
	f := newFixture(t)
	approver, auditor := f.addOperator(t, "approver", registry.RoleApproval), f.addOperator(t, "auditor", registry.RoleAudit)
	e := f.enrol(t)
	var done caapi.RevocationDone
	approver.must200(t, "POST", caapi.PathOperatorRevocations, caapi.RevocationOrder{V: 1, Lineage: e.answer.Lineage, Reason: "keyCompromise"}, &done)
	if len(done.Revoked) != 2 {
		t.Errorf("%+v", done)
	}
	for name, order := range map[string]caapi.RevocationOrder{
		"reason": {V: 1, Serial: "1", Reason: "because"}, "both": {V: 1, Serial: "1", Lineage: "2", Reason: "unspecified"}, "neither": {V: 1, Reason: "unspecified"},
	} {
		if code := approver.call(t, "POST", caapi.PathOperatorRevocations, order).code(t); code != protocol.CodeMalformed {
			t.Errorf("%s: %q", name, code)
		}
	}
	var platforms caapi.PlatformList
	auditor.must200(t, "GET", caapi.PathOperatorPlatforms, nil, &platforms)
	var certs caapi.CertificateList
	auditor.must200(t, "GET", caapi.PathOperatorCertificates+"?lineage="+e.answer.Lineage+"&limit=1", nil, &certs)
	if len(certs.Certificates) != 1 || certs.Certificates[0].State != "revoked" {
		t.Errorf("%+v", certs)
	}
	var page caapi.AuditPage
	var after int64
	seen := 0
	for {
		page = caapi.AuditPage{}
		auditor.must200(t, "GET", caapi.PathOperatorAudit+"?limit=7&after="+itoa(after), nil, &page)
		seen += len(page.Entries)
		if page.After == 0 {
			break
		}
		after = page.After
	}
	if n := f.count(t, `SELECT count(*) FROM ca_audit`); seen != n {
		t.Errorf("%d of %d entries", seen, n)
	}
	if n := f.count(t, `SELECT count(*) FROM ca_audit WHERE event = 'certificate.revoked' AND actor = 'operator:`+approver.cert.ID+`'`); n != 2 {
		t.Errorf("%d revocations in the approver's name", n)
	}
}

func itoa(n int64) string {
	raw, _ := json.Marshal(n)
	return string(raw)
}

func digestOf(body []byte) string { return hex.EncodeToString(protocol.H(body)) }
