package issuance

import (
	"bytes"
	"crypto/hmac"
	"encoding/asn1"
	"fmt"
	"regexp"
	"strings"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/smx509"
)

// IdentityForm is how a certificate lets a holder's identity number be seen.
type IdentityForm string

// The forms.
const (
	// IdentityNone: not at all.
	IdentityNone IdentityForm = "none"
	// IdentityHashed: HMAC-SM3 under a secret of the authority, OCTET STRING of
	// 32 bytes. The same person has the same value in all certificates of one
	// authority. Identity numbers are few (regions times days times 1000 times
	// two): without the secret's key any plain or salted hash in a public
	// certificate would be undone within minutes.
	IdentityHashed IdentityForm = "hashed"
	// IdentityMasked: the first three and the last four characters, stars
	// between, PrintableString.
	IdentityMasked IdentityForm = "masked"
	// IdentityClear: the number itself, PrintableString.
	IdentityClear IdentityForm = "clear"
)

// Check refuses forms that do not exist.
func (f IdentityForm) Check() error {
	switch f {
	case "", IdentityNone, IdentityHashed, IdentityMasked, IdentityClear:
		return nil
	}
	return fmt.Errorf("no form %q of identity numbers", f)
}

// IdentityMark is an identity number in a form that may be shown; zero for none.
// It is what is stored: the number itself need not be kept.
type IdentityMark struct {
	Form  IdentityForm
	Value []byte
}

// IdentityKeySize is the least length in bytes of the secret for hashed forms.
const IdentityKeySize = 32

// MarkIdentity brings an identity number into a form: HMAC-SM3(key,
// "bidseal/ca identity number 1" | 0x00 | number). The number must be a citizen's
// (GB 11643), its check digit included; the letter x is written X.
func MarkIdentity(form IdentityForm, key []byte, number string) (IdentityMark, error) {
	number = strings.ToUpper(number)
	if !trust.IsIdentityNumber(number) {
		return IdentityMark{}, fmt.Errorf("not an identity number of GB 11643")
	}
	switch form {
	case "", IdentityNone:
		return IdentityMark{}, nil
	case IdentityClear:
		return IdentityMark{form, []byte(number)}, nil
	case IdentityMasked:
		return IdentityMark{form, []byte(number[:3] + strings.Repeat("*", len(number)-7) + number[len(number)-4:])}, nil
	case IdentityHashed:
		if len(key) < IdentityKeySize {
			return IdentityMark{}, fmt.Errorf("key for identity numbers of %d bytes", len(key))
		}
		mac := hmac.New(sm3.New, key)
		mac.Write([]byte("bidseal/ca identity number 1\x00"))
		mac.Write([]byte(number))
		return IdentityMark{form, mac.Sum(nil)}, nil
	}
	return IdentityMark{}, form.Check()
}

// tag is the ASN.1 type of the extension's value.
func (m IdentityMark) tag() int {
	if m.Form == IdentityHashed {
		return asn1.TagOctetString
	}
	return asn1.TagPrintableString
}

// identityForm is what the configuration wants in certificates of a profile.
func (c Config) identityForm(name Name) IdentityForm {
	switch name {
	case OrganisationSigning, OrganisationEncryption:
		return c.OrganisationIdentity
	case PersonSigning, PersonEncryption:
		return c.PersonIdentity
	}
	return IdentityNone
}

var maskedIdentity = regexp.MustCompile(`^[0-9]{3}\*{11}[0-9]{3}[0-9X]$`)

// lintIdentity: there only in the configured form, and of that form indeed.
func lintIdentity(c *smx509.Certificate, s subject) string {
	mark := s.request.Identity
	if reason := ownValue(c, s.config.OIDs.Identity, s.profile.identity, mark.tag(), mark.Value); reason != "" {
		return reason
	}
	if len(mark.Value) == 0 {
		return ""
	}
	if want := s.config.identityForm(s.profile.name); mark.Form != want {
		return differs("form of the identity number", mark.Form, want)
	}
	good := false
	switch mark.Form {
	case IdentityHashed:
		good = len(mark.Value) == sm3.Size && !bytes.Equal(mark.Value, make([]byte, sm3.Size))
	case IdentityMasked:
		good = maskedIdentity.Match(mark.Value)
	case IdentityClear:
		good = trust.IsIdentityNumber(string(mark.Value))
	}
	if !good {
		return fmt.Sprintf("not of the form %q", mark.Form)
	}
	return ""
}

var longNumber = regexp.MustCompile(`[0-9]{17,}[0-9Xx]`)

// lintIdentityInClear: no identity number hides in a name.
func lintIdentityInClear(_ *smx509.Certificate, s subject) string {
	name := s.request.Subject
	texts := []string{name.Province, name.Locality, name.Organisation, name.Unit, name.CommonName, s.request.Role, s.request.PlatformID}
	if len(name.Serial) != 2*trust.LineageSize { // a random lineage id is not a person's number
		texts = append(texts, name.Serial)
	}
	for _, text := range texts {
		for _, number := range longNumber.FindAllString(text, -1) {
			if trust.IsIdentityNumber(strings.ToUpper(number)) {
				return "a name holds an identity number in clear"
			}
		}
	}
	return ""
}
