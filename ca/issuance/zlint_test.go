package issuance

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
	"github.com/zmap/zlint/v3/lint"
)

// closePrimes is an RSA modulus that Fermat's method factors at once.
func closePrimes(t *testing.T) *rsa.PublicKey {
	t.Helper()
	p, err := rand.Prime(rand.Reader, rsaBits/2)
	must(t, err)
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(20) {
		q.Add(q, big.NewInt(2))
	}
	return &rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}
}

// TestZlintStopsIssuance: what our own lints let pass and zlint does not is not
// signed.
func TestZlintStopsIssuance(t *testing.T) {
	_, issuer := ceremony(t, RSA3072)
	r := request(t, PersonSigning, RSA3072)
	r.PublicKey = closePrimes(t)
	_, err := issuer.Prepare(r)
	var failed *LintError
	if !errors.As(err, &failed) || failed.Lint != "zlint:e_rsa_fermat_factorization" || failed.Reason == "" {
		t.Errorf("close primes: %v", err)
	}
	factor := new(big.Int).Lsh(big.NewInt(1), rsaBits-2) // 3 * (2^3070 + 1), odd
	r.PublicKey = &rsa.PublicKey{N: factor.Add(factor, big.NewInt(1)).Mul(factor, big.NewInt(3)), E: 65537}
	if _, err := issuer.Prepare(r); !errors.As(err, &failed) || failed.Lint != "key_weak" {
		t.Errorf("small factors: %v", err)
	}
}

// TestZlintSeesEverything: certificates that our template never makes, as zlint
// alone judges them.
func TestZlintSeesEverything(t *testing.T) {
	_, issuer := ceremony(t, ECDSAP256)
	for want, spoil := range map[string]func(*smx509.Certificate){
		"w_ext_key_usage_not_critical": func(c *smx509.Certificate) {
			der, err := asn1.Marshal(asn1.BitString{Bytes: []byte{0xC0}, BitLength: 2})
			must(t, err)
			c.KeyUsage = 0
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidKeyUsage(), Value: der})
		},
		"e_key_usage_and_extended_key_usage_inconsistent": func(c *smx509.Certificate) {
			c.ExtKeyUsage = []smx509.ExtKeyUsage{smx509.ExtKeyUsageClientAuth}
		},
		"e_path_len_constraint_improperly_included": func(c *smx509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidBasicConstraints(), Critical: true, Value: []byte{0x30, 3, 2, 1, 0}})
			c.BasicConstraintsValid = false
		},
	} {
		r := request(t, PersonSigning, ECDSAP256)
		p := issuer.profiles[r.Profile]
		template, err := issuer.template(r, p)
		must(t, err)
		spoil(template)
		der, err := smx509.CreateCertificate(rand.Reader, template, issuer.lintParent(template), r.PublicKey, issuer.lintKey)
		must(t, err)
		cert, err := trust.ParseCertificate(der)
		must(t, err)
		var failed *LintError
		if err := issuer.zlint.lint(cert, issuer.subject(r, p)); !errors.As(err, &failed) || !strings.Contains(failed.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestZlintSources: each source and exclusion exists, so that a new version of
// zlint cannot drop one in silence.
func TestZlintSources(t *testing.T) {
	registry, err := new(zlintRegistry).get()
	must(t, err)
	known := make(map[lint.LintSource]bool)
	for _, s := range registry.Sources() {
		known[s] = true
	}
	for _, s := range zlintSources() {
		if !known[s] {
			t.Errorf("no lints of source %s", s)
		}
	}
	if n := len(registry.Names()); n < 150 {
		t.Errorf("%d lints", n)
	}
	// the throw-away key belongs to the family, so that key lints see its kind
	_, issuer := ceremony(t, ECDSAP256)
	if _, ok := issuer.lintKey.(*ecdsa.PrivateKey); !ok {
		t.Errorf("lint key %T", issuer.lintKey)
	}
}
