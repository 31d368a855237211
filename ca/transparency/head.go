package transparency

import (
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bidseal/bidseal/protocol"
)

// Reasons for which a head or a proof is refused. Every error of this package's
// verifications wraps one of them.
var (
	// ErrSignature: the head is not signed by the log's key.
	ErrSignature = errors.New("head is not signed by this log")
	// ErrProof: the proof does not lead to the head's root.
	ErrProof = errors.New("proof does not verify")
	// ErrFork: two signed heads cannot belong to one history. Both, kept
	// together, prove it to anybody.
	ErrFork = errors.New("the log shows different histories")
)

// Head is a signed state of the tree.
type Head struct {
	V         int            `json:"v"`
	Log       protocol.Bytes `json:"log"` // SM3 of the log key's SubjectPublicKeyInfo
	Size      uint64         `json:"size"`
	At        int64          `json:"at"` // when it was signed, Unix milliseconds
	Root      protocol.Bytes `json:"root"`
	Signature protocol.Bytes `json:"signature"`
}

// version of heads, proofs and leaves.
const version = 1

// MaxSize bounds the size of trees, so that every number in a JSON document is
// exact everywhere (RFC 7493 2.2).
const MaxSize = 1<<53 - 1

// message is what is signed: prefix | log | u64 size | u64 at | root.
func (h *Head) message() []byte {
	m := append([]byte("bidseal/ca tree head 1\x00"), h.Log...)
	m = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(m, h.Size), uint64(h.At))
	return append(m, h.Root...)
}

// LogID names a log by its public key.
func LogID(public crypto.PublicKey) ([]byte, error) {
	spki, err := protocol.MarshalKey(public)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	return protocol.H(spki), nil
}

// SignHead signs a state of the tree; at is in Unix milliseconds.
func SignHead(key crypto.Signer, size uint64, at int64, root []byte) (*Head, error) {
	id, err := LogID(key.Public())
	if err != nil {
		return nil, err
	}
	h := &Head{V: version, Log: id, Size: size, At: at, Root: root}
	if err := h.check(); err != nil {
		return nil, err
	}
	if h.Signature, err = protocol.Sign(key, h.message()); err != nil {
		return nil, fmt.Errorf("sign head: %w", err)
	}
	return h, nil
}

func (h *Head) check() error {
	if h.V != version || len(h.Log) != HashSize || len(h.Root) != HashSize || h.Size > MaxSize || h.At < 0 || h.At > MaxSize {
		return fmt.Errorf("form of the head: %w", ErrSignature)
	}
	return nil
}

// Verify checks the form and the signature under the log's public key.
func (h *Head) Verify(public crypto.PublicKey) error {
	if err := h.check(); err != nil {
		return err
	}
	id, err := LogID(public)
	if err != nil {
		return err
	}
	if !protocol.Equal(id, h.Log) || !protocol.Verify(public, h.message(), h.Signature) {
		return ErrSignature
	}
	return nil
}
