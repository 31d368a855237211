package issuance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/emmansun/gmsm/smx509"
)

func lintVersion(c *smx509.Certificate, _ subject) string {
	if c.Version != 3 {
		return differs("version", c.Version, 3)
	}
	return ""
}

// lintSerial: RFC 5280 4.1.2.2, positive and at most 20 octets, which a set top
// bit would exceed; at least 128 random bits below the leading octet.
func lintSerial(c *smx509.Certificate, s subject) string {
	bits := c.SerialNumber.BitLen()
	if c.SerialNumber.Sign() <= 0 || bits <= 128 || bits > 159 {
		return fmt.Sprintf("serial number of %d bits", bits)
	}
	random := c.SerialNumber.Bytes()[1:] // 16 random octets with few different ones do not happen
	if slices.Sort(random); len(slices.Compact(random)) < 8 {
		return "serial number is not random"
	}
	if s.request.Serial == nil || c.SerialNumber.Cmp(s.request.Serial) != 0 {
		return "serial number is not the one that was stored"
	}
	return ""
}

func lintSignatureAlgorithm(c *smx509.Certificate, s subject) string {
	want := FamilyOf(s.signing).Signature()
	if want == smx509.UnknownSignatureAlgorithm || c.SignatureAlgorithm != want {
		return differs("signature algorithm", c.SignatureAlgorithm, want)
	}
	return ""
}

func lintIssuerName(c *smx509.Certificate, s subject) string {
	want := c.RawSubject
	if s.issuer != nil {
		want = s.issuer.RawSubject
	}
	if !bytes.Equal(c.RawIssuer, want) {
		return "issuer name is not the issuer's subject name"
	}
	return ""
}

func lintValidityDates(c *smx509.Certificate, s subject) string {
	if !c.NotAfter.After(c.NotBefore) {
		return "notAfter is not after notBefore"
	}
	if !c.NotBefore.Equal(s.request.NotBefore) || !c.NotAfter.Equal(s.request.NotAfter) {
		return "dates are not those that were stored (whole seconds)"
	}
	if c.NotBefore.Year() < 2020 || c.NotAfter.Year() > 2099 {
		return "dates outside 2020 to 2099"
	}
	return ""
}

func lintValidityLength(c *smx509.Certificate, s subject) string {
	// RFC 5280 4.1.2.5: both ends are inside, hence the second.
	if length := c.NotAfter.Sub(c.NotBefore) + time.Second; length > s.profile.maxValidity {
		return fmt.Sprintf("valid for %v, the profile allows %v", length, s.profile.maxValidity)
	}
	return ""
}

func lintValidityIssuer(c *smx509.Certificate, s subject) string {
	if s.issuer != nil && (c.NotBefore.Before(s.issuer.NotBefore) || c.NotAfter.After(s.issuer.NotAfter)) {
		return "validity reaches outside the issuer's"
	}
	return ""
}

// lintKeyFamily: one family in one chain. A point that is not on its curve does
// not come this far: trust.ParseCertificate refuses it.
func lintKeyFamily(c *smx509.Certificate, s subject) string {
	got, want := FamilyOf(c.PublicKey), FamilyOf(s.signing)
	if got == "" || got != want {
		return fmt.Sprintf("key of family %q under an issuer of %q", got, want)
	}
	if len(s.profile.families) != 0 && !slices.Contains(s.profile.families, got) {
		return fmt.Sprintf("the profile does not exist in family %q", got)
	}
	return ""
}

// lintKeyWeak: keys whose private half anybody knows: the generator of a curve
// or its negative, and RSA moduli with a small factor. Moduli of close primes are
// zlint's e_rsa_fermat_factorization.
func lintKeyWeak(c *smx509.Certificate, _ subject) string {
	switch key := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		bits, err := keyBits(key) // 04 | X | Y
		x := key.Params().Gx.FillBytes(make([]byte, (key.Params().BitSize+7)/8))
		if err != nil || bytes.HasPrefix(bits[1:], x) {
			return "the private key is 1 or -1"
		}
	case *rsa.PublicKey:
		small := new(big.Int).MulRange(1, 751) // NIST SP 800-89 5.3.3
		if new(big.Int).GCD(nil, nil, key.N, small).Cmp(big.NewInt(1)) != 0 {
			return "the modulus has a small factor"
		}
	}
	return ""
}

// lintKeyOfOneUse: a key that signs never decrypts (GM/T 0015, dual
// certificates).
func lintKeyOfOneUse(_ *smx509.Certificate, s subject) string {
	if s.request.OtherKey == nil {
		return ""
	}
	other, err := smx509.MarshalPKIXPublicKey(s.request.OtherKey)
	if err != nil {
		return err.Error()
	}
	if own, err := smx509.MarshalPKIXPublicKey(s.request.PublicKey); err != nil || bytes.Equal(own, other) {
		return "signing and encryption certificate have one key"
	}
	return ""
}

func lintKeyRequested(c *smx509.Certificate, s subject) string {
	want, err := smx509.MarshalPKIXPublicKey(s.request.PublicKey)
	if err != nil || !bytes.Equal(c.RawSubjectPublicKeyInfo, want) {
		return "key is not the requested one"
	}
	return ""
}

func lintKeyNotIssuers(c *smx509.Certificate, s subject) string {
	if s.issuer != nil && bytes.Equal(c.RawSubjectPublicKeyInfo, s.issuer.RawSubjectPublicKeyInfo) {
		return "the issuer's own key"
	}
	return ""
}
