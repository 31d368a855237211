package issuance

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha1" // RFC 5280 4.2.1.2 (1) names keys by it; nothing is signed over it
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Config is what an issuer writes into every certificate.
type Config struct {
	OIDs trust.OIDs
	// CRLURL, OCSPURL and IssuerURL are where the status of certificates and
	// the certificate of this issuer are found (http or https).
	CRLURL, OCSPURL, IssuerURL string
	// OrganisationIdentity and PersonIdentity say in which form the certificates
	// of organisations' people and of natural persons show an identity number;
	// none if empty.
	OrganisationIdentity, PersonIdentity IdentityForm
}

// crlURL is what a certificate points to.
func (c Config) crlURL(r Request) string {
	if r.CRLURL != "" {
		return r.CRLURL
	}
	return c.CRLURL
}

// Request is what a certificate is to say. The caller has stored it, serial
// number included, before it asks.
type Request struct {
	Profile   Name
	Subject   Subject
	PublicKey crypto.PublicKey
	// OtherKey is the key of the other half of a dual certificate, which must be
	// another one; nil where there is none.
	OtherKey            crypto.PublicKey
	Serial              *big.Int
	NotBefore, NotAfter time.Time // whole seconds
	Lineage             []byte    // trust.LineageSize bytes where the profile has it
	Role                string
	CreditCode          string
	PlatformID          string
	// Identity is the holder's identity number in the form that the issuer's
	// configuration wants; see MarkIdentity.
	Identity IdentityMark
	// CRLURL is where the list (or the shard of it) that covers this certificate
	// is found; the issuer's configured one if empty. Only URLs below the
	// configured one's folder are taken.
	CRLURL string
}

// Issuer signs certificates with one key. It is safe for concurrent use.
type Issuer struct {
	cert     *smx509.Certificate // nil while a root is made
	key      crypto.Signer
	lintKey  crypto.Signer // throw-away key of the same family
	zlint    *zlintRegistry
	config   Config
	profiles map[Name]profile
}

// NewIssuer makes an issuer of an authority's certificate and key.
func NewIssuer(cert *smx509.Certificate, key crypto.Signer, config Config) (*Issuer, error) {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("the issuer's key does not belong to its certificate")
	}
	issuer, err := NewRootIssuer(key, config)
	if err != nil {
		return nil, err
	}
	issuer.cert = cert
	return issuer, nil
}

// NewRootIssuer makes an issuer that can do one thing: sign its own root
// certificate.
func NewRootIssuer(key crypto.Signer, config Config) (*Issuer, error) {
	lintKey, err := throwAway(key.Public())
	if err != nil {
		return nil, err
	}
	return &Issuer{key: key, lintKey: lintKey, zlint: new(zlintRegistry), config: config, profiles: profiles(config.OIDs)}, nil
}

// Certificate of the issuer.
func (i *Issuer) Certificate() *smx509.Certificate { return i.cert }

// throwAway makes a key of the same family. Certificates are put
// together and linted under its signature, so that the issuer's own key has
// signed nothing that was refused.
func throwAway(public crypto.PublicKey) (crypto.Signer, error) {
	family := FamilyOf(public)
	if family == "" {
		return nil, fmt.Errorf("an issuer's key of type %T", public)
	}
	return family.GenerateKey()
}

// serialSize is the length of serial numbers in octets: one that keeps them
// positive and of equal length, and 16 random ones.
const serialSize = 17

// NewSerial draws a serial number with more than 128 random bits, at most 20
// octets (RFC 5280 4.1.2.2).
func NewSerial(random io.Reader) (*big.Int, error) {
	octets := make([]byte, serialSize)
	if _, err := io.ReadFull(random, octets); err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	octets[0] = octets[0]&0x3F | 0x40
	return new(big.Int).SetBytes(octets), nil
}

// Linted is a certificate that passed every lint and waits for its signature.
// Only Prepare makes one.
type Linted struct {
	issuer   *Issuer
	tbs      []byte
	warnings []*LintError
}

// Warnings are what a reviewer should look at; they stop nothing.
func (l *Linted) Warnings() []*LintError { return l.warnings }

// Prepare builds a certificate and lints it. A failed lint is a *LintError.
func (i *Issuer) Prepare(request Request) (*Linted, error) {
	p, ok := i.profiles[request.Profile]
	if !ok {
		return nil, fmt.Errorf("no profile %q", request.Profile)
	}
	if (i.cert == nil) != (request.Profile == Root) {
		return nil, fmt.Errorf("profile %q cannot be issued by this issuer", request.Profile)
	}
	template, err := i.template(request, p)
	if err != nil {
		return nil, err
	}
	der, err := smx509.CreateCertificate(rand.Reader, template, i.lintParent(template), request.PublicKey, i.lintKey)
	if err != nil {
		return nil, fmt.Errorf("build certificate: %w", err)
	}
	cert, err := trust.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("build certificate: %w", err)
	}
	s := i.subject(request, p)
	if err := applyLints(cert, s); err != nil {
		return nil, err
	}
	if err := i.zlint.lint(cert, s); err != nil {
		return nil, err
	}
	return &Linted{issuer: i, tbs: cert.RawTBSCertificate, warnings: warn(cert, s)}, nil
}

