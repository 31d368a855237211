package keystore

import (
	"encoding/binary"

	"github.com/bidseal/bidseal/app/core/internal/wrap"
	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/protocol"
	"golang.org/x/crypto/argon2"
)

const (
	dataKeySize = wrap.KeySize
	argonSize   = 32
	saltSize    = 16
	minSalt     = 8
	maxSalt     = 64
)

// KDF are the parameters of Argon2id (RFC 9106).
type KDF struct {
	Name    string `json:"name"`    // "argon2id"
	Time    uint32 `json:"time"`    // passes
	Memory  uint32 `json:"memory"`  // KiB
	Threads uint8  `json:"threads"` // lanes
}

// DefaultKDF takes 0.2 s natively and 0.5 s in a browser.
func DefaultKDF() KDF { return KDF{Name: "argon2id", Time: 3, Memory: 64 << 10, Threads: 1} }

// Check bounds what a file may make this program compute.
func (k KDF) Check() error {
	if k.Name != "argon2id" || k.Time < 1 || k.Time > 16 || k.Memory < 1<<10 || k.Memory > 1<<20 || k.Threads < 1 || k.Threads > 8 {
		return invalid("parameters of the password function are out of bounds")
	}
	return nil
}

// key derives the slot's key: HKDF-SM3(Argon2id(password)).
func (s *slot) key(file, password []byte) ([]byte, error) {
	stretched := s.stretch(password)
	defer clear(stretched)
	return slotKey(file, s.Type, stretched)
}

// stretch is the slow part; the caller wipes the result.
func (s *slot) stretch(password []byte) []byte {
	return argon2.IDKey(password, s.Salt, s.KDF.Time, s.KDF.Memory, s.KDF.Threads, argonSize)
}

func (s *slot) aad(file []byte) []byte {
	aad := binary.BigEndian.AppendUint32([]byte("bidseal/keystore slot\x00"), Version)
	aad = append(append(aad, file...), s.ID...)
	return binary.BigEndian.AppendUint64(aad, uint64(s.Epoch))
}

// newSlot wraps the data key under a password.
func newSlot(file []byte, epoch int64, kdf KDF, password, dataKey []byte) (*slot, error) {
	id, err := protocol.Random(idSize)
	if err != nil {
		return nil, err
	}
	salt, err := protocol.Random(saltSize)
	if err != nil {
		return nil, err
	}
	s := &slot{Type: slotPassword, ID: id, Epoch: epoch, KDF: kdf, Salt: salt}
	key, err := s.key(file, password)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	s.Wrapped, err = wrap.Seal(key, dataKey, s.aad(file))
	return s, err
}

// open unwraps the data key; ok is false where the password is wrong.
func (s *slot) open(file, password []byte) (dataKey []byte, ok bool, err error) {
	key, err := s.key(file, password)
	if err != nil {
		return nil, false, err
	}
	defer clear(key)
	dataKey, ok = openWith(key, s.Wrapped, s.aad(file))
	return dataKey, ok, nil
}

// keyAAD ties a wrapped private key to its file, use and public key.
func keyAAD(file []byte, use keys.Use, spki []byte) []byte {
	aad := binary.BigEndian.AppendUint32([]byte("bidseal/keystore key\x00"), Version)
	aad = append(aad, file...)
	aad = append(append(aad, use...), 0)
	return append(aad, protocol.H(spki)...)
}
