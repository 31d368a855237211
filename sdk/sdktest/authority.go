package sdktest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"sync"
	"time"

	"github.com/bidseal/bidseal/ca/tsa"
	"github.com/bidseal/bidseal/trust"
	"github.com/bidseal/bidseal/trust/timestamp"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// Authority is a throw-away SM2 certificate authority: a root, an issuing
// authority below it, and the answers to questions for certificate status.
type Authority struct {
	clock   func() time.Time
	root    certified
	issuing certified

	stamps *tsa.Authority

	mu      sync.Mutex
	revoked map[string]time.Time // by serial
	down    bool
	// stampsDown is the same for timestamps
	stampsDown bool
	asked      int
}

// certified is a key with its certificate.
type certified struct {
	cert *smx509.Certificate
	key  *sm2.PrivateKey
}

// Holder is whom a certificate names.
type Holder struct {
	Person       string
	Organisation string // empty for a natural person
	CreditCode   string
	Role         string // trust.RoleAdmin, trust.RoleUser or empty
	Lineage      []byte // 16 bytes; drawn where it is nil
	// NotAfter is a year from now where it is zero.
	NotAfter time.Time
}

// NewAuthority makes an authority with keys of its own.
func NewAuthority(clock func() time.Time) (*Authority, error) {
	a := &Authority{clock: clock, revoked: make(map[string]time.Time)}
	var err error
	if a.root, err = a.issue(nil, authorityTemplate("sdktest root", -1)); err != nil {
		return nil, err
	}
	if a.issuing, err = a.issue(&a.root, authorityTemplate("sdktest issuing", 0)); err != nil {
		return nil, err
	}
	a.stamps, err = a.timestamps()
	return a, err
}

// timestamps makes the timestamp authority.
func (a *Authority) timestamps() (*tsa.Authority, error) {
	usage, err := extension(asn1.ObjectIdentifier{2, 5, 29, 37}, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return nil, err
	}
	usage.Critical = true // RFC 3161 2.3
	own, err := a.issue(&a.issuing, &smx509.Certificate{Subject: pkix.Name{CommonName: "sdktest timestamps"},
		KeyUsage: smx509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{usage}})
	if err != nil {
		return nil, err
	}
	return tsa.New(tsa.Options{
		Signer: timestamp.Signer{Certificate: own.cert, Above: []*smx509.Certificate{a.issuing.cert}, Key: own.key},
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1, 20}, Ledger: new(tsa.MemoryLedger), Now: a.clock, Logger: slog.New(slog.DiscardHandler),
	})
}

// Timestamp answers a timestamp request; it is a bidseal.TimestampSource.
func (a *Authority) Timestamp(ctx context.Context, request []byte) ([]byte, error) {
	a.mu.Lock()
	down := a.stampsDown
	a.mu.Unlock()
	if down {
		return nil, errors.New("the timestamp authority cannot be reached")
	}
	return a.stamps.Respond(ctx, request)
}

// SetTimestampsDown lets every request for a timestamp fail, or answers them
// again.
func (a *Authority) SetTimestampsDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stampsDown = down
}

func authorityTemplate(name string, pathLen int) *smx509.Certificate {
	return &smx509.Certificate{
		Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true, IsCA: true, MaxPathLen: pathLen, MaxPathLenZero: pathLen == 0,
		KeyUsage: smx509.KeyUsageCertSign | smx509.KeyUsageCRLSign | smx509.KeyUsageDigitalSignature,
	}
}

// issue draws a key and certifies it; a nil issuer certifies itself.
func (a *Authority) issue(issuer *certified, c *smx509.Certificate) (certified, error) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return certified{}, fmt.Errorf("draw key: %w", err)
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126)); err != nil {
		return certified{}, fmt.Errorf("draw serial: %w", err)
	}
	c.SerialNumber.Add(c.SerialNumber, big.NewInt(1))
	now := a.clock()
	c.NotBefore = now.Add(-24 * time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = now.Add(365 * 24 * time.Hour)
	}
	parent, signer := c, crypto.Signer(key)
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := smx509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		return certified{}, fmt.Errorf("certify %q: %w", c.Subject.CommonName, err)
	}
	cert, err := trust.ParseCertificate(der)
	return certified{cert, key}, err
}

