package trust

import (
	"encoding/asn1"
	"fmt"

	"github.com/emmansun/gmsm/smx509"
)

// CheckSignature verifies what SignASN1 made: a signature by the certificate's
// key over the DER of a structure, in the scheme that id names. Whether the key
// may sign such a thing is for the caller to judge. The error wraps ErrAlgorithm
// or ErrUntrusted.
func CheckSignature(cert *smx509.Certificate, id asn1.ObjectIdentifier, tbs, signature []byte) error {
	scheme, err := schemeByID(id)
	if err != nil {
		return err
	}
	if err := checkPublicKey(cert.PublicKey); err != nil {
		return err
	}
	if err := cert.CheckSignature(scheme.algorithm, tbs, signature); err != nil {
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return nil
}

// IsIssuer reports whether the names and key identifiers say that parent issued
// child; the signature is for Store.Verify.
func IsIssuer(parent, child *smx509.Certificate) bool { return isIssuer(parent, child) }

// CheckUsage judges whether a leaf certificate alone may be used for a purpose
// that a standard names, OCSPResponder or TSA: an authority's own identifiers are
// not needed for it. Its chain is for Store.Verify. The error wraps ErrKeyUsage.
func CheckUsage(leaf *smx509.Certificate, usage Usage) error {
	return checkUsage(leaf, usage, OIDs{})
}
