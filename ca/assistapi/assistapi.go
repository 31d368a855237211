// Package assistapi holds what a phone and the password-assist server say to
// each other: bodies, signed messages, the two halves of the verifiable
// oblivious pseudo-random function, and the sealing of the reset share. It is a
// leaf that builds for a browser. The rules are in ../assist/SPEC.md.
//
//	POST /v1/assist/begin      BeginRequest    -> BeginAnswer     a new epoch
//	POST /v1/assist/evaluate   EvaluateRequest -> EvaluateAnswer  one try of a password
//	POST /v1/assist/prove      ProveRequest    -> ProveAnswer     that try was right
//	POST /v1/assist/reset      ResetRequest    -> ResetAnswer     the share, for a real-name token
//
// Every call carries protocol.HeaderProof, made by the device key over the empty
// pass. Bodies are strict JSON; refusals are application/problem+json.
package assistapi

import (
	"crypto"
	"encoding/binary"

	"github.com/bidseal/bidseal/protocol"
)

// Paths of the API, below the URL that the authority names in its Info.
const (
	PathBegin    = "/v1/assist/begin"
	PathEvaluate = "/v1/assist/evaluate"
	PathProve    = "/v1/assist/prove"
	PathReset    = "/v1/assist/reset"
)

// Version of the bodies and of the signed messages.
const Version = 1

// Sizes in bytes.
const (
	IDSize    = 16 // of keystores, attempts and begins
	ShareSize = 32
	SeedSize  = 32 // of a blind
)

// MaxEpoch bounds the number of an epoch.
const MaxEpoch = int64(1) << 40

// Tries of a password: after MaxTries in a row without a proved success the
// keystore is locked; people are warned when WarnTries or fewer are left.
const (
	MaxTries  = 10
	WarnTries = 3
)

// BeginRequest asks for a new epoch of a keystore. The same Begin with the same
// content gives the same epoch.
type BeginRequest struct {
	V        int            `json:"v"`
	Device   string         `json:"device"`   // protocol.DeviceID
	Keystore protocol.Bytes `json:"keystore"` // IDSize
	Begin    protocol.Bytes `json:"begin"`    // IDSize, drawn at random
	Above    int64          `json:"above"`    // the new epoch's number is above this and above all earlier ones
	// ProofKey verifies the successes of the new epoch: Ed25519, 32 bytes.
	ProofKey  protocol.Bytes `json:"proof_key"`
	Ephemeral protocol.Bytes `json:"ephemeral"` // SM2 point 04|X|Y that the share is sealed to
	// Authorisation is BeginMessage signed under the proof key of the active
	// epoch. A keystore that never had one needs none.
	Authorisation protocol.Bytes `json:"authorisation,omitzero"`
}

// BeginAnswer is the new epoch, which becomes the keystore's only one with the
// first success that is proved under it.
type BeginAnswer struct {
	V         int            `json:"v"`
	Epoch     int64          `json:"epoch"`
	Suite     string         `json:"suite"`
	ServerKey protocol.Bytes `json:"server_key"`
	Share     protocol.Bytes `json:"share"` // sealed, see OpenShare
}

// EvaluateRequest is one try of a password.
type EvaluateRequest struct {
	V        int            `json:"v"`
	Device   string         `json:"device"`
	Keystore protocol.Bytes `json:"keystore"`
	Epoch    int64          `json:"epoch"`
	Attempt  protocol.Bytes `json:"attempt"` // IDSize, one per try
	Blinded  protocol.Bytes `json:"blinded"`
	// Signature of the device key over EvaluateMessage.
	Signature protocol.Bytes `json:"signature"`
}

// EvaluateAnswer is the evaluation with its proof.
type EvaluateAnswer struct {
	V         int            `json:"v"`
	Evaluated protocol.Bytes `json:"evaluated"`
	Proof     protocol.Bytes `json:"proof"`
	TriesLeft int            `json:"tries_left"` // if this try was wrong
}

