package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
)

// The demo on a local network serves TLS, because browsers give the camera and
// key storage to secure origins only. Browsers know no SM2, so the demo has a
// small ECDSA root of its own for this. It may vouch for private addresses
// only (RFC 5280 4.2.1.10): who trusts it trusts it for nothing else.

const (
	lanRootLife = 2 * 365 * 24 * time.Hour
	lanLeafLife = 90 * 24 * time.Hour
	lanRootFile = "lan-root.pem"
	lanKeyFile  = "lan-root.key.pem"
)

// lanTrust is the TLS side of a demo on a local network.
type lanTrust struct {
	config  *tls.Config
	rootDER []byte
}

// newLANTrust reads or makes the root under data and issues a certificate for host.
func newLANTrust(data, host string, now time.Time) (*lanTrust, error) {
	ip := net.ParseIP(host)
	if ip == nil || (!ip.IsPrivate() && !ip.IsLoopback()) {
		return nil, cli.Usagef("--lan needs --host with a private address of this machine, got %q", host)
	}
	root, key, err := lanRoot(data, now)
	if err != nil {
		return nil, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a TLS key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("make a TLS serial: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"BidSeal demo"}}, IPAddresses: []net.IP{ip},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lanLeafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, &leafKey.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("issue a TLS certificate: %w", err)
	}
	return &lanTrust{rootDER: root.Raw, config: &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der, root.Raw}, PrivateKey: leafKey}},
	}}, nil
}

func lanRoot(data string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certPath, keyPath := filepath.Join(data, lanRootFile), filepath.Join(data, lanKeyFile)
	pair, err := tls.LoadX509KeyPair(certPath, keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeLANRoot(certPath, keyPath, now); err != nil {
			return nil, nil, err
		}
		pair, err = tls.LoadX509KeyPair(certPath, keyPath)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the TLS root: %w", err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, nil, fmt.Errorf("read the TLS root: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("%s is not an ECDSA key", keyPath)
	}
	return cert, key, nil
}

func makeLANRoot(certPath, keyPath string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the TLS root: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return fmt.Errorf("make the TLS root: %w", err)
	}
	root := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "BidSeal demo TLS root " + now.UTC().Format("2006-01-02")},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lanRootLife), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:                    x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true,
		PermittedIPRanges:           privateRanges(),
		PermittedDNSDomains:         []string{"bidseal-demo.invalid"}, // a list without names would permit every name
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("make the TLS root: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make the TLS root: %w", err)
	}
	defer clear(pkcs8)
	if err := pemfile.WritePrivate(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})); err != nil {
		return err
	}
	return os.WriteFile(certPath, pemfile.EncodeCertificates([][]byte{der}), 0o644) //nolint:gosec // a certificate is public
}

// privateRanges are those of RFC 1918 and the IPv4 loopback.
func privateRanges() []*net.IPNet {
	return []*net.IPNet{
		{IP: net.IPv4(10, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
		{IP: net.IPv4(172, 16, 0, 0).To4(), Mask: net.CIDRMask(12, 32)},
		{IP: net.IPv4(192, 168, 0, 0).To4(), Mask: net.CIDRMask(16, 32)},
		{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
	}
}

// lanAddress is the private address that this machine uses towards its network.
func lanAddress() (string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("look for a network address: %w", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsPrivate() {
			return n.IP.String(), nil
		}
	}
	return "", cli.Usagef("--lan found no private network address on this machine; name one with --host")
}

//go:embed trust.html
var trustPage string

// trustHandler serves, over plain http, the root and the steps to trust it.
func trustHandler(rootDER []byte, platform string) (http.Handler, error) {
	page, err := template.New("trust").Parse(trustPage)
	if err != nil {
		return nil, fmt.Errorf("trust page: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /root.cer", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-x509-ca-cert")
		_, _ = w.Write(rootDER)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		_ = page.Execute(w, struct{ Platform string }{platform})
	})
	return mux, nil
}
