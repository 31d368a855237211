package keystore

import (
	"encoding/asn1"
	"errors"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm4"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	scalarSize   = 32
	maxEnveloped = 2 << 10
)

// errEnveloped covers every way in which an EnvelopedKey can be wrong: the reason
// would only help an attacker.
var errEnveloped = errors.New("the enveloped encryption key does not open or fit")

// openEnveloped reads an SM2EnvelopedKey of GB/T 35276:
//
//	SEQUENCE { symAlgID AlgorithmIdentifier, symEncryptedKey SM2Cipher,
//	           sm2PublicKey BIT STRING, sm2EncryptedPrivateKey BIT STRING }
//
// and returns the scalar (32 bytes) and the key. The private key is encrypted
// with SM4 in ECB mode; the standard leaves the length open, and 32 bytes, 48
// (with a block of padding) and 64 (the right-aligned field of GM/T 0016) occur.
func openEnveloped(priv *sm2.PrivateKey, der []byte) (scalar []byte, key *sm2.PrivateKey, err error) {
	if len(der) > maxEnveloped {
		return nil, nil, errEnveloped
	}
	var inner, algorithm, wrappedKey cryptobyte.String
	var public, wrapped asn1.BitString
	input := cryptobyte.String(der)
	if !input.ReadASN1(&inner, cbasn1.SEQUENCE) || !input.Empty() ||
		!inner.ReadASN1(&algorithm, cbasn1.SEQUENCE) ||
		!inner.ReadASN1Element(&wrappedKey, cbasn1.SEQUENCE) ||
		!inner.ReadASN1BitString(&public) || !inner.ReadASN1BitString(&wrapped) || !inner.Empty() {
		return nil, nil, errEnveloped
	}
	var oid asn1.ObjectIdentifier
	if !algorithm.ReadASN1ObjectIdentifier(&oid) || !isSM4ECB(oid) {
		return nil, nil, errEnveloped
	}
	symmetric, err := sm2.Decrypt(priv, wrappedKey)
	if err != nil {
		return nil, nil, errEnveloped
	}
	defer clear(symmetric)
	scalar, err = decryptScalar(symmetric, wrapped.RightAlign())
	if err != nil {
		return nil, nil, err
	}
	key, err = sm2.NewPrivateKey(scalar)
	if err != nil {
		return nil, nil, errEnveloped
	}
	want, err := sm2.NewPublicKey(public.RightAlign())
	if err != nil || !key.PublicKey.Equal(want) {
		return nil, nil, errEnveloped
	}
	return scalar, key, nil
}

// isSM4ECB accepts SM4 without a mode, as GB/T 35276 names it, and SM4-ECB.
func isSM4ECB(oid asn1.ObjectIdentifier) bool {
	bare := asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 104}
	return oid.Equal(bare) || oid.Equal(append(bare, 1))
}

// decryptScalar decrypts the wrapped private key and strips what surrounds it.
func decryptScalar(key, wrapped []byte) ([]byte, error) {
	block, err := sm4.NewCipher(key)
	if err != nil || len(wrapped)%sm4.BlockSize != 0 {
		return nil, errEnveloped
	}
	plain := make([]byte, len(wrapped))
	defer clear(plain)
	for i := 0; i < len(plain); i += sm4.BlockSize {
		block.Decrypt(plain[i:], wrapped[i:])
	}
	var scalar, rest []byte
	pad := byte(0)
	switch len(plain) {
	case scalarSize:
		scalar = plain
	case scalarSize + sm4.BlockSize:
		scalar, rest, pad = plain[:scalarSize], plain[scalarSize:], sm4.BlockSize
	case 2 * scalarSize:
		scalar, rest = plain[scalarSize:], plain[:scalarSize]
	default:
		return nil, errEnveloped
	}
	var odd byte
	for _, b := range rest {
		odd |= b ^ pad
	}
	if odd != 0 {
		return nil, errEnveloped
	}
	return append([]byte(nil), scalar...), nil
}