// Issue signs what was linted and checks the result: the signature verifies and
// covers the linted bytes, no others.
func (i *Issuer) Issue(linted *Linted) (*smx509.Certificate, error) {
	if linted == nil || linted.issuer != i || len(linted.tbs) == 0 {
		return nil, errors.New("not linted by this issuer")
	}
	algorithm, signature, err := trust.SignASN1(rand.Reader, i.key, linted.tbs)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: linted.tbs}, algorithm, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	cert, err := trust.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("signed certificate: %w", err)
	}
	if !bytes.Equal(cert.RawTBSCertificate, linted.tbs) {
		return nil, errors.New("the signed certificate is not the linted one")
	}
	signer := i.cert
	if signer == nil {
		signer = cert
	}
	if err := cert.CheckSignatureFrom(signer); err != nil {
		return nil, fmt.Errorf("signature of the new certificate: %w", err)
	}
	return cert, nil
}

// lintParent is the issuer as CreateCertificate sees it under the throw-away
// key; a root is its own.
func (i *Issuer) lintParent(template *smx509.Certificate) *smx509.Certificate {
	if i.cert == nil {
		return template
	}
	return &smx509.Certificate{RawSubject: i.cert.RawSubject, SubjectKeyId: i.cert.SubjectKeyId}
}

func (i *Issuer) template(r Request, p profile) (*smx509.Certificate, error) {
	subject, err := r.Subject.marshal()
	if err != nil {
		return nil, err
	}
	keyID, err := keyIdentifier(r.PublicKey)
	if err != nil {
		return nil, err
	}
	template := &smx509.Certificate{
		SerialNumber: r.Serial, RawSubject: subject, NotBefore: r.NotBefore, NotAfter: r.NotAfter,
		KeyUsage: p.keyUsage, BasicConstraintsValid: true, IsCA: p.authority, MaxPathLen: -1,
		SubjectKeyId: keyID,
	}
	if !p.usageCritical {
		template.UnknownExtKeyUsage = p.extKeyUsage
	}
	if p.authority {
		template.MaxPathLen, template.MaxPathLenZero = p.pathLen, p.pathLen == 0
	}
	if i.cert == nil {
		template.AuthorityKeyId = keyID
	}
	if p.statusPointer || p.crlPointer {
		template.CRLDistributionPoints = []string{i.config.crlURL(r)}
		template.IssuingCertificateURL = []string{i.config.IssuerURL}
	}
	if p.statusPointer {
		template.OCSPServer = []string{i.config.OCSPURL}
	}
	template.ExtraExtensions, err = i.ownExtensions(r, p)
	return template, err
}

// ownExtensions are those that X.509 has no field for.
func (i *Issuer) ownExtensions(r Request, p profile) ([]pkix.Extension, error) {
	var all []pkix.Extension
	add := func(id asn1.ObjectIdentifier, tag int, value []byte) error {
		if len(value) == 0 {
			return nil
		}
		der, err := asn1.Marshal(asn1.RawValue{Tag: tag, Bytes: value})
		if err != nil {
			return fmt.Errorf("extension %v: %w", id, err)
		}
		all = append(all, pkix.Extension{Id: id, Value: der})
		return nil
	}
	err := errors.Join(
		add(i.config.OIDs.Lineage, asn1.TagOctetString, r.Lineage),
		add(i.config.OIDs.CreditCode, asn1.TagPrintableString, []byte(r.CreditCode)),
		add(i.config.OIDs.Role, asn1.TagUTF8String, []byte(r.Role)),
		add(i.config.OIDs.PlatformID, asn1.TagUTF8String, []byte(r.PlatformID)),
		add(i.config.OIDs.Identity, r.Identity.tag(), r.Identity.Value),
	)
	if p.noCheck {
		all = append(all, pkix.Extension{Id: trust.OIDOCSPNoCheck(), Value: asn1.NullBytes})
	}
	if p.usageCritical {
		der, e := asn1.Marshal(p.extKeyUsage)
		all, err = append(all, pkix.Extension{Id: oidExtKeyUsage(), Critical: true, Value: der}), errors.Join(err, e)
	}
	return all, err
}

// keyIdentifier is method (1) of RFC 5280 4.2.1.2: SHA-1 over the key's bits.
func keyIdentifier(public crypto.PublicKey) ([]byte, error) {
	bits, err := keyBits(public)
	if err != nil {
		return nil, err
	}
	digest := sha1.Sum(bits)
	return digest[:], nil
}

// keyBits are the bits of a SubjectPublicKeyInfo's key.
func keyBits(public crypto.PublicKey) ([]byte, error) {
	der, err := smx509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return info.Key.RightAlign(), nil
}