// extension encodes one value as an extension.
func extension(id asn1.ObjectIdentifier, value any) (pkix.Extension, error) {
	der, err := asn1.Marshal(value)
	return pkix.Extension{Id: id, Value: der}, err
}

func (a *Authority) person(h Holder) (certified, error) {
	oids := trust.DocumentationOIDs()
	if h.Lineage == nil {
		h.Lineage = make([]byte, trust.LineageSize)
		if _, err := rand.Read(h.Lineage); err != nil {
			return certified{}, fmt.Errorf("draw lineage: %w", err)
		}
	}
	c := &smx509.Certificate{Subject: pkix.Name{CommonName: h.Person}, NotAfter: h.NotAfter,
		KeyUsage: smx509.KeyUsageDigitalSignature | smx509.KeyUsageContentCommitment}
	lineage, err := extension(oids.Lineage, h.Lineage)
	if err != nil {
		return certified{}, err
	}
	c.ExtraExtensions = []pkix.Extension{lineage}
	if h.Organisation != "" {
		c.Subject.Organization = []string{h.Organisation}
	}
	for _, text := range []struct {
		id    asn1.ObjectIdentifier
		value string
	}{{oids.CreditCode, h.CreditCode}, {oids.Role, h.Role}} {
		if text.value == "" {
			continue
		}
		ext, err := extension(text.id, text.value)
		if err != nil {
			return certified{}, err
		}
		c.ExtraExtensions = append(c.ExtraExtensions, ext)
	}
	return a.issue(&a.issuing, c)
}

func (a *Authority) platform(id, name string) (certified, error) {
	oids := trust.DocumentationOIDs()
	ext, err := extension(oids.PlatformID, id)
	if err != nil {
		return certified{}, err
	}
	return a.issue(&a.issuing, &smx509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: smx509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{oids.PlatformUsage}, ExtraExtensions: []pkix.Extension{ext}})
}

// Root is the anchor.
func (a *Authority) Root() *smx509.Certificate { return a.root.cert }

// Issuing is the authority that issues the certificates.
func (a *Authority) Issuing() *smx509.Certificate { return a.issuing.cert }

// Anchors is a store with the root alone.
func (a *Authority) Anchors() (*trust.Store, error) {
	return trust.NewStore(trust.DocumentationAuthority(a.root.cert))
}

// chain is what a holder presents.
func (a *Authority) chain(leaf *smx509.Certificate) []*smx509.Certificate {
	return []*smx509.Certificate{leaf, a.issuing.cert}
}

// Revoke revokes a certificate from now on.
func (a *Authority) Revoke(cert *smx509.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revoked[cert.SerialNumber.String()] = a.clock()
}

// SetDown lets every question for status fail, or answers them again.
func (a *Authority) SetDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

// Asked counts the questions for status.
func (a *Authority) Asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// OCSP answers a question for status; it is a bidseal.StatusSource.
func (a *Authority) OCSP(_ context.Context, cert, issuer *smx509.Certificate) ([]byte, error) {
	a.mu.Lock()
	a.asked++
	down, status := a.down, a.status(cert)
	a.mu.Unlock()
	if down {
		return nil, errors.New("the authority cannot be reached")
	}
	question, err := trust.NewOCSPRequest(cert, issuer, nil)
	if err != nil {
		return nil, err
	}
	parsed, err := trust.ParseOCSPRequest(question)
	if err != nil {
		return nil, err
	}
	return trust.Responder{Issuer: a.issuing.cert, Certificate: a.issuing.cert, Key: a.issuing.key}.Sign(rand.Reader, parsed, status)
}

func (a *Authority) status(cert *smx509.Certificate) trust.Status {
	now := a.clock()
	s := trust.Status{State: trust.Good, ProducedAt: now, ThisUpdate: now, NextUpdate: now.Add(time.Hour)}
	if at, found := a.revoked[cert.SerialNumber.String()]; found {
		s.State, s.RevokedAt, s.Reason = trust.Revoked, at, trust.KeyCompromise
	}
	return s
}
