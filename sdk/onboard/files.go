package onboard

import (
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

const (
	maxKeyFile = 16 << 10 // bytes
	maxAnswer  = 2 << 20  // bytes of an answer
)

// readPublicKey reads a PEM file with a SubjectPublicKeyInfo.
func readPublicKey(path string) (crypto.PublicKey, error) {
	raw, err := readBounded(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", path)
	}
	key, err := protocol.ParseKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// readSigner reads a PEM file with a PKCS#8 private key.
func readSigner(path string) (crypto.Signer, error) {
	raw, err := readBounded(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", path)
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

// readTrust reads a trust file.
func readTrust(path string) (*trust.File, error) {
	raw, err := readBounded(path, trust.MaxFile)
	if err != nil {
		return nil, err
	}
	file, err := trust.ParseFile(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
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
			return nil, fmt.Errorf("%s holds no certificate", file)
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

// readBounded reads a file of at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	if int64(len(raw)) > limit {
		return nil, protocol.Errorf(protocol.CodeTooLarge, "%s is larger than %d bytes", filepath.Base(name), limit)
	}
	return raw, nil
}

// writePrivate writes a file that only its owner can read, whole or not at all.
func writePrivate(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// decodeAnswer reads a JSON answer, or the problem document of a refusal.
func decodeAnswer(resp *http.Response, v any) error {
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return protocol.Errorf(protocol.CodeNetwork, "read the answer: %v", err)
	}
	if resp.StatusCode/100 == 2 {
		return protocol.DecodeJSON(raw, v)
	}
	var p protocol.Problem
	if protocol.DecodeJSON(raw, &p) != nil {
		return protocol.Errorf(protocol.CodeNetwork, "the server answered %s", resp.Status)
	}
	return p.Err()
}
