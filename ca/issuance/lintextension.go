package issuance

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Identifiers of RFC 5280 4.2.
func oidSubjectKeyID() asn1.ObjectIdentifier     { return asn1.ObjectIdentifier{2, 5, 29, 14} }
func oidKeyUsage() asn1.ObjectIdentifier         { return asn1.ObjectIdentifier{2, 5, 29, 15} }
func oidBasicConstraints() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 19} }
func oidCRLPointer() asn1.ObjectIdentifier       { return asn1.ObjectIdentifier{2, 5, 29, 31} }
func oidAuthorityKeyID() asn1.ObjectIdentifier   { return asn1.ObjectIdentifier{2, 5, 29, 35} }
func oidExtKeyUsage() asn1.ObjectIdentifier      { return asn1.ObjectIdentifier{2, 5, 29, 37} }
func oidInformationAccess() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}
}

func extensionValue(c *smx509.Certificate, id asn1.ObjectIdentifier) ([]byte, bool) {
	for _, ext := range c.Extensions {
		if ext.Id.Equal(id) {
			return ext.Value, true
		}
	}
	return nil, false
}

func lintKeyUsage(c *smx509.Certificate, s subject) string {
	if c.KeyUsage != s.profile.keyUsage {
		return fmt.Sprintf("key usage is %09b, the profile says %09b", c.KeyUsage, s.profile.keyUsage)
	}
	return ""
}

// lintExtKeyUsage compares the identifiers themselves, in order: smx509 sorts
// them into those that it knows and others.
func lintExtKeyUsage(c *smx509.Certificate, s subject) string {
	var got []asn1.ObjectIdentifier
	if value, ok := extensionValue(c, oidExtKeyUsage()); ok {
		if rest, err := asn1.Unmarshal(value, &got); err != nil || len(rest) != 0 {
			return "extended key usage is not well-formed"
		}
	}
	if !slices.EqualFunc(got, s.profile.extKeyUsage, asn1.ObjectIdentifier.Equal) {
		return differs("extended key usage", got, s.profile.extKeyUsage)
	}
	return ""
}

func lintBasicConstraints(c *smx509.Certificate, s subject) string {
	if !c.BasicConstraintsValid || c.IsCA != s.profile.authority {
		return differs("authority", c.IsCA, s.profile.authority)
	}
	want := -1
	if s.profile.authority {
		want = s.profile.pathLen
	}
	got := c.MaxPathLen
	if got == 0 && !c.MaxPathLenZero {
		got = -1
	}
	if got != want {
		return differs("path length", got, want)
	}
	return ""
}

func lintAuthorityKeyID(c *smx509.Certificate, s subject) string {
	want := c.SubjectKeyId
	if s.issuer != nil {
		want = s.issuer.SubjectKeyId
	}
	if len(want) == 0 || !bytes.Equal(c.AuthorityKeyId, want) {
		return "authority key identifier is not the issuer's subject key identifier"
	}
	return ""
}

func lintSubjectKeyID(c *smx509.Certificate, _ subject) string {
	want, err := keyIdentifier(c.PublicKey)
	if err != nil || !bytes.Equal(c.SubjectKeyId, want) {
		return "subject key identifier does not follow from the key"
	}
	return ""
}

// pointer judges a list of URLs against the configured one; want "" means that
// none may stand there.
func pointer(what string, got []string, want string, wanted bool) string {
	if !wanted {
		if len(got) != 0 {
			return what + " is not allowed"
		}
		return ""
	}
	if len(got) != 1 || got[0] != want {
		return differs(what, got, want)
	}
	if u, err := url.Parse(want); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return what + " is not an http URL: " + want
	}
	return ""
}

// lintCRLPointer: a shard lies in the same folder as the issuer's full list.
func lintCRLPointer(c *smx509.Certificate, s subject) string {
	want := s.config.crlURL(s.request)
	if reason := pointer("CRL distribution point", c.CRLDistributionPoints, want, s.profile.statusPointer || s.profile.crlPointer); reason != "" {
		return reason
	}
	if folder := s.config.CRLURL[:strings.LastIndex(s.config.CRLURL, "/")+1]; !strings.HasPrefix(want, folder) {
		return differs("folder of the CRL distribution point", want, folder)
	}
	return ""
}

func lintInformationAccess(c *smx509.Certificate, s subject) string {
	if reason := pointer("issuer pointer", c.IssuingCertificateURL, s.config.IssuerURL, s.profile.statusPointer || s.profile.crlPointer); reason != "" {
		return reason
	}
	return pointer("OCSP pointer", c.OCSPServer, s.config.OCSPURL, s.profile.statusPointer)
}

