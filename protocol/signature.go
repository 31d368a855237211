package protocol

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// Alg names a signature algorithm on the wire.
type Alg string

// The algorithms: SM2 with SM3 and the default identifier
// (GB/T 32918.2, GM/T 0009: 1234567812345678), and ECDSA P-256 with SHA-256.
// Signatures are DER SEQUENCE{r, s}.
const (
	AlgSM2   Alg = "SM2"
	AlgES256 Alg = "ES256"
)

// maxSPKI bounds a SubjectPublicKeyInfo; one on these curves takes 91 bytes.
const maxSPKI = 256

// AlgOf tells the algorithm of a public key.
func AlgOf(pub crypto.PublicKey) (Alg, error) {
	if k, ok := pub.(*ecdsa.PublicKey); ok && k != nil {
		switch {
		case sm2.IsSM2PublicKey(k):
			return AlgSM2, nil
		case k.Curve == elliptic.P256():
			return AlgES256, nil
		}
	}
	return "", Errorf(CodeMalformed, "key of type %T is neither SM2 nor P-256", pub)
}

// Sign signs msg with an SM2 or P-256 key. An SM2 signer is handed the whole
// message with sm2.DefaultSM2SignerOpts and computes ZA and SM3 itself.
func Sign(key crypto.Signer, msg []byte) ([]byte, error) {
	alg, err := AlgOf(key.Public())
	if err != nil {
		return nil, err
	}
	var sig []byte
	if alg == AlgSM2 {
		sig, err = key.Sign(rand.Reader, msg, sm2.DefaultSM2SignerOpts)
	} else {
		d := sha256.Sum256(msg)
		sig, err = key.Sign(rand.Reader, d[:], crypto.SHA256)
	}
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return sig, nil
}

// Verify reports whether sig is a signature over msg by pub.
func Verify(pub crypto.PublicKey, msg, sig []byte) bool {
	alg, err := AlgOf(pub)
	if err != nil {
		return false
	}
	k := pub.(*ecdsa.PublicKey)
	if alg == AlgSM2 {
		return sm2.VerifyASN1WithSM2(k, nil, msg, sig)
	}
	d := sha256.Sum256(msg)
	return ecdsa.VerifyASN1(k, d[:], sig)
}

// ParseKey reads the SubjectPublicKeyInfo of an SM2 or P-256 key: named curve,
// uncompressed point. It takes the one form that MarshalKey writes, because a
// key with two spellings would be two devices. Error: CodeMalformed.
func ParseKey(spki []byte) (crypto.PublicKey, error) {
	if len(spki) > maxSPKI {
		return nil, Errorf(CodeMalformed, "public key of %d bytes", len(spki))
	}
	pub, err := smx509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, Errorf(CodeMalformed, "public key: not a SubjectPublicKeyInfo")
	}
	again, err := MarshalKey(pub)
	if err != nil || !bytes.Equal(again, spki) {
		return nil, Errorf(CodeMalformed, "public key: not the form of an SM2 or P-256 key")
	}
	return pub, nil
}

// MarshalKey writes the SubjectPublicKeyInfo of an SM2 or P-256 key.
func MarshalKey(pub crypto.PublicKey) ([]byte, error) {
	alg, err := AlgOf(pub)
	if err != nil {
		return nil, err
	}
	if alg == AlgES256 {
		return x509.MarshalPKIXPublicKey(pub)
	}
	return smx509.MarshalPKIXPublicKey(pub)
}

// KeyID is the first 16 bytes of SM3 over a SubjectPublicKeyInfo.
func KeyID(spki []byte) []byte { return H(spki)[:16] }

// DeviceID names a phone by its device key: the lower-case hex of KeyID.
func DeviceID(spki []byte) string { return fmt.Sprintf("%x", KeyID(spki)) }
