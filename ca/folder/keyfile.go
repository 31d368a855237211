package folder

import (
	"context"
	"crypto"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm4"
	"github.com/emmansun/gmsm/smx509"
	"golang.org/x/crypto/argon2"
)

// ErrPassphrase: a key file does not open. The passphrase is wrong or the file
// was altered; which of the two cannot be told.
var ErrPassphrase = errors.New("wrong passphrase, or an altered key file")

// Purposes of the authority's keys, and the names of their files.
const (
	keyRoot    = "root"
	keyIssuing = "issuing-1"
	keyOCSP    = "ocsp"
	keyPass    = "pass"
	keyAudit   = "audit"
	keyTSA     = "tsa"
	keyKEK     = "kek"
	// keyIdentity is the secret under which identity numbers are hashed.
	keyIdentity = "identity"
	// keyAssist is the key-encryption key of the password assist, and keyRealName
	// that by which the operator signs real-name tokens until a service of its own
	// does. A folder that was made without them gets them when it is opened.
	keyAssist   = "assist"
	keyRealName = "realname"
)

// KDF are the parameters of Argon2id (RFC 9106) that turn the passphrase into a
// key. They stand in each file.
type KDF struct {
	Time      uint32
	MemoryKiB uint32
	Threads   uint8
}

// DefaultKDF takes about 0.2 s on one core.
func DefaultKDF() KDF { return KDF{Time: 3, MemoryKiB: 64 << 10, Threads: 1} }

func (k KDF) check() error {
	if k.Time < 1 || k.Time > 20 || k.MemoryKiB < 8 || k.MemoryKiB > 1<<20 || k.Threads < 1 || k.Threads > 16 {
		return errors.New("parameters of the key derivation are out of bounds")
	}
	return nil
}

// keyFile is a secret under a passphrase: SM4-GCM with the purpose as
// additional data; or it names a key in a hardware security module.
type keyFile struct {
	V         int            `json:"v"`
	Purpose   string         `json:"purpose"`
	KDF       string         `json:"kdf"` // "argon2id"; "none" beside a URI
	URI       string         `json:"uri,omitempty"`
	Time      uint32         `json:"time"`
	MemoryKiB uint32         `json:"memory_kib"`
	Threads   uint8          `json:"threads"`
	Salt      protocol.Bytes `json:"salt"`
	Nonce     protocol.Bytes `json:"nonce"`
	Box       protocol.Bytes `json:"box"`
}

const (
	keyFileVersion = 1
	maxKeyFile     = 16 << 10
	saltSize       = 16
)

// keyring reads and writes key files under one passphrase. Files that share a
// salt cost one derivation.
type keyring struct {
	dir        string
	tokens     Tokens // nil for none
	passphrase []byte
	derived    map[string][]byte
}

func newKeyring(dir string, passphrase []byte) (*keyring, error) {
	if len(passphrase) == 0 {
		return nil, errors.New("an empty passphrase")
	}
	return &keyring{dir: dir, passphrase: passphrase, derived: make(map[string][]byte)}, nil
}

// wipe forgets the derived keys; the passphrase belongs to the caller.
func (k *keyring) wipe() {
	for name, key := range k.derived {
		clear(key)
		delete(k.derived, name)
	}
}