// ownValue judges one of our extensions: there or not as the profile says, of
// the right ASN.1 type, with the requested content.
func ownValue(c *smx509.Certificate, id asn1.ObjectIdentifier, allowed presence, tag int, want []byte) string {
	value, found := extensionValue(c, id)
	switch {
	case allowed == never && found:
		return "not allowed in this profile"
	case allowed == required && !found:
		return "missing"
	case !found && len(want) != 0:
		return "requested and missing"
	case !found:
		return ""
	}
	var raw asn1.RawValue
	if rest, err := asn1.Unmarshal(value, &raw); err != nil || len(rest) != 0 || raw.Class != asn1.ClassUniversal || raw.Tag != tag || raw.IsCompound {
		return "not well-formed"
	}
	if !bytes.Equal(raw.Bytes, want) {
		return "not the requested one"
	}
	return ""
}

func lintLineage(c *smx509.Certificate, s subject) string {
	if reason := ownValue(c, s.config.OIDs.Lineage, s.profile.lineage, asn1.TagOctetString, s.request.Lineage); reason != "" {
		return reason
	}
	if s.profile.lineage == required && (len(s.request.Lineage) != trust.LineageSize || bytes.Equal(s.request.Lineage, make([]byte, trust.LineageSize))) {
		return fmt.Sprintf("%d bytes, or all zero", len(s.request.Lineage))
	}
	return ""
}

func lintRole(c *smx509.Certificate, s subject) string {
	if reason := ownValue(c, s.config.OIDs.Role, s.profile.role, asn1.TagUTF8String, []byte(s.request.Role)); reason != "" {
		return reason
	}
	if role := s.request.Role; role != "" && role != trust.RoleAdmin && role != trust.RoleUser {
		return fmt.Sprintf("unknown role %q", role)
	}
	return ""
}

func lintCreditCode(c *smx509.Certificate, s subject) string {
	if reason := ownValue(c, s.config.OIDs.CreditCode, s.profile.creditCode, asn1.TagPrintableString, []byte(s.request.CreditCode)); reason != "" {
		return reason
	}
	if code := s.request.CreditCode; code != "" && !trust.IsCreditCode(code) {
		return "not 18 characters of GB 32100"
	}
	return ""
}

// warnCreditCode: some legally issued codes fail the check digit of GB 32100, so
// that it is shown and refuses nothing.
func warnCreditCode(_ *smx509.Certificate, s subject) string {
	if code := s.request.CreditCode; code != "" && !trust.CreditCodeChecks(code) {
		return "the check digit of GB 32100 does not fit; compare with the licence"
	}
	return ""
}

func lintPlatformID(c *smx509.Certificate, s subject) string {
	if reason := ownValue(c, s.config.OIDs.PlatformID, s.profile.platformID, asn1.TagUTF8String, []byte(s.request.PlatformID)); reason != "" {
		return reason
	}
	id := s.request.PlatformID
	if len(id) > 64 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "more than 64 characters, or others than a-z, 0-9 and -"
	}
	return ""
}

func lintNoCheck(c *smx509.Certificate, s subject) string {
	value, found := extensionValue(c, trust.OIDOCSPNoCheck())
	if found != s.profile.noCheck || found && !bytes.Equal(value, asn1.NullBytes) {
		return differs("id-pkix-ocsp-nocheck", found, s.profile.noCheck)
	}
	return ""
}

// lintCritical: key usage and basic constraints are critical, and the extended
// key usage of timestamp authorities (RFC 3161 2.3); nothing else is.
func lintCritical(c *smx509.Certificate, s subject) string {
	for _, ext := range c.Extensions {
		want := ext.Id.Equal(oidKeyUsage()) || ext.Id.Equal(oidBasicConstraints()) || s.profile.usageCritical && ext.Id.Equal(oidExtKeyUsage())
		if ext.Critical != want {
			return fmt.Sprintf("extension %v: critical is %v", ext.Id, ext.Critical)
		}
	}
	return ""
}

// lintExtensionSet: nothing stands in a certificate that no other rule looked
// at.
func lintExtensionSet(c *smx509.Certificate, s subject) string {
	known := []asn1.ObjectIdentifier{
		oidSubjectKeyID(), oidKeyUsage(), oidBasicConstraints(), oidCRLPointer(), oidAuthorityKeyID(), oidExtKeyUsage(),
		oidInformationAccess(), s.config.OIDs.Lineage, s.config.OIDs.Role, s.config.OIDs.CreditCode,
		s.config.OIDs.PlatformID, s.config.OIDs.Identity, trust.OIDOCSPNoCheck(),
	}
	for _, ext := range c.Extensions {
		if !slices.ContainsFunc(known, ext.Id.Equal) {
			return fmt.Sprintf("extension %v is in no profile", ext.Id)
		}
	}
	return ""
}
