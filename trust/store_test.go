package trust_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

func TestVerifyEachKeyFamily(t *testing.T) {
	for name, newKey := range families() {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, newKey, template(3, "张三"))
			store := c.store(t)
			opts := trust.VerifyOptions{Time: day(), Usage: trust.Signing}
			for _, chain := range [][]*smx509.Certificate{c.certs(), append(c.certs(), c.root.cert)} {
				v, err := store.Verify(chain, opts)
				must(t, err)
				if len(v.Chain) != 3 || v.Leaf() != c.leaf.cert || v.Issuer() != c.issuing.cert || !v.Anchor.Equal(c.root.cert) {
					t.Fatalf("chain of %d, anchor %q", len(v.Chain), v.Anchor.Subject.CommonName)
				}
			}
			other := newChain(t, newKey, template(3, "张三")) // same names, other keys
			if _, err := store.Verify(other.certs(), opts); !errors.Is(err, trust.ErrUntrusted) {
				t.Fatalf("chain of a stranger: %v", err)
			}
			mixed := []*smx509.Certificate{other.leaf.cert, c.issuing.cert}
			if _, err := store.Verify(mixed, opts); !errors.Is(err, trust.ErrUntrusted) {
				t.Fatalf("leaf of a stranger under a good issuer: %v", err)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	oids := trust.DocumentationOIDs()
	eku := func(ids ...asn1.ObjectIdentifier) func(*smx509.Certificate) {
		return func(c *smx509.Certificate) { c.UnknownExtKeyUsage = ids }
	}
	bits := func(usage smx509.KeyUsage) func(*smx509.Certificate) {
		return func(c *smx509.Certificate) { c.KeyUsage = usage }
	}
	const sign = smx509.KeyUsageDigitalSignature | smx509.KeyUsageContentCommitment
	cases := []struct {
		name   string
		usage  trust.Usage
		change func(*smx509.Certificate)
		want   error
	}{
		{"expired", trust.Signing, func(c *smx509.Certificate) { c.NotAfter = day().Add(-time.Second) }, trust.ErrExpired},
		{"not yet valid", trust.Signing, func(c *smx509.Certificate) { c.NotBefore = day().Add(time.Second) }, trust.ErrNotYetValid},
		{"signing without non-repudiation", trust.Signing, bits(smx509.KeyUsageDigitalSignature), trust.ErrKeyUsage},
		{"signing key that decrypts", trust.Signing, bits(sign | smx509.KeyUsageKeyEncipherment), trust.ErrKeyUsage},
		{"signing key that signs certificates", trust.Signing, bits(sign | smx509.KeyUsageCertSign), trust.ErrKeyUsage},
		{"no key usage", trust.Signing, bits(0), trust.ErrKeyUsage},
		{"encryption by a signing certificate", trust.Encryption, nil, trust.ErrKeyUsage},
		{"encryption key that signs", trust.Encryption, bits(smx509.KeyUsageKeyEncipherment | smx509.KeyUsageDigitalSignature), trust.ErrKeyUsage},
		{"platform request by a person", trust.PlatformRequest, nil, trust.ErrKeyUsage},
		{"person's signature by a platform", trust.Signing, eku(oids.PlatformUsage), trust.ErrKeyUsage},
		{"platform that is also a seal maker", trust.PlatformRequest, eku(oids.PlatformUsage, oids.SealMakerUsage), trust.ErrKeyUsage},
		{"status by a person", trust.OCSPResponder, nil, trust.ErrKeyUsage},
		{"signing with server authentication only", trust.Signing, func(c *smx509.Certificate) { c.ExtKeyUsage = []smx509.ExtKeyUsage{smx509.ExtKeyUsageServerAuth} }, trust.ErrKeyUsage},
		{"timestamps with a usage that is not critical", trust.TSA, func(c *smx509.Certificate) { c.ExtKeyUsage = []smx509.ExtKeyUsage{smx509.ExtKeyUsageTimeStamping} }, trust.ErrKeyUsage},
		{"usage not given", 0, nil, trust.ErrKeyUsage},
		{"authority as a signer", trust.Signing, func(c *smx509.Certificate) { c.IsCA, c.BasicConstraintsValid, c.MaxPathLen = true, true, -1 }, trust.ErrKeyUsage},
		{"critical extension", trust.Signing, func(c *smx509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}, trust.ErrCritical},
		{"critical name constraints", trust.Signing, func(c *smx509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.org"}
		}, trust.ErrCritical},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			leaf := template(3, "leaf")
			if c.change != nil {
				c.change(leaf)
			}
			chain := newChain(t, newSM2, leaf)
			_, err := chain.store(t).Verify(chain.certs(), trust.VerifyOptions{Time: day(), Usage: c.usage})
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestVerifyAcceptsEachUsage(t *testing.T) {
	oids := trust.DocumentationOIDs()
	cases := map[trust.Usage]func(*smx509.Certificate){
		trust.Signing: func(c *smx509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{trust.OIDDocumentSigning()}
		},
		trust.Encryption: func(c *smx509.Certificate) {
			c.KeyUsage = smx509.KeyUsageKeyEncipherment | smx509.KeyUsageDataEncipherment | smx509.KeyUsageKeyAgreement
		},
		trust.PlatformRequest: func(c *smx509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oids.PlatformUsage} },
		trust.OCSPResponder:   func(c *smx509.Certificate) { c.ExtKeyUsage = []smx509.ExtKeyUsage{smx509.ExtKeyUsageOCSPSigning} },
		trust.TSA: func(c *smx509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true,
				Value: []byte{0x30, 10, 0x06, 8, 0x2B, 6, 1, 5, 5, 7, 3, 8}}}
		},
		trust.SealMaker: func(c *smx509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oids.SealMakerUsage} },
		trust.Operator:  func(c *smx509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oids.OperatorUsage} },
	}
	for usage, change := range cases {
		leaf := template(3, "leaf")
		change(leaf)
		chain := newChain(t, newSM2, leaf)
		store := chain.store(t)
		for asked := trust.Signing; asked <= trust.Operator; asked++ {
			_, err := store.Verify(chain.certs(), trust.VerifyOptions{Time: day(), Usage: asked})
			if (err == nil) != (asked == usage) {
				t.Errorf("certificate for %v asked for %v: %v", usage, asked, err)
			}
		}
	}
}

