package folder

import (
	"io"
	"time"
)

// What the tests of this room look into.
const (
	SaltSize      = saltSize
	BackupChunk   = backupChunk
	BackupVersion = backupVersion
	ManifestFile  = manifestFile
)

// KeyFile is the JSON of a key file.
type KeyFile = keyFile

// Keyring reads and writes key files.
type Keyring struct{ ring *keyring }

// NewKeyring is newKeyring.
func NewKeyring(dir string, passphrase []byte) (Keyring, error) {
	ring, err := newKeyring(dir, passphrase)
	return Keyring{ring}, err
}

// Write stores a secret.
func (k Keyring) Write(purpose string, secret []byte, kdf KDF, salt []byte) error {
	return k.ring.write(purpose, secret, kdf, salt)
}

// Read opens a secret.
func (k Keyring) Read(purpose string) ([]byte, error) { return k.ring.read(purpose) }

// ReadConfig is readConfig.
func ReadConfig(dir string) (Config, error) { return readConfig(dir) }

// NewSealWriter is newSealWriter.
func NewSealWriter(to io.Writer, passphrase []byte, kdf KDF) (io.WriteCloser, error) {
	return newSealWriter(to, passphrase, kdf)
}

// NewOpenReader is newOpenReader.
func NewOpenReader(from io.Reader, passphrase []byte) (io.Reader, error) {
	return newOpenReader(from, passphrase)
}

// ExtractBackup is extractBackup.
func ExtractBackup(from io.Reader, passphrase []byte, dir string) (*BackupManifest, error) {
	return extractBackup(from, passphrase, dir)
}

// CeremonyRecordText is the text of a record that names its people.
func CeremonyRecordText(file, title string, now time.Time, operator string, witnesses []string) string {
	r := newCeremonyRecord(file, title, now)
	r.people(operator, witnesses)
	return r.text.String()
}
