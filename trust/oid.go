package trust

import (
	"encoding/asn1"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// OIDs are the object identifiers by which certificates carry what X.509 itself
// has no field for. An authority chooses them once, at its ceremony; everybody
// who verifies takes them from the trust file. In JSON they are dotted strings.
type OIDs struct {
	// Lineage is the extension with the lineage id: OCTET STRING, 16 random
	// bytes, the same in every certificate that replaces the first (renewal,
	// change of name, reissue) and in both certificates of a dual pair.
	Lineage asn1.ObjectIdentifier
	// Role is the extension with the holder's role in the organisation at the
	// time of issue: UTF8String, RoleAdmin or RoleUser.
	Role asn1.ObjectIdentifier
	// PlatformID is the extension with the platform's id: UTF8String.
	PlatformID asn1.ObjectIdentifier
	// PlatformUsage is the extended key usage of request-signing platforms.
	PlatformUsage asn1.ObjectIdentifier
	// SealMakerUsage is the extended key usage of seal makers (GB/T 38540).
	SealMakerUsage asn1.ObjectIdentifier
	// OperatorUsage is the extended key usage of the authority's operators.
	OperatorUsage asn1.ObjectIdentifier
	// Identity is the extension with a natural person's identity number as the
	// authority's profile lets it be seen: OCTET STRING for a keyed digest,
	// PrintableString for a masked number or, where so configured, a clear one.
	Identity asn1.ObjectIdentifier
	// TimestampPolicy is the policy under which timestamps are made (RFC 3161
	// 2.4.2).
	TimestampPolicy asn1.ObjectIdentifier
	// CreditCode is the extension in which this authority writes the unified
	// social credit code (GB 32100): PrintableString.
	CreditCode asn1.ObjectIdentifier
	// CreditCodeAlso are further extensions in which other authorities are
	// known to write it; they are read, in this order, when CreditCode is
	// absent.
	CreditCodeAlso []asn1.ObjectIdentifier
}

// oidFields are the identifiers that every authority has, with their names in
// the trust file.
func (o *OIDs) oidFields() []oidField {
	return []oidField{
		{"lineage", &o.Lineage}, {"role", &o.Role}, {"platform_id", &o.PlatformID}, {"platform_usage", &o.PlatformUsage},
		{"seal_maker_usage", &o.SealMakerUsage}, {"operator_usage", &o.OperatorUsage}, {"identity", &o.Identity},
		{"timestamp_policy", &o.TimestampPolicy}, {"credit_code", &o.CreditCode},
	}
}

type oidField struct {
	name string
	id   *asn1.ObjectIdentifier
}

// all are the identifiers that every authority has, in the order of the fields.
func (o OIDs) all() []asn1.ObjectIdentifier {
	var out []asn1.ObjectIdentifier
	for _, f := range o.oidFields() {
		out = append(out, *f.id)
	}
	return out
}

// Equal reports whether both sets read certificates alike.
func (o OIDs) Equal(other OIDs) bool {
	return slices.EqualFunc(o.all(), other.all(), asn1.ObjectIdentifier.Equal) &&
		slices.EqualFunc(o.CreditCodeAlso, other.CreditCodeAlso, asn1.ObjectIdentifier.Equal)
}

// Check refuses a set with an identifier that is missing or stands for two
// things. The error wraps ErrMalformed.
func (o OIDs) Check() error {
	fields := o.oidFields()
	for i, f := range fields {
		if len(*f.id) == 0 {
			return fmt.Errorf("identifier %s is missing: %w", f.name, ErrMalformed)
		}
		for _, earlier := range fields[:i] {
			if f.id.Equal(*earlier.id) {
				return fmt.Errorf("identifier %v stands for %s and %s: %w", *f.id, earlier.name, f.name, ErrMalformed)
			}
		}
	}
	return nil
}

// ParseOID reads a dotted identifier. The error wraps ErrMalformed.
func ParseOID(text string) (asn1.ObjectIdentifier, error) {
	var id asn1.ObjectIdentifier
	for arc := range strings.SplitSeq(text, ".") {
		n, err := strconv.Atoi(arc)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("identifier %.80q: %w", text, ErrMalformed)
		}
		id = append(id, n)
	}
	if len(id) < 3 || id[0] > 2 {
		return nil, fmt.Errorf("identifier %.80q: %w", text, ErrMalformed)
	}
	return id, nil
}

