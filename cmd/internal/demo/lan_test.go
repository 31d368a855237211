package demo

import (
	"crypto/x509"
	"net"
	"testing"
	"time"
)

func TestLANRootVouchesForPrivateAddressesOnly(t *testing.T) {
	now := time.Now()
	trust, err := newLANTrust(t.TempDir(), "192.168.1.20", now)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(trust.rootDER)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(trust.config.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if leaf.Subject.CommonName != "" {
		t.Errorf("common name %q: OpenSSL holds it against the root's list of names", leaf.Subject.CommonName)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "192.168.1.20", CurrentTime: now}); err != nil {
		t.Errorf("own address: %v", err)
	}
	if _, err := newLANTrust(t.TempDir(), "8.8.8.8", now); err == nil {
		t.Error("a public address was accepted")
	}
	for _, r := range root.PermittedIPRanges {
		if r.Contains(net.IPv4(8, 8, 8, 8)) {
			t.Errorf("the root vouches for %s", r)
		}
	}
	if len(root.PermittedDNSDomains) != 1 || root.PermittedDNSDomains[0] != "bidseal-demo.invalid" || !root.PermittedDNSDomainsCritical {
		t.Errorf("names permitted: %v", root.PermittedDNSDomains)
	}
}
