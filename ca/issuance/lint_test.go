package issuance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func now() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) }

func newKey(t testing.TB, kind Family) crypto.Signer {
	t.Helper()
	key, err := kind.GenerateKey()
	must(t, err)
	return key
}

func config() Config {
	return Config{OIDs: trust.DocumentationOIDs(), CRLURL: "http://ca.example/crl/issuing.crl", OCSPURL: "http://ca.example/ocsp",
		IssuerURL: "http://ca.example/certs/issuing.cer", PersonIdentity: IdentityHashed, OrganisationIdentity: IdentityMasked}
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	s, err := NewSerial(rand.Reader)
	must(t, err)
	return s
}

// ceremony makes a root and an issuing authority.
func ceremony(t testing.TB, kind Family) (root *smx509.Certificate, issuer *Issuer) {
	t.Helper()
	rootKey, key := newKey(t, kind), newKey(t, kind)
	self, err := NewRootIssuer(rootKey, config())
	must(t, err)
	root = issue(t, self, Request{Profile: Root, Subject: Subject{Country: "CN", CommonName: "测试根"}, PublicKey: rootKey.Public(),
		Serial: serial(t), NotBefore: now(), NotAfter: now().Add(20 * 365 * day)})
	upper, err := NewIssuer(root, rootKey, config())
	must(t, err)
	cert := issue(t, upper, Request{Profile: Issuing, Subject: Subject{Country: "CN", CommonName: "测试签发"}, PublicKey: key.Public(),
		Serial: serial(t), NotBefore: now(), NotAfter: now().Add(10 * 365 * day)})
	issuer, err = NewIssuer(cert, key, config())
	must(t, err)
	return root, issuer
}

func issue(t testing.TB, issuer *Issuer, r Request) *smx509.Certificate {
	t.Helper()
	linted, err := issuer.Prepare(r)
	must(t, err)
	cert, err := issuer.Issue(linted)
	must(t, err)
	return cert
}

// request is a good one for a leaf profile.
func request(t testing.TB, name Name, kind Family) Request {
	t.Helper()
	r := Request{
		Profile: name, Subject: Subject{Country: "CN", CommonName: "张三"}, PublicKey: newKey(t, kind).Public(),
		Serial: serial(t), NotBefore: now(), NotAfter: now().Add(200 * day),
	}
	switch name {
	case OrganisationSigning, OrganisationEncryption:
		r.Subject.Organisation, r.CreditCode, r.Role = "示例建设有限公司", "91330100MA27XL0G0X", trust.RoleAdmin
	case Platform:
		r.Subject.Organisation, r.PlatformID = "某交易中心", "p-1"
	case SealMaker:
		r.Subject.Organisation = "某印章制作单位"
	}
	switch name {
	case OrganisationSigning, OrganisationEncryption, PersonSigning, PersonEncryption:
		r.Lineage = []byte("0123456789abcdef")
		r.Subject.Serial = "0123456789abcdef0123456789abcdef"
	case Operator:
		r.Subject.Serial = "op-7"
	}
	return r
}

func TestEveryProfileIsIssuedAndBelieved(t *testing.T) {
	usages := map[Name]trust.Usage{
		OrganisationSigning: trust.Signing, PersonSigning: trust.Signing, OrganisationEncryption: trust.Encryption,
		PersonEncryption: trust.Encryption, Platform: trust.PlatformRequest, OCSP: trust.OCSPResponder,
		Timestamp: trust.TSA, SealMaker: trust.SealMaker, Operator: trust.Operator,
	}
	for _, kind := range Families() {
		root, issuer := ceremony(t, kind)
		store, err := trust.NewStore(trust.DocumentationAuthority(root))
		must(t, err)
		for name, usage := range usages {
			if kind != SM2 && usage == trust.Encryption {
				continue // the lint's failing examples show that it is refused
			}
			cert := issue(t, issuer, request(t, name, kind))
			_, err := store.Verify([]*smx509.Certificate{cert, issuer.Certificate()}, trust.VerifyOptions{Time: now().Add(day), Usage: usage})
			if err != nil {
				t.Errorf("%s %s: %v", kind, name, err)
			}
		}
	}
}

