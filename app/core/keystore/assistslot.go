package keystore

import (
	"crypto/hkdf"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/bidseal/bidseal/app/core/internal/wrap"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm3"
)

// assistSlot is the password slot that a server helps to open.
type assistSlot struct {
	Type      string         `json:"type"`
	ID        protocol.Bytes `json:"id"`    // 16 random bytes
	Epoch     int64          `json:"epoch"` // as the server numbers it
	KDF       KDF            `json:"kdf"`
	Salt      protocol.Bytes `json:"salt"`
	Suite     string         `json:"suite"`      // of RFC 9497, verifiable mode
	ServerKey protocol.Bytes `json:"server_key"` // of this keystore and epoch alone
	Wrapped   protocol.Bytes `json:"wrapped"`    // the data key
}

// resetSlot is opened by a secret of the device and a share that the server
// releases.
type resetSlot struct {
	Type    string         `json:"type"`
	ID      protocol.Bytes `json:"id"`
	Epoch   int64          `json:"epoch"`
	Wrapped protocol.Bytes `json:"wrapped"`
}

// Uses of the device's secret.
const (
	useReset = "keystore reset"
	useBlind = "keystore blind"
)

func (s *assistSlot) check(epoch int64) error {
	if len(s.ID) != idSize || s.Epoch != epoch || len(s.Salt) < minSalt || len(s.Salt) > maxSalt || len(s.Wrapped) == 0 || len(s.Wrapped) > maxWrapped ||
		s.Suite != assistapi.Suite || len(s.ServerKey) != assistapi.ElementSize {
		return invalid("assisted password slot is incomplete, of another epoch or suite")
	}
	return s.KDF.Check()
}

// base is the part that all slots have, for what is derived alike.
func (s *assistSlot) base() *slot {
	return &slot{Type: s.Type, ID: s.ID, Epoch: s.Epoch, KDF: s.KDF, Salt: s.Salt}
}

func (s *assistSlot) aad(file []byte) []byte {
	aad := s.base().aad(file)
	aad = binary.BigEndian.AppendUint32(aad, uint32(len(s.Suite)))
	return append(append(aad, s.Suite...), s.ServerKey...)
}

// key derives the slot's key: HKDF-SM3(Argon2id(password) | function's value).
func (s *assistSlot) key(file, stretched, value []byte) ([]byte, error) {
	return slotKey(file, s.Type, stretched, value)
}

func (s *resetSlot) check(epoch int64) error {
	if len(s.ID) != idSize || s.Epoch != epoch || len(s.Wrapped) == 0 || len(s.Wrapped) > maxWrapped {
		return invalid("reset slot is incomplete or of another epoch")
	}
	return nil
}

func (s *resetSlot) aad(file []byte) []byte { return (&slot{ID: s.ID, Epoch: s.Epoch}).aad(file) }

// key derives the slot's key: HKDF-SM3(device's secret | server's share).
func (s *resetSlot) key(file, secret, share []byte) ([]byte, error) {
	return slotKey(file, s.Type, secret, share)
}

func slotKey(file []byte, kind string, parts ...[]byte) ([]byte, error) {
	joined := slices.Concat(parts...)
	defer clear(joined)
	key, err := hkdf.Key(sm3.New, joined, file, "bidseal/keystore 1 "+kind, dataKeySize)
	if err != nil {
		return nil, fmt.Errorf("derive slot key: %w", err)
	}
	return key, nil
}

// openWith unwraps a data key; ok is false where the key is not the slot's.
func openWith(key, wrapped, aad []byte) (dataKey []byte, ok bool) {
	dataKey, ok = wrap.Open(key, wrapped, aad)
	return dataKey, ok && len(dataKey) == dataKeySize
}

// find reads the first slot of a type into v.
func (d *document) find(kind string, v any) (found bool, err error) {
	for _, raw := range d.Slots {
		var head struct {
			Type string `json:"type"`
		}
		if err := protocol.DecodeJSONOpen(raw, &head, []string{"type"}); err != nil {
			return false, invalid("slot: %v", err)
		}
		if head.Type != kind {
			continue
		}
		if err := protocol.DecodeJSON(raw, v); err != nil {
			return false, invalid("%s slot: %v", kind, err)
		}
		return true, nil
	}
	return false, nil
}

// assisted finds the slot that the server helps to open; nil where there is none.
func (d *document) assisted() (*assistSlot, error) {
	var s assistSlot
	found, err := d.find(slotVOPRF, &s)
	if err != nil || !found {
		return nil, err
	}
	return &s, s.check(d.Epoch)
}

// resettable finds the reset slot; nil where there is none.
func (d *document) resettable() (*resetSlot, error) {
	var s resetSlot
	found, err := d.find(slotReset, &s)
	if err != nil || !found {
		return nil, err
	}
	return &s, s.check(d.Epoch)
}
