package ca_test

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// countingSigner counts what it signs, and lets all wait at a gate.
type countingSigner struct {
	crypto.Signer
	signed atomic.Int64
	gate   chan struct{}
}

func (c *countingSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	c.signed.Add(1)
	if c.gate != nil {
		<-c.gate
	}
	return c.Signer.Sign(random, digest, opts)
}

// TestOCSPSeveralQuestions: one message asks about a pair, about a number that
// was never issued, and about a stranger's certificate.
func TestOCSPSeveralQuestions(t *testing.T) {
	f, foreign := newFixture(t), newFixture(t)
	e, stranger := f.enrol(t), foreign.enrol(t)
	_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(e.encr.SerialNumber), Reason: trust.Superseded})
	must(t, err)
	fake := *e.sign
	fake.SerialNumber = big.NewInt(12345)
	nonce := []byte("0123456789abcdef0123456789abcdef")
	question, err := trust.NewOCSPRequest(e.sign, f.Status.Current().Certificate(), nonce, e.encr, &fake)
	must(t, err)
	answer, err := f.Life.OCSP(t.Context(), question)
	must(t, err)
	for cert, want := range map[*smx509.Certificate]trust.State{e.sign: trust.Good, e.encr: trust.Revoked, &fake: trust.Unknown} {
		if status := f.judge(t, answer.DER, cert, nonce); status.State != want {
			t.Errorf("%s: %v, want %v", cert.Subject.CommonName, status.State, want)
		}
	}
	if answer.Cacheable {
		t.Error("an answer to several questions may be kept")
	}

	theirs, err := trust.NewOCSPRequest(stranger.sign, foreign.Status.Current().Certificate(), nil)
	must(t, err)
	mixed := joinQuestions(t, ask(t, e.sign, f.Status.Current().Certificate(), nil), theirs)
	answer, err = f.Life.OCSP(t.Context(), mixed)
	must(t, err)
	if status := f.judge(t, answer.DER, e.sign, nil); status.State != trust.Good {
		t.Errorf("beside a stranger's: %v", status.State)
	}
	same, err := trust.NewOCSPRequest(e.sign, foreign.Status.Current().Certificate(), nil) // our serial number under another's name
	must(t, err)
	answer, err = f.Life.OCSP(t.Context(), joinQuestions(t, ask(t, e.sign, f.Status.Current().Certificate(), nil), same))
	must(t, err)
	if status := f.judge(t, answer.DER, e.sign, nil); status.State != trust.Good {
		t.Errorf("beside our number under another's name: %v", status.State)
	}
	request, err := trust.ParseOCSPRequest(mixed)
	must(t, err)
	if len(request.Questions) != 2 || request.Questions[1].About(f.Status.Current().Certificate()) {
		t.Fatal("the questions are not the two that were put")
	}
	if _, err := trust.VerifyOCSP(answer.DER, stranger.sign, foreign.Status.Current().Certificate(), trust.OCSPOptions{Now: f.clock.Now()}); err == nil {
		t.Error("we answered for another authority")
	}
}

// joinQuestions makes one request of the questions of two.
func joinQuestions(t *testing.T, first, second []byte) []byte {
	t.Helper()
	inner := func(der []byte) []byte { // OCSPRequest { TBSRequest { SEQUENCE OF Request } }
		for range 3 {
			var v asn1.RawValue
			_, err := asn1.Unmarshal(der, &v)
			must(t, err)
			der = v.Bytes
		}
		return der
	}
	der := append(bytes.Clone(inner(first)), inner(second)...)
	for range 3 {
		var err error
		der, err = asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: der})
		must(t, err)
	}
	return der
}

func TestOCSPRequestBounds(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	for n, good := range map[int]bool{1: true, 32: true, 128: true} {
		nonce := bytes.Repeat([]byte{7}, n)
		answer, err := f.Life.OCSP(t.Context(), ask(t, e.sign, f.Status.Current().Certificate(), nonce))
		must(t, err)
		if status := f.judge(t, answer.DER, e.sign, nonce); (status.State == trust.Good) != good {
			t.Errorf("nonce of %d bytes: %v", n, status.State)
		}
	}
	if _, err := trust.NewOCSPRequest(e.sign, f.Status.Current().Certificate(), make([]byte, 129)); err == nil {
		t.Error("a nonce of 129 bytes")
	}
	many := make([]*smx509.Certificate, trust.MaxOCSPQuestions)
	for i := range many {
		many[i] = e.sign
	}
	question, err := trust.NewOCSPRequest(e.sign, f.Status.Current().Certificate(), nil, many...)
	must(t, err)
	answer, err := f.Life.OCSP(t.Context(), question)
	must(t, err)
	if !bytes.Equal(answer.DER, trust.OCSPError(trust.MalformedRequest)) {
		t.Error("more questions than the bound were answered")
	}
}

// TestOCSPSignsOnceForManyAskers, and never hands what was true before a
// revocation to those who ask after it.
func TestOCSPSignsOnceForManyAskers(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	signer := &countingSigner{gate: make(chan struct{})}
	f.Authority = f.openWith(t, ca.Options{}, ca.Seams{Opened: func(o *folder.Opened) { signer.Signer, o.OCSP = o.OCSP, signer }})
	question := ask(t, e.sign, f.Status.Current().Certificate(), nil)
	var before sync.WaitGroup
	for range 50 {
		before.Go(func() {
			if _, err := f.Life.OCSP(t.Context(), question); err != nil {
				t.Error(err)
			}
		})
	}
	signer.gate <- struct{}{} // the first of them signs; who comes later finds its answer
	_, err := f.Life.Revoke(t.Context(), audit.Local(""), life.Revocation{Serial: trust.SerialHex(e.sign.SerialNumber), Reason: trust.KeyCompromise})
	must(t, err)
	close(signer.gate)
	answer, err := f.Life.OCSP(t.Context(), question)
	must(t, err)
	if status := f.judge(t, answer.DER, e.sign, nil); !errors.Is(status.Err(), trust.ErrRevoked) {
		t.Errorf("after the revocation: %v", status.State)
	}
	before.Wait()
	if n := signer.signed.Load(); n < 2 || n > 4 {
		t.Errorf("%d signatures for two statuses and 51 askers", n)
	}
}
