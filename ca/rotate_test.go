package ca_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

func rotation() folder.Rotation {
	return folder.Rotation{RootPassphrase: []byte(testPassphrase), Passphrase: []byte(testPassphrase), KDF: fastKDF(), Witnesses: []string{"王五"}, Program: "test"}
}

// believed fails unless leaf, chain, list and OCSP answer of an authority agree.
func (f *fixture) believed(t *testing.T, a *ca.Authority, leaf *smx509.Certificate, issuer string, want trust.State) {
	t.Helper()
	i := a.Status.Issuer(issuer)
	if i == nil {
		t.Fatalf("no %s", issuer)
	}
	store, err := trust.NewStore(trust.DocumentationAuthority(f.Folder.Root()))
	must(t, err)
	_, err = store.Verify([]*smx509.Certificate{leaf, i.Certificate()}, trust.VerifyOptions{Time: f.clock.Now(), Usage: trust.Signing})
	must(t, err)
	list, err := a.Life.CRL(t.Context(), issuer)
	must(t, err)
	crl, err := trust.VerifyCRL(list.DER, i.Certificate(), trust.CRLOptions{Now: f.clock.Now()})
	must(t, err)
	status, err := crl.Status(leaf)
	must(t, err)
	if status.State != want {
		t.Errorf("list of %s: %v", issuer, status.State)
	}
	answer, err := a.Life.OCSP(t.Context(), ask(t, leaf, i.Certificate(), nil))
	must(t, err)
	status, err = trust.VerifyOCSP(answer.DER, leaf, i.Certificate(), trust.OCSPOptions{Now: f.clock.Now()})
	must(t, err)
	if status.State != want {
		t.Errorf("OCSP under %s: %v", issuer, status.State)
	}
}

// TestRotateIssuing: certificates of before and after live side by side, and the
// earlier authority answers for its own.
func TestRotateIssuing(t *testing.T) {
	f := newFixture(t)
	before := f.enrol(t)
	made, err := f.Folder.RotateIssuing(t.Context(), audit.Local(""), rotation())
	must(t, err)
	if made.Name != "issuing-2" || made.File != "issuing-2.pem" {
		t.Errorf("%+v", made)
	}
	again := rotation()
	again.To = "issuing-2"
	if same, err := f.Folder.RotateIssuing(t.Context(), audit.Local(""), again); err != nil || *same != *made {
		t.Errorf("repeated: %+v, %v", same, err)
	}
	again.To = "issuing-4"
	_, err = f.Folder.RotateIssuing(t.Context(), audit.Local(""), again)
	refusedWith(t, err, protocol.CodeConflict)

	// the root's key is carried away; a server starts again and issues
	must(t, os.Remove(filepath.Join(f.dir, "root.key")))
	server := &fixture{Authority: f.open(t), dir: f.dir, clock: f.clock, log: f.log}
	after := server.enrol(t)
	if string(after.sign.RawIssuer) == string(before.sign.RawIssuer) {
		t.Error("the new authority does not issue")
	}
	if !after.sign.Equal(after.sign) || len(after.answer.Chain) != 2 || string(after.answer.Chain[0]) != string(server.Status.Current().Certificate().Raw) {
		t.Error("the chain of a new certificate")
	}
	f.believed(t, server.Authority, before.sign, "issuing-1", trust.Good)
	f.believed(t, server.Authority, after.sign, "issuing-2", trust.Good)
	// an earlier process that still runs answers for what it knows
	f.believed(t, f.Authority, before.sign, "issuing-1", trust.Good)
	_, err = server.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(before.sign.SerialNumber), Reason: trust.KeyCompromise})
	must(t, err)
	f.believed(t, server.Authority, before.sign, "issuing-1", trust.Revoked)
	f.believed(t, server.Authority, after.sign, "issuing-2", trust.Good)
	info, err := server.Folder.Info()
	must(t, err)
	if len(info.Issuing) != 2 || string(info.Issuing[0]) != string(server.Status.Current().Certificate().Raw) {
		t.Error("info names other issuing authorities")
	}
	_, err = server.Audit.Verify(t.Context())
	must(t, err)
	records, err := filepath.Glob(filepath.Join(f.dir, "rotation-issuing-2-*.txt"))
	must(t, err)
	if len(records) != 1 {
		t.Fatalf("records: %v", records)
	}
	raw, err := os.ReadFile(records[0])
	must(t, err)
	must(t, folder.VerifyCeremonyRecord(raw, f.Folder.Root()))
	if !strings.Contains(string(raw), "王五") {
		t.Error("the record names no witness")
	}
}

