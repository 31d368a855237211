package trust_test

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
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// authority is a key with its certificate.
type authority struct {
	cert *smx509.Certificate
	key  crypto.Signer
}

// day is the time at which the tests judge.
func day() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// families are the kinds of keys that every judgement is tested with.
func families() map[string]func(t testing.TB) crypto.Signer {
	return map[string]func(testing.TB) crypto.Signer{
		"SM2": newSM2,
		"P-256": func(t testing.TB) crypto.Signer {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			must(t, err)
			return key
		},
		"RSA": func(t testing.TB) crypto.Signer {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			must(t, err)
			return key
		},
	}
}

func newSM2(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	must(t, err)
	return key
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// template is a certificate for a person's signature, to be changed by tests.
func template(serial int64, name string) *smx509.Certificate {
	return &smx509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: day().Add(-time.Hour), NotAfter: day().Add(time.Hour),
		KeyUsage:     smx509.KeyUsageDigitalSignature | smx509.KeyUsageContentCommitment,
		SubjectKeyId: []byte(name),
	}
}

// authorityTemplate is a certificate for an authority; pathLen < 0 means none.
func authorityTemplate(serial int64, name string, pathLen int) *smx509.Certificate {
	c := template(serial, name)
	c.BasicConstraintsValid, c.IsCA = true, true
	c.MaxPathLen, c.MaxPathLenZero = pathLen, pathLen == 0
	c.KeyUsage = smx509.KeyUsageCertSign | smx509.KeyUsageCRLSign
	return c
}

// issue signs a template; a nil issuer signs itself.
func issue(t testing.TB, c *smx509.Certificate, issuer *authority, key crypto.Signer) *authority {
	t.Helper()
	parent, signer := c, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := smx509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	must(t, err)
	cert, err := trust.ParseCertificate(der)
	must(t, err)
	return &authority{cert, key}
}

// chain of root, issuing authority and leaf.
type testChain struct{ root, issuing, leaf *authority }

func newChain(t testing.TB, newKey func(testing.TB) crypto.Signer, leaf *smx509.Certificate) testChain {
	t.Helper()
	root := issue(t, authorityTemplate(1, "root", -1), nil, newKey(t))
	issuing := issue(t, authorityTemplate(2, "issuing", 0), root, newKey(t))
	return testChain{root, issuing, issue(t, leaf, issuing, newKey(t))}
}

func (c testChain) certs() []*smx509.Certificate {
	return []*smx509.Certificate{c.leaf.cert, c.issuing.cert}
}

func (c testChain) store(t testing.TB) *trust.Store {
	t.Helper()
	store, err := trust.NewStore(trust.DocumentationAuthority(c.root.cert))
	must(t, err)
	return store
}

func ext(t testing.TB, id asn1.ObjectIdentifier, critical bool, value any) pkix.Extension {
	t.Helper()
	der, err := asn1.Marshal(value)
	must(t, err)
	return pkix.Extension{Id: id, Critical: critical, Value: der}
}
