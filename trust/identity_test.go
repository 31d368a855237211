package trust_test

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

func utf8(text string) asn1.RawValue {
	return asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(text)}
}

func printable(text string) asn1.RawValue {
	return asn1.RawValue{Tag: asn1.TagPrintableString, Bytes: []byte(text)}
}

func TestReadIdentity(t *testing.T) {
	oids := trust.DocumentationOIDs()
	lineage := []byte("0123456789abcdef")
	leaf := template(3, "张三")
	leaf.Subject = pkix.Name{CommonName: "张三", Organization: []string{"示例建设有限公司"}}
	leaf.ExtraExtensions = []pkix.Extension{
		ext(t, oids.Lineage, false, lineage), ext(t, oids.Role, false, utf8(trust.RoleAdmin)),
		ext(t, oids.CreditCodeAlso[1], false, printable("91330100MA27XL0G0X")),
	}
	c := newChain(t, newSM2, leaf)
	v, err := c.store(t).Verify(c.certs(), trust.VerifyOptions{Time: day(), Usage: trust.Signing})
	must(t, err)
	id, err := trust.ReadIdentity(v)
	must(t, err)
	anchor := trust.Digest(c.root.cert)
	want := trust.Identity{
		Anchor: hex.EncodeToString(anchor[:]), Lineage: hex.EncodeToString(lineage), Kind: trust.Organisation, CommonName: "张三",
		Organisation: "示例建设有限公司", CreditCode: "91330100MA27XL0G0X", Role: trust.RoleAdmin,
	}
	if id != want {
		t.Fatalf("got %+v, want %+v", id, want)
	}
}

func TestReadIdentityKinds(t *testing.T) {
	oids := trust.DocumentationOIDs()
	person := issue(t, template(1, "李四"), nil, newSM2(t))
	id, err := trust.ReadSubject(person.cert, oids)
	must(t, err)
	if id.Kind != trust.Person || id.CommonName != "李四" {
		t.Errorf("person: %+v", id)
	}
	site := template(2, "招标平台")
	site.Subject.Organization = []string{"某交易中心"}
	site.ExtraExtensions = []pkix.Extension{ext(t, oids.PlatformID, false, utf8("p-1"))}
	id, err = trust.ReadSubject(issue(t, site, nil, newSM2(t)).cert, oids)
	must(t, err)
	if id.Kind != trust.Platform || id.PlatformID != "p-1" {
		t.Errorf("platform: %+v", id)
	}
}

func TestReadIdentityRefuses(t *testing.T) {
	oids := trust.DocumentationOIDs()
	withExt := func(id asn1.ObjectIdentifier, value any) func(*smx509.Certificate) {
		return func(c *smx509.Certificate) { c.ExtraExtensions = []pkix.Extension{ext(t, id, false, value)} }
	}
	cn := func(text string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: text}
	}
	rdns := func(name ...pkix.RelativeDistinguishedNameSET) func(*smx509.Certificate) {
		return func(c *smx509.Certificate) {
			der, err := asn1.Marshal(pkix.RDNSequence(name))
			must(t, err)
			c.RawSubject = der
		}
	}
	named := func(name string) func(*smx509.Certificate) {
		return func(c *smx509.Certificate) { c.Subject.CommonName = name }
	}
	for name, change := range map[string]func(*smx509.Certificate){
		"no name":                 named(""),
		"line break":              named("a\nb"),
		"right-to-left override":  named("abc\u202Efdp"),
		"zero width space":        named("a\u200Bb"),
		"blank at the end":        named("abc "),
		"long name":               named(strings.Repeat("长", 100)),
		"name that shows nothing": named("\u3164"),
		"blank of another kind":   named("a\u00A0b"),
		"no-break at the end":     named("abc\u3164"),
		"NUL":                     named("abc\x00def"),
		"two names":               rdns(pkix.RelativeDistinguishedNameSET{cn("张三")}, pkix.RelativeDistinguishedNameSET{cn("李四")}),
		"two names in one":        rdns(pkix.RelativeDistinguishedNameSET{cn("张三"), cn("李四")}),
		"two organisations":       func(c *smx509.Certificate) { c.Subject.Organization = []string{"a", "b"} },
		"short lineage":           withExt(oids.Lineage, []byte("short")),
		"lineage as text":         withExt(oids.Lineage, utf8("0123456789abcdef")),
		"unknown role":            withExt(oids.Role, utf8("root")),
		"credit code as number":   withExt(oids.CreditCode, 5),
		"empty credit code":       withExt(oids.CreditCode, utf8("")),
		"platform with a tab":     withExt(oids.PlatformID, utf8("p\t1")),
	} {
		leaf := template(3, "leaf")
		change(leaf)
		if _, err := trust.ReadSubject(issue(t, leaf, nil, newSM2(t)).cert, oids); !errors.Is(err, trust.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCreditCodeIsOneByForm: the extensions in which other authorities write it
// have held older numbers, too, and a natural person's own.
func TestCreditCodeIsOneByForm(t *testing.T) {
	oids := trust.DocumentationOIDs()
	const code = "91330100MA27XL0G0X"
	for name, v := range map[string]struct {
		organisation string
		extensions   []pkix.Extension
		want         string
	}{
		"organisation code before it": {"示例建设有限公司", []pkix.Extension{
			ext(t, oids.CreditCodeAlso[0], false, printable("MA27XL0G0")), ext(t, oids.CreditCodeAlso[1], false, printable(code))}, code},
		"old taxation number": {"示例建设有限公司", []pkix.Extension{
			ext(t, oids.CreditCode, false, printable("330100123456789")), ext(t, oids.CreditCodeAlso[1], false, printable(code))}, code},
		"no code at all":     {"示例建设有限公司", []pkix.Extension{ext(t, oids.CreditCode, false, printable("330100123456789"))}, ""},
		"a natural person's": {"", []pkix.Extension{ext(t, oids.CreditCode, false, printable("330102199001011234"))}, ""},
	} {
		leaf := template(3, "张三")
		if v.organisation != "" {
			leaf.Subject.Organization = []string{v.organisation}
		}
		leaf.ExtraExtensions = v.extensions
		id, err := trust.ReadSubject(issue(t, leaf, nil, newSM2(t)).cert, oids)
		if err != nil || id.CreditCode != v.want {
			t.Errorf("%s: %q, %v", name, id.CreditCode, err)
		}
	}
}

func TestSerialHex(t *testing.T) {
	serial := new(big.Int).SetBytes([]byte{0x0A, 0xBC, 0x00})
	if text := trust.SerialHex(serial); text != "0ABC00" {
		t.Errorf("wrote %s", text)
	}
	for _, text := range []string{"0ABC00", "0a:bc:00", "ABC00"} {
		if got, err := trust.ParseSerialHex(text); err != nil || got.Cmp(serial) != 0 {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "0x12", "zz", "+5", strings.Repeat("F", 41)} {
		if _, err := trust.ParseSerialHex(text); !errors.Is(err, trust.ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestParseCertificateRefusesPointsOffTheCurve: nothing behind the parser has to
// look at the key again.
func TestParseCertificateRefusesPointsOffTheCurve(t *testing.T) {
	for name, newKey := range families() {
		if name == "RSA" {
			continue
		}
		der := slices.Clone(issue(t, template(1, "x"), nil, newKey(t)).cert.Raw)
		cert, err := trust.ParseCertificate(der)
		must(t, err)
		at := bytes.Index(der, cert.RawSubjectPublicKeyInfo) + len(cert.RawSubjectPublicKeyInfo) - 1
		der[at] ^= 1
		if _, err := trust.ParseCertificate(der); !errors.Is(err, trust.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
