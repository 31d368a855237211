package ca_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/migrations"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// next is a phone that follows e with a new signing key: e's own device and
// proof, or for a reissue a new device without one.
func (e *enrolled) next(t testing.TB, file *caapi.EnrolmentFile) *phone {
	t.Helper()
	p := newPhone(t, e.clock, file.Code)
	if file.Operation == caapi.OperationReissue {
		return p
	}
	p.device = e.device
	p.write(t, p.request(t).RequestID, file.Code)
	return p.prove(t, e.signing, file.Serial)
}

// prove signs the request with an old signing key.
func (p *phone) prove(t testing.TB, old *sm2.PrivateKey, serial string) *phone {
	t.Helper()
	r := p.request(t)
	r.Predecessor = serial
	var err error
	r.Succession, err = protocol.Sign(old, r.SuccessionMessage())
	must(t, err)
	p.body, err = protocol.EncodeJSON(r)
	must(t, err)
	return p
}

// follow authorises nothing itself: it uses the file as the right phone does.
func (f *fixture) follow(t testing.TB, e *enrolled, file *caapi.EnrolmentFile) *enrolled {
	t.Helper()
	p := e.next(t, file)
	raw, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	return p.read(t, raw)
}

func (e *enrolled) serial() string { return trust.SerialHex(e.sign.SerialNumber) }

// untilRenewal sets the clock into the last three months of a certificate.
func (f *fixture) untilRenewal(e *enrolled) {
	f.clock.add(e.sign.NotAfter.AddDate(0, 0, -40).Sub(f.clock.Now()))
}

func (f *fixture) renewal(t testing.TB, e *enrolled, years int) *caapi.EnrolmentFile {
	t.Helper()
	file, err := f.Life.AuthoriseRenewal(t.Context(), audit.Local(""), life.Renewal{Serial: e.serial(), Years: years})
	must(t, err)
	return file
}

func (f *fixture) change(t testing.TB, e *enrolled) *caapi.EnrolmentFile {
	t.Helper()
	file, err := f.Life.AuthoriseChange(t.Context(), audit.Local(""), life.Change{Serial: e.serial(), Organisation: newName})
	must(t, err)
	return file
}

func (f *fixture) reissue(t testing.TB, e *enrolled, set ...func(*life.Reissue)) *caapi.EnrolmentFile {
	t.Helper()
	r := life.Reissue{Serial: e.serial()}
	for _, s := range set {
		s(&r)
	}
	file, err := f.Life.AuthoriseReissue(t.Context(), audit.Local(""), r)
	must(t, err)
	return file
}

const newName = "示例建设集团有限公司"

// stateOf is the status that the database has of a certificate.
func (f *fixture) stateOf(t testing.TB, cert *smx509.Certificate) trust.Status {
	t.Helper()
	var state string
	var at int64
	var reason int
	must(t, f.database(t).Reader().QueryRowContext(t.Context(), `SELECT state, revoked_at, reason FROM ca_certificates WHERE serial = $1`,
		trust.SerialHex(cert.SerialNumber)).Scan(&state, &at, &reason))
	if state == "good" {
		return trust.Status{State: trust.Good}
	}
	return trust.Status{State: trust.Revoked, RevokedAt: time.Unix(at, 0).UTC(), Reason: trust.Reason(reason)}
}

// wantStatus holds a certificate against what the status service says.
func (f *fixture) wantStatus(t testing.TB, cert *smx509.Certificate, state trust.State, reason trust.Reason) {
	t.Helper()
	status := f.stateOf(t, cert)
	if status.State != state || status.Reason != reason {
		t.Errorf("%s is %v (%v), want %v (%v)", trust.SerialHex(cert.SerialNumber), status.State, status.Reason, state, reason)
	}
}

// sound holds what must be true of every authority at any moment: the log
// verifies, no issuance is lost or doubled, and at most one signing certificate
// of a lineage is good unless it was renewed.
func (f *fixture) sound(t testing.TB) {
	t.Helper()
	if _, err := f.Audit.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	f.soundRows(t)
}

