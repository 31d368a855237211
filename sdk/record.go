package bidseal

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"
)

// recordVersion of the records below. They began without one, and a record
// without one is version 1: programs of that time refuse every name that they do not
// know, so it is not written before it is another.
const recordVersion = 1

// form is embedded in every record.
type form struct {
	V int `json:"v,omitzero"`
	protocol.Kept
}

func (f *form) version() int { return f.V }

// session is what a waiting page or a Challenge holds on to: it stays while the
// code is renewed. Stored under "s/" + id.
type session struct {
	form
	ID       string         `json:"id"` // 32 lower-case hex digits
	Browser  protocol.Bytes `json:"browser,omitzero"`
	Options  loginTerms     `json:"options"`
	CID      protocol.CID   `json:"cid"` // the challenge that stands for it now
	Renewals int            `json:"renewals"`
	Created  int64          `json:"created"` // Unix ms
}

// loginTerms are LoginOptions as they are stored, defaults applied.
type loginTerms struct {
	protocol.Kept
	Display   []string             `json:"display,omitzero"`
	Expect    *protocol.Owner      `json:"expect,omitzero"`
	Match     protocol.MatchPolicy `json:"match"`
	Static    bool                 `json:"static,omitzero"`
	Initiator *protocol.Initiator  `json:"initiator,omitzero"`
	NoRenew   bool                 `json:"no_renew,omitzero"`
}

// openChallenge is a challenge as the SDK stores it, before the relay hears of it.
// Stored under "c/" + cid.
type openChallenge struct {
	form
	Session string       `json:"session"`
	CID     protocol.CID `json:"cid"`
	Created int64        `json:"created"` // Unix ms on the SDK's clock; frames count from here

	Secret    protocol.Bytes   `json:"secret"` // s
	FrameKey  protocol.Bytes   `json:"frame_key,omitzero"`
	Watch     protocol.Bytes   `json:"watch"`
	Ephemeral protocol.Bytes   `json:"ephemeral,omitzero"` // e, 32 bytes, until a result was judged
	Digits    string           `json:"digits,omitzero"`
	Request   protocol.Bytes   `json:"request"` // the exact bytes of R
	Signature protocol.Bytes   `json:"signature"`
	Chain     []protocol.Bytes `json:"chain"` // the platform's
	OCSP      protocol.Bytes   `json:"ocsp"`
	BoxR      protocol.Bytes   `json:"box_r,omitzero"` // until the relay has it

	Registered bool           `json:"registered,omitzero"` // the relay has answered
	Relay      relayView      `json:"relay"`
	Frame      protocol.Bytes `json:"frame,omitzero"`    // of claim 1, once it was found good
	Tries      int            `json:"tries,omitzero"`    // wrong digits over all claims
	Answered   uint32         `json:"answered,omitzero"` // newest claim_seq whose open was answered
	Ready      protocol.Bytes `json:"ready,omitzero"`    // the exact ReadyBody of that answer
	Accepted   uint32         `json:"accepted,omitzero"` // claim_seq whose open was answered ready
	KEM        protocol.Bytes `json:"kem,omitzero"`      // of that open; the result has the same
	Lease      *lease         `json:"lease,omitzero"`    // who works on the result or on the commit
	Verdict    *verdict       `json:"verdict,omitzero"`  // on the result
	Consumed   bool           `json:"consumed,omitzero"` // the platform has committed it
	Settled    bool           `json:"settled,omitzero"`  // the relay knows the end
	End        *ending        `json:"end,omitzero"`      // without a result
	RequestExp int64          `json:"request_exp"`       // R.exp, Unix seconds
}

// relayView is the newest state seen of the relay.
type relayView struct {
	protocol.Kept
	State       protocol.State `json:"state,omitzero"`
	Rev         int64          `json:"rev,omitzero"`
	ClaimSeq    uint32         `json:"claim_seq,omitzero"`
	SecondScans int            `json:"second_scans,omitzero"`
	Until       int64          `json:"until,omitzero"` // Unix ms on our clock: the end of the claim
}

// lease gives one node the time to work undisturbed.
type lease struct {
	protocol.Kept
	Holder string `json:"holder"`
	Until  int64  `json:"until"` // Unix ms
}

// ending is an end without a result.
type ending struct {
	protocol.Kept
	Code   protocol.Code `json:"code"`
	Reason string        `json:"reason,omitzero"` // of a rejection
	Renew  bool          `json:"renew,omitzero"`  // the code may renew by itself
}

// verdict is what became of a result. It is reached once.
type verdict struct {
	protocol.Kept
	Digest      protocol.Bytes `json:"digest"` // ResultDigest
	Code        protocol.Code  `json:"code,omitzero"`
	Detail      string         `json:"detail,omitzero"`
	Certificate protocol.Bytes `json:"certificate,omitzero"` // DER
	Anchor      string         `json:"anchor,omitzero"`
	At          int64          `json:"at,omitzero"` // Unix seconds, the statement's iat
	Evidence    protocol.Bytes `json:"evidence,omitzero"`
}

