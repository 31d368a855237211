package protocol

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/emmansun/gmsm/sm3"
)

// Version is the major protocol version; it is part of every tag.
const Version = 1

// Tag separates the uses of hashes, keys and signatures (SPEC.md, section 2).
type Tag string

// The tags in use. No two purposes share one.
const (
	TagRequest   Tag = "request"
	TagRH        Tag = "rh"
	TagBoxR      Tag = "boxR"
	TagCID       Tag = "cid"
	TagClaim     Tag = "claim"
	TagReq       Tag = "req"
	TagMix       Tag = "mix"
	TagUp        Tag = "up"
	TagDown      Tag = "down"
	TagBox       Tag = "box"
	TagFrame     Tag = "frame"
	TagOpen      Tag = "open"
	TagResult    Tag = "result"
	TagStatement Tag = "statement"
	TagReceipt   Tag = "receipt"
	TagReject    Tag = "reject"
	TagRelease   Tag = "release"
	TagEndorse   Tag = "endorse"
	TagLedger    Tag = "ledger"
	TagPass      Tag = "pass"
	TagProof     Tag = "proof"
	TagEvidence  Tag = "evidence"
)

// T returns "bidseal/1 " | tag | 0x00, the prefix of everything hashed, signed
// or expanded under that tag.
func T(tag Tag) []byte {
	b := make([]byte, 0, len("bidseal/1 ")+len(tag)+1)
	b = append(b, "bidseal/1 "...)
	b = append(b, tag...)
	return append(b, 0)
}

// H is SM3 (GB/T 32905) over the concatenation of its parts; 32 bytes.
func H(parts ...[]byte) []byte {
	h := sm3.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// concat joins parts into one new slice.
func concat(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := make([]byte, 0, n)
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// Bytes is a byte string that travels in JSON as base64url without padding
// (RFC 4648 section 5). Decoding accepts exactly one spelling of each value:
// padding, line breaks, the standard alphabet and stray trailing bits are refused.
type Bytes []byte

var rawURL = base64.RawURLEncoding.Strict()

// MarshalText encodes b as unpadded base64url.
func (b Bytes) MarshalText() ([]byte, error) {
	out := make([]byte, rawURL.EncodedLen(len(b)))
	rawURL.Encode(out, b)
	return out, nil
}

// UnmarshalText decodes unpadded base64url strictly.
func (b *Bytes) UnmarshalText(text []byte) error {
	if strings.ContainsAny(string(text), "\r\n") {
		return errors.New("base64url: line break")
	}
	out := make([]byte, rawURL.DecodedLen(len(text)))
	n, err := rawURL.Decode(out, text)
	if err != nil {
		return fmt.Errorf("base64url: %w", err)
	}
	*b = out[:n]
	return nil
}

// String returns the unpadded base64url form.
func (b Bytes) String() string { return rawURL.EncodeToString(b) }

// CID identifies a challenge: 16 bytes that follow from the QR's secret.
// In a URL it is lower-case hex, in JSON base64url.
type CID [16]byte

// String returns the 32 lower-case hex digits used in URLs.
func (c CID) String() string { return hex.EncodeToString(c[:]) }

// MarshalText encodes the id as unpadded base64url, its form in JSON.
func (c CID) MarshalText() ([]byte, error) { return Bytes(c[:]).MarshalText() }

// UnmarshalText decodes the JSON form.
func (c *CID) UnmarshalText(text []byte) error {
	var b Bytes
	if err := b.UnmarshalText(text); err != nil {
		return err
	}
	if len(b) != len(c) {
		return fmt.Errorf("cid: %d bytes, want %d", len(b), len(c))
	}
	copy(c[:], b)
	return nil
}

// ParseCID reads the URL form: exactly 32 lower-case hex digits.
func ParseCID(s string) (CID, error) {
	var c CID
	if len(s) != hex.EncodedLen(len(c)) || s != strings.ToLower(s) {
		return c, Errorf(CodeNotFound, "cid: want 32 lower-case hex digits")
	}
	if _, err := hex.Decode(c[:], []byte(s)); err != nil {
		return c, Errorf(CodeNotFound, "cid: not hexadecimal")
	}
	return c, nil
}