// soundRows is sound without the log, for tests that altered rows.
func (f *fixture) soundRows(t testing.TB) {
	t.Helper()
	for what, query := range map[string]string{
		"issued without certificates": `SELECT count(*) FROM ca_issuances i WHERE kind = 'dual' AND state = 'issued' AND 2 <>
			(SELECT count(*) FROM ca_certificates c WHERE c.issuance = i.id AND c.serial IN (i.sign_serial, i.encrypt_serial))`,
		"certificates without issuance": `SELECT count(*) FROM ca_certificates c WHERE issuance <> '' AND NOT EXISTS
			(SELECT 1 FROM ca_issuances i WHERE i.id = c.issuance AND i.state = 'issued' AND c.serial IN (i.sign_serial, i.encrypt_serial))`,
		"heads that were never issued": `SELECT count(*) FROM ca_lineages l WHERE head <> '' AND NOT EXISTS
			(SELECT 1 FROM ca_certificates c WHERE c.serial = l.head AND c.lineage = l.lineage)`,
		"claims without a pending issuance": `SELECT count(*) FROM ca_lineages l WHERE pending <> '' AND NOT EXISTS
			(SELECT 1 FROM ca_issuances i WHERE i.id = l.pending AND i.state = 'pending')`,
		"pending issuances without a claim": `SELECT count(*) FROM ca_issuances i WHERE kind = 'dual' AND state = 'pending' AND NOT EXISTS
			(SELECT 1 FROM ca_lineages l WHERE l.pending = i.id)`,
		"successors beside a good predecessor": `SELECT count(*) FROM ca_issuances i JOIN ca_certificates c ON c.serial = i.predecessor
			WHERE i.operation IN ('change', 'reissue') AND i.state = 'issued' AND c.state = 'good'`,
		"predecessors revoked for nothing": `SELECT count(*) FROM ca_certificates c JOIN ca_issuances p ON p.sign_serial = c.serial WHERE c.state = 'revoked' AND c.reason IN (3, 4)
			AND NOT EXISTS (SELECT 1 FROM ca_issuances i WHERE i.lineage = c.lineage AND i.operation IN ('change', 'reissue') AND i.state = 'issued')`,
		"two successors of one certificate": `SELECT count(*) FROM (SELECT predecessor FROM ca_issuances WHERE predecessor <> '' AND state = 'issued' GROUP BY predecessor HAVING count(*) > 1) AS twice`,
	} {
		if n := f.count(t, query); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
}

func TestRenew(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	_, err := f.Life.AuthoriseRenewal(t.Context(), audit.Local(""), life.Renewal{Serial: e.serial(), Years: 1})
	refusedWith(t, err, protocol.CodeRenewalClosed)
	f.untilRenewal(e)
	n := f.follow(t, e, f.renewal(t, e, 2))
	if want := e.sign.NotAfter.AddDate(2, 0, 0); !n.sign.NotAfter.Equal(want) || !n.encr.NotAfter.Equal(want) {
		t.Errorf("ends %s, want %s", n.sign.NotAfter, want)
	}
	if !bytes.Equal(n.sign.RawSubject, e.sign.RawSubject) || n.answer.Lineage != e.answer.Lineage || n.answer.Account != e.answer.Account {
		t.Error("another subject, lineage or account")
	}
	if !n.key.Equal(e.key) || n.signing.Equal(e.signing) || bytes.Equal(n.encr.Raw, e.encr.Raw) {
		t.Error("want the same encryption key, a new certificate over it, and a new signing key")
	}
	for _, cert := range []*smx509.Certificate{e.sign, e.encr, n.sign, n.encr} {
		f.wantStatus(t, cert, trust.Good, 0)
	}
	_, err = f.Life.AuthoriseRenewal(t.Context(), audit.Local(""), life.Renewal{Serial: e.serial(), Years: 1}) // the old one again
	refusedWith(t, err, protocol.CodeConflict)
	_, err = f.Life.AuthoriseRenewal(t.Context(), audit.Local(""), life.Renewal{Serial: n.serial(), Years: 1}) // too early again
	refusedWith(t, err, protocol.CodeRenewalClosed)
	if n := f.count(t, `SELECT count(*) FROM kmc_keys`); n != 1 {
		t.Errorf("%d encryption keys", n)
	}
	f.sound(t)
}

func TestChangeOfName(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	for name, c := range map[string]life.Change{
		"another organisation": {Serial: e.serial(), Organisation: newName, CreditCode: "91350100M000100Y43"},
		"the same name":        {Serial: e.serial(), Organisation: adminSubject().Organisation},
	} {
		if _, err := f.Life.AuthoriseChange(t.Context(), audit.Local(""), c); protocol.CodeOf(err) != protocol.CodeConflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.wantStatus(t, e.sign, trust.Good, 0)
	n := f.follow(t, e, f.change(t, e))
	id, err := trust.ReadSubject(n.sign, f.Folder.OIDs())
	must(t, err)
	if id.Organisation != newName || id.CreditCode != adminSubject().CreditCode || id.Lineage != e.answer.Lineage || id.Role != trust.RoleAdmin {
		t.Errorf("identity %+v", id)
	}
	if !n.sign.NotAfter.Equal(e.sign.NotAfter) || !n.key.Equal(e.key) {
		t.Error("another end or encryption key")
	}
	f.wantStatus(t, e.sign, trust.Revoked, trust.AffiliationChanged)
	f.wantStatus(t, e.encr, trust.Good, 0)
	f.wantStatus(t, n.sign, trust.Good, 0)
	f.sound(t)
}

func TestChangeOfAPersonsOrganisation(t *testing.T) {
	f := newFixture(t)
	file, err := f.Life.NewEnrolmentCode(t.Context(), audit.Local(""), life.CodeRequest{Subject: caapi.Subject{Kind: "person", Name: "李四"}})
	must(t, err)
	p := newPhone(t, f.clock, file.Code)
	raw, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	_, err = f.Life.AuthoriseChange(t.Context(), audit.Local(""), life.Change{Serial: p.read(t, raw).serial(), Organisation: newName})
	refusedWith(t, err, protocol.CodeConflict)
}

// TestReissueAfterEverything: three certificates ago something was encrypted.
func TestReissueAfterEverything(t *testing.T) {
	f := newFixture(t)
	first := f.enrol(t)
	f.untilRenewal(first)
	renewed := f.follow(t, first, f.renewal(t, first, 1))
	renamed := f.follow(t, renewed, f.change(t, renewed))
	f.wantStatus(t, first.sign, trust.Revoked, trust.AffiliationChanged) // the renewed-from one, too
	lost := f.follow(t, renamed, f.reissue(t, renamed))

	if !lost.sign.NotAfter.Equal(renamed.sign.NotAfter) || !bytes.Equal(lost.sign.RawSubject, renamed.sign.RawSubject) || !lost.key.Equal(first.key) {
		t.Error("a reissue keeps subject, end and encryption key")
	}
	if lost.answer.Account != first.answer.Account {
		t.Error("another account")
	}
	f.wantStatus(t, renamed.sign, trust.Revoked, trust.Superseded)
	f.wantStatus(t, lost.sign, trust.Good, 0)
	if n := len(lost.answer.History); n != 1 || len(lost.answer.History[0].Chains) != 3 || len(lost.answer.History[0].Enveloped) != 0 {
		t.Fatalf("history %+v", lost.answer.History)
	}
	for i, want := range []*smx509.Certificate{renamed.encr, renewed.encr, first.encr} {
		found := slices.ContainsFunc(lost.answer.History[0].Chains, func(chain []protocol.Bytes) bool {
			return bytes.Equal(chain[0], want.Raw) && len(chain) == 3 && bytes.Equal(chain[2], f.Folder.Root().Raw)
		})
		if !found {
			t.Errorf("the encryption certificate %d is not in the history", i)
		}
	}
	body := []byte(`{"v":1}`)
	_, err := f.Life.RenewPass(t.Context(), signedCall(t, first.device, renamed.answer.Pass, caapi.PathPass, body, f.clock.Now()))
	refusedWith(t, err, protocol.CodeForbidden)
	_, err = f.Life.RenewPass(t.Context(), signedCall(t, lost.device, lost.answer.Pass, caapi.PathPass, body, f.clock.Now()))
	must(t, err)
	f.sound(t)
}

// TestReissueWithNewEncryptionKeys: every historic key comes along, enveloped
// for the new phone, and each release stands in the log.
func TestReissueWithNewEncryptionKeys(t *testing.T) {
	f := newFixture(t)
	fresh := func(r *life.Reissue) { r.NewEncryptionKey, r.Reason = true, trust.KeyCompromise }
	first := f.enrol(t)
	second := f.follow(t, first, f.reissue(t, first, fresh))
	third := f.follow(t, second, f.reissue(t, second, fresh))
	if third.key.Equal(second.key) || second.key.Equal(first.key) {
		t.Fatal("no new encryption key")
	}
	f.wantStatus(t, first.sign, trust.Revoked, trust.KeyCompromise)
	if len(third.answer.History) != 2 {
		t.Fatalf("%d historic keys", len(third.answer.History))
	}
	for _, want := range []*enrolled{first, second} {
		found := 0
		for _, h := range third.answer.History {
			key, err := sm2.ParseEnvelopedPrivateKey(third.signing, h.Enveloped)
			must(t, err)
			if _, err := sm2.ParseEnvelopedPrivateKey(first.signing, h.Enveloped); err == nil {
				t.Error("the lost phone opens what was enveloped for the new one")
			}
			if key.Equal(want.key) && bytes.Equal(h.Chains[0][0], want.encr.Raw) {
				found++
			}
		}
		if found != 1 {
			t.Error("a historic key is missing")
		}
	}
	// issue, reissue with its new key and one old, reissue with its new key and two old
	if n := f.count(t, `SELECT count(*) FROM ca_audit WHERE event = 'key.released'`); n != 1+2+3 {
		t.Errorf("%d releases in the log", n)
	}
	f.sound(t)
}

// TestOnlyTheRightPhone: what a stolen code, a stolen phone and somebody else's
// phone can do.
func TestOnlyTheRightPhone(t *testing.T) {
	for name, authorise := range map[string]func(*fixture, *enrolled) *caapi.EnrolmentFile{
		"renewal": func(f *fixture, e *enrolled) *caapi.EnrolmentFile { return f.renewal(t, e, 1) },
		"change":  func(f *fixture, e *enrolled) *caapi.EnrolmentFile { return f.change(t, e) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			e, stranger := f.enrol(t), f.enrol(t)
			f.untilRenewal(e)
			file := authorise(f, e)
			try := func(what string, p *phone) {
				t.Helper()
				if _, err := f.Life.Enrol(t.Context(), p.call(t)); protocol.CodeOf(err) != protocol.CodeForbidden {
					t.Errorf("%s: %v", what, err)
				}
			}
			try("a code and no phone", newPhone(t, f.clock, file.Code))
			own := newPhone(t, f.clock, file.Code)
			own.device = stranger.device
			own.write(t, own.request(t).RequestID, file.Code)
			try("another person's phone and certificate", own.prove(t, stranger.signing, stranger.serial()))
			try("another person's phone under the serial number", own.prove(t, stranger.signing, e.serial()))
			bare := newPhone(t, f.clock, file.Code)
			bare.device = e.device
			bare.write(t, bare.request(t).RequestID, file.Code)
			try("the phone without the key", bare)
			try("the phone with another's key", bare.prove(t, stranger.signing, e.serial()))
			try("the key on another phone", newPhone(t, f.clock, file.Code).prove(t, e.signing, e.serial()))
			proof := e.next(t, file).request(t)
			moved := bare.request(t)
			moved.Predecessor, moved.Succession = proof.Predecessor, proof.Succession
			var err error
			bare.body, err = protocol.EncodeJSON(moved)
			must(t, err)
			try("the proof of another request", bare)
			if _, err := f.Life.Enrol(t.Context(), e.next(t, file).call(t)); err != nil { // nothing burned the code
				t.Errorf("the right phone: %v", err)
			}
			f.sound(t)
		})
	}
}

func TestReissueBoundToAPhone(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	spki, err := protocol.MarshalKey(device.Public())
	must(t, err)
	file := f.reissue(t, e, func(r *life.Reissue) { r.Device = protocol.DeviceID(spki) })
	_, err = f.Life.Enrol(t.Context(), e.next(t, file).call(t))
	refusedWith(t, err, protocol.CodeForbidden)
	p := newPhone(t, f.clock, file.Code)
	p.device = device
	p.write(t, p.request(t).RequestID, file.Code)
	_, err = f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	f.sound(t)
}

func TestReissueNeedsTheCode(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	file := f.reissue(t, e)
	second := f.reissue(t, e) // voids the first
	_, err := f.Life.Enrol(t.Context(), e.next(t, file).call(t))
	refusedWith(t, err, protocol.CodeEnrolmentCode)
	n := f.follow(t, e, second)
	_, err = f.Life.Enrol(t.Context(), e.next(t, second).call(t))
	refusedWith(t, err, protocol.CodeEnrolmentCode)
	f.wantStatus(t, n.sign, trust.Good, 0)
	if n := f.count(t, `SELECT count(*) FROM ca_codes WHERE digest LIKE '%`+second.Code+`%'`); n != 0 {
		t.Error("the code itself is stored")
	}
	f.sound(t)
}

func TestExpiredCannotFollow(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	f.untilRenewal(e)
	file, err := f.Life.AuthoriseRenewal(t.Context(), audit.Local(""), life.Renewal{Serial: e.serial(), Years: 1, Expires: 80 * 24 * time.Hour})
	must(t, err)
	f.clock.add(e.sign.NotAfter.Sub(f.clock.Now()))
	_, err = f.Life.Enrol(t.Context(), e.next(t, file).call(t))
	refusedWith(t, err, protocol.CodeCertExpired)
	_, err = f.Life.AuthoriseReissue(t.Context(), audit.Local(""), life.Reissue{Serial: e.serial()})
	refusedWith(t, err, protocol.CodeCertExpired)
	_, err = f.Life.AuthoriseRenewal(t.Context(), audit.Local(""), life.Renewal{Serial: e.serial(), Years: 1})
	refusedWith(t, err, protocol.CodeCertExpired)
}

// destroyer is the server's half of the password assist.
type destroyer struct {
	asked []life.Destruction
	err   error
}

func (d *destroyer) DestroyAssist(_ context.Context, what life.Destruction) error {
	d.asked = append(d.asked, what)
	return d.err
}

// TestReissueDestroysAssist: what a reissue asks to destroy is asked for until
// it is done, and once.
func TestReissueDestroysAssist(t *testing.T) {
	f := newFixture(t)
	d := &destroyer{err: errors.New("the database of the assist is away")}
	f.Authority = f.openWith(t, ca.Options{Assist: d}, ca.Seams{})
	e := f.enrol(t)
	n := f.follow(t, e, f.reissue(t, e))
	spki, err := protocol.MarshalKey(e.device.Public())
	must(t, err)
	if len(d.asked) != 1 || d.asked[0].Device != protocol.DeviceID(spki) || d.asked[0].Lineage != e.answer.Lineage || d.asked[0].Account != e.answer.Account {
		t.Fatalf("asked for %+v", d.asked)
	}
	d.err = nil
	for range 2 {
		_, err := f.Life.Reconcile(t.Context())
		must(t, err)
	}
	if len(d.asked) != 2 || d.asked[1] != d.asked[0] {
		t.Errorf("asked for %+v", d.asked)
	}
	again := newPhone(t, f.clock, f.reissue(t, n).Code) // the same phone once more: nothing to destroy
	again.device = n.device
	again.write(t, again.request(t).RequestID, f.reissue(t, n).Code)
	_, err = f.Life.Enrol(t.Context(), again.call(t))
	must(t, err)
	if len(d.asked) != 2 {
		t.Errorf("asked for %+v", d.asked)
	}
	f.sound(t)
}

// TestMigrationFillsLineages: certificates from before lineages were kept have
// theirs after the migration, as if they had been issued with it.
func TestMigrationFillsLineages(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	crashed := f.open(t)
	stopAt(crashed, stepPending)
	waiting := newPhone(t, f.clock, f.code(t, 0))
	if _, err := crashed.Life.Enrol(t.Context(), waiting.call(t)); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(migrations.Files(), "0004_life.sql")
	must(t, err)
	_, fill, found := strings.Cut(string(text), "UPDATE ca_issuances SET device")
	fill, _, ended := strings.Cut("UPDATE ca_issuances SET device"+fill, "-- What helps")
	if !found || !ended {
		t.Fatal("the migration has no such part")
	}
	must(t, exec(t, f, `DELETE FROM ca_lineages`))
	must(t, exec(t, f, `UPDATE ca_issuances SET device = ''`))
	for _, statement := range strings.SplitAfter(fill, ";") {
		must(t, exec(t, f, statement))
	}
	_, err = f.Audit.Verify(t.Context()) // the rows are those of the log again
	must(t, err)
	f.sound(t)
	_, err = f.Life.Enrol(t.Context(), waiting.call(t))
	must(t, err)
	f.follow(t, e, f.change(t, e))
	f.sound(t)
}
