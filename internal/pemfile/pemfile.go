// Package pemfile reads and writes the files of keys and certificates that the SDK and the command line have in common:
// PEM in files of bounded size, private ones written whole or not at all.
//
// A reader takes the blocks of the type that it is for and skips others. A file that holds none of them gives ErrFormat,
// with the file's name and never its content: no error of this package holds key material.
package pemfile

import (
	"crypto"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/smx509"
)

// Limits of files, in bytes.
const (
	MaxKey          = 16 << 10
	MaxCertificates = 256 << 10
)

// Types of PEM blocks (RFC 7468).
const (
	typePrivateKey  = "PRIVATE KEY" // PKCS#8
	typePublicKey   = "PUBLIC KEY"  // SubjectPublicKeyInfo
	typeCertificate = "CERTIFICATE"
)

// ErrFormat matches the errors about a file that does not hold what it was named for.
var ErrFormat = errors.New("file of the wrong kind")

// formatError matches ErrFormat and has a text of its own.
type formatError string

func (e formatError) Error() string        { return string(e) }
func (e formatError) Is(target error) bool { return target == ErrFormat }

func formatErrorf(format string, args ...any) error { return formatError(fmt.Sprintf(format, args...)) }

// ReadBounded reads a file of at most limit bytes. A larger one is protocol.CodeTooLarge.
func ReadBounded(name string, limit int64) ([]byte, error) {
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
		clear(raw)
		return nil, protocol.Errorf(protocol.CodeTooLarge, "%s is larger than %d bytes", filepath.Base(name), limit)
	}
	return raw, nil
}

// WritePrivate writes a file that only its owner can read, whole or not at all.
func WritePrivate(path string, data []byte) error {
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

// firstBlock returns the content of the first block of a type.
func firstBlock(path string, raw []byte, blockType string) ([]byte, error) {
	block, rest := pem.Decode(raw)
	if block == nil {
		return nil, formatErrorf("%s is not PEM", path)
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type == blockType {
			return block.Bytes, nil
		}
		clear(block.Bytes)
	}
	return nil, formatErrorf("%s holds no %s", path, blockType)
}

// ReadPublicKey reads a PEM file with a SubjectPublicKeyInfo.
func ReadPublicKey(path string) (crypto.PublicKey, error) {
	raw, err := ReadBounded(path, MaxKey)
	if err != nil {
		return nil, err
	}
	der, err := firstBlock(path, raw, typePublicKey)
	if err != nil {
		return nil, err
	}
	key, err := protocol.ParseKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ReadSigner reads a PEM file with a PKCS#8 private key.
func ReadSigner(path string) (crypto.Signer, error) {
	raw, err := ReadBounded(path, MaxKey)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	der, err := firstBlock(path, raw, typePrivateKey)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	parsed, err := smx509.ParsePKCS8PrivateKey(der)
	if err != nil { // not wrapped: a parser's text may quote what it read
		return nil, fmt.Errorf("%s is not a PKCS#8 key", path)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s cannot sign", path)
	}
	return key, nil
}

// ReadCertificates reads PEM files with one or more certificates each.
func ReadCertificates(files ...string) ([]*smx509.Certificate, error) {
	var out []*smx509.Certificate
	for _, file := range files {
		raw, err := ReadBounded(file, MaxCertificates)
		if err != nil {
			return nil, err
		}
		found := len(out)
		for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != typeCertificate {
				continue
			}
			cert, err := trust.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate in %s: %w", file, err)
			}
			out = append(out, cert)
		}
		if len(out) == found {
			return nil, formatErrorf("%s holds no certificate", file)
		}
	}
	return out, nil
}

// ReadHex reads a secret of size bytes in hexadecimal; space around it is allowed. The caller wipes it.
func ReadHex(path string, size int) ([]byte, error) {
	raw, err := ReadBounded(path, MaxKey)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	secret, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(secret) != size {
		return nil, formatErrorf("%s does not hold %d bytes in hexadecimal", path, size)
	}
	return secret, nil
}

// EncodePrivateKey encodes a key as PKCS#8; the caller wipes it.
func EncodePrivateKey(key crypto.Signer) ([]byte, error) {
	der, err := smx509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	defer clear(der)
	return pem.EncodeToMemory(&pem.Block{Type: typePrivateKey, Bytes: der}), nil
}

// EncodePublicKey encodes a SubjectPublicKeyInfo.
func EncodePublicKey(spki []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: typePublicKey, Bytes: spki})
}

// EncodeCertificates encodes certificates one after the other.
func EncodeCertificates(ders [][]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: der})...)
	}
	return out
}
