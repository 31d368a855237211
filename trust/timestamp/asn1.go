package timestamp

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm3"
)

// Limits on what is read from outside, in bytes.
const (
	MaxRequest  = 4 << 10
	MaxResponse = 64 << 10
	// maxNonce bounds the nonce that an answer repeats.
	maxNonceBits = 256
)

// Errors beside those of package trust.
var (
	// ErrImprint: the token is over other data.
	ErrImprint = errors.New("timestamp of other data")
	// ErrMismatch: the token answers another request (nonce, policy).
	ErrMismatch = errors.New("timestamp for another request")
	// ErrSigner: the token does not name its signer's certificate, or another.
	ErrSigner = errors.New("timestamp by another certificate than it names")
)

// ASN.1 of RFC 3161 2.4.
type (
	messageImprint struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	timeStampReq struct {
		Version    int
		Imprint    messageImprint
		Policy     asn1.ObjectIdentifier `asn1:"optional"`
		Nonce      *big.Int              `asn1:"optional"`
		CertReq    bool                  `asn1:"optional"`
		Extensions []pkix.Extension      `asn1:"tag:0,optional"`
	}
	timeStampResp struct {
		Status statusInfo
		Token  asn1.RawValue `asn1:"optional"`
	}
	statusInfo struct {
		Status  int
		Text    []asn1.RawValue `asn1:"optional"` // PKIFreeText: UTF8String
		Failure asn1.BitString  `asn1:"optional"`
	}
	tstInfo struct {
		Version    int
		Policy     asn1.ObjectIdentifier
		Imprint    messageImprint
		Serial     *big.Int
		GenTime    asn1.RawValue    // GeneralizedTime, perhaps with a fraction
		Accuracy   accuracy         `asn1:"optional"`
		Ordering   bool             `asn1:"optional"`
		Nonce      *big.Int         `asn1:"optional"`
		TSA        asn1.RawValue    `asn1:"tag:0,optional"` // EXPLICIT around a CHOICE
		Extensions []pkix.Extension `asn1:"tag:1,optional"`
	}
	accuracy struct {
		Seconds int `asn1:"optional"`
		Millis  int `asn1:"tag:0,optional"`
		Micros  int `asn1:"tag:1,optional"`
	}
)

// ASN.1 of CMS (RFC 5652 5) and of ESSCertIDv2 (RFC 5035 4).
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"tag:0"`
	}
	signedData struct {
		Version      int
		Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
		Encapsulated encapsulated
		Certificates asn1.RawValue `asn1:"tag:0,optional"`
		CRLs         asn1.RawValue `asn1:"tag:1,optional"`
		Signers      []signerInfo  `asn1:"set"`
	}
	encapsulated struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"tag:0,optional"`
	}
	signerInfo struct {
		Version    int
		ID         asn1.RawValue
		Digest     pkix.AlgorithmIdentifier
		Attributes asn1.RawValue `asn1:"tag:0,optional"`
		Algorithm  pkix.AlgorithmIdentifier
		Signature  []byte
		Unsigned   asn1.RawValue `asn1:"tag:1,optional"`
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values []asn1.RawValue `asn1:"set"`
	}
	signingCertificateV2 struct {
		Certs    []essCertIDv2
		Policies asn1.RawValue `asn1:"optional"`
	}
	essCertIDv2 struct {
		Algorithm    pkix.AlgorithmIdentifier `asn1:"optional"` // SHA-256 if left out
		Hash         []byte
		IssuerSerial essIssuerSerial `asn1:"optional"`
	}
	essIssuerSerial struct {
		Issuer []asn1.RawValue // GeneralNames
		Serial *big.Int
	}
)

func oidSignedData() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2} }
func oidGMSignedData() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 156, 10197, 6, 1, 4, 2, 2}
}                                           // GB/T 35275
func oidContentType() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3} }
func oidMessageDigest() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
}
func oidTSTInfo() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
}
func oidSigningCertificateV2() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
}
func oidSM3() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 401} } // GM/T 0006
func oidSHA(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, n}
}

// digest is an accepted digest algorithm.
type digest struct {
	id   asn1.ObjectIdentifier
	size int
	sum  func([]byte) []byte
}

// digests are SM3 and the SHA-2 family; nothing weaker is stamped or believed.
func digests() []digest {
	return []digest{
		{oidSM3(), sm3.Size, func(b []byte) []byte { d := sm3.Sum(b); return d[:] }},
		{oidSHA(1), sha256.Size, func(b []byte) []byte { d := sha256.Sum256(b); return d[:] }},
		{oidSHA(2), sha512.Size384, func(b []byte) []byte { d := sha512.Sum384(b); return d[:] }},
		{oidSHA(3), sha512.Size, func(b []byte) []byte { d := sha512.Sum512(b); return d[:] }},
	}
}

// digestOf finds an algorithm; parameters must be absent or NULL (RFC 5754 2).
func digestOf(id pkix.AlgorithmIdentifier) (digest, error) {
	for _, d := range digests() {
		if d.id.Equal(id.Algorithm) {
			if p := id.Parameters.FullBytes; len(p) != 0 && !bytes.Equal(p, asn1.NullBytes) {
				return digest{}, fmt.Errorf("parameters of digest %v: %w", id.Algorithm, trust.ErrMalformed)
			}
			return d, nil
		}
	}
	return digest{}, fmt.Errorf("digest %v: %w", id.Algorithm, trust.ErrAlgorithm)
}

// exactly reads one value and nothing behind it.
func exactly(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err != nil {
		return fmt.Errorf("%w: %w", trust.ErrMalformed, err)
	}
	if len(rest) != 0 {
		return fmt.Errorf("trailing bytes: %w", trust.ErrMalformed)
	}
	return nil
}

// same refuses what encoding/asn1 passes over: fields that it does not know, and
// some looseness. What is written again must be the same bytes.
func same(der []byte, v any) error {
	again, err := asn1.Marshal(v)
	if err != nil || !bytes.Equal(again, der) {
		return fmt.Errorf("not in the one form of DER, or with unknown fields: %w", trust.ErrMalformed)
	}
	return nil
}
