package timestamp

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"slices"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// Signer is the key and the certificates of a timestamp authority.
type Signer struct {
	Certificate *smx509.Certificate
	// Above are the certificates over it that tokens carry, the anchor left out.
	Above []*smx509.Certificate
	Key   crypto.Signer
}

// ownDigest is the digest that goes with a key: as strong as its signature.
func ownDigest(public crypto.PublicKey) (digest, error) {
	all := digests()
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case sm2.P256():
			return all[0], nil
		case elliptic.P256():
			return all[1], nil
		case elliptic.P384():
			return all[2], nil
		case elliptic.P521():
			return all[3], nil
		}
	case *rsa.PublicKey:
		return all[1], nil
	}
	return digest{}, fmt.Errorf("timestamp by a key of type %T: %w", public, trust.ErrAlgorithm)
}

// Sign makes a token: CMS SignedData over info, with the signed attributes
// content type, message digest and signing certificate (ESSCertIDv2), and with
// certificates where they were asked for.
func (s Signer) Sign(random io.Reader, info *Info, certificates bool) ([]byte, error) {
	d, err := ownDigest(s.Key.Public())
	if err != nil {
		return nil, err
	}
	content, err := info.marshal()
	if err != nil {
		return nil, err
	}
	attributes, err := s.attributes(d, content)
	if err != nil {
		return nil, err
	}
	set, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: attributes})
	if err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	id, signature, err := trust.SignASN1(random, s.Key, set) // RFC 5652 5.4: over the SET OF
	if err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	return s.wrap(d, content, attributes, id, signature, certificates)
}

// attributes are the encodings of the signed attributes in the order of DER.
func (s Signer) attributes(d digest, content []byte) ([]byte, error) {
	cert := essCertIDv2{
		Algorithm: algorithm(d.id), Hash: d.sum(s.Certificate.Raw),
		IssuerSerial: essIssuerSerial{Issuer: []asn1.RawValue{generalName(s.Certificate.RawIssuer)}, Serial: s.Certificate.SerialNumber},
	}
	if d.id.Equal(oidSHA(1)) {
		cert.Algorithm = pkix.AlgorithmIdentifier{} // DEFAULT, which DER leaves out
	}
	var all [][]byte
	for _, a := range []struct {
		id    asn1.ObjectIdentifier
		value any
	}{
		{oidContentType(), oidTSTInfo()},
		{oidMessageDigest(), d.sum(content)},
		{oidSigningCertificateV2(), signingCertificateV2{Certs: []essCertIDv2{cert}}},
	} {
		value, err := asn1.Marshal(a.value)
		if err != nil {
			return nil, fmt.Errorf("timestamp: attribute %v: %w", a.id, err)
		}
		der, err := asn1.Marshal(attribute{Type: a.id, Values: []asn1.RawValue{{FullBytes: value}}})
		if err != nil {
			return nil, fmt.Errorf("timestamp: attribute %v: %w", a.id, err)
		}
		all = append(all, der)
	}
	slices.SortFunc(all, bytes.Compare)
	return bytes.Join(all, nil), nil
}

func (s Signer) wrap(d digest, content, attributes []byte, id pkix.AlgorithmIdentifier, signature []byte, certificates bool) ([]byte, error) {
	sid, err := asn1.Marshal(issuerAndSerial{asn1.RawValue{FullBytes: s.Certificate.RawIssuer}, s.Certificate.SerialNumber})
	if err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	octets, err := asn1.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	data := signedData{
		Version: 3, Digests: []pkix.AlgorithmIdentifier{algorithm(d.id)}, // RFC 5652 5.1: not id-data
		Encapsulated: encapsulated{Type: oidTSTInfo(), Content: tagged(0, octets)},
		Signers: []signerInfo{{
			Version: 1, ID: asn1.RawValue{FullBytes: sid}, Digest: algorithm(d.id), Attributes: tagged(0, attributes), Algorithm: id, Signature: signature,
		}},
	}
	if certificates {
		bag := [][]byte{s.Certificate.Raw}
		for _, cert := range s.Above {
			bag = append(bag, cert.Raw)
		}
		slices.SortFunc(bag, bytes.Compare)
		data.Certificates = tagged(0, bytes.Join(bag, nil))
	}
	inner, err := asn1.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	der, err := asn1.Marshal(contentInfo{Type: oidSignedData(), Content: tagged(0, inner)})
	if err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	return der, nil
}

func tagged(tag int, content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: content}
}
