package trust

import (
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/emmansun/gmsm/smx509"
)

// HolderKind is the kind of holder that a certificate names.
type HolderKind string

// The kinds of holders.
const (
	Organisation HolderKind = "organisation"
	Person       HolderKind = "person"
	Platform     HolderKind = "platform"
)

// Roles of a person in an organisation.
const (
	RoleAdmin = "admin"
	RoleUser  = "user"
)

// LineageSize is the length of a lineage id in bytes.
const LineageSize = 16

// maxName bounds each text of an identity, in bytes.
const maxName = 256

// Identity is what a certificate says of its holder. It is worth what the chain
// is worth: read it from a Verified.
type Identity struct {
	// Anchor is the SM3 digest of the anchor's DER, lower-case hexadecimal;
	// empty when read by ReadSubject.
	Anchor string `json:"anchor,omitempty"`
	// Lineage is the lineage id, lower-case hexadecimal, 32 characters; empty
	// where the authority writes none. (Anchor, Lineage) names the holder's
	// certificate across renewal, change of name and reissue.
	Lineage string `json:"lineage,omitempty"`
	// Kind of the holder.
	Kind HolderKind `json:"kind"`
	// CommonName: the person's name, or the platform's.
	CommonName string `json:"common_name"`
	// Organisation's name; empty for natural persons.
	Organisation string `json:"organisation,omitempty"`
	// CreditCode: the organisation's unified social credit code (GB 32100);
	// empty where no extension holds anything of that form.
	CreditCode string `json:"credit_code,omitempty"`
	// Role in the organisation when the certificate was issued: RoleAdmin,
	// RoleUser or empty.
	Role string `json:"role,omitempty"`
	// PlatformID of platforms.
	PlatformID string `json:"platform_id,omitempty"`
}

// ReadIdentity reads the identity of a verified chain's leaf by the identifiers
// of its authority. Texts with control
// or direction-changing characters are refused, because they are shown to
// people who decide by them. The error wraps ErrMalformed.
func ReadIdentity(v *Verified) (Identity, error) {
	id, err := ReadSubject(v.Leaf(), v.Authority.OIDs)
	if err != nil {
		return Identity{}, err
	}
	anchor := Digest(v.Anchor)
	id.Anchor = hex.EncodeToString(anchor[:])
	return id, nil
}

// ReadSubject reads the identity that a certificate states, verified or not.
func ReadSubject(cert *smx509.Certificate, oids OIDs) (Identity, error) {
	id, err := readNames(cert)
	if err != nil {
		return Identity{}, err
	}
	if err := id.readExtensions(cert, oids); err != nil {
		return Identity{}, err
	}
	switch {
	case id.PlatformID != "":
		id.Kind = Platform
	case id.Organisation != "":
		id.Kind = Organisation
	default:
		id.Kind = Person
	}
	return id, id.check()
}

// readNames reads whom a certificate names. It rejects several common names or
// organisations, because one reader would show the first and another the last.
func readNames(cert *smx509.Certificate) (Identity, error) {
	names := 0
	for _, attribute := range cert.Subject.Names {
		if attribute.Type.Equal(oidCommonName()) {
			names++
		}
	}
	if n := len(cert.Subject.Organization); n > 1 || names > 1 {
		return Identity{}, fmt.Errorf("%d common names and %d organisations: %w", names, n, ErrMalformed)
	}
	return Identity{CommonName: cert.Subject.CommonName, Organisation: strings.Join(cert.Subject.Organization, "")}, nil
}

func (id *Identity) readExtensions(cert *smx509.Certificate, oids OIDs) error {
	lineage, err := extension(cert, oids.Lineage)
	if err != nil {
		return err
	}
	if lineage != nil {
		if lineage.Tag != asn1.TagOctetString || len(lineage.Bytes) != LineageSize {
			return fmt.Errorf("lineage id: %w", ErrMalformed)
		}
		id.Lineage = hex.EncodeToString(lineage.Bytes)
	}
	if id.Role, err = textExtension(cert, oids.Role); err != nil {
		return err
	}
	if id.PlatformID, err = textExtension(cert, oids.PlatformID); err != nil {
		return err
	}
	for _, oid := range append([]asn1.ObjectIdentifier{oids.CreditCode}, oids.CreditCodeAlso...) {
		code, err := textExtension(cert, oid)
		if err != nil {
			return err
		}
		if id.CreditCode == "" && id.Organisation != "" && IsCreditCode(code) {
			id.CreditCode = code
		}
	}
	return nil
}

