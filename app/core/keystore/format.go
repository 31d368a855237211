package keystore

import (
	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/go-json-experiment/json/jsontext"
)

// Version of the file.
const Version = 1

// suite names the wrapping algorithm of this version.
const suite = "SM4-GCM"

// Bounds on what is read.
const (
	maxSlots   = 16
	maxKeys    = 256
	maxCerts   = 64 // of one key
	maxWrapped = 256
	idSize     = 16
	maxCSR     = 4 << 10
)

// Types of slots. This version opens the first three.
const (
	slotPassword = "password"
	slotVOPRF    = "password+voprf" // password and the answer of a server (RFC 9497)
	slotReset    = "reset-share"    // device-bound key and a share that a server releases
	slotWebAuthn = "webauthn-prf"   // pseudo-random function of an authenticator
)

// document is the file.
type document struct {
	V     int              `json:"v"`
	ID    protocol.Bytes   `json:"id"` // 16 random bytes
	Suite string           `json:"suite"`
	Epoch int64            `json:"epoch"` // of the newest password, from 1
	Slots []jsontext.Value `json:"slots"` // slot and others
	Keys  []keyRecord      `json:"keys"`
	protocol.Kept
}

// keyRecord is one wrapped private key.
type keyRecord struct {
	Use     keys.Use       `json:"use"`
	SPKI    protocol.Bytes `json:"spki"`    // SubjectPublicKeyInfo
	Wrapped protocol.Bytes `json:"wrapped"` // the scalar D, 32 bytes, sealed under the data key
	// Request is there while the key waits for its certificate.
	Request *requestRecord `json:"request,omitzero"`
	Certs   []certRecord   `json:"certs,omitzero"` // oldest first
	protocol.Kept
}

// requestRecord is a certification request that was not answered yet.
type requestRecord struct {
	ID  string         `json:"id"`
	CSR protocol.Bytes `json:"csr"`
	protocol.Kept
}

// certRecord is one certificate of a key with the chain above it.
type certRecord struct {
	Chain    []protocol.Bytes `json:"chain"`
	Historic bool             `json:"historic,omitzero"`
	protocol.Kept
}

// slot is a password slot. Slots are closed: their type says which members they have,
// and a slot of another type is kept as it is.
type slot struct {
	Type    string         `json:"type"`
	ID      protocol.Bytes `json:"id"` // 16 random bytes
	Epoch   int64          `json:"epoch"`
	KDF     KDF            `json:"kdf"`
	Salt    protocol.Bytes `json:"salt"`
	Wrapped protocol.Bytes `json:"wrapped"` // the data key, 16 bytes, sealed under the slot's key
}

// parse reads a file and holds its bounds.
func parse(raw []byte) (*document, error) {
	var d document
	if err := protocol.DecodeJSON(raw, &d); err != nil {
		return nil, invalid("%v", err)
	}
	switch {
	case d.V != Version || d.Suite != suite:
		return nil, invalid("version %d with another suite or of another program", d.V)
	case len(d.ID) != idSize || d.Epoch < 1:
		return nil, invalid("id or epoch")
	case len(d.Slots) == 0 || len(d.Slots) > maxSlots:
		return nil, invalid("%d slots", len(d.Slots))
	case len(d.Keys) > maxKeys:
		return nil, invalid("%d keys", len(d.Keys))
	}
	for i, k := range d.Keys {
		if err := k.check(); err != nil {
			return nil, invalid("key %d: %v", i, err)
		}
	}
	return &d, nil
}

func (k *keyRecord) check() error {
	switch {
	case k.Use != keys.Sign && k.Use != keys.Encrypt:
		return invalid("use %.20q", string(k.Use))
	case len(k.Wrapped) == 0 || len(k.Wrapped) > maxWrapped:
		return invalid("wrapped key of %d bytes", len(k.Wrapped))
	case len(k.Certs) > maxCerts:
		return invalid("%d certificates", len(k.Certs))
	case k.Request != nil && (k.Request.ID == "" || len(k.Request.CSR) > maxCSR):
		return invalid("request")
	case k.Request == nil && len(k.Certs) == 0:
		return invalid("neither request nor certificate")
	}
	if _, err := protocol.ParseKey(k.SPKI); err != nil {
		return err
	}
	for _, c := range k.Certs {
		if len(c.Chain) == 0 || len(c.Chain) > trust.MaxChainLength {
			return invalid("chain of %d certificates", len(c.Chain))
		}
	}
	return nil
}

// encode writes the file.
func (d *document) encode() ([]byte, error) { return protocol.EncodeJSON(d) }

// passwordSlot finds the slot that the password alone opens.
func (d *document) passwordSlot() (*slot, error) {
	var s slot
	found, err := d.find(slotPassword, &s)
	if err != nil {
		return nil, err
	}
	if found {
		return &s, s.check(d.Epoch)
	}
	return nil, invalid("no slot that this version can open")
}

func (s *slot) check(epoch int64) error {
	if len(s.ID) != idSize || s.Epoch != epoch || len(s.Salt) < minSalt || len(s.Salt) > maxSalt || len(s.Wrapped) == 0 || len(s.Wrapped) > maxWrapped {
		return invalid("password slot is incomplete or of another epoch")
	}
	if err := s.KDF.Check(); err != nil {
		return err
	}
	return nil
}

func invalid(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.CodeKeystoreInvalid, format, args...)
}
