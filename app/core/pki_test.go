package core_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, want protocol.Code) {
	t.Helper()
	if err == nil || protocol.CodeOf(err) != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

// clock is the one clock of a test's world.
type clock struct{ now time.Time }

func newClock() *clock               { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }
func (c *clock) Now() time.Time      { return c.now }
func (c *clock) add(d time.Duration) { c.now = c.now.Add(d) }

// signer is a key with its certificate.
type signer struct {
	cert *smx509.Certificate
	key  *sm2.PrivateKey
}

// pki is an authority with a root and an issuing certificate.
type pki struct {
	t       testing.TB
	clock   *clock
	serial  int64
	root    signer
	issuing signer
	revoked map[string]bool // by serial
	oids    trust.OIDs
}

func newPKI(t testing.TB, c *clock, name string) *pki {
	t.Helper()
	p := &pki{t: t, clock: c, revoked: map[string]bool{}, oids: trust.DocumentationOIDs()}
	authority := func(cn string) *smx509.Certificate {
		return &smx509.Certificate{Subject: pkix.Name{CommonName: cn}, BasicConstraintsValid: true, IsCA: true,
			NotBefore: c.now.Add(-time.Hour), NotAfter: c.now.AddDate(10, 0, 0),
			KeyUsage: smx509.KeyUsageCertSign | smx509.KeyUsageCRLSign, SubjectKeyId: []byte(cn)}
	}
	p.root = p.issue(authority(name+" root"), nil, p.key())
	p.issuing = p.issue(authority(name+" issuing"), &p.root, p.key())
	return p
}

func (p *pki) key() *sm2.PrivateKey {
	p.t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	must(p.t, err)
	return key
}

// issue signs a template for the key; a nil issuer signs itself.
func (p *pki) issue(template *smx509.Certificate, issuer *signer, key *sm2.PrivateKey) signer {
	p.t.Helper()
	return signer{p.sign(template, issuer, &key.PublicKey, key), key}
}

func (p *pki) sign(template *smx509.Certificate, issuer *signer, public crypto.PublicKey, self *sm2.PrivateKey) *smx509.Certificate {
	p.t.Helper()
	p.serial++
	template.SerialNumber = big.NewInt(p.serial)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = p.clock.now.Add(-time.Hour), p.clock.now.Add(30*24*time.Hour)
	}
	parent, key := template, self
	if issuer != nil {
		parent, key = issuer.cert, issuer.key
	}
	der, err := smx509.CreateCertificate(rand.Reader, template, parent, public, key)
	must(p.t, err)
	cert, err := trust.ParseCertificate(der)
	must(p.t, err)
	return cert
}

func (p *pki) extension(id asn1.ObjectIdentifier, value any, params string) pkix.Extension {
	p.t.Helper()
	der, err := asn1.MarshalWithParams(value, params)
	must(p.t, err)
	return pkix.Extension{Id: id, Value: der}
}

// platform issues a request certificate.
func (p *pki) platform(id, name string) signer {
	p.t.Helper()
	return p.issue(&smx509.Certificate{Subject: pkix.Name{CommonName: name, Organization: []string{"示例交易中心"}}, KeyUsage: smx509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{p.oids.PlatformUsage},
		ExtraExtensions:    []pkix.Extension{p.extension(p.oids.PlatformID, id, "utf8")}}, &p.issuing, p.key())
}

// holder is a template for one half of a dual certificate.
func (p *pki) holder(lineage []byte, usage smx509.KeyUsage) *smx509.Certificate {
	p.t.Helper()
	return &smx509.Certificate{Subject: pkix.Name{CommonName: "张三", Organization: []string{"示例建设有限公司"}}, KeyUsage: usage,
		ExtraExtensions: []pkix.Extension{p.extension(p.oids.Lineage, lineage, ""), p.extension(p.oids.CreditCode, creditCode, "printable")}}
}

const (
	creditCode    = "91350100M000100Y43"
	signUsage     = smx509.KeyUsageDigitalSignature | smx509.KeyUsageContentCommitment
	encryptUsage  = smx509.KeyUsageKeyEncipherment | smx509.KeyUsageDataEncipherment
	platformID    = "demo-platform"
	platformName  = "示例电子交易平台"
	appOrigin     = "https://app.example.cn"
	relayOrigin   = "https://relay.example.cn"
	authorityBase = "https://ca.example.cn"
)

// chain of a leaf without the root.
func (p *pki) chain(leaf *smx509.Certificate) []protocol.Bytes {
	return []protocol.Bytes{leaf.Raw, p.issuing.cert.Raw}
}

// ocsp answers for a certificate as of the clock.
func (p *pki) ocsp(leaf *smx509.Certificate) []byte {
	p.t.Helper()
	question, err := trust.NewOCSPRequest(leaf, p.issuing.cert, nil)
	must(p.t, err)
	return p.answer(question, leaf.SerialNumber)
}

func (p *pki) answer(question []byte, serial *big.Int) []byte {
	p.t.Helper()
	request, err := trust.ParseOCSPRequest(question)
	must(p.t, err)
	status := trust.Status{State: trust.Good, ProducedAt: p.clock.now, ThisUpdate: p.clock.now, NextUpdate: p.clock.now.Add(10 * time.Minute)}
	if p.revoked[serial.String()] {
		status.State, status.RevokedAt, status.Reason = trust.Revoked, p.clock.now.Add(-time.Minute), trust.KeyCompromise
	}
	der, err := trust.Responder{Issuer: p.issuing.cert, Certificate: p.issuing.cert, Key: p.issuing.key}.Sign(rand.Reader, request, status)
	must(p.t, err)
	return der
}

func (p *pki) revoke(cert *smx509.Certificate) { p.revoked[cert.SerialNumber.String()] = true }
