package cli

import (
	"crypto"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// ReadPublicKey reads a PEM file with a SubjectPublicKeyInfo.
func ReadPublicKey(path string) (crypto.PublicKey, error) {
	raw, err := ReadBounded(path, MaxKeyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, Usagef("%s is not PEM", path)
	}
	key, err := protocol.ParseKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

const MaxKeyFile = 16 << 10

// ReadSigner reads a PEM file with a PKCS#8 private key.
func ReadSigner(path string) (crypto.Signer, error) {
	raw, err := ReadBounded(path, MaxKeyFile)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, Usagef("%s is not PEM", path)
	}
	defer clear(block.Bytes)
	parsed, err := smx509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s is not a PKCS#8 key", path)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s cannot sign", path)
	}
	return key, nil
}

// PrivateKeyPEM encodes a key as PKCS#8; the caller wipes it.
func PrivateKeyPEM(key crypto.Signer) ([]byte, error) {
	der, err := smx509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	defer clear(der)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func PublicKeyPEM(spki []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
}

// ReadCertificates reads PEM files with one or more certificates each.
func ReadCertificates(files ...string) ([]*smx509.Certificate, error) {
	var out []*smx509.Certificate
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		found := len(out)
		for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				continue
			}
			cert, err := trust.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate in %s: %w", file, err)
			}
			out = append(out, cert)
		}
		if len(out) == found {
			return nil, Usagef("%s holds no certificate", file)
		}
	}
	return out, nil
}

func CertificatesPEM(ders [][]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}
