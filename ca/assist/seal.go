package assist

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"errors"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"
)

// KEKSize is the length of the key-encryption key in bytes (SM4).
const KEKSize = sm4.BlockSize

// Sizes of a sealed secret: both the evaluation key and the share have 32 bytes.
const (
	secretSize = 32
	gcmNonce   = 12
	gcmTag     = 16
)

// ErrSealed: a record does not open: another key-encryption key, or an altered
// or moved row.
var ErrSealed = errors.New("password-assist record does not open")

// sealer keeps secrets of the database under the key-encryption key.
type sealer struct {
	aead cipher.AEAD
	mac  []byte
}

func newSealer(kek []byte) (*sealer, error) {
	block, err := sm4.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	mac, err := hkdf.Key(sm3.New, kek, nil, "bidseal/assist 1 attempt", sm3.Size)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	return &sealer{aead: aead, mac: mac}, nil
}

// bound is the additional data of a record: what it is and where it belongs.
func bound(parts []string) []byte {
	var all []byte
	for _, part := range append([]string{"bidseal/assist record 1"}, parts...) {
		all = append(all, protocol.H([]byte(part))...)
	}
	return all
}

func (s *sealer) seal(secret []byte, place ...string) ([]byte, error) {
	nonce, err := protocol.Random(gcmNonce)
	if err != nil {
		return nil, err
	}
	return s.aead.Seal(nonce, nonce, secret, bound(place)), nil
}

// open returns a secret that the caller wipes.
func (s *sealer) open(box []byte, place ...string) ([]byte, error) {
	if len(box) < gcmNonce {
		return nil, ErrSealed
	}
	secret, err := s.aead.Open(nil, box[:gcmNonce], box[gcmNonce:], bound(place))
	if err != nil {
		return nil, ErrSealed
	}
	return secret, nil
}

// digest is a keyed digest, which reveals nothing without the key.
func (s *sealer) digest(content []byte, place ...string) []byte {
	mac := hmac.New(sm3.New, s.mac)
	mac.Write(bound(place))
	mac.Write(content)
	return mac.Sum(nil)
}
