package trust

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"

	"github.com/emmansun/gmsm/smx509"
)

// Usage is the purpose for which a leaf certificate is to be believed.
type Usage int

const (
	// Signing: a person's or an organisation's signature.
	Signing Usage = iota + 1
	// Encryption: keys and files are encrypted for the holder.
	Encryption
	// PlatformRequest: a platform signs a request to a phone.
	PlatformRequest
	// OCSPResponder: a delegate answers for the issuer's certificates.
	OCSPResponder
	// TSA: a timestamp authority (RFC 3161).
	TSA
	// SealMaker: an authority signs electronic seals (GB/T 38540).
	SealMaker
	// Operator: an operator of the authority signs what they order.
	Operator
)

// String is the usage's name in messages.
func (u Usage) String() string {
	names := [...]string{"unset", "signing", "encryption", "platform request", "OCSP responder", "timestamp authority", "seal maker", "operator"}
	if u < 0 || int(u) >= len(names) {
		return fmt.Sprintf("usage %d", int(u))
	}
	return names[u]
}

const (
	signBits    = smx509.KeyUsageDigitalSignature | smx509.KeyUsageContentCommitment
	encryptBits = smx509.KeyUsageKeyEncipherment | smx509.KeyUsageDataEncipherment
	agreeBits   = smx509.KeyUsageKeyAgreement | smx509.KeyUsageEncipherOnly | smx509.KeyUsageDecipherOnly
	issueBits   = smx509.KeyUsageCertSign | smx509.KeyUsageCRLSign
)

// keyUsageRule says which key usage bits a usage needs and which it never bears:
// a key that signs never decrypts, and the other way round.
type keyUsageRule struct {
	all, any, never smx509.KeyUsage
}

func (u Usage) keyUsageRule() keyUsageRule {
	switch u {
	case Signing:
		return keyUsageRule{all: signBits, never: encryptBits | agreeBits | issueBits}
	case Encryption:
		return keyUsageRule{any: encryptBits, never: signBits | issueBits}
	default:
		return keyUsageRule{all: smx509.KeyUsageDigitalSignature, never: encryptBits | agreeBits | issueBits}
	}
}

// checkUsage judges the leaf: not an authority, the key usage, and the extended
// key usage. Special purposes need their own extended key usage, and a
// certificate that has one serves no other purpose.
func checkUsage(leaf *smx509.Certificate, usage Usage, oids OIDs) error {
	if usage < Signing || usage > Operator {
		return fmt.Errorf("%v: %w", usage, ErrKeyUsage)
	}
	if leaf.BasicConstraintsValid && leaf.IsCA {
		return fmt.Errorf("%v by the certificate of an authority: %w", usage, ErrKeyUsage)
	}
	rule := usage.keyUsageRule()
	if leaf.KeyUsage&rule.all != rule.all || leaf.KeyUsage&rule.never != 0 ||
		rule.any != 0 && leaf.KeyUsage&rule.any == 0 {
		return fmt.Errorf("%v with key usage %09b: %w", usage, leaf.KeyUsage, ErrKeyUsage)
	}
	special, err := specialUsage(leaf, oids)
	if err != nil {
		return err
	}
	if special == 0 && (usage == Signing || usage == Encryption) {
		return checkGeneralUsage(leaf, usage)
	}
	if special != usage {
		return fmt.Errorf("%v by a certificate for %v: %w", usage, special, ErrKeyUsage)
	}
	return nil
}

// specialUsage returns the one special purpose that the certificate has, or 0.
func specialUsage(leaf *smx509.Certificate, oids OIDs) (Usage, error) {
	var found []Usage
	for _, u := range leaf.ExtKeyUsage {
		switch u {
		case smx509.ExtKeyUsageOCSPSigning:
			found = append(found, OCSPResponder)
		case smx509.ExtKeyUsageTimeStamping:
			found = append(found, TSA)
		}
	}
	for _, id := range leaf.UnknownExtKeyUsage {
		switch {
		case id.Equal(oids.PlatformUsage):
			found = append(found, PlatformRequest)
		case id.Equal(oids.SealMakerUsage):
			found = append(found, SealMaker)
		case id.Equal(oids.OperatorUsage):
			found = append(found, Operator)
		}
	}
	switch {
	case len(found) == 0:
		return 0, nil
	case len(found) > 1 || len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 1:
		return 0, fmt.Errorf("several extended key usages beside %v: %w", found[0], ErrKeyUsage)
	}
	if found[0] == TSA && !extensionCritical(leaf, oidExtKeyUsage()) { // RFC 3161 2.3
		return 0, fmt.Errorf("extended key usage of a timestamp authority is not critical: %w", ErrKeyUsage)
	}
	return found[0], nil
}

// checkGeneralUsage judges the extended key usage of people's certificates. Its
// absence restricts nothing (RFC 5280 4.2.1.12).
func checkGeneralUsage(leaf *smx509.Certificate, usage Usage) error {
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 {
		return nil
	}
	for _, u := range leaf.ExtKeyUsage {
		switch u {
		case smx509.ExtKeyUsageAny, smx509.ExtKeyUsageClientAuth, smx509.ExtKeyUsageEmailProtection:
			return nil
		}
	}
	for _, id := range leaf.UnknownExtKeyUsage {
		if id.Equal(OIDDocumentSigning()) && usage == Signing {
			return nil
		}
	}
	return fmt.Errorf("%v is not among the extended key usages: %w", usage, ErrKeyUsage)
}

// checkCritical refuses critical extensions that this package does not process
// (RFC 5280 4.2). Name constraints and policies are among them: smx509 parses
// them, but nothing here would enforce them.
func checkCritical(cert *smx509.Certificate) error {
	for _, ext := range cert.Extensions {
		if !ext.Critical {
			continue
		}
		switch {
		case ext.Id.Equal(oidKeyUsage()), ext.Id.Equal(oidBasicConstraints()), ext.Id.Equal(oidExtKeyUsage()):
		default:
			return fmt.Errorf("extension %v: %w", ext.Id, ErrCritical)
		}
	}
	return nil
}

func hasExtension(cert *smx509.Certificate, id asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(cert.Extensions, func(ext pkix.Extension) bool { return ext.Id.Equal(id) })
}

func extensionCritical(cert *smx509.Certificate, id asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(cert.Extensions, func(ext pkix.Extension) bool { return ext.Critical && ext.Id.Equal(id) })
}
