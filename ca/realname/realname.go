// Package realname is the one-use token by which a real-name authority says that
// it has checked a person: format, issuer and verifier. It is a leaf.
//
// A token has one purpose and one use, lives at most half an hour and is tied to
// an account and a device. The text is
//
//	b64url(JSON) "." b64url(signature over "bidseal/realname 1" | 0x00 | JSON)
//
// with strict JSON (protocol.DecodeJSON) and an SM2 signature (DER, SM3, the
// identifier 1234567812345678) of the real-name authority's key. [Verify] checks
// all that stands in the token; that it is used once is for the transaction that
// acts on it, which stores the nonce.
package realname

import (
	"crypto"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm3"
)

// Version of the token.
const Version = 1

// Life is the longest life of a token.
const Life = 30 * time.Minute

// Sizes in bytes.
const (
	NonceSize  = 16
	PersonSize = 32
	// MaxToken bounds the text of a token.
	MaxToken = 2 << 10
)

// Purpose is the one thing that a token is good for.
type Purpose string

// The purposes.
const (
	PasswordReset Purpose = "password_reset"
	Application   Purpose = "application"
	Reissue       Purpose = "reissue"
	PhoneChange   Purpose = "phone_change"
	Restore       Purpose = "restore"
)

// Known reports whether this version knows the purpose.
func (p Purpose) Known() bool {
	return slices.Contains([]Purpose{PasswordReset, Application, Reissue, PhoneChange, Restore}, p)
}

// Token is the content.
type Token struct {
	V       int            `json:"v"`
	Purpose Purpose        `json:"purpose"`
	Account string         `json:"account"` // as in the device pass
	Device  string         `json:"device"`  // protocol.DeviceID
	Person  protocol.Bytes `json:"person"`  // PersonSize, see Person
	Nonce   protocol.Bytes `json:"nonce"`   // NonceSize, drawn at random
	Issued  int64          `json:"issued"`  // Unix seconds
	Expires int64          `json:"expires"` // Unix seconds
}

func signed(raw []byte) []byte { return append([]byte("bidseal/realname 1\x00"), raw...) }

func refused(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.CodeRealNameToken, format, args...)
}

func (t *Token) check() error {
	switch {
	case t.V != Version || !t.Purpose.Known():
		return refused("version or purpose")
	case len(t.Account) == 0 || len(t.Account) > 128 || len(t.Device) == 0 || len(t.Device) > 64:
		return refused("account or device")
	case len(t.Person) != PersonSize || len(t.Nonce) != NonceSize:
		return refused("person or nonce")
	case t.Issued <= 0 || t.Expires <= t.Issued || t.Expires-t.Issued > int64(Life/time.Second):
		return refused("it lives too long or not at all")
	}
	return nil
}

// Issue signs a token. Version and nonce are set here, and the dates where they
// are zero.
func Issue(key crypto.Signer, t Token, now time.Time) (string, error) {
	if alg, err := protocol.AlgOf(key.Public()); err != nil || alg != protocol.AlgSM2 {
		return "", errors.New("issue real-name token: the key is not SM2")
	}
	nonce, err := protocol.Random(NonceSize)
	if err != nil {
		return "", err
	}
	t.V, t.Nonce = Version, nonce
	if t.Issued == 0 && t.Expires == 0 {
		t.Issued, t.Expires = now.Unix(), now.Add(Life).Unix()
	}
	if err := t.check(); err != nil {
		return "", err
	}
	raw, err := protocol.EncodeJSON(t)
	if err != nil {
		return "", err
	}
	signature, err := protocol.Sign(key, signed(raw))
	if err != nil {
		return "", err
	}
	return protocol.Bytes(raw).String() + "." + protocol.Bytes(signature).String(), nil
}

// Want is what a token has to be for.
type Want struct {
	Purpose Purpose
	Account string
	Device  string
	// Expired accepts a token after its end: for a request that was answered in
	// time and comes again.
	Expired bool
}

// Verify checks form, signature, dates and what the token is for, against the
// keys of the real-name authorities. Error: protocol.CodeRealNameToken.
func Verify(authorities []crypto.PublicKey, text string, want Want, now time.Time) (*Token, error) {
	raw, signature, err := split(text)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(authorities, func(key crypto.PublicKey) bool {
		alg, err := protocol.AlgOf(key)
		return err == nil && alg == protocol.AlgSM2 && protocol.Verify(key, signed(raw), signature)
	}) {
		return nil, refused("not signed by a known real-name authority")
	}
	var t Token
	if err := protocol.DecodeJSON(raw, &t); err != nil {
		return nil, refused("%v", err)
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	switch at := now.Unix(); {
	case t.Purpose != want.Purpose:
		return nil, refused("it is for %s", t.Purpose)
	case t.Account != want.Account:
		return nil, refused("it is for another account")
	case t.Device != want.Device:
		return nil, refused("it is for another device")
	case at < t.Issued-int64(protocol.MaxSkew/time.Second):
		return nil, refused("it is dated in the future")
	case at >= t.Expires && !want.Expired:
		return nil, refused("it has expired")
	}
	return &t, nil
}

func split(text string) (raw, signature protocol.Bytes, err error) {
	if len(text) > MaxToken {
		return nil, nil, refused("%d bytes", len(text))
	}
	a, b, ok := strings.Cut(text, ".")
	if !ok || raw.UnmarshalText([]byte(a)) != nil || signature.UnmarshalText([]byte(b)) != nil {
		return nil, nil, refused("not well-formed")
	}
	return raw, signature, nil
}

// Person is the digest by which two checks are known to be of one person without
// the token telling who it is: HMAC-SM3 under a secret of the real-name
// authority, because names and identity numbers can be guessed.
func Person(secret []byte, name, idNumber string) []byte {
	mac := hmac.New(sm3.New, secret)
	mac.Write([]byte("bidseal/realname 1 person\x00"))
	for _, part := range []string{name, idNumber} {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
}
