package issuance

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/bidseal/bidseal/trust"
)

// The example of GB 11643, and what OpenSSL says of it.
const (
	exampleIdentity = "11010519491231002X"
	identityVector  = "9ae9bdf401f5aeb9dc4e18d0161911f89147c6c37605b6fc07f7d45f97dc25cd"
)

func TestMarkIdentity(t *testing.T) {
	key := bytes.Repeat([]byte{7}, IdentityKeySize)
	for form, want := range map[IdentityForm]string{
		IdentityNone: "", "": "", IdentityClear: exampleIdentity, IdentityMasked: "110***********002X",
	} {
		mark, err := MarkIdentity(form, key, "11010519491231002x")
		must(t, err)
		if string(mark.Value) != want {
			t.Errorf("%q: %q", form, mark.Value)
		}
	}
	mark, err := MarkIdentity(IdentityHashed, key, exampleIdentity)
	must(t, err)
	// printf 'bidseal/ca identity number 1\0%s' 11010519491231002X | openssl dgst -sm3 -mac HMAC -macopt hexkey:0707...
	if got := hex.EncodeToString(mark.Value); got != identityVector {
		t.Errorf("hashed: %s", got)
	}
	other, err := MarkIdentity(IdentityHashed, bytes.Repeat([]byte{8}, IdentityKeySize), exampleIdentity)
	must(t, err)
	if bytes.Equal(mark.Value, other.Value) {
		t.Error("the secret does not count")
	}
	for name, c := range map[string]struct {
		form   IdentityForm
		key    []byte
		number string
	}{
		"check digit":   {IdentityHashed, key, "110105194912310021"},
		"date of birth": {IdentityHashed, key, "110105194902310029"},
		"short":         {IdentityHashed, key, "1101051949123100"},
		"letters":       {IdentityMasked, key, "1101051949123100XX"},
		"unknown form":  {"sha1", key, exampleIdentity},
		"no secret":     {IdentityHashed, nil, exampleIdentity},
		"short secret":  {IdentityHashed, key[:31], exampleIdentity},
	} {
		if _, err := MarkIdentity(c.form, c.key, c.number); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if IdentityForm("sha1").Check() == nil {
		t.Error("an unknown form passed")
	}
}

// TestIdentityInCertificates: the mark of the configured form is issued; the
// number stands nowhere.
func TestIdentityInCertificates(t *testing.T) {
	_, issuer := ceremony(t, SM2)
	for name, form := range map[Name]IdentityForm{PersonSigning: IdentityHashed, OrganisationSigning: IdentityMasked} {
		r := request(t, name, SM2)
		var err error
		r.Identity, err = MarkIdentity(form, bytes.Repeat([]byte{7}, IdentityKeySize), exampleIdentity)
		must(t, err)
		cert := issue(t, issuer, r)
		value, found := extensionValue(cert, trust.DocumentationOIDs().Identity)
		if !found || !bytes.HasSuffix(value, r.Identity.Value) {
			t.Errorf("%s: extension %x", name, value)
		}
		if bytes.Contains(cert.Raw, []byte(exampleIdentity)) {
			t.Errorf("%s: the number stands in the certificate", name)
		}
	}
}

func TestCreditCodeWarns(t *testing.T) {
	_, issuer := ceremony(t, SM2)
	for code, want := range map[string]int{"91350100M000100Y43": 0, "91350100M000100Y44": 1} {
		r := request(t, OrganisationSigning, SM2)
		r.CreditCode = code
		linted, err := issuer.Prepare(r)
		must(t, err)
		if got := linted.Warnings(); len(got) != want || want == 1 && got[0].Lint != "credit_code_check_digit" {
			t.Errorf("%s: %v", code, got)
		}
	}
}

// TestDualCertificatesAreSM2: the other families have one certificate for
// signing.
func TestDualCertificatesAreSM2(t *testing.T) {
	for _, family := range []Family{ECDSAP256, RSA3072} {
		_, issuer := ceremony(t, family)
		for _, name := range []Name{OrganisationEncryption, PersonEncryption} {
			_, err := issuer.Prepare(request(t, name, family))
			var failed *LintError
			if !errors.As(err, &failed) || failed.Lint != "key_family" {
				t.Errorf("%s %s: %v", family, name, err)
			}
		}
	}
	if _, err := Family("DSA").GenerateKey(); err == nil {
		t.Error("a key of no family")
	}
}
