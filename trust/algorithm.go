package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // digests of the accepted algorithms
	_ "crypto/sha512" // digests of the accepted algorithms
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// Shortest and longest RSA modulus that is believed. Whoever sends a chain
// chooses the keys in it, and time grows with the square of the length.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// signatureScheme is one accepted way of signing.
type signatureScheme struct {
	algorithm smx509.SignatureAlgorithm
	id        asn1.ObjectIdentifier
	nullParam bool // RFC 4055: RSA carries NULL parameters, the others none
	hash      crypto.Hash
}

func signatureSchemes() []signatureScheme {
	rsaArc := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, n} }
	ecdsaArc := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, n} }
	return []signatureScheme{
		{smx509.SM2WithSM3, asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 501}, false, 0}, // GM/T 0006
		{smx509.ECDSAWithSHA256, ecdsaArc(2), false, crypto.SHA256},
		{smx509.ECDSAWithSHA384, ecdsaArc(3), false, crypto.SHA384},
		{smx509.ECDSAWithSHA512, ecdsaArc(4), false, crypto.SHA512},
		{smx509.SHA256WithRSA, rsaArc(11), true, crypto.SHA256},
		{smx509.SHA384WithRSA, rsaArc(12), true, crypto.SHA384},
		{smx509.SHA512WithRSA, rsaArc(13), true, crypto.SHA512},
	}
}

func schemeByID(id asn1.ObjectIdentifier) (signatureScheme, error) {
	for _, s := range signatureSchemes() {
		if s.id.Equal(id) {
			return s, nil
		}
	}
	return signatureScheme{}, fmt.Errorf("signature algorithm %v: %w", id, ErrAlgorithm)
}

// checkAlgorithm refuses signature algorithms outside the accepted list.
func checkAlgorithm(algorithm smx509.SignatureAlgorithm) error {
	for _, s := range signatureSchemes() {
		if s.algorithm == algorithm {
			return nil
		}
	}
	return fmt.Errorf("signature algorithm %v: %w", algorithm, ErrAlgorithm)
}

// checkPublicKey refuses keys that are too weak, too long or of an unknown kind.
func checkPublicKey(public any) error {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case sm2.P256(), elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return fmt.Errorf("curve %s: %w", key.Curve.Params().Name, ErrAlgorithm)
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSABits || key.N.BitLen() > maxRSABits {
			return fmt.Errorf("RSA key of %d bits: %w", key.N.BitLen(), ErrAlgorithm)
		}
		return nil
	}
	return fmt.Errorf("key type %T: %w", public, ErrAlgorithm)
}

// schemeForKey is the scheme in which a key of ours signs.
func schemeForKey(public crypto.PublicKey) (signatureScheme, error) {
	want := smx509.UnknownSignatureAlgorithm
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case sm2.P256():
			want = smx509.SM2WithSM3
		case elliptic.P256():
			want = smx509.ECDSAWithSHA256
		case elliptic.P384():
			want = smx509.ECDSAWithSHA384
		case elliptic.P521():
			want = smx509.ECDSAWithSHA512
		}
	case *rsa.PublicKey:
		want = smx509.SHA256WithRSA
	}
	for _, s := range signatureSchemes() {
		if s.algorithm == want {
			return s, nil
		}
	}
	return signatureScheme{}, fmt.Errorf("no signature algorithm for a key of type %T: %w", public, ErrAlgorithm)
}

// SignASN1 signs the DER bytes of a to-be-signed structure with an SM2, ECDSA or
// RSA key and returns the AlgorithmIdentifier that names what was done. An SM2
// signer gets the raw message and computes ZA and SM3 itself, as gmsm's keys
// do; the others get the digest.
func SignASN1(random io.Reader, key crypto.Signer, tbs []byte) (pkix.AlgorithmIdentifier, []byte, error) {
	scheme, err := schemeForKey(key.Public())
	if err != nil {
		return pkix.AlgorithmIdentifier{}, nil, err
	}
	id := pkix.AlgorithmIdentifier{Algorithm: scheme.id}
	if scheme.nullParam {
		id.Parameters = asn1.NullRawValue
	}
	var opts crypto.SignerOpts = scheme.hash
	if scheme.algorithm == smx509.SM2WithSM3 {
		opts = sm2.DefaultSM2SignerOpts
	}
	signature, err := crypto.SignMessage(key, random, tbs, opts)
	if err != nil {
		return id, nil, fmt.Errorf("sign: %w", err)
	}
	return id, signature, nil
}
