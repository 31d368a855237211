package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"unicode/utf8"

	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/go-json-experiment/json/jsontext"
)

// Names of the files.
const (
	storeFile = "keystore.json"
	triesFile = "tries.json"
)

// Store is the keystore in a storage. It is safe for concurrent use.
type Store struct {
	files storage.Files
	kdf   KDF // of new slots

	mu     sync.Mutex
	assist keys.Assist // nil until the phone gives it
}

// Store is a provider of keys.
var _ keys.Provider = (*Store)(nil)

// New makes a store over the files; nothing is read or written yet. New slots
// get the password function given.
func New(files storage.Files, kdf KDF) (*Store, error) {
	if err := kdf.Check(); err != nil {
		return nil, err
	}
	return &Store{files: files, kdf: kdf}, nil
}

// load reads the file; nil where there is none yet.
func (s *Store) load(ctx context.Context) (*document, error) {
	raw, err := s.files.Read(ctx, storeFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keystore: %w", err)
	}
	return parse(raw)
}

func (s *Store) save(ctx context.Context, d *document) error {
	raw, err := d.encode()
	if err != nil {
		return fmt.Errorf("keystore: %w", err)
	}
	if err := s.files.Write(ctx, storeFile, raw); err != nil {
		return fmt.Errorf("keystore: %w", err)
	}
	return nil
}

// unlocked is a document with its data key, for one operation.
type unlocked struct {
	doc     *document
	dataKey []byte
}

func (u *unlocked) wipe() { clear(u.dataKey) }

// unlock counts the try, evaluates the password and opens the data key.
func (s *Store) unlock(ctx context.Context, d *document, password []byte) (*unlocked, error) {
	if slot, err := d.assisted(); err != nil || slot != nil {
		if err != nil {
			return nil, err
		}
		return s.unlockAssisted(ctx, d, slot, password)
	}
	slot, err := d.passwordSlot()
	if err != nil {
		return nil, err
	}
	left, err := s.countTry(ctx, d)
	if err != nil {
		return nil, err
	}
	dataKey, ok, err := slot.open(d.ID, password)
	switch {
	case err != nil:
		return nil, err
	case ok:
		return &unlocked{doc: d, dataKey: dataKey}, s.forgetTries(ctx, d)
	case left == 0:
		return nil, protocol.Errorf(protocol.CodePasswordLocked, "locked after %d wrong passwords", assistapi.MaxTries)
	}
	return nil, protocol.Errorf(protocol.CodePasswordWrong, "%d tries left", left)
}

// create makes an empty file under its first password.
func (s *Store) create(password []byte) (*unlocked, error) {
	if err := CheckPassword(password); err != nil {
		return nil, err
	}
	id, err := protocol.Random(idSize)
	if err != nil {
		return nil, err
	}
	dataKey, err := protocol.Random(dataKeySize)
	if err != nil {
		return nil, err
	}
	first, err := newSlot(id, 1, s.kdf, password, dataKey)
	if err != nil {
		return nil, err
	}
	raw, err := protocol.EncodeJSON(first)
	if err != nil {
		return nil, err
	}
	d := &document{V: Version, ID: id, Suite: suite, Epoch: 1, Slots: []jsontext.Value{raw}, Keys: []keyRecord{}}
	return &unlocked{doc: d, dataKey: dataKey}, nil
}

// CheckPassword holds the rules of a new password.
func CheckPassword(password []byte) error {
	if n := utf8.RuneCount(password); n < keys.MinPassword || len(password) > keys.MaxPassword || !utf8.Valid(password) {
		return protocol.Errorf(protocol.CodePasswordWeak, "a password has %d characters or more and at most %d bytes", keys.MinPassword, keys.MaxPassword)
	}
	return nil
}

// Use implements keys.Provider.
func (s *Store) Use(ctx context.Context, password []byte, do func(keys.Signer) error) error {
	u, err := s.unlockNewest(ctx, password)
	if err != nil {
		return err
	}
	defer u.wipe()
	signer := &signer{open: u}
	defer signer.close()
	err = do(signer)
	signer.close()
	s.settle(ctx, u, password)
	return err
}

// Certificates implements keys.Provider.
func (s *Store) Certificates(ctx context.Context) ([]keys.Certificate, error) {
	d, err := s.load(ctx)
	if err != nil || d == nil {
		return nil, err
	}
	var out []keys.Certificate
	for i := len(d.Keys) - 1; i >= 0; i-- {
		for j := len(d.Keys[i].Certs) - 1; j >= 0; j-- {
			out = append(out, d.Keys[i].certificate(j))
		}
	}
	return out, nil
}

// certificate is the j-th certificate of a key as others see it.
func (k *keyRecord) certificate(j int) keys.Certificate {
	c := k.Certs[j]
	chain := make([][]byte, len(c.Chain))
	for i, der := range c.Chain {
		chain[i] = der
	}
	return keys.Certificate{ID: keys.CertificateID(chain[0]), Use: k.Use, Chain: chain, Current: !c.Historic}
}