// ProveRequest shows that an attempt was right: whoever signs has opened the
// epoch's slot.
type ProveRequest struct {
	V        int            `json:"v"`
	Device   string         `json:"device"`
	Keystore protocol.Bytes `json:"keystore"`
	Epoch    int64          `json:"epoch"`
	Attempt  protocol.Bytes `json:"attempt"`
	// Signature of the epoch's proof key over ProveMessage.
	Signature protocol.Bytes `json:"signature"`
}

// ProveAnswer says how many tries there are now.
type ProveAnswer struct {
	V         int `json:"v"`
	TriesLeft int `json:"tries_left"`
}

// ResetRequest asks for the share of an epoch against a real-name token (package
// realname). The same request may come again within a day.
type ResetRequest struct {
	V         int            `json:"v"`
	Device    string         `json:"device"`
	Keystore  protocol.Bytes `json:"keystore"`
	Epoch     int64          `json:"epoch"`
	Token     string         `json:"token"`
	Ephemeral protocol.Bytes `json:"ephemeral"`
}

// ResetAnswer is the share, sealed to the request's ephemeral key.
type ResetAnswer struct {
	V     int            `json:"v"`
	Share protocol.Bytes `json:"share"`
}

// message is "bidseal/assist 1 " | tag | 0x00 | parts, each of a fixed length.
func message(tag string, parts ...[]byte) []byte {
	m := append([]byte("bidseal/assist 1 "+tag), 0)
	for _, part := range parts {
		m = append(m, part...)
	}
	return m
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// EvaluateMessage is what the device key signs for one try.
func EvaluateMessage(keystore []byte, epoch int64, attempt, blinded []byte) []byte {
	return message("evaluate", keystore, number(epoch), attempt, protocol.H(blinded))
}

// ProveMessage is what the proof key signs for a right try.
func ProveMessage(keystore []byte, epoch int64, attempt []byte) []byte {
	return message("prove", keystore, number(epoch), attempt)
}

// BeginMessage is what the proof key of the active epoch signs for a new one.
func BeginMessage(r *BeginRequest) []byte {
	return message("begin", r.Keystore, r.Begin, number(r.Above), protocol.H(r.ProofKey), protocol.H(r.Ephemeral))
}

// Sign makes the device's signature of a try.
func (r *EvaluateRequest) Sign(device crypto.Signer) (err error) {
	r.Signature, err = protocol.Sign(device, EvaluateMessage(r.Keystore, r.Epoch, r.Attempt, r.Blinded))
	return err
}

// Check holds the sizes of a request.
func (r *BeginRequest) Check() error {
	if r.V != Version || len(r.Keystore) != IDSize || len(r.Begin) != IDSize || r.Above < 0 || r.Above >= MaxEpoch || len(r.ProofKey) != ProofKeySize {
		return malformed("begin")
	}
	_, err := parsePoint(r.Ephemeral)
	return err
}

// Check holds the sizes of a request.
func (r *EvaluateRequest) Check() error {
	if r.V != Version || len(r.Keystore) != IDSize || len(r.Attempt) != IDSize || !validEpoch(r.Epoch) {
		return malformed("evaluate")
	}
	_, err := parseElement(r.Blinded)
	return err
}

// Check holds the sizes of a request.
func (r *ProveRequest) Check() error {
	if r.V != Version || len(r.Keystore) != IDSize || len(r.Attempt) != IDSize || !validEpoch(r.Epoch) {
		return malformed("prove")
	}
	return nil
}

// Check holds the sizes of a request.
func (r *ResetRequest) Check() error {
	if r.V != Version || len(r.Keystore) != IDSize || !validEpoch(r.Epoch) {
		return malformed("reset")
	}
	_, err := parsePoint(r.Ephemeral)
	return err
}

func validEpoch(n int64) bool { return n >= 1 && n <= MaxEpoch }

func malformed(what string) error {
	return protocol.Errorf(protocol.CodeMalformed, "%s: version, size or number", what)
}
