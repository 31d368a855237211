package ca_test

import (
	"bytes"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

func ask(t testing.TB, cert, issuer *smx509.Certificate, nonce []byte) []byte {
	t.Helper()
	der, err := trust.NewOCSPRequest(cert, issuer, nonce)
	must(t, err)
	return der
}

func (f *fixture) judge(t testing.TB, der []byte, cert *smx509.Certificate, nonce []byte) *trust.Status {
	t.Helper()
	status, err := trust.VerifyOCSP(der, cert, f.Status.Current().Certificate(), trust.OCSPOptions{Now: f.clock.Now(), Nonce: nonce})
	must(t, err)
	return status
}

func TestOCSPFollowsARevocationAtOnce(t *testing.T) {
	f := newFixture(t)
	server := f.open(t) // the revocation comes from another process
	e := f.enrol(t)
	question := ask(t, e.sign, f.Status.Current().Certificate(), nil)
	first, err := server.Life.OCSP(t.Context(), question)
	must(t, err)
	if status := f.judge(t, first.DER, e.sign, nil); status.State != trust.Good {
		t.Fatalf("before: %v", status.State)
	}
	f.clock.add(time.Minute)
	second, err := server.Life.OCSP(t.Context(), question)
	must(t, err)
	if !bytes.Equal(first.DER, second.DER) {
		t.Error("a young answer was signed anew")
	}
	f.clock.add(5 * time.Minute)
	third, err := server.Life.OCSP(t.Context(), question)
	must(t, err)
	if bytes.Equal(first.DER, third.DER) {
		t.Error("an answer past half its life was given again")
	}
	changed, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(e.sign.SerialNumber), Reason: trust.KeyCompromise})
	must(t, err)
	if len(changed) != 1 {
		t.Errorf("revoked %v", changed)
	}
	fourth, err := server.Life.OCSP(t.Context(), question)
	must(t, err)
	status := f.judge(t, fourth.DER, e.sign, nil)
	if !errors.Is(status.Err(), trust.ErrRevoked) || status.Reason != trust.KeyCompromise || !status.RevokedAt.Equal(f.clock.Now()) {
		t.Errorf("after: %+v", status)
	}
	answer, err := server.Life.OCSP(t.Context(), ask(t, e.encr, f.Status.Current().Certificate(), nil))
	must(t, err)
	if status := f.judge(t, answer.DER, e.encr, nil); status.State != trust.Good {
		t.Errorf("the other certificate of the pair: %v", status.State)
	}
}

func TestOCSPNonce(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	nonce := []byte("0123456789abcdef0123456789abcdef")
	question := ask(t, e.sign, f.Status.Current().Certificate(), nonce)
	first, err := f.Life.OCSP(t.Context(), question)
	must(t, err)
	f.judge(t, first.DER, e.sign, nonce)
	second, err := f.Life.OCSP(t.Context(), question)
	must(t, err)
	if first.Cacheable || bytes.Equal(first.DER, second.DER) {
		t.Error("an answer with a nonce was given twice")
	}
}

// TestOCSPGoesOnWhenTheResponderCannotBeRenewed: there are thirty days to mend
// it.
func TestOCSPGoesOnWhenTheResponderCannotBeRenewed(t *testing.T) {
	f := newFixture(t)
	file, err := f.Life.NewEnrolmentCode(t.Context(), audit.Local(""), life.CodeRequest{Subject: adminSubject(), Validity: 2 * 365 * 24 * time.Hour})
	must(t, err)
	p := newPhone(t, f.clock, file.Code)
	raw, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	cert := p.read(t, raw).sign
	must(t, exec(t, f, diskFull))
	f.clock.add(350 * 24 * time.Hour)
	answer, err := f.Life.OCSP(t.Context(), ask(t, cert, f.Status.Current().Certificate(), nil))
	must(t, err)
	f.judge(t, answer.DER, cert, nil)
	if !bytes.Contains(f.log.Bytes(), []byte("disk full")) {
		t.Error("nobody is told")
	}
	f.clock.add(16 * 24 * time.Hour)
	if _, err := f.Life.OCSP(t.Context(), ask(t, cert, f.Status.Current().Certificate(), nil)); err == nil {
		t.Error("an expired responder answered")
	}
	must(t, exec(t, f, diskMended))
	answer, err = f.Life.OCSP(t.Context(), ask(t, cert, f.Status.Current().Certificate(), nil))
	must(t, err)
	f.judge(t, answer.DER, cert, nil)
}