func (k *keyring) aead(kdf KDF, salt []byte) (cipher.AEAD, error) {
	if err := kdf.check(); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%d/%d/%d/%x", kdf.Time, kdf.MemoryKiB, kdf.Threads, salt)
	key, ok := k.derived[name]
	if !ok {
		key = argon2.IDKey(k.passphrase, salt, kdf.Time, kdf.MemoryKiB, kdf.Threads, sm4.BlockSize)
		k.derived[name] = key
	}
	block, err := sm4.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func keyFileName(purpose string) string { return purpose + ".key" }

func boundPurpose(purpose string) []byte { return []byte("bidseal/ca key 1\x00" + purpose) }

// write stores a secret. An existing file is never replaced.
func (k *keyring) write(purpose string, secret []byte, kdf KDF, salt []byte) error {
	aead, err := k.aead(kdf, salt)
	if err != nil {
		return fmt.Errorf("key %s: %w", purpose, err)
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return fmt.Errorf("key %s: %w", purpose, err)
	}
	raw, err := protocol.EncodeJSON(keyFile{
		V: keyFileVersion, Purpose: purpose, KDF: "argon2id", Time: kdf.Time, MemoryKiB: kdf.MemoryKiB, Threads: kdf.Threads,
		Salt: salt, Nonce: nonce, Box: aead.Seal(nil, nonce, secret, boundPurpose(purpose)),
	})
	if err != nil {
		return fmt.Errorf("key %s: %w", purpose, err)
	}
	return writeNew(filepath.Join(k.dir, keyFileName(purpose)), raw)
}

// writeNew makes a file that must not be there yet, readable by its owner, and
// carries it to the disk.
func writeNew(path string, raw []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	_, err = file.Write(raw)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = place(file.Name(), path)
	}
	if err = errors.Join(err, os.Remove(file.Name())); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// place gives a complete file its name, so that a crash leaves all of it or
// nothing. Media without links (FAT) get a copy.
func place(from, path string) error {
	err := os.Link(from, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	raw, err := os.ReadFile(filepath.Clean(from))
	if err != nil {
		return err
	}
	defer clear(raw)
	file, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(raw)
	return errors.Join(err, file.Sync(), file.Close())
}

// parse reads a key file without opening it.
func (k *keyring) parse(purpose string) (*keyFile, error) {
	path := filepath.Join(k.dir, keyFileName(purpose))
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", purpose, err)
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("key %s: file of %d bytes", purpose, info.Size())
	}
	raw, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", purpose, err)
	}
	var f keyFile
	if err := protocol.DecodeJSON(raw, &f); err != nil {
		return nil, fmt.Errorf("key %s: %w", purpose, err)
	}
	sealed := f.KDF == "argon2id" && f.URI == "" && len(f.Salt) >= saltSize
	if f.V != keyFileVersion || f.Purpose != purpose || !sealed && (f.KDF != "none" || checkKeyURI(f.URI) != nil) {
		return nil, fmt.Errorf("key %s: not a key file for this purpose", purpose)
	}
	return &f, nil
}

// writeReference stores where a key in a token is found.
func (k *keyring) writeReference(purpose, uri string) error {
	raw, err := protocol.EncodeJSON(keyFile{V: keyFileVersion, Purpose: purpose, KDF: "none", URI: uri})
	if err != nil {
		return fmt.Errorf("key %s: %w", purpose, err)
	}
	return writeNew(filepath.Join(k.dir, keyFileName(purpose)), raw)
}

// ensure makes a key file that is not there yet, with the parameters of the
// key-encryption key's. Two processes may do so at once: the first file stays.
func (k *keyring) ensure(purpose string, draw func() ([]byte, error)) error {
	if _, err := os.Stat(filepath.Join(k.dir, keyFileName(purpose))); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	like, err := k.parse(keyKEK)
	if err != nil {
		return err
	}
	secret, err := draw()
	if err != nil {
		return err
	}
	defer clear(secret)
	if err := k.write(purpose, secret, KDF{like.Time, like.MemoryKiB, like.Threads}, like.Salt); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// read opens a secret. The caller wipes it.
func (k *keyring) read(purpose string) ([]byte, error) {
	f, err := k.parse(purpose)
	if err != nil {
		return nil, err
	}
	return k.unseal(f)
}

func (k *keyring) unseal(f *keyFile) ([]byte, error) {
	purpose := f.Purpose
	if f.URI != "" {
		return nil, fmt.Errorf("key %s: lives in a token and cannot be read", purpose)
	}
	aead, err := k.aead(KDF{f.Time, f.MemoryKiB, f.Threads}, f.Salt)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", purpose, err)
	}
	if len(f.Nonce) != aead.NonceSize() {
		return nil, fmt.Errorf("key %s: %w", purpose, ErrPassphrase)
	}
	secret, err := aead.Open(nil, f.Nonce, f.Box, boundPurpose(purpose))
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", purpose, ErrPassphrase)
	}
	return secret, nil
}

func (k *keyring) writeSigner(purpose string, key crypto.Signer, kdf KDF, salt []byte) error {
	der, err := smx509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("key %s: %w", purpose, err)
	}
	defer clear(der)
	return k.write(purpose, der, kdf, salt)
}

// readSigner opens a key, in its file or in its token.
func (k *keyring) readSigner(ctx context.Context, purpose string) (crypto.Signer, error) {
	f, err := k.parse(purpose)
	if err != nil {
		return nil, err
	}
	if f.URI != "" {
		if k.tokens == nil {
			return nil, fmt.Errorf("key %s: %w", purpose, errNoTokens)
		}
		key, err := k.tokens.Open(ctx, f.URI)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", purpose, err)
		}
		return key, nil
	}
	der, err := k.unseal(f)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	parsed, err := smx509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("key %s: not a PKCS#8 key", purpose)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key %s: cannot sign", purpose)
	}
	return key, nil
}
