// Package wrap seals keys for storage: SM4-GCM under a random nonce that is put
// in front, with associated data that ties the box to its place.
package wrap

import (
	"crypto/cipher"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm4"
)

// KeySize is the length of a wrapping key in bytes.
const KeySize = 16

const nonceSize = 12

// Seal returns nonce | ciphertext | tag.
func Seal(key, plain, aad []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	nonce, err := protocol.Random(nonceSize)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nonce, nonce, plain, aad), nil
}

// Open is false for a wrong key, another place or altered bytes.
func Open(key, box, aad []byte) (plain []byte, ok bool) {
	aead, err := gcm(key)
	if err != nil || len(box) < nonceSize {
		return nil, false
	}
	plain, err = aead.Open(nil, box[:nonceSize], box[nonceSize:], aad)
	return plain, err == nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := sm4.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sm4: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("sm4-gcm: %w", err)
	}
	return aead, nil
}