// TestRevokedIssuingIssuesNothing: a server that still runs with the authority
// which was revoked meanwhile signs nothing more with it.
func TestRevokedIssuingIssuesNothing(t *testing.T) {
	f := newFixture(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	_, err := f.open(t).Folder.RotateIssuing(t.Context(), audit.Local(""), rotation())
	must(t, err)
	_, err = f.open(t).Folder.RevokeIssuing(t.Context(), audit.Local(""), "issuing-1", trust.CACompromise, "", []byte(testPassphrase))
	must(t, err)
	if _, err := f.Life.Enrol(t.Context(), p.call(t)); err == nil {
		t.Error("a certificate under a revoked authority")
	}
	server := f.open(t)
	raw, err := server.Life.Enrol(t.Context(), p.call(t)) // and nothing is lost
	must(t, err)
	if string(p.read(t, raw).sign.RawIssuer) != string(server.Status.Current().Certificate().RawSubject) {
		t.Error("issued by another authority")
	}
}

// TestRotationBrokenOff: whatever the step, the old authority works, and the
// rotation is repeated to one new authority.
func TestRotationBrokenOff(t *testing.T) {
	crash := errors.New("crash")
	for _, step := range []string{stepRotationKey, stepRotationStored} {
		f := newFixture(t)
		f.StopWith(func(at string) error {
			if at == step {
				return crash
			}
			return nil
		})
		if _, err := f.Folder.RotateIssuing(t.Context(), audit.Local(""), rotation()); !errors.Is(err, crash) {
			t.Fatalf("%s: %v", step, err)
		}
		after := &fixture{Authority: f.open(t), dir: f.dir, clock: f.clock, log: f.log}
		e := after.enrol(t)
		name := "issuing-1"
		if step == stepRotationStored {
			name = "issuing-2"
		}
		f.believed(t, after.Authority, e.sign, name, trust.Good)
		r := rotation()
		r.To = "issuing-2"
		_, err := after.Folder.RotateIssuing(t.Context(), audit.Local(""), r)
		must(t, err)
		last := f.open(t)
		if len(last.Status.Issuers()) != 2 {
			t.Errorf("%s: %d issuing authorities", step, len(last.Status.Issuers()))
		}
		_, err = last.Audit.Verify(t.Context())
		must(t, err)
	}
}

func TestRotationRefuses(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*folder.Rotation){
		"root's passphrase":        func(r *folder.Rotation) { r.RootPassphrase = []byte("wrong") },
		"authority's passphrase":   func(r *folder.Rotation) { r.Passphrase = []byte("another") },
		"no such folder":           func(r *folder.Rotation) { r.RootDir = t.TempDir() },
		"another authority's root": func(r *folder.Rotation) { r.RootDir = newFixture(t).dir },
		"no token":                 func(r *folder.Rotation) { r.KeyURI = "pkcs11:token=x;object=y" },
		"PIN on the command line":  func(r *folder.Rotation) { r.KeyURI = "pkcs11:token=x?pin-value=1" },
	} {
		r := rotation()
		change(&r)
		if _, err := f.Folder.RotateIssuing(t.Context(), audit.Local(""), r); err == nil {
			t.Errorf("%s: rotated", name)
		}
		if left, err := filepath.Glob(filepath.Join(f.dir, "issuing-2*")); err != nil || len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// TestRevokeIssuing: the root's list names it, and only an earlier one is
// revoked.
func TestRevokeIssuing(t *testing.T) {
	f := newFixture(t)
	_, err := f.Folder.RevokeIssuing(t.Context(), audit.Local(""), "issuing-1", trust.CACompromise, "", []byte(testPassphrase))
	refusedWith(t, err, protocol.CodeConflict)
	_, err = f.Folder.RotateIssuing(t.Context(), audit.Local(""), rotation())
	must(t, err)
	a := f.open(t)
	_, err = a.Folder.RevokeIssuing(t.Context(), audit.Local(""), "issuing-7", trust.CACompromise, "", []byte(testPassphrase))
	refusedWith(t, err, protocol.CodeNotFound)
	_, err = a.Folder.RevokeIssuing(t.Context(), audit.Local(""), "issuing-1", trust.KeyCompromise, "", []byte(testPassphrase))
	refusedWith(t, err, protocol.CodeMalformed)
	if _, err = a.Folder.RevokeIssuing(t.Context(), audit.Local(""), "issuing-1", trust.CACompromise, "", []byte("wrong")); !errors.Is(err, folder.ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	for range 2 { // a second time changes nothing and signs one more list
		_, err = a.Folder.RevokeIssuing(t.Context(), audit.Local(""), "issuing-1", trust.CACompromise, "", []byte(testPassphrase))
		must(t, err)
	}
	list, err := a.Life.CRL(t.Context(), status.RootName)
	must(t, err)
	crl, err := trust.VerifyCRL(list.DER, a.Folder.Root(), trust.CRLOptions{Now: f.clock.Now()})
	must(t, err)
	for name, want := range map[string]trust.State{"issuing-1": trust.Revoked, "issuing-2": trust.Good} {
		status, err := crl.Status(a.Status.Issuer(name).Certificate())
		must(t, err)
		if status.State != want || want == trust.Revoked && status.Reason != trust.CACompromise {
			t.Errorf("%s: %+v", name, status)
		}
	}
	_, err = f.open(t).Audit.Verify(t.Context())
	must(t, err)
}