func TestOnlyLintedCertificatesAreSigned(t *testing.T) {
	_, issuer := ceremony(t, SM2)
	_, other := ceremony(t, SM2)
	foreign, err := other.Prepare(request(t, PersonSigning, SM2))
	must(t, err)
	for name, linted := range map[string]*Linted{"nil": nil, "zero": {}, "another issuer's": foreign} {
		if _, err := issuer.Issue(linted); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := issuer.Prepare(request(t, Root, SM2)); err == nil {
		t.Error("an issuing authority prepared a root")
	}
	if _, err := issuer.Prepare(Request{Profile: "none"}); err == nil {
		t.Error("prepared without a profile")
	}
	if _, err := NewIssuer(issuer.Certificate(), newKey(t, SM2), config()); err == nil {
		t.Error("issuer with a key that is not its own")
	}
}

// TestSignedBytesAreTheLintedOnes: a second signature of the same request covers
// the same bytes, so that repeating after a crash makes no other certificate.
func TestSignedBytesAreTheLintedOnes(t *testing.T) {
	_, issuer := ceremony(t, SM2)
	r := request(t, PersonSigning, SM2)
	first, second := issue(t, issuer, r), issue(t, issuer, r)
	if string(first.RawTBSCertificate) != string(second.RawTBSCertificate) {
		t.Error("the same request gave different certificates")
	}
	if !first.NotBefore.Equal(r.NotBefore) || !first.NotAfter.Equal(r.NotAfter) || first.SerialNumber.Cmp(r.Serial) != 0 {
		t.Errorf("signed: number %v, %v to %v; linted: number %v, %v to %v", first.SerialNumber, first.NotBefore, first.NotAfter, r.Serial, r.NotBefore, r.NotAfter)
	}
}

// lintCase breaks one rule, either by the request or by the built certificate.
type lintCase struct {
	lint    string
	profile Name
	request func(*Request)
	cert    func(*smx509.Certificate) // template, before it is built
	parsed  func(*smx509.Certificate) // after it was read back
}

func ownExt(id asn1.ObjectIdentifier, tag int, value string) pkix.Extension {
	der, _ := asn1.Marshal(asn1.RawValue{Tag: tag, Bytes: []byte(value)})
	return pkix.Extension{Id: id, Value: der}
}

func dropExt(id asn1.ObjectIdentifier) func(*smx509.Certificate) {
	return func(c *smx509.Certificate) {
		var kept []pkix.Extension
		for _, e := range c.ExtraExtensions {
			if !e.Id.Equal(id) {
				kept = append(kept, e)
			}
		}
		c.ExtraExtensions = kept
	}
}

func addExt(ext pkix.Extension) func(*smx509.Certificate) {
	return func(c *smx509.Certificate) {
		dropExt(ext.Id)(c)
		c.ExtraExtensions = append(c.ExtraExtensions, ext)
	}
}

func lintCases(t *testing.T, issuer *Issuer) []lintCase {
	oids := trust.DocumentationOIDs()
	rawSubject := func(name []relativeNameSET) func(*smx509.Certificate) {
		return func(c *smx509.Certificate) {
			der, err := asn1.Marshal(name)
			must(t, err)
			c.RawSubject = der
		}
	}
	value := func(arc, tag int, text string) nameAttribute {
		return nameAttribute{asn1.ObjectIdentifier{2, 5, 4, arc}, asn1.RawValue{Tag: tag, Bytes: []byte(text)}}
	}
	const P, U = asn1.TagPrintableString, asn1.TagUTF8String
	c, cn := value(6, P, "CN"), value(3, U, "张三")
	return []lintCase{
		{lint: "version", parsed: func(c *smx509.Certificate) { c.Version = 1 }},
		{lint: "serial_number", request: func(r *Request) { r.Serial = big.NewInt(1) }},
		{lint: "serial_number", request: func(r *Request) { r.Serial = new(big.Int).Lsh(big.NewInt(1), 159) }},
		{lint: "serial_number", request: func(r *Request) { r.Serial = new(big.Int).Lsh(big.NewInt(0x41), 128) }},
		{lint: "serial_number", cert: func(c *smx509.Certificate) { c.SerialNumber = serial(t) }},
		{lint: "signature_algorithm", parsed: func(c *smx509.Certificate) { c.SignatureAlgorithm = smx509.SHA1WithRSA }},
		{lint: "issuer_name", parsed: func(c *smx509.Certificate) { c.RawIssuer = c.RawSubject }},
		{lint: "validity_dates", request: func(r *Request) { r.NotAfter = r.NotBefore }},
		{lint: "validity_dates", request: func(r *Request) { r.NotAfter = r.NotAfter.Add(time.Millisecond) }},
		{lint: "validity_dates", request: func(r *Request) { r.NotBefore = now().AddDate(-10, 0, 0) }},
		{lint: "validity_length", request: func(r *Request) { r.NotAfter = r.NotBefore.Add(threeYearsRenewed) }},
		{lint: "validity_length", profile: Platform, request: func(r *Request) { r.NotAfter = r.NotBefore.Add(366 * day) }},
		{lint: "validity_within_issuer", request: func(r *Request) { r.NotBefore = now().Add(-time.Second) }},
		{lint: "validity_within_issuer", request: func(r *Request) {
			r.NotBefore, r.NotAfter = now().Add(10*365*day-time.Hour), now().Add(10*365*day+time.Hour)
		}},
		{lint: "key_family", request: func(r *Request) { r.PublicKey = newKey(t, ECDSAP256).Public() }},
		{lint: "key_family", request: func(r *Request) {
			weak, err := rsa.GenerateKey(rand.Reader, 2048)
			must(t, err)
			r.PublicKey = weak.Public()
		}},
		{lint: "key_family", request: func(r *Request) {
			other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			must(t, err)
			r.PublicKey = other.Public()
		}},
		{lint: "key_weak", request: func(r *Request) {
			one, err := sm2.NewPrivateKey(append(make([]byte, 31), 1))
			must(t, err)
			r.PublicKey = one.Public()
		}},
		{lint: "key_of_one_use", request: func(r *Request) { r.OtherKey = r.PublicKey }},
		{lint: "key_requested", parsed: func(c *smx509.Certificate) { c.RawSubjectPublicKeyInfo = []byte{1} }},
		{lint: "key_not_issuers", request: func(r *Request) { r.PublicKey = issuer.key.Public() }},
		{lint: "subject_layout", cert: rawSubject([]relativeNameSET{{cn}, {c}})},
		{lint: "subject_layout", cert: rawSubject([]relativeNameSET{{c}, {cn}, {cn}})},
		{lint: "subject_layout", cert: rawSubject([]relativeNameSET{{c, cn}})},
		{lint: "subject_layout", cert: rawSubject([]relativeNameSET{{value(6, U, "CN")}, {cn}})},
		{lint: "subject_layout", cert: rawSubject([]relativeNameSET{{c}, {value(12, U, "title")}, {cn}})},
		{lint: "subject_attributes", request: func(r *Request) { r.Subject.Country = "" }},
		{lint: "subject_attributes", request: func(r *Request) { r.Subject.Serial = "" }},
		{lint: "subject_attributes", request: func(r *Request) { r.Subject.Organisation = "不许" }},
		{lint: "subject_text", request: func(r *Request) { r.Subject.CommonName = "张三 " }},
		{lint: "subject_text", request: func(r *Request) { r.Subject.CommonName = "张\u202e三" }},
		{lint: "subject_text", request: func(r *Request) { r.Subject.CommonName = strings.Repeat("长", 65) }},
		{lint: "subject_text", request: func(r *Request) { r.Subject.Country = "cn" }},
		{lint: "subject_requested", cert: rawSubject([]relativeNameSET{{c}, {value(5, P, "x")}, {cn}})},
		{lint: "key_usage", cert: func(c *smx509.Certificate) { c.KeyUsage |= smx509.KeyUsageKeyEncipherment }},
		{lint: "key_usage", profile: PersonEncryption, cert: func(c *smx509.Certificate) { c.KeyUsage |= smx509.KeyUsageDigitalSignature }},
		{lint: "ext_key_usage", cert: func(c *smx509.Certificate) { c.UnknownExtKeyUsage = nil }},
		{lint: "ext_key_usage", cert: func(c *smx509.Certificate) {
			c.UnknownExtKeyUsage = append([]asn1.ObjectIdentifier{oids.PlatformUsage}, c.UnknownExtKeyUsage...)
		}},
		{lint: "basic_constraints", cert: func(c *smx509.Certificate) { c.BasicConstraintsValid = false }},
		{lint: "basic_constraints", cert: func(c *smx509.Certificate) { c.IsCA = true }},
		{lint: "authority_key_id", parsed: func(c *smx509.Certificate) { c.AuthorityKeyId = nil }},
		{lint: "subject_key_id", cert: func(c *smx509.Certificate) { c.SubjectKeyId = []byte{1} }},
		{lint: "crl_pointer", cert: func(c *smx509.Certificate) { c.CRLDistributionPoints = nil }},
		{lint: "crl_pointer", profile: OCSP, cert: func(c *smx509.Certificate) { c.CRLDistributionPoints = []string{"http://a.example/"} }},
		{lint: "information_access", cert: func(c *smx509.Certificate) { c.OCSPServer = []string{"http://elsewhere.example/"} }},
		{lint: "information_access", cert: func(c *smx509.Certificate) { c.IssuingCertificateURL = nil }},
		{lint: "lineage", request: func(r *Request) { r.Lineage = nil }},
		{lint: "lineage", request: func(r *Request) { r.Lineage = make([]byte, trust.LineageSize) }},
		{lint: "lineage", request: func(r *Request) { r.Lineage = []byte("short") }},
		{lint: "lineage", profile: Platform, request: func(r *Request) { r.Lineage = []byte("0123456789abcdef") }},
		{lint: "lineage", cert: addExt(ownExt(oids.Lineage, U, "0123456789abcdef"))},
		{lint: "role", request: func(r *Request) { r.Role = trust.RoleAdmin }},
		{lint: "role", profile: OrganisationSigning, request: func(r *Request) { r.Role = "root" }},
		{lint: "role", profile: OrganisationSigning, request: func(r *Request) { r.Role = "" }},
		{lint: "credit_code", profile: OrganisationSigning, request: func(r *Request) { r.CreditCode = "" }},
		{lint: "credit_code", profile: OrganisationSigning, request: func(r *Request) { r.CreditCode = "91330100MA27XL0G0I" }},
		{lint: "credit_code", profile: OrganisationSigning, cert: addExt(ownExt(oids.CreditCode, P, "91330100MA27XL0G0Y"))},
		{lint: "platform_id", profile: Platform, request: func(r *Request) { r.PlatformID = "" }},
		{lint: "platform_id", profile: Platform, request: func(r *Request) { r.PlatformID = "P 1" }},
		{lint: "platform_id", request: func(r *Request) { r.PlatformID = "p-1" }},
		{lint: "identity", request: func(r *Request) { r.Identity = IdentityMark{IdentityClear, []byte("11010519491231002X")} }},
		{lint: "identity", request: func(r *Request) { r.Identity = IdentityMark{IdentityHashed, []byte("short")} }},
		{lint: "identity", profile: Platform, request: func(r *Request) { r.Identity = IdentityMark{IdentityHashed, make([]byte, 32)} }},
		{lint: "identity", profile: OrganisationSigning, request: func(r *Request) {
			r.Identity = IdentityMark{IdentityMasked, []byte("11010519491231002X")}
		}},
		{lint: "identity_in_clear", request: func(r *Request) { r.Subject.CommonName = "张三 11010519491231002x" }},
		{lint: "identity_in_clear", profile: Operator, request: func(r *Request) { r.Subject.Serial = "11010519491231002X" }},
		{lint: "crl_pointer", request: func(r *Request) { r.CRLURL = "http://elsewhere.example/crl/issuing.crl" }},
		{lint: "ext_key_usage", profile: Timestamp, cert: dropExt(oidExtKeyUsage())},
		{lint: "critical_extensions", profile: Timestamp, cert: func(c *smx509.Certificate) {
			dropExt(oidExtKeyUsage())(c)
			c.ExtKeyUsage = []smx509.ExtKeyUsage{smx509.ExtKeyUsageTimeStamping}
		}},
		{lint: "ocsp_no_check", profile: OCSP, cert: dropExt(trust.OIDOCSPNoCheck())},
		{lint: "ocsp_no_check", cert: addExt(pkix.Extension{Id: trust.OIDOCSPNoCheck(), Value: asn1.NullBytes})},
		{lint: "critical_extensions", parsed: func(c *smx509.Certificate) { c.Extensions[0].Critical = !c.Extensions[0].Critical }},
		{lint: "extension_set", cert: func(c *smx509.Certificate) { c.DNSNames = []string{"example.org"} }},
	}
}

// TestEveryLintFails shows for each rule a certificate that breaks it, and that
// the rule stops it by name.
func TestEveryLintFails(t *testing.T) {
	_, issuer := ceremony(t, SM2)
	shown := make(map[string]bool)
	for _, c := range lintCases(t, issuer) {
		if c.profile == "" {
			c.profile = PersonSigning
		}
		err := buildAndLint(t, issuer, c)
		var failed *LintError
		if !errors.As(err, &failed) || failed.Lint != c.lint || failed.Reason == "" {
			t.Errorf("%s in %s: got %v", c.lint, c.profile, err)
		}
		shown[c.lint] = true
	}
	for _, rule := range rules() {
		if !shown[rule.name] {
			t.Errorf("lint %s has no failing example", rule.name)
		}
	}
	if err := buildAndLint(t, issuer, lintCase{profile: PersonSigning}); err != nil {
		t.Errorf("an unbroken certificate: %v", err)
	}
}

// buildAndLint does what Prepare does, with the case's changes in between.
func buildAndLint(t *testing.T, issuer *Issuer, c lintCase) error {
	t.Helper()
	r := request(t, c.profile, SM2)
	if c.request != nil {
		c.request(&r)
	}
	p := issuer.profiles[c.profile]
	template, err := issuer.template(r, p)
	must(t, err)
	if c.cert != nil {
		c.cert(template)
	}
	der, err := smx509.CreateCertificate(rand.Reader, template, issuer.lintParent(template), r.PublicKey, issuer.lintKey)
	must(t, err)
	cert, err := trust.ParseCertificate(der)
	must(t, err)
	if c.parsed != nil {
		c.parsed(cert)
	}
	return applyLints(cert, issuer.subject(r, p))
}

func TestNewSerial(t *testing.T) {
	seen := make(map[string]bool)
	for range 200 {
		s := serial(t)
		if s.Sign() <= 0 || len(s.Bytes()) != serialSize || s.BitLen() != 8*serialSize-1 {
			t.Fatalf("serial number %x", s)
		}
		if seen[s.String()] {
			t.Fatal("a serial number came twice")
		}
		seen[s.String()] = true
	}
}