// TestOCSPIsNeverGoodForWhatWasNotIssued: invented serial numbers, serial
// numbers of an issuance that is still pending, and the authority's own.
func TestOCSPIsNeverGoodForWhatWasNotIssued(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	crashed := f.open(t)
	stopAt(crashed, stepSigned)
	if _, err := crashed.Life.Enrol(t.Context(), p.call(t)); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	var pending string
	must(t, f.database(t).Reader().QueryRowContext(t.Context(), `SELECT sign_serial FROM ca_issuances WHERE state = 'pending'`).Scan(&pending))
	signed, err := trust.ParseSerialHex(pending)
	must(t, err)
	for name, serial := range map[string]*big.Int{"invented": big.NewInt(12345), "pending": signed, "the root's": f.Folder.Root().SerialNumber} {
		fake := *e.sign
		fake.SerialNumber = serial
		answer, err := f.Life.OCSP(t.Context(), ask(t, &fake, f.Status.Current().Certificate(), nil))
		must(t, err)
		if status := f.judge(t, answer.DER, &fake, nil); status.State != trust.Unknown {
			t.Errorf("%s: %v", name, status.State)
		}
	}
	foreign := newFixture(t)
	for name, v := range map[string]struct{ question, want []byte }{
		"another issuer": {ask(t, e.sign, foreign.Status.Current().Certificate(), nil), trust.OCSPError(trust.Unauthorized)},
		"no question":    {[]byte("?"), trust.OCSPError(trust.MalformedRequest)},
	} {
		answer, err := f.Life.OCSP(t.Context(), v.question)
		must(t, err)
		if !bytes.Equal(answer.DER, v.want) || answer.Cacheable {
			t.Errorf("%s: %x", name, answer.DER)
		}
	}
}

// TestOCSPResponderIsReplacedInTime: the answers go on beyond the first
// responder certificate's life.
func TestOCSPResponderIsReplacedInTime(t *testing.T) {
	f := newFixture(t)
	file, err := f.Life.NewEnrolmentCode(t.Context(), audit.Local(""), life.CodeRequest{Subject: adminSubject(), Validity: 3 * 365 * 24 * time.Hour})
	must(t, err)
	p := newPhone(t, f.clock, file.Code)
	raw, err := f.Life.Enrol(t.Context(), p.call(t))
	must(t, err)
	cert := p.read(t, raw).sign
	responders := make(map[string]bool)
	for range 8 {
		f.clock.add(120 * 24 * time.Hour)
		answer, err := f.Life.OCSP(t.Context(), ask(t, cert, f.Status.Current().Certificate(), nil))
		must(t, err)
		f.judge(t, answer.DER, cert, nil)
		parsed, err := trust.ParseOCSPResponse(answer.DER)
		must(t, err)
		responders[trust.SerialHex(parsed.Certificates[0].SerialNumber)] = true
	}
	if len(responders) != 3 {
		t.Errorf("%d responder certificates in 960 days", len(responders))
	}
	_, err = f.Audit.Verify(t.Context())
	must(t, err)
}

func TestCRLFollowsRevocations(t *testing.T) {
	f := newFixture(t)
	server := f.open(t)
	e := f.enrol(t)
	list := func() *status.CRL {
		l, err := server.Life.CRL(t.Context(), issuingName)
		must(t, err)
		return l
	}
	look := func(l *status.CRL) *trust.Status {
		crl, err := trust.VerifyCRL(l.DER, f.Status.Current().Certificate(), trust.CRLOptions{Now: f.clock.Now()})
		must(t, err)
		status, err := crl.Status(e.sign)
		must(t, err)
		return status
	}
	first := list()
	if again := list(); again.Number != first.Number || !bytes.Equal(again.DER, first.DER) {
		t.Error("a list that was not due")
	}
	if look(first).State != trust.Good {
		t.Error("revoked before the time")
	}
	changed, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Lineage: e.answer.Lineage, Reason: trust.AffiliationChanged})
	must(t, err)
	if len(changed) != 2 {
		t.Errorf("revoked %v", changed)
	}
	second := list()
	if status := look(second); second.Number <= first.Number || status.State != trust.Revoked || status.Reason != trust.AffiliationChanged {
		t.Errorf("list %d: %+v", second.Number, status)
	}
	f.clock.add(6*time.Hour + time.Second)
	if third := list(); third.Number <= second.Number {
		t.Error("no new list after a quarter of the old one's life")
	}
	forced, err := f.Life.SignCRL(t.Context(), audit.Local(""), "")
	must(t, err)
	if forced.Number <= second.Number+1 {
		t.Errorf("forced list %d", forced.Number)
	}
	_, err = f.Life.CRL(t.Context(), "none")
	refusedWith(t, err, protocol.CodeNotFound)
}

