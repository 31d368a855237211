package issuance

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// readName reads the subject with the encodings kept.
func readName(c *smx509.Certificate) ([]relativeNameSET, error) {
	var name []relativeNameSET
	rest, err := asn1.Unmarshal(c.RawSubject, &name)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%d trailing bytes", len(rest))
	}
	return name, err
}

func attributeByID(id asn1.ObjectIdentifier) (int, attribute, bool) {
	for i, a := range layout() {
		if a.id.Equal(id) {
			return i, a, true
		}
	}
	return 0, attribute{}, false
}

// lintSubjectLayout: GM/T 0015, each attribute in a relative name of its own, in
// the order of the layout, none twice, country and serial as PrintableString.
func lintSubjectLayout(c *smx509.Certificate, _ subject) string {
	name, err := readName(c)
	if err != nil {
		return err.Error()
	}
	last := -1
	for _, relative := range name {
		if len(relative) != 1 {
			return fmt.Sprintf("%d attributes in one relative name", len(relative))
		}
		position, a, ok := attributeByID(relative[0].Type)
		if !ok {
			return fmt.Sprintf("attribute %v is not in the layout", relative[0].Type)
		}
		if position <= last {
			return fmt.Sprintf("attribute %s stands out of order or twice", a.name)
		}
		last = position
		want := asn1.TagUTF8String
		if a.printable {
			want = asn1.TagPrintableString
		}
		if relative[0].Value.Class != asn1.ClassUniversal || relative[0].Value.Tag != want {
			return differs("encoding of "+a.name, relative[0].Value.Tag, want)
		}
	}
	return ""
}

// lintSubjectAttributes: what the profile requires is there, what it forbids is
// not.
func lintSubjectAttributes(c *smx509.Certificate, s subject) string {
	name, err := readName(c)
	if err != nil {
		return err.Error()
	}
	found := make(map[string]bool)
	for _, relative := range name {
		for _, value := range relative {
			if _, a, ok := attributeByID(value.Type); ok {
				found[a.name] = true
			}
		}
	}
	for _, a := range layout() {
		switch allowed := a.allowed(s.profile); {
		case allowed == required && !found[a.name]:
			return "attribute " + a.name + " is missing"
		case allowed == never && found[a.name]:
			return "attribute " + a.name + " is not allowed"
		}
	}
	return ""
}

// lintSubjectText: valid text within X.520's bounds that a person can read: no
// control or format characters, no blanks at the ends.
func lintSubjectText(c *smx509.Certificate, _ subject) string {
	name, err := readName(c)
	if err != nil {
		return err.Error()
	}
	for _, relative := range name {
		for _, value := range relative {
			_, a, ok := attributeByID(value.Type)
			if !ok {
				continue
			}
			if reason := textReason(string(value.Value.Bytes), a); reason != "" {
				return "attribute " + a.name + ": " + reason
			}
		}
	}
	return ""
}

func textReason(text string, a attribute) string {
	if n := utf8.RuneCountInString(text); n == 0 || n > a.max {
		return fmt.Sprintf("%d characters, at most %d", n, a.max)
	}
	if !utf8.ValidString(text) || strings.TrimSpace(text) != text {
		return "invalid UTF-8 or blanks at the ends"
	}
	for _, r := range text {
		if trust.Deceptive(r) {
			return fmt.Sprintf("character %U", r)
		}
		if a.printable && !printable(r) {
			return fmt.Sprintf("character %U in a PrintableString", r)
		}
	}
	if a.name == "C" && (len(text) != 2 || strings.ToUpper(text) != text) {
		return "not two capital letters"
	}
	return ""
}

// printable reports whether a rune may stand in a PrintableString (X.680 41.4).
func printable(r rune) bool {
	return r < unicode.MaxASCII && (r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune(" '()+,-./:=?", r))
}

func lintSubjectRequested(c *smx509.Certificate, s subject) string {
	want, err := s.request.Subject.marshal()
	if err != nil || !bytes.Equal(c.RawSubject, want) {
		return "subject is not the requested one"
	}
	return ""
}
