package core

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bidseal/bidseal/app/core/internal/wrap"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/protocol"
)

const (
	deviceFile  = "device.json"
	storageFile = "storage.json"
)

// device is the phone's own key. It proves calls and signs rejections, both
// without a password, and nothing that commits the person.
//
// This is a software key: it is wrapped under a storage key of its own, but that
// lies in the same storage, so anyone who can read all of it can copy the device. A
// browser or a native shell keeps the storage key where it cannot be read out.
// The device key is P-256 because that is what the key stores of phones hold.
type device struct {
	key  crypto.Signer
	id   string // DeviceID of the key
	spki []byte
}

// deviceRecord is the file with the device key.
type deviceRecord struct {
	V       int            `json:"v"`
	Wrapped protocol.Bytes `json:"wrapped"` // PKCS#8, sealed under the storage key
	protocol.Kept
}

// storageRecord is the file with the storage key.
type storageRecord struct {
	V   int            `json:"v"`
	Key protocol.Bytes `json:"key"` // 16 bytes
	protocol.Kept
}

const deviceAAD = "bidseal/device 1 key\x00"

// openDevice reads the device key or makes it.
func openDevice(ctx context.Context, files storage.Files) (*device, error) {
	release, err := files.Lock(ctx, deviceFile)
	if err != nil {
		return nil, err
	}
	defer release()
	raw, err := files.Read(ctx, deviceFile)
	if errors.Is(err, fs.ErrNotExist) {
		return makeDevice(ctx, files)
	}
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	var rec deviceRecord
	if err := protocol.DecodeJSON(raw, &rec); err != nil || rec.V != 1 {
		return nil, errDevice()
	}
	storageKey, err := readStorageKey(ctx, files)
	if err != nil {
		return nil, err
	}
	defer clear(storageKey)
	der, ok := wrap.Open(storageKey, rec.Wrapped, []byte(deviceAAD))
	if !ok {
		return nil, errDevice()
	}
	defer clear(der)
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, errDevice()
	}
	return newDevice(key)
}

func errDevice() error {
	return protocol.Errorf(protocol.CodeKeystoreInvalid, "the device key cannot be read")
}

func readStorageKey(ctx context.Context, files storage.Files) ([]byte, error) {
	raw, err := files.Read(ctx, storageFile)
	if err != nil {
		return nil, fmt.Errorf("storage key: %w", err)
	}
	defer clear(raw)
	var rec storageRecord
	if err := protocol.DecodeJSON(raw, &rec); err != nil || rec.V != 1 || len(rec.Key) != wrap.KeySize {
		return nil, errDevice()
	}
	return rec.Key, nil
}

// makeDevice draws both keys. The storage key is durable before anything is
// sealed under it; one that an interrupted start left behind is overwritten.
func makeDevice(ctx context.Context, files storage.Files) (*device, error) {
	storageKey, err := protocol.Random(wrap.KeySize)
	if err != nil {
		return nil, err
	}
	defer clear(storageKey)
	if err := writeJSON(ctx, files, storageFile, storageRecord{V: 1, Key: storageKey}); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	defer clear(der)
	wrapped, err := wrap.Seal(storageKey, der, []byte(deviceAAD))
	if err != nil {
		return nil, err
	}
	if err := writeJSON(ctx, files, deviceFile, deviceRecord{V: 1, Wrapped: wrapped}); err != nil {
		return nil, err
	}
	return newDevice(key)
}

func newDevice(key *ecdsa.PrivateKey) (*device, error) {
	spki, err := protocol.MarshalKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &device{key: key, id: protocol.DeviceID(spki), spki: spki}, nil
}
