package main

import (
	"crypto"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// readPublicKey reads a PEM file with a SubjectPublicKeyInfo.
func readPublicKey(path string) (crypto.PublicKey, error) {
	raw, err := readBounded(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, usagef("%s is not PEM", path)
	}
	key, err := protocol.ParseKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

const maxKeyFile = 16 << 10

// readSigner reads a PEM file with a PKCS#8 private key.
func readSigner(path string) (crypto.Signer, error) {
	raw, err := readBounded(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, usagef("%s is not PEM", path)
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

// privateKeyPEM encodes a key as PKCS#8; the caller wipes it.
func privateKeyPEM(key crypto.Signer) ([]byte, error) {
	der, err := smx509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	defer clear(der)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func publicKeyPEM(spki []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
}

// readCertificates reads PEM files with one or more certificates each.
func readCertificates(files ...string) ([]*smx509.Certificate, error) {
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
			return nil, usagef("%s holds no certificate", file)
		}
	}
	return out, nil
}

func certificatesPEM(ders [][]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}
