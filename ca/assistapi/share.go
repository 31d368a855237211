package assistapi

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
)

// ProofKeySize is the length of an Ed25519 public key in bytes.
const ProofKeySize = ed25519.PublicKeySize

// ProofKey is the key by which a phone proves that it opened an epoch's slot: it
// follows from the data key, which every epoch has anew. The caller wipes it.
func ProofKey(keystore, dataKey []byte) (ed25519.PrivateKey, error) {
	seed, err := hkdf.Key(sm3.New, dataKey, keystore, "bidseal/assist 1 proof", ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive proof key: %w", err)
	}
	defer clear(seed)
	return ed25519.NewKeyFromSeed(seed), nil
}

// shareContext ties a sealed share to its place.
func shareContext(keystore []byte, epoch int64, ephemeral []byte) []byte {
	return protocol.H(message("share", keystore, number(epoch), ephemeral))
}

// SealShare encrypts a share to a phone's ephemeral key (SM2, DER of GB/T 35276)
// together with the digest of its place.
func SealShare(share, keystore []byte, epoch int64, ephemeral []byte) ([]byte, error) {
	public, err := parsePoint(ephemeral)
	if err != nil {
		return nil, err
	}
	plain := append(append(make([]byte, 0, ShareSize+protocol.HashSize), share...), shareContext(keystore, epoch, ephemeral)...)
	defer clear(plain)
	sealed, err := sm2.EncryptASN1(rand.Reader, public, plain)
	if err != nil {
		return nil, fmt.Errorf("seal share: %w", err)
	}
	return sealed, nil
}

// OpenShare is the phone's side of SealShare; the caller wipes the share. Error:
// protocol.CodeAssistUntrusted.
func OpenShare(ephemeral *sm2.PrivateKey, sealed, keystore []byte, epoch int64) ([]byte, error) {
	untrusted := protocol.Errorf(protocol.CodeAssistUntrusted, "the share does not open or belongs elsewhere")
	point, err := Point(&ephemeral.PublicKey)
	if err != nil {
		return nil, err
	}
	if len(sealed) > maxSealed {
		return nil, untrusted
	}
	plain, err := sm2.Decrypt(ephemeral, sealed)
	if err != nil {
		return nil, untrusted
	}
	defer clear(plain)
	if len(plain) != ShareSize+protocol.HashSize || !protocol.Equal(plain[ShareSize:], shareContext(keystore, epoch, point)) {
		return nil, untrusted
	}
	return append([]byte(nil), plain[:ShareSize]...), nil
}

// maxSealed bounds a sealed share in bytes.
const maxSealed = 512

// Point is the form 04 | X | Y of an SM2 public key.
func Point(public *ecdsa.PublicKey) ([]byte, error) {
	key, err := sm2.PublicKeyToECDH(public)
	if err != nil {
		return nil, fmt.Errorf("encode ephemeral key: %w", err)
	}
	return key.Bytes(), nil
}

func parsePoint(raw []byte) (*ecdsa.PublicKey, error) {
	if len(raw) != protocol.PointSize || raw[0] != 4 {
		return nil, malformed("ephemeral key")
	}
	public, err := sm2.NewPublicKey(raw)
	if err != nil {
		return nil, malformed("ephemeral key")
	}
	return public, nil
}
