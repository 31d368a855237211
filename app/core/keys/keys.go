// Package keys is the border between the phone and what guards a person's
// private keys: the contract of a Provider, which a certified module of a
// vendor can fulfil instead of the keystore file beside this package.
package keys

import (
	"context"
	"encoding/hex"

	"github.com/bidseal/bidseal/protocol"
)

// Limits of the certificate password, in characters and bytes.
const (
	MinPassword = 8
	MaxPassword = 128
)

// Use is what a key is for. A key that signs never decrypts.
type Use string

// The two halves of a dual certificate.
const (
	Sign    Use = "sign"
	Encrypt Use = "encrypt"
)

// Certificate is one certificate whose private key the provider holds.
type Certificate struct {
	ID      string // CertificateID of Chain[0]
	Use     Use
	Chain   [][]byte // DER, leaf first, up to and including the root as the authority sent it
	Current bool     // false for historic ones, whose keys still open old files
}

// Grant is an authority's response to a certification request.
type Grant struct {
	Sign      [][]byte // chain of the signing certificate, DER, leaf first
	Encrypt   [][]byte // chain of the encryption certificate
	Enveloped []byte   // EnvelopedKey (GB/T 35276) of the encryption key under the signing key
	// History are earlier encryption keys, newest first: what a reissue brings.
	History []HistoricKey
	// Supersedes are the CertificateIDs that the new pair takes the place of:
	// they become historic with it.
	Supersedes []string
}

// Recipient says for whom something was encrypted. The first given of the three
// decides: issuer and serial, key identifier, digest of the public key.
type Recipient struct {
	Issuer []byte // DER Name
	Serial []byte // big-endian, without leading zeros
	SKI    []byte // subject key identifier
	Digest []byte // SM3 over the SubjectPublicKeyInfo
}

// Provider holds a person's certificate keys under one password. Private keys
// never leave it.
//
// Methods that take a password fail with protocol.CodePasswordWrong or, after
// assistapi.MaxTries wrong ones, protocol.CodePasswordLocked; a try counts before it is
// evaluated, so that killing the process wins nothing. Where a server counts and
// cannot be reached, they fail with protocol.CodePasswordOffline. They do not
// keep the password and do not wipe it.
type Provider interface {
	// Request makes a signing key and the PKCS#10 request for it (DER). The
	// same id again gives the same bytes: an application that was interrupted
	// goes on with the same keys. The first password becomes the password of
	// the provider; it must have MinPassword characters.
	Request(ctx context.Context, id string, password []byte) ([]byte, error)
	// Install stores the answer to the request. It checks that the signing
	// certificate is for the key of that request and the encryption
	// certificate for the enveloped key, and proves every encryption key by a
	// trial decryption; the caller has judged the chains. It is all or nothing,
	// and the same grant again changes nothing.
	Install(ctx context.Context, id string, password []byte, g Grant) error
	// Discard forgets a request that will never be answered, and its key. A
	// provider that is left without any key forgets its password, too. An
	// unknown id changes nothing.
	Discard(ctx context.Context, id string) error
	// Certificates lists all certificates, newest first. It needs no password.
	Certificates(ctx context.Context) ([]Certificate, error)
	// Find returns the encryption certificate that a recipient names, historic
	// ones too. Error: protocol.CodeNoCertificate.
	Find(ctx context.Context, r Recipient) (*Certificate, error)
	// Use unlocks the keys, runs do exactly once, and locks them again before
	// it returns. The Signer is worthless afterwards.
	Use(ctx context.Context, password []byte, do func(Signer) error) error
	// TriesLeft is how many wrong passwords are left before the lock, as far as
	// this phone knows.
	TriesLeft(ctx context.Context) (int, error)
	// ChangePassword makes next the password. Whatever interrupts it, the old or
	// the new one opens the keys, never neither.
	ChangePassword(ctx context.Context, password, next []byte) error
	// ResetPassword makes next the password without the old one, against a
	// real-name token for this account and device. Interrupted, it goes on with
	// the same token. Errors: protocol.CodeRealNameToken, CodeResetUnavailable.
	ResetPassword(ctx context.Context, token string, next []byte) error
}

// Signer signs with unlocked keys.
type Signer interface {
	// Sign signs the message with the key of a current signing certificate,
	// DER SEQUENCE{r, s} for SM2. Error: protocol.CodeNoCertificate.
	Sign(certificateID string, m Message) ([]byte, error)
}

// CertificateID names a certificate on this phone: the lower-case hex of SM3
// over its DER.
func CertificateID(der []byte) string { return hex.EncodeToString(protocol.H(der)) }
