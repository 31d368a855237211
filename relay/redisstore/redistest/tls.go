package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// ACL is what a relay with the key prefix "bidseal" has to be allowed.
func ACL() []string {
	return []string{"~bidseal:*", "&bidseal:*", "+@read", "+@write", "+@scripting", "+@pubsub", "+@connection", "+cluster|slots", "+cluster|shards", "+time"}
}

// Secured is a server that speaks TLS only and knows one user.
type Secured struct {
	*Server
	CAFile       string // root of its certificate
	Username     string
	PasswordFile string
}

// TLS starts a server with a certificate for 127.0.0.1 and the user "relay" of ACL.
func TLS(t testing.TB) Secured {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile, passwordFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "password")
	cert, key := selfSigned(t)
	const password = "a-password-of-this-test"
	for name, data := range map[string][]byte{certFile: cert, keyFile: key, passwordFile: []byte(password + "\n")} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--port", "0", "--tls-port", "{port}", "--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", certFile,
		"--tls-auth-clients", "no", "--user", "default", "off", "--user", "relay", "on", ">" + password}
	return Secured{Server: Start(t, append(args, ACL()...)...), CAFile: certFile, Username: "relay", PasswordFile: passwordFile}
}

// selfSigned makes a certificate for 127.0.0.1 and its key, both as PEM.
func selfSigned(t testing.TB) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	k8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k8})
}
