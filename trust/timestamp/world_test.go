package timestamp_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/bidseal/bidseal/trust/timestamp"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noon is the time at which the tests stamp.
func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func families() map[string]func() (crypto.Signer, error) {
	return map[string]func() (crypto.Signer, error){
		"SM2":   func() (crypto.Signer, error) { return sm2.GenerateKey(rand.Reader) },
		"P-256": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		"P-384": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		"RSA":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
	}
}

// world is a root, an issuing authority and a timestamp authority under it.
type world struct {
	root, issuing, tsa *smx509.Certificate
	issuingKey, tsaKey crypto.Signer
	store              *trust.Store
}

func usage(critical bool) pkix.Extension {
	der, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: der}
}

func newWorld(t testing.TB, newKey func() (crypto.Signer, error)) *world {
	t.Helper()
	rootKey, err := newKey()
	must(t, err)
	w := new(world)
	w.issuingKey, err = newKey()
	must(t, err)
	w.tsaKey, err = newKey()
	must(t, err)
	authority := func(name string, serial int64) *smx509.Certificate {
		return &smx509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: noon().Add(-time.Hour), NotAfter: noon().Add(time.Hour),
			BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1, KeyUsage: smx509.KeyUsageCertSign, SubjectKeyId: []byte(name),
		}
	}
	w.root = certify(t, authority("root", 1), nil, rootKey, rootKey)
	w.issuing = certify(t, authority("issuing", 2), w.root, w.issuingKey, rootKey)
	w.tsa = certify(t, w.template(3), w.issuing, w.tsaKey, w.issuingKey)
	w.store, err = trust.NewStore(trust.DocumentationAuthority(w.root))
	must(t, err)
	return w
}

func (w *world) template(serial int64) *smx509.Certificate {
	return &smx509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "tsa"}, NotBefore: noon().Add(-time.Minute), NotAfter: noon().Add(time.Minute),
		KeyUsage: smx509.KeyUsageDigitalSignature, SubjectKeyId: []byte("tsa"), ExtraExtensions: []pkix.Extension{usage(true)},
	}
}

func certify(t testing.TB, template, issuer *smx509.Certificate, key, issuerKey crypto.Signer) *smx509.Certificate {
	t.Helper()
	if issuer == nil {
		issuer = template
	}
	der, err := smx509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	must(t, err)
	cert, err := trust.ParseCertificate(der)
	must(t, err)
	return cert
}

func (w *world) signer() timestamp.Signer {
	return timestamp.Signer{Certificate: w.tsa, Above: []*smx509.Certificate{w.issuing}, Key: w.tsaKey}
}

func (w *world) info(imprint timestamp.Imprint) *timestamp.Info {
	return &timestamp.Info{
		Policy: asn1.ObjectIdentifier{1, 2, 3, 4}, Imprint: imprint, Serial: big.NewInt(77), Time: noon(), Accuracy: time.Second, Nonce: big.NewInt(99),
	}
}

// token over "message" by SM3, with certificates.
func (w *world) token(t testing.TB) []byte {
	t.Helper()
	token, err := w.signer().Sign(rand.Reader, w.info(timestamp.SumSM3([]byte("message"))), true)
	must(t, err)
	return token
}

func (w *world) options() timestamp.Options {
	return timestamp.Options{Anchors: w.store, Imprint: timestamp.SumSM3([]byte("message"))}
}