// IsCreditCode reports whether text has the form of a unified social credit code
// (GB 32100): 18 characters of its alphabet. The check digit is not held against
// anybody: some legally issued codes fail it.
func IsCreditCode(text string) bool {
	return len(text) == 18 && strings.Trim(text, creditCodeAlphabet) == ""
}

// creditCodeAlphabet orders the characters of a credit code by their value.
const creditCodeAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// CreditCodeChecks reports whether the check digit of a credit code fits (GB
// 32100 4.5, after ISO 7064: weights 3^(i-1) mod 31).
func CreditCodeChecks(code string) bool {
	if !IsCreditCode(code) {
		return false
	}
	sum, weight := 0, 1
	for i := range 17 {
		sum += strings.IndexByte(creditCodeAlphabet, code[i]) * weight
		weight = weight * 3 % 31
	}
	return strings.IndexByte(creditCodeAlphabet, code[17]) == (31-sum%31)%31
}

// IsIdentityNumber reports whether text is a citizen's identity number (GB
// 11643): a region, a real date of birth, and a check digit that fits.
func IsIdentityNumber(text string) bool {
	if len(text) != 18 || strings.Trim(text[:17], "0123456789") != "" {
		return false
	}
	if born, err := time.Parse("20060102", text[6:14]); err != nil || born.Year() < 1850 {
		return false
	}
	sum, weight := 0, 1 // ISO 7064 MOD 11-2: weights 2^(18-i) mod 11
	for i := 16; i >= 0; i-- {
		weight = weight * 2 % 11
		sum += int(text[i]-'0') * weight
	}
	return text[17] == "10X98765432"[sum%11]
}

func (id *Identity) check() error {
	for _, text := range []string{id.CommonName, id.Organisation, id.CreditCode, id.PlatformID} {
		if err := checkText(text); err != nil {
			return err
		}
	}
	if id.CommonName == "" {
		return fmt.Errorf("no common name: %w", ErrMalformed)
	}
	if id.Role != "" && id.Role != RoleAdmin && id.Role != RoleUser {
		return fmt.Errorf("role %q: %w", id.Role, ErrMalformed)
	}
	return nil
}

// checkText refuses what could deceive a reader: invalid UTF-8, control and
// format characters (among them the bidirectional overrides of Unicode TR 36),
// line and paragraph separators, fillers and other blanks than the common ones,
// blanks around, excessive length.
func checkText(text string) error {
	if len(text) > maxName || !utf8.ValidString(text) || strings.TrimSpace(text) != text {
		return fmt.Errorf("name of %d bytes: %w", len(text), ErrMalformed)
	}
	for _, r := range text {
		if Deceptive(r) {
			return fmt.Errorf("name with the character %U: %w", r, ErrMalformed)
		}
	}
	return nil
}

// Deceptive reports whether a character has no place in a name: it shows
// nothing, or moves what stands beside it. Variation selectors are none of them:
// they choose between the forms of a character in people's names.
func Deceptive(r rune) bool {
	if r == ' ' || r == '\u3000' {
		return false
	}
	return r == '\u2800' || unicode.In(r, unicode.C, unicode.Z, unicode.Other_Default_Ignorable_Code_Point)
}

// extension returns the one DER value inside an extension, nil if it is absent.
func extension(cert *smx509.Certificate, oid asn1.ObjectIdentifier) (*asn1.RawValue, error) {
	if len(oid) == 0 {
		return nil, nil
	}
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oid) {
			continue
		}
		var value asn1.RawValue
		rest, err := asn1.Unmarshal(ext.Value, &value)
		if err != nil || len(rest) != 0 || value.Class != asn1.ClassUniversal || value.IsCompound {
			return nil, fmt.Errorf("extension %v: %w", oid, ErrMalformed)
		}
		return &value, nil
	}
	return nil, nil
}

// textExtension reads a string extension, "" if it is absent.
func textExtension(cert *smx509.Certificate, oid asn1.ObjectIdentifier) (string, error) {
	value, err := extension(cert, oid)
	if err != nil || value == nil {
		return "", err
	}
	switch value.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String:
	default:
		return "", fmt.Errorf("extension %v is not a string: %w", oid, ErrMalformed)
	}
	text := string(value.Bytes)
	if text == "" {
		return "", fmt.Errorf("extension %v is empty: %w", oid, ErrMalformed)
	}
	return text, checkText(text)
}