// placeholderArc is 1.3.6.1.4.1.32473, the enterprise number that RFC 5612
// reserves for documentation. An operator replaces it by an arc of its own
// before the first ceremony; identifiers in issued certificates never change
// afterwards.
func placeholderArc(n ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, n...)
}

// Documentation are the identifiers that still stand under the arc for
// documentation, which is assigned to no organisation, in the order of the fields.
func (o OIDs) Documentation() []asn1.ObjectIdentifier {
	var found []asn1.ObjectIdentifier
	arc := placeholderArc()
	arc = arc[:len(arc)-1]
	for _, id := range o.all() {
		if len(id) > len(arc) && id[:len(arc)].Equal(arc) {
			found = append(found, id)
		}
	}
	return found
}

// gmSubjectExtension is the arc 1.2.156.10260.4.1 of GM/T 0015 and GB/T 20518:
// 1 identity code of a person, 2 social insurance number, 3 organisation code,
// 4 business registration number, 5 taxation number.
func gmSubjectExtension(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 156, 10260, 4, 1, n}
}

// DocumentationOIDs are the identifiers of demonstrations, under the arc that RFC
// 5612 reserves for documentation.
//
// No public register names an identifier for the unified social credit code.
// Since the merger of the registers in 2015 an organisation's taxation number
// is its credit code, so 1.2.156.10260.4.1.5 is true under either reading.
func DocumentationOIDs() OIDs {
	return OIDs{
		Lineage:         placeholderArc(1),
		Role:            placeholderArc(2),
		PlatformID:      placeholderArc(3),
		PlatformUsage:   placeholderArc(4),
		SealMakerUsage:  placeholderArc(5),
		OperatorUsage:   placeholderArc(6),
		Identity:        placeholderArc(7),
		TimestampPolicy: placeholderArc(8),
		CreditCode:      gmSubjectExtension(5),
		CreditCodeAlso:  []asn1.ObjectIdentifier{gmSubjectExtension(3), gmSubjectExtension(4)},
	}
}

// Identifiers of RFC 5280, RFC 6960 and RFC 9336 that smx509 leaves to its
// callers.
func oidCommonName() asn1.ObjectIdentifier       { return asn1.ObjectIdentifier{2, 5, 4, 3} }
func oidKeyUsage() asn1.ObjectIdentifier         { return asn1.ObjectIdentifier{2, 5, 29, 15} }
func oidBasicConstraints() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 19} }
func oidExtKeyUsage() asn1.ObjectIdentifier      { return asn1.ObjectIdentifier{2, 5, 29, 37} }
func oidCRLNumber() asn1.ObjectIdentifier        { return asn1.ObjectIdentifier{2, 5, 29, 20} }
func oidReasonCode() asn1.ObjectIdentifier       { return asn1.ObjectIdentifier{2, 5, 29, 21} }
func oidAuthorityKeyID() asn1.ObjectIdentifier   { return asn1.ObjectIdentifier{2, 5, 29, 35} }
func oidOCSPBasic() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
}
func oidOCSPNonce() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}
}

// OIDDocumentSigning is id-kp-documentSigning (RFC 9336).
func OIDDocumentSigning() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}
}

// OIDIssuingDistributionPoint is the extension of RFC 5280 5.2.5.
func OIDIssuingDistributionPoint() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 28} }

// OIDInvalidityDate is the entry extension of RFC 5280 5.3.2.
func OIDInvalidityDate() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 24} }

// OIDOCSPNoCheck is id-pkix-ocsp-nocheck (RFC 6960 4.2.2.2.1).
func OIDOCSPNoCheck() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}
}
