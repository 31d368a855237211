package timestamp

import (
	"bytes"
	"crypto/subtle"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Options say what a token has to be.
type Options struct {
	// Anchors under which the authority's certificate is believed. Required.
	Anchors *trust.Store
	// Imprint that the token has to be over. Required.
	Imprint Imprint
	// Nonce of the request, where there was one.
	Nonce *big.Int
	// Policy that the token has to state; empty for any.
	Policy asn1.ObjectIdentifier
	// Certificates that may complete the chain, for a token that carries none.
	Certificates []*smx509.Certificate
}

// Stamp is a token that was found good.
type Stamp struct {
	Info *Info
	// Authority is the chain of the one who signed it, valid at Info.Time.
	Authority *trust.Verified
}

// Token is a timestamp that was read but not believed yet.
type Token struct {
	Info *Info
	// Certificates that it carries, in their order.
	Certificates []*smx509.Certificate

	content    []byte
	signer     signerInfo
	digest     digest
	attributes map[string]asn1.RawValue // by identifier; one value each
}

// Verify judges a token (RFC 3161 2.2, 2.3; RFC 5652 5.6; RFC 5816): its form,
// the signature, that the signed attributes name the signer's certificate, the
// chain to an anchor at the time it states, the critical extended key usage, and
// the imprint. Certificates whose end came after that time do no harm.
//
// The error wraps ErrImprint, ErrMismatch, ErrSigner, or an error of package
// trust.
func Verify(der []byte, o Options) (*Stamp, error) {
	token, err := Parse(der)
	if err != nil {
		return nil, err
	}
	return token.Verify(o)
}

// Verify judges a token that was parsed before; see the function Verify.
func (t *Token) Verify(o Options) (*Stamp, error) {
	if !t.Info.Imprint.Equal(o.Imprint) {
		return nil, ErrImprint
	}
	if o.Nonce != nil && (t.Info.Nonce == nil || t.Info.Nonce.Cmp(o.Nonce) != 0) {
		return nil, fmt.Errorf("nonce: %w", ErrMismatch)
	}
	if len(o.Policy) != 0 && !t.Info.Policy.Equal(o.Policy) {
		return nil, fmt.Errorf("policy %v: %w", t.Info.Policy, ErrMismatch)
	}
	bag := append(append([]*smx509.Certificate{}, t.Certificates...), o.Certificates...)
	signer := t.signer.find(bag)
	if signer == nil {
		return nil, fmt.Errorf("the certificate is not among %d: %w", len(bag), ErrSigner)
	}
	if err := t.checkAttributes(signer); err != nil {
		return nil, err
	}
	verified, err := o.Anchors.Verify(chainOf(signer, bag), trust.VerifyOptions{Time: t.Info.Time, Usage: trust.TSA, Operation: trust.OperationEvidence})
	if err != nil {
		return nil, err
	}
	if err := t.checkName(signer); err != nil {
		return nil, err
	}
	if err := t.checkSignature(signer); err != nil {
		return nil, err
	}
	return &Stamp{Info: t.Info, Authority: verified}, nil
}

// checkName: a tsa field has to be a name of the signer (RFC 3161 2.4.2).
func (t *Token) checkName(signer *smx509.Certificate) error {
	if name := directoryName(t.Info.tsa.Bytes); name != nil && !bytes.Equal(name, signer.RawSubject) {
		return fmt.Errorf("another name than the certificate's: %w", ErrSigner)
	}
	return nil
}

// maxCertificates in a token.
const maxCertificates = 8

// Parse reads a token without judging it. The error wraps trust.ErrMalformed,
// trust.ErrAlgorithm or trust.ErrCritical.
func Parse(der []byte) (*Token, error) {
	if len(der) > MaxResponse {
		return nil, fmt.Errorf("timestamp of %d bytes: %w", len(der), trust.ErrMalformed)
	}
	var outer contentInfo
	if err := exactly(der, &outer); err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	if !outer.Type.Equal(oidSignedData()) && !outer.Type.Equal(oidGMSignedData()) {
		return nil, fmt.Errorf("timestamp of content type %v: %w", outer.Type, trust.ErrMalformed)
	}
	var data signedData
	if err := exactly(outer.Content.Bytes, &data); err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	// what another encoding, or a field that nobody looks at, could hide
	outer.Content = tagged(0, outer.Content.Bytes)
	if same(der, outer) != nil || same(outer.Content.Bytes, data) != nil {
		return nil, fmt.Errorf("timestamp not in the one form of DER: %w", trust.ErrMalformed)
	}
	if len(data.Signers) != 1 || !data.Encapsulated.Type.Equal(oidTSTInfo()) { // RFC 3161 2.4.2
		return nil, fmt.Errorf("timestamp of %d signers over content %v: %w", len(data.Signers), data.Encapsulated.Type, trust.ErrMalformed)
	}
	token := &Token{signer: data.Signers[0]}
	if err := exactly(data.Encapsulated.Content.Bytes, &token.content); err != nil {
		return nil, fmt.Errorf("timestamp's content: %w", err)
	}
	var err error
	if token.Info, err = parseInfo(token.content); err != nil {
		return nil, err
	}
	if token.digest, err = digestOf(token.signer.Digest); err != nil {
		return nil, err
	}
	if token.Certificates, err = parseBag(data.Certificates.Bytes); err != nil {
		return nil, err
	}
	return token, token.readAttributes()
}

func parseBag(der []byte) ([]*smx509.Certificate, error) {
	var all []*smx509.Certificate
	for len(der) > 0 {
		var raw asn1.RawValue
		rest, err := asn1.Unmarshal(der, &raw)
		if err != nil || len(all) == maxCertificates {
			return nil, fmt.Errorf("timestamp's certificates: %w", trust.ErrMalformed)
		}
		cert, err := trust.ParseCertificate(raw.FullBytes)
		if err != nil {
			return nil, fmt.Errorf("timestamp's certificates: %w", err)
		}
		all, der = append(all, cert), rest
	}
	return all, nil
}

// readAttributes: each at most once, with one value (RFC 5652 11, RFC 5035 5).
func (t *Token) readAttributes() error {
	t.attributes = make(map[string]asn1.RawValue)
	for rest := t.signer.Attributes.Bytes; len(rest) > 0; {
		var a attribute
		var err error
		if rest, err = asn1.Unmarshal(rest, &a); err != nil {
			return fmt.Errorf("timestamp's attributes: %w: %w", trust.ErrMalformed, err)
		}
		if _, twice := t.attributes[a.Type.String()]; twice || len(a.Values) != 1 {
			return fmt.Errorf("timestamp's attribute %v is not there once: %w", a.Type, trust.ErrMalformed)
		}
		t.attributes[a.Type.String()] = a.Values[0]
	}
	return nil
}

func (t *Token) value(id asn1.ObjectIdentifier, into any) error {
	raw, ok := t.attributes[id.String()]
	if !ok {
		return fmt.Errorf("timestamp without signed attribute %v: %w", id, trust.ErrMalformed)
	}
	if err := exactly(raw.FullBytes, into); err != nil {
		return fmt.Errorf("timestamp's attribute %v: %w", id, err)
	}
	return nil
}

func (t *Token) checkAttributes(signer *smx509.Certificate) error {
	var kind asn1.ObjectIdentifier
	if err := t.value(oidContentType(), &kind); err != nil {
		return err
	}
	var sum []byte
	if err := t.value(oidMessageDigest(), &sum); err != nil {
		return err
	}
	if !kind.Equal(oidTSTInfo()) || subtle.ConstantTimeCompare(sum, t.digest.sum(t.content)) != 1 {
		return fmt.Errorf("timestamp's attributes are of another content: %w", trust.ErrUntrusted)
	}
	var named signingCertificateV2
	if err := t.value(oidSigningCertificateV2(), &named); err != nil {
		return fmt.Errorf("%w: %w", ErrSigner, err)
	}
	if len(named.Certs) == 0 {
		return fmt.Errorf("no certificate is named: %w", ErrSigner)
	}
	return named.Certs[0].check(signer) // RFC 5035 5.4: the first is the signer's
}

func (e essCertIDv2) check(signer *smx509.Certificate) error {
	id := e.Algorithm
	if len(id.Algorithm) == 0 {
		id = algorithm(oidSHA(1))
	}
	d, err := digestOf(id)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(e.Hash, d.sum(signer.Raw)) != 1 {
		return ErrSigner
	}
	if e.IssuerSerial.Serial == nil {
		return nil
	}
	if len(e.IssuerSerial.Issuer) != 1 || !bytes.Equal(directoryName(e.IssuerSerial.Issuer[0].FullBytes), signer.RawIssuer) ||
		e.IssuerSerial.Serial.Cmp(signer.SerialNumber) != 0 {
		return fmt.Errorf("issuer and serial number: %w", ErrSigner)
	}
	return nil
}

// find the signer's certificate by issuer and serial number, or by [0] its key
// identifier.
func (s signerInfo) find(bag []*smx509.Certificate) *smx509.Certificate {
	var named issuerAndSerial
	byName := s.ID.Class == asn1.ClassUniversal && exactly(s.ID.FullBytes, &named) == nil && named.Serial != nil
	for _, cert := range bag {
		if byName && bytes.Equal(named.Issuer.FullBytes, cert.RawIssuer) && named.Serial.Cmp(cert.SerialNumber) == 0 {
			return cert
		}
		if s.ID.Class == asn1.ClassContextSpecific && s.ID.Tag == 0 && len(cert.SubjectKeyId) > 0 && bytes.Equal(s.ID.Bytes, cert.SubjectKeyId) {
			return cert
		}
	}
	return nil
}

// chainOf orders the bag from the leaf upwards by names and key identifiers.
func chainOf(leaf *smx509.Certificate, bag []*smx509.Certificate) []*smx509.Certificate {
	chain := []*smx509.Certificate{leaf}
	for len(chain) < trust.MaxChainLength {
		last := chain[len(chain)-1]
		var above *smx509.Certificate
		for _, cert := range bag {
			if trust.IsIssuer(cert, last) && !cert.Equal(last) {
				above = cert
				break
			}
		}
		if above == nil {
			break
		}
		chain = append(chain, above)
	}
	return chain
}

// checkSignature verifies over the attributes as a SET OF (RFC 5652 5.4).
func (t *Token) checkSignature(signer *smx509.Certificate) error {
	id, want := signatureOf(t.signer.Algorithm, t.signer.Digest)
	if want != nil && !want.Equal(t.digest.id) {
		return fmt.Errorf("timestamp's digest does not go with its signature: %w", trust.ErrAlgorithm)
	}
	set, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: t.signer.Attributes.Bytes})
	if err != nil {
		return fmt.Errorf("timestamp: %w: %w", trust.ErrMalformed, err)
	}
	if err := trust.CheckSignature(signer, id, set, t.signer.Signature); err != nil {
		return fmt.Errorf("timestamp's signature: %w", err)
	}
	return nil
}

// signatureOf is the scheme that a SignerInfo means, and its digest: CMS lets RSA
// be named without a digest (RFC 5754 3.2), GB/T 35275 names SM2 by the curve's
// signature.
func signatureOf(id, digestID pkix.AlgorithmIdentifier) (scheme, digest asn1.ObjectIdentifier) {
	rsa := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, n} }
	ecdsa := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, n} }
	sm2WithSM3 := asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 501}
	if id.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 301, 1}) {
		return sm2WithSM3, oidSM3()
	}
	for n := 1; n <= 3; n++ {
		if id.Algorithm.Equal(rsa(1)) && digestID.Algorithm.Equal(oidSHA(n)) || id.Algorithm.Equal(rsa(10+n)) {
			return rsa(10 + n), oidSHA(n)
		}
		if id.Algorithm.Equal(ecdsa(1 + n)) {
			return ecdsa(1 + n), oidSHA(n)
		}
	}
	if id.Algorithm.Equal(sm2WithSM3) {
		return sm2WithSM3, oidSM3()
	}
	return id.Algorithm, nil
}

// Until is the latest moment that the stamp allows for: its time and accuracy.
func (s *Stamp) Until() time.Time { return s.Info.Time.Add(s.Info.Accuracy) }