func TestVerifyConstraints(t *testing.T) {
	root := issue(t, authorityTemplate(1, "root", 1), nil, newSM2(t))
	upper := issue(t, authorityTemplate(2, "upper", -1), root, newSM2(t))
	lower := issue(t, authorityTemplate(3, "lower", -1), upper, newSM2(t))
	leaf := issue(t, template(4, "leaf"), lower, newSM2(t))
	direct := issue(t, template(5, "direct"), upper, newSM2(t))
	below := issue(t, template(6, "below a person"), direct, newSM2(t))
	store, err := trust.NewStore(trust.DocumentationAuthority(root.cert))
	must(t, err)
	opts := trust.VerifyOptions{Time: day(), Usage: trust.Signing}
	for name, chain := range map[string][]*smx509.Certificate{
		"path length": {leaf.cert, lower.cert, upper.cert},
		"no CA":       {below.cert, direct.cert, upper.cert},
	} {
		if _, err := store.Verify(chain, opts); !errors.Is(err, trust.ErrConstraint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := store.Verify([]*smx509.Certificate{direct.cert, upper.cert}, opts); err != nil {
		t.Errorf("one authority below a path length of 1: %v", err)
	}
	if _, err := store.Verify([]*smx509.Certificate{leaf.cert, upper.cert}, opts); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("gap in the chain: %v", err)
	}
	if _, err := trust.NewStore(trust.DocumentationAuthority(direct.cert)); !errors.Is(err, trust.ErrConstraint) {
		t.Errorf("a person as an anchor: %v", err)
	}
	if _, err := trust.NewStore(); err == nil {
		t.Error("a store without anchors")
	}
	if _, err := store.Verify([]*smx509.Certificate{direct.cert, upper.cert}, trust.VerifyOptions{Usage: trust.Signing}); err == nil {
		t.Error("verification without a time")
	}
}

// TestTwoAnchorsOfOneName: a root and its successor, which differ by nothing but
// the key.
func TestTwoAnchorsOfOneName(t *testing.T) {
	first, second := newChain(t, newSM2, template(3, "leaf")), newChain(t, newSM2, template(3, "leaf"))
	store, err := trust.NewStore(trust.DocumentationAuthority(first.root.cert, second.root.cert))
	must(t, err)
	for _, c := range []testChain{first, second} {
		v, err := store.Verify(c.certs(), trust.VerifyOptions{Time: day(), Usage: trust.Signing})
		must(t, err)
		if !v.Anchor.Equal(c.root.cert) {
			t.Error("the other anchor was found")
		}
	}
}

func TestStoreVersion(t *testing.T) {
	a := issue(t, authorityTemplate(1, "a", -1), nil, newSM2(t)).cert
	b := issue(t, authorityTemplate(2, "b", -1), nil, newSM2(t)).cert
	version := func(roots ...*smx509.Certificate) string {
		store, err := trust.NewStore(trust.DocumentationAuthority(roots...))
		must(t, err)
		return store.Version()
	}
	if version(a, b) != version(b, a, b) {
		t.Error("the version depends on order or repetition")
	}
	if version(a) == version(a, b) || version(a) == version(b) {
		t.Error("different stores with the same version")
	}
}

// TestHugeKeyIsRefusedBeforeItIsUsed: whoever sends a chain chooses the keys in
// it, and pays nothing for a modulus that costs the verifier seconds.
func TestHugeKeyIsRefusedBeforeItIsUsed(t *testing.T) {
	c := newChain(t, newSM2, template(3, "leaf"))
	huge := authorityTemplate(4, "huge", 0)
	modulus := new(big.Int).Lsh(big.NewInt(1), 64<<10)
	public := &rsa.PublicKey{N: modulus.Sub(modulus, big.NewInt(1)), E: 1<<31 - 1}
	der, err := smx509.CreateCertificate(rand.Reader, huge, c.root.cert, public, c.root.key)
	must(t, err)
	issuer, err := trust.ParseCertificate(der)
	must(t, err)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	der, err = smx509.CreateCertificate(rand.Reader, template(5, "leaf"), huge, newSM2(t).Public(), key)
	must(t, err)
	leaf, err := trust.ParseCertificate(der)
	must(t, err)
	_, err = c.store(t).Verify([]*smx509.Certificate{leaf, issuer}, trust.VerifyOptions{Time: day(), Usage: trust.Signing})
	if !errors.Is(err, trust.ErrAlgorithm) {
		t.Error(err)
	}
}

// TestForgedIssuerOfARealName: certificates that bear the names and key
// identifiers of real ones and are signed by nobody who matters.
func TestForgedIssuerOfARealName(t *testing.T) {
	real := newChain(t, newSM2, template(3, "leaf"))
	forged := newChain(t, newSM2, template(3, "leaf"))
	store := real.store(t)
	opts := trust.VerifyOptions{Time: day(), Usage: trust.Signing}
	for name, chain := range map[string][]*smx509.Certificate{
		"root under the real root's name":    {forged.leaf.cert, forged.issuing.cert, forged.root.cert},
		"real root after a forged authority": {forged.leaf.cert, forged.issuing.cert, real.root.cert},
		"real authority after a forged leaf": {forged.leaf.cert, real.issuing.cert, real.root.cert},
		"real chain behind a forged root":    {forged.leaf.cert, forged.issuing.cert, forged.root.cert, real.root.cert},
		"forged root between two real ones":  {real.leaf.cert, real.issuing.cert, forged.root.cert, real.root.cert},
		"the same authority six times over":  {real.leaf.cert, real.issuing.cert, real.issuing.cert, real.issuing.cert, real.issuing.cert, real.issuing.cert},
		"the anchor alone":                   {real.root.cert},
		"the anchor's own name, another key": {forged.root.cert},
		"nothing":                            {},
	} {
		if _, err := store.Verify(chain, opts); err == nil {
			t.Errorf("%s: believed", name)
		}
	}
}
