package trust

import (
	"bytes"
	"fmt"
	"math/big"
	"strings"

	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/smx509"
)

// Limits on what is read from outside.
const (
	// MaxCertificateSize is the longest certificate in bytes of DER.
	MaxCertificateSize = 16 << 10
	// MaxChainLength is the largest number of certificates in a chain, the
	// anchor included.
	MaxChainLength = 6
	// MaxOCSPSize is the longest OCSP request or response in bytes.
	MaxOCSPSize = 64 << 10
	// MaxCRLSize is the longest revocation list in bytes.
	MaxCRLSize = 64 << 20
)

// DigestSize is the length of a certificate digest in bytes.
const DigestSize = sm3.Size

// Digest is SM3 over the certificate's DER: the name by which statements,
// receipts and evidence refer to it.
func Digest(cert *smx509.Certificate) [DigestSize]byte { return sm3.Sum(cert.Raw) }

// SerialHex writes a serial number as upper-case hexadecimal octets, as it is
// shown to people and stored ("0A3F...").
func SerialHex(serial *big.Int) string { return fmt.Sprintf("%X", serial.Bytes()) }

// ParseSerialHex reads what SerialHex wrote; blanks, colons and lower case, as
// other tools print them, are accepted.
func ParseSerialHex(text string) (*big.Int, error) {
	clean := strings.NewReplacer(":", "", " ", "").Replace(text)
	if clean == "" || len(clean) > 40 || strings.Trim(clean, "0123456789abcdefABCDEF") != "" {
		return nil, fmt.Errorf("serial number: %w", ErrMalformed)
	}
	serial, ok := new(big.Int).SetString(clean, 16)
	if !ok || serial.Sign() <= 0 {
		return nil, fmt.Errorf("serial number: %w", ErrMalformed)
	}
	return serial, nil
}

// ParseCertificate reads one DER certificate. Trailing bytes and other than
// canonical encodings of the whole are refused.
func ParseCertificate(der []byte) (*smx509.Certificate, error) {
	if len(der) > MaxCertificateSize {
		return nil, fmt.Errorf("certificate of %d bytes: %w", len(der), ErrMalformed)
	}
	cert, err := smx509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w: %w", ErrMalformed, err)
	}
	return cert, nil
}

// ParseChain reads certificates, leaf first.
func ParseChain(der [][]byte) ([]*smx509.Certificate, error) {
	if len(der) == 0 || len(der) > MaxChainLength {
		return nil, fmt.Errorf("chain of %d certificates: %w", len(der), ErrMalformed)
	}
	chain := make([]*smx509.Certificate, len(der))
	for i, b := range der {
		cert, err := ParseCertificate(b)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %w", i, err)
		}
		chain[i] = cert
	}
	return chain, nil
}

// isIssuer reports whether the names and key identifiers say that parent issued
// child (RFC 5280 6.1.3 (a)(4), 4.2.1.1). The signature is checked elsewhere.
func isIssuer(parent, child *smx509.Certificate) bool {
	if !bytes.Equal(parent.RawSubject, child.RawIssuer) {
		return false
	}
	return len(child.AuthorityKeyId) == 0 || len(parent.SubjectKeyId) == 0 ||
		bytes.Equal(child.AuthorityKeyId, parent.SubjectKeyId)
}