func TestRootCRL(t *testing.T) {
	f := newFixture(t)
	list, err := f.Life.CRL(t.Context(), "root")
	must(t, err)
	crl, err := trust.VerifyCRL(list.DER, f.Folder.Root(), trust.CRLOptions{Now: f.clock.Now()})
	must(t, err)
	status, err := crl.Status(f.Status.Current().Certificate())
	must(t, err)
	if status.State != trust.Good {
		t.Errorf("issuing authority: %v", status.State)
	}
	first := list.Number
	f.clock.add(360 * 24 * time.Hour)
	_, err = f.Folder.SignRootCRL(t.Context(), audit.Local(""), "", []byte("wrong"))
	if !errors.Is(err, folder.ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if _, err := f.Folder.SignRootCRL(t.Context(), audit.Local(""), newFixture(t).dir, []byte(testPassphrase)); err == nil {
		t.Error("another root's key signed")
	}
	next, err := f.Folder.SignRootCRL(t.Context(), audit.Local(""), "", []byte(testPassphrase))
	must(t, err)
	list, err = f.Life.CRL(t.Context(), "root")
	must(t, err)
	if next.Number <= first || !bytes.Equal(list.DER, next.DER) {
		t.Errorf("list %d is published after %d was signed", list.Number, next.Number)
	}
	f.clock.add(300 * 24 * time.Hour)
	_, err = trust.VerifyCRL(list.DER, f.Folder.Root(), trust.CRLOptions{Now: f.clock.Now()})
	must(t, err)
}

func TestRevokeRefuses(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	serial := trust.SerialHex(e.sign.SerialNumber)
	for name, v := range map[string]struct {
		r    life.Revocation
		code protocol.Code
	}{
		"nothing named":        {life.Revocation{}, protocol.CodeMalformed},
		"both named":           {life.Revocation{Serial: serial, Lineage: e.answer.Lineage}, protocol.CodeMalformed},
		"no number":            {life.Revocation{Serial: "xyz"}, protocol.CodeMalformed},
		"unknown number":       {life.Revocation{Serial: "1234"}, protocol.CodeNotFound},
		"the issuer itself":    {life.Revocation{Serial: trust.SerialHex(f.Status.Current().Certificate().SerialNumber)}, protocol.CodeNotFound},
		"reason of a hold":     {life.Revocation{Serial: serial, Reason: trust.CertificateHold}, protocol.CodeMalformed},
		"reason of an issuer":  {life.Revocation{Serial: serial, Reason: trust.CACompromise}, protocol.CodeMalformed},
		"unknown lineage":      {life.Revocation{Lineage: "00"}, protocol.CodeNotFound},
		"lineage of nobody":    {life.Revocation{Lineage: "'; DROP TABLE ca_audit; --"}, protocol.CodeNotFound},
		"the responder itself": {life.Revocation{Serial: responderSerial(t, f)}, protocol.CodeNotFound},
	} {
		if _, err := f.Life.Revoke(t.Context(), audit.Local(""), v.r); protocol.CodeOf(err) != v.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: serial})
	must(t, err)
	again, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: serial, Reason: trust.KeyCompromise})
	if err != nil || len(again) != 0 {
		t.Errorf("second revocation changed %v, %v", again, err)
	}
}

func responderSerial(t *testing.T, f *fixture) string {
	t.Helper()
	return trust.SerialHex(f.responder(t).SerialNumber)
}