const (
	// retention is how long a challenge with a result is remembered after its
	// request expired: the relay redelivers the result for a day.
	retention = 48 * time.Hour
	// shortRetention is the same for challenges without a result, for sessions
	// and for what ties them to browsers.
	shortRetention = time.Hour
)

func challengeKey(cid protocol.CID) string { return "c/" + cid.String() }
func sessionKey(id string) string          { return "s/" + id }

// vault seals and opens what goes into the Store.
type vault struct {
	store Store
	aead  cipher.AEAD
}

func newVault(store Store, key []byte) (*vault, error) {
	derived, err := hkdf.Key(sm3.New, key, []byte("bidseal/1"), "sdk store", 16)
	if err != nil {
		return nil, fmt.Errorf("derive store key: %w", err)
	}
	defer clear(derived)
	block, err := sm4.NewCipher(derived)
	if err != nil {
		return nil, fmt.Errorf("sm4: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("sm4-gcm: %w", err)
	}
	return &vault{store: store, aead: aead}, nil
}

// seal encodes v and seals it for the key, a random nonce in front.
func (v *vault) seal(key string, value any) ([]byte, error) {
	plain, err := protocol.EncodeJSON(value)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	nonce, err := protocol.Random(v.aead.NonceSize())
	if err != nil {
		return nil, err
	}
	return v.aead.Seal(nonce, nonce, plain, []byte(key)), nil
}

func (v *vault) open(r StoreRecord, into any) error {
	n := v.aead.NonceSize()
	if len(r.Value) < n {
		return fmt.Errorf("record %s is too short", r.Key)
	}
	plain, err := v.aead.Open(nil, r.Value[:n], r.Value[n:], []byte(r.Key))
	if err != nil {
		return fmt.Errorf("record %s does not open with this store key: %w", r.Key, err)
	}
	defer clear(plain)
	if err := protocol.DecodeJSON(plain, into); err != nil {
		return err
	}
	if versioned, ok := into.(interface{ version() int }); ok && versioned.version() > recordVersion {
		return fmt.Errorf("record %s is of version %d, this program knows %d", r.Key, versioned.version(), recordVersion)
	}
	return nil
}

// stored is a decoded record with the version it was read at.
type stored[T any] struct {
	v      T
	record StoreRecord
}

func get[T any](ctx context.Context, v *vault, key string) (*stored[T], error) {
	r, err := v.store.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	s := &stored[T]{record: r}
	return s, v.open(r, &s.v)
}

func put[T any](ctx context.Context, v *vault, key string, value T, due, expires time.Time) (*stored[T], error) {
	sealed, err := v.seal(key, value)
	if err != nil {
		return nil, err
	}
	r := StoreRecord{Key: key, Value: sealed, Due: due, Expires: expires}
	if err := v.store.Put(ctx, r); err != nil && !v.written(ctx, r, 1) {
		return nil, fmt.Errorf("put %s: %w", key, err)
	}
	r.Version = 1
	return &stored[T]{v: value, record: r}, nil
}

// written reports whether a write that failed has happened all the same: the
// record is there, with our bytes, which no other writer has.
func (v *vault) written(ctx context.Context, r StoreRecord, version uint64) bool {
	now, err := v.store.Get(ctx, r.Key)
	return err == nil && now.Version == version && bytes.Equal(now.Value, r.Value)
}

// swap stores s unless it changed since it was read: ErrConflict.
func swap[T any](ctx context.Context, v *vault, s *stored[T]) error {
	sealed, err := v.seal(s.record.Key, s.v)
	if err != nil {
		return err
	}
	r := s.record
	r.Value = sealed
	if err := v.store.CompareAndSwap(ctx, r); err != nil && !v.written(ctx, r, r.Version+1) {
		return fmt.Errorf("swap %s: %w", r.Key, err)
	}
	r.Version++
	s.record = r
	return nil
}

// maxSwaps bounds the rounds of update: more than the nodes of any platform.
const maxSwaps = 32

// update reads a record, lets change alter it, and swaps it in; where another
// node was faster it starts again. change reports whether there is anything to
// store.
func update[T any](ctx context.Context, v *vault, key string, change func(*stored[T]) (bool, error)) (*stored[T], error) {
	for range maxSwaps {
		s, err := get[T](ctx, v, key)
		if err != nil {
			return nil, err
		}
		changed, err := change(s)
		if err != nil || !changed {
			return s, err
		}
		if err = swap(ctx, v, s); err == nil {
			return s, nil
		}
		if !errors.Is(err, ErrConflict) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("update %s: %w", key, ErrConflict)
}

// dueAt sets when somebody has to look at the record; the zero time is never.
func (s *stored[T]) dueAt(t time.Time) { s.record.Due = t }

// newSessionID draws the name of a session.
func newSessionID() (string, error) {
	raw, err := protocol.Random(16)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(raw), nil
}
