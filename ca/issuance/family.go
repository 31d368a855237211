package issuance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// Family is the kind of all keys of one authority, from the root to the leaves:
// one chain, one family. Dual certificates (signing and encryption) exist in the
// SM2 family alone.
type Family string

// The families.
const (
	SM2       Family = "SM2"        // with SM3, GM/T 0003 and GM/T 0015
	ECDSAP256 Family = "ECDSA-P256" // with SHA-256
	RSA3072   Family = "RSA-3072"   // PKCS#1 v1.5 with SHA-256; keys of 3072 bits are made, up to 4096 certified
)

// Families are all that authorities are made of.
func Families() []Family { return []Family{SM2, ECDSAP256, RSA3072} }

const (
	rsaBits    = 3072 // 128 bits of security, NIST SP 800-57
	maxRSABits = 4096
)

// FamilyOf is the family of a public key, "" for one that is never certified:
// other curves, short or overlong RSA keys, RSA exponents other than 65537.
func FamilyOf(public crypto.PublicKey) Family {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case sm2.P256():
			return SM2
		case elliptic.P256():
			return ECDSAP256
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits >= rsaBits && bits <= maxRSABits && bits%8 == 0 && key.E == 65537 {
			return RSA3072
		}
	}
	return ""
}

// GenerateKey draws a key of the family.
func (f Family) GenerateKey() (crypto.Signer, error) {
	switch f {
	case SM2:
		return sm2.GenerateKey(rand.Reader)
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, fmt.Errorf("no key family %q", f)
}

// Signature is the algorithm in which keys of the family sign certificates.
func (f Family) Signature() smx509.SignatureAlgorithm {
	switch f {
	case SM2:
		return smx509.SM2WithSM3
	case ECDSAP256:
		return smx509.ECDSAWithSHA256
	case RSA3072:
		return smx509.SHA256WithRSA
	}
	return smx509.UnknownSignatureAlgorithm
}
