package trust_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// responder makes a delegate of the chain's issuer.
func (c testChain) responder(t testing.TB) trust.Responder {
	t.Helper()
	cert := template(9, "responder")
	cert.KeyUsage = smx509.KeyUsageDigitalSignature
	cert.ExtKeyUsage = []smx509.ExtKeyUsage{smx509.ExtKeyUsageOCSPSigning}
	cert.ExtraExtensions = []pkix.Extension{{Id: trust.OIDOCSPNoCheck(), Value: asn1.NullBytes}}
	return c.delegate(t, cert)
}

// delegate makes a responder of a template.
func (c testChain) delegate(t testing.TB, cert *smx509.Certificate) trust.Responder {
	t.Helper()
	delegate := issue(t, cert, c.issuing, newSM2(t))
	return trust.Responder{Issuer: c.issuing.cert, Certificate: delegate.cert, Key: delegate.key}
}

func good() trust.Status {
	return trust.Status{State: trust.Good, ProducedAt: day(), ThisUpdate: day(), NextUpdate: day().Add(10 * time.Minute)}
}

// answer requests and signs the status of the chain's leaf.
func answer(t testing.TB, c testChain, r trust.Responder, nonce []byte, status trust.Status) []byte {
	t.Helper()
	der, err := trust.NewOCSPRequest(c.leaf.cert, c.issuing.cert, nonce)
	must(t, err)
	request, err := trust.ParseOCSPRequest(der)
	must(t, err)
	if request.Questions[0].Serial.Cmp(c.leaf.cert.SerialNumber) != 0 || !bytes.Equal(request.Nonce, nonce) || request.About(c.root.cert) {
		t.Fatal("the request came out otherwise than it went in")
	}
	der, err = r.Sign(rand.Reader, request, status)
	must(t, err)
	return der
}

func TestOCSPEachKeyFamily(t *testing.T) {
	for name, newKey := range families() {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, newKey, template(3, "leaf"))
			self := trust.Responder{Issuer: c.issuing.cert, Certificate: c.issuing.cert, Key: c.issuing.key}
			for _, r := range []trust.Responder{self, c.responder(t)} {
				nonce := []byte("0123456789abcdef")
				status, err := trust.VerifyOCSP(answer(t, c, r, nonce, good()), c.leaf.cert, c.issuing.cert, trust.OCSPOptions{Now: day(), Nonce: nonce})
				must(t, err)
				if status.State != trust.Good || status.Err() != nil || !status.ProducedAt.Equal(day()) {
					t.Fatalf("%+v", status)
				}
			}
		})
	}
}

func TestOCSPStates(t *testing.T) {
	c := newChain(t, newSM2, template(3, "leaf"))
	r := c.responder(t)
	revoked := good()
	revoked.State, revoked.RevokedAt, revoked.Reason = trust.Revoked, day().Add(-time.Minute), trust.KeyCompromise
	status, err := trust.VerifyOCSP(answer(t, c, r, nil, revoked), c.leaf.cert, c.issuing.cert, trust.OCSPOptions{Now: day()})
	must(t, err)
	if !errors.Is(status.Err(), trust.ErrRevoked) || !status.RevokedAt.Equal(revoked.RevokedAt) || status.Reason != trust.KeyCompromise {
		t.Errorf("revoked: %+v, %v", status, status.Err())
	}
	unknown := good()
	unknown.State = trust.Unknown
	status, err = trust.VerifyOCSP(answer(t, c, r, nil, unknown), c.leaf.cert, c.issuing.cert, trust.OCSPOptions{Now: day()})
	must(t, err)
	if !errors.Is(status.Err(), trust.ErrStatusUnknown) {
		t.Errorf("unknown: %v", status.Err())
	}
	if _, err := trust.ParseOCSPResponse(trust.OCSPError(trust.TryLater)); !errors.Is(err, trust.ErrStatusUnknown) {
		t.Errorf("try later: %v", err)
	}
}

func TestOCSPFreshness(t *testing.T) {
	c := newChain(t, newSM2, template(3, "leaf"))
	der := answer(t, c, c.responder(t), nil, good())
	later := func(d time.Duration) time.Time { return day().Add(d) }
	for name, v := range map[string]struct {
		opts trust.OCSPOptions
		want error
	}{
		"at once":                   {trust.OCSPOptions{Now: day()}, nil},
		"at nextUpdate":             {trust.OCSPOptions{Now: later(10 * time.Minute)}, nil},
		"after nextUpdate":          {trust.OCSPOptions{Now: later(10*time.Minute + time.Second)}, trust.ErrStaleStatus},
		"within the skew":           {trust.OCSPOptions{Now: later(11 * time.Minute), Skew: time.Minute}, nil},
		"from the future":           {trust.OCSPOptions{Now: later(-time.Second)}, trust.ErrStaleStatus},
		"future within the skew":    {trust.OCSPOptions{Now: later(-time.Second), Skew: time.Second}, nil},
		"too old for the caller":    {trust.OCSPOptions{Now: later(6 * time.Minute), MaxAge: 5 * time.Minute}, trust.ErrStaleStatus},
		"old, but allowed":          {trust.OCSPOptions{Now: later(30 * time.Minute), MaxAge: time.Hour, AllowPastNextUpdate: true}, nil},
		"allowed without an age":    {trust.OCSPOptions{Now: later(30 * time.Minute), AllowPastNextUpdate: true}, trust.ErrStaleStatus},
		"produced before the event": {trust.OCSPOptions{Now: later(time.Minute), ProducedAfter: later(time.Second)}, trust.ErrStaleStatus},
		"without the nonce":         {trust.OCSPOptions{Now: day(), Nonce: []byte("x")}, trust.ErrStaleStatus},
		"without a time":            {trust.OCSPOptions{}, trust.ErrNotYetValid},
	} {
		if _, err := trust.VerifyOCSP(der, c.leaf.cert, c.issuing.cert, v.opts); !errors.Is(err, v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOCSPRefusesForeignAnswers(t *testing.T) {
	c := newChain(t, newSM2, template(3, "leaf"))
	other := newChain(t, newSM2, template(3, "leaf"))
	opts := trust.OCSPOptions{Now: day()}
	verify := func(der []byte) error {
		_, err := trust.VerifyOCSP(der, c.leaf.cert, c.issuing.cert, opts)
		return err
	}
	r := c.responder(t)

	sibling := issue(t, template(4, "sibling"), c.issuing, newSM2(t))
	aboutSibling := answer(t, testChain{c.root, c.issuing, sibling}, r, nil, good())
	if err := verify(aboutSibling); !errors.Is(err, trust.ErrStatusMismatch) {
		t.Errorf("answer about a sibling: %v", err)
	}
	if err := verify(answer(t, other, other.responder(t), nil, good())); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("answer of another authority with the same names: %v", err)
	}
	stranger := r
	stranger.Key = newSM2(t)
	if err := verify(answer(t, c, stranger, nil, good())); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("signature by another key: %v", err)
	}
	person := trust.Responder{Issuer: c.issuing.cert, Certificate: sibling.cert, Key: sibling.key}
	if err := verify(answer(t, c, person, nil, good())); !errors.Is(err, trust.ErrKeyUsage) {
		t.Errorf("answer by a person: %v", err)
	}
	sworn := template(10, "responder whose own status nobody knows")
	sworn.KeyUsage, sworn.ExtKeyUsage = smx509.KeyUsageDigitalSignature, []smx509.ExtKeyUsage{smx509.ExtKeyUsageOCSPSigning}
	uncertain := c.delegate(t, sworn)
	if err := verify(answer(t, c, uncertain, nil, good())); !errors.Is(err, trust.ErrStatusUnknown) {
		t.Errorf("answer by a delegate that may have been revoked: %v", err)
	}
	for name, want := range map[string]error{"good": nil, "revoked": trust.ErrRevoked} {
		opts.CheckResponder = func(cert *smx509.Certificate) error {
			if !cert.Equal(uncertain.Certificate) {
				t.Error("another certificate was asked about")
			}
			return want
		}
		if err := verify(answer(t, c, uncertain, nil, good())); !errors.Is(err, want) {
			t.Errorf("answer by a delegate that is %s: %v", name, err)
		}
	}
	tampered := answer(t, c, r, nil, good())
	tampered[len(tampered)/3] ^= 1
	if verify(tampered) == nil {
		t.Error("altered answer accepted")
	}
	request, err := trust.NewOCSPRequest(other.leaf.cert, other.issuing.cert, nil)
	must(t, err)
	parsed, err := trust.ParseOCSPRequest(request)
	must(t, err)
	if _, err := r.Sign(rand.Reader, parsed, good()); !errors.Is(err, trust.ErrStatusMismatch) {
		t.Errorf("signed for another issuer: %v", err)
	}
}

// TestOCSPWithoutNextUpdateIsNotForEver: such an answer says that newer ones are
// there all the time (RFC 6960 4.2.2.1).
func TestOCSPWithoutNextUpdateIsNotForEver(t *testing.T) {
	c := newChain(t, newSM2, template(3, "leaf"))
	endless := good()
	endless.NextUpdate = time.Time{}
	der := answer(t, c, c.responder(t), nil, endless)
	later := day().Add(10 * time.Minute)
	for name, v := range map[string]struct {
		opts trust.OCSPOptions
		want error
	}{
		"later":                    {trust.OCSPOptions{Now: later}, trust.ErrStaleStatus},
		"at once":                  {trust.OCSPOptions{Now: day()}, nil},
		"within the caller's age":  {trust.OCSPOptions{Now: later, MaxAge: time.Hour}, nil},
		"produced since the event": {trust.OCSPOptions{Now: later, ProducedAfter: day()}, nil},
		"with the nonce of nobody": {trust.OCSPOptions{Now: later, Nonce: []byte("x")}, trust.ErrStaleStatus},
	} {
		if _, err := trust.VerifyOCSP(der, c.leaf.cert, c.issuing.cert, v.opts); !errors.Is(err, v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCRL(t *testing.T) {
	const uri = "http://ca.example/crl/1.crl"
	for name, newKey := range families() {
		t.Run(name, func(t *testing.T) {
			leaf := template(3, "leaf")
			leaf.CRLDistributionPoints = []string{uri}
			c := newChain(t, newKey, leaf)
			fine := template(4, "fine")
			fine.CRLDistributionPoints = []string{uri}
			elsewhere := issue(t, template(5, "elsewhere"), c.issuing, newKey(t))
			der := makeCRL(t, c.issuing, uri, c.leaf.cert.SerialNumber)
			crl, err := trust.VerifyCRL(der, c.issuing.cert, trust.CRLOptions{Now: day()})
			must(t, err)
			status, err := crl.Status(c.leaf.cert)
			must(t, err)
			if !errors.Is(status.Err(), trust.ErrRevoked) || status.Reason != trust.Superseded {
				t.Errorf("revoked: %+v", status)
			}
			status, err = crl.Status(issue(t, fine, c.issuing, newKey(t)).cert)
			must(t, err)
			if status.Err() != nil {
				t.Errorf("good: %+v", status)
			}
			for what, cert := range map[string]*smx509.Certificate{"other shard": elsewhere.cert, "authority": c.issuing.cert} {
				if _, err := crl.Status(cert); !errors.Is(err, trust.ErrStatusMismatch) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := trust.VerifyCRL(der, c.issuing.cert, trust.CRLOptions{Now: day().Add(25 * time.Hour)}); !errors.Is(err, trust.ErrStaleStatus) {
				t.Errorf("after nextUpdate: %v", err)
			}
			stranger := newChain(t, newKey, template(3, "leaf"))
			if _, err := trust.VerifyCRL(der, stranger.issuing.cert, trust.CRLOptions{Now: day()}); !errors.Is(err, trust.ErrUntrusted) {
				t.Errorf("issuer with the same name: %v", err)
			}
			if _, err := trust.VerifyCRL(der, c.root.cert, trust.CRLOptions{Now: day()}); !errors.Is(err, trust.ErrStatusMismatch) {
				t.Errorf("other issuer: %v", err)
			}
		})
	}
}

// TestCRLOfAnUnreadScope: a list that names its place otherwise than by a URI
// covers some shard, not everything; one without an end would be good for ever.
func TestCRLOfAnUnreadScope(t *testing.T) {
	c := newChain(t, newSM2, template(3, "leaf"))
	wrap := func(tag int, inner []byte) []byte {
		der, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: inner})
		must(t, err)
		return der
	}
	name, err := asn1.Marshal(pkix.Name{CommonName: "shard 7"}.ToRDNSequence())
	must(t, err)
	relative, err := asn1.Marshal(pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "shard 7"}})
	must(t, err)
	relative[0] = 0xA1 // IMPLICIT [1]
	for what, point := range map[string][]byte{
		"a directory name": wrap(0, wrap(0, wrap(4, name))),
		"a relative name":  wrap(0, relative),
		"no name":          wrap(0, nil),
		"an unknown field": wrap(9, nil),
	} {
		idp, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: point})
		must(t, err)
		crl, err := trust.VerifyCRL(signList(t, c.issuing, idp, c.issuing.cert.SerialNumber), c.issuing.cert, trust.CRLOptions{Now: day()})
		if err == nil {
			_, err = crl.Status(c.leaf.cert)
		}
		if !errors.Is(err, trust.ErrStatusMismatch) && !errors.Is(err, trust.ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	tbs, err := asn1.Marshal(struct { // RFC 5280 5.1 without nextUpdate, which no library leaves out
		Version    int
		Signature  pkix.AlgorithmIdentifier
		Issuer     pkix.RDNSequence
		ThisUpdate time.Time
		Extensions []pkix.Extension `asn1:"tag:0,explicit"`
	}{
		Version: 1, Signature: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 501}},
		Issuer: c.issuing.cert.Subject.ToRDNSequence(), ThisUpdate: day(),
		Extensions: []pkix.Extension{ext(t, asn1.ObjectIdentifier{2, 5, 29, 20}, false, 1)},
	})
	must(t, err)
	algorithm, signature, err := trust.SignASN1(rand.Reader, c.issuing.key, tbs)
	must(t, err)
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: tbs}, algorithm, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	must(t, err)
	if _, err := trust.VerifyCRL(der, c.issuing.cert, trust.CRLOptions{Now: day().AddDate(0, 0, 1)}); !errors.Is(err, trust.ErrMalformed) {
		t.Errorf("without nextUpdate: %v", err)
	}
}

func makeCRL(t testing.TB, issuer *authority, uri string, revoked *big.Int) []byte {
	t.Helper()
	idp, err := trust.NewIssuingDistributionPoint(false, uri)
	must(t, err)
	return signList(t, issuer, idp, revoked)
}

func signList(t testing.TB, issuer *authority, idp []byte, revoked *big.Int) []byte {
	t.Helper()
	der, err := smx509.CreateRevocationList(rand.Reader, &smx509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: day(), NextUpdate: day().Add(24 * time.Hour),
		RevokedCertificateEntries: []smx509.RevocationListEntry{{SerialNumber: revoked, RevocationTime: day(), ReasonCode: int(trust.Superseded)}},
		ExtraExtensions:           []pkix.Extension{{Id: trust.OIDIssuingDistributionPoint(), Critical: true, Value: idp}},
	}, issuer.cert, issuer.key)
	must(t, err)
	return der
}
