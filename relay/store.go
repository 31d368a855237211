package relay

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/bidseal/bidseal/protocol"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/go-json-experiment/json/v1"
)

// What a backend returns besides data. Everything else is a failure of the
// backend, after which a write may have happened.
var (
	// ErrNotFound: there is no such challenge, part, end or platform.
	ErrNotFound = errors.New("not found")
	// ErrExists: the cid is taken by another platform or other bytes.
	ErrExists = errors.New("identifier is taken")
	// ErrConflict: the revision is no longer the newest; read and try again.
	ErrConflict = errors.New("revision has moved on")
	// ErrFull: the platform has too many open challenges.
	ErrFull = errors.New("too many open challenges")
	// ErrEnded: the challenge has another end, see Joint.
	ErrEnded = errors.New("challenge has another end")
)

// State keeps open challenges. The relay decides every transition
// by the pure functions of package protocol and stores it with Swap; nothing
// else moves state.
//
// A backend may be written from these comments alone and has to pass
// storetest.Run. The rules that hold for all operations:
//
//   - Every operation may be repeated. One that returned an error, above all a
//     timeout, may have happened: the caller repeats it or reads again.
//   - An operation that returned without an error is visible to every later
//     operation on every node, and durable to the degree the backend documents.
//     Ends are durable always: they go to Outcomes.
//   - Revisions: each Create and each Swap stamps the challenge with
//     rev = max(last rev of the platform + 1, store time in microseconds), in the
//     same transaction or script. Within a platform no two changes have the same
//     rev, and a change that becomes visible later has the greater one.
//   - Slices handed in or out are not changed afterwards by either side.
//   - Errors wrap the sentinels above; context errors pass through.
type State interface {
	// ID names this set of data: random, made when the store was, the same on
	// every node. A feed cursor means nothing under another id.
	ID(ctx context.Context) (string, error)

	// Create stores a new challenge and its request (boxR, part PartRequest) and
	// returns it with its rev. The cid is the idempotency key: where a challenge
	// of the same cid, platform and CreateDigest exists, that one is returned,
	// unchanged, created being false; otherwise ErrExists. A platform with
	// maxOpen challenges that are not terminal gets ErrFull.
	Create(ctx context.Context, c Challenge, request []byte, maxOpen int) (stored Challenge, created bool, err error)

	// Get reads a challenge, without its parts. ErrNotFound.
	Get(ctx context.Context, cid protocol.CID) (Challenge, error)

	// Part reads bytes that were stored beside a challenge. Parts never change
	// under one name. ErrNotFound.
	Part(ctx context.Context, cid protocol.CID, name string) ([]byte, error)

	// Swap replaces the challenge next.CID by next, with the given parts, if its
	// rev is still rev, and returns it with its new rev. ErrConflict where the
	// rev is another, ErrNotFound where the challenge is gone. CID, Platform,
	// CreateDigest, HClaim, HWatch, Terms and CreatedAt never change.
	Swap(ctx context.Context, rev int64, next Challenge, parts ...Part) (Challenge, error)

	// Feed reads up to limit challenges of a platform whose rev is beyond after,
	// by ascending rev, without their parts. A challenge is listed once, with its
	// newest rev; whoever continues after the last rev read misses no change.
	Feed(ctx context.Context, platform string, after int64, limit int) ([]Challenge, error)

	// Due lists up to limit challenges whose Progress.Due is set and before now
	// (Unix milliseconds), earliest first.
	Due(ctx context.Context, now int64, limit int) ([]protocol.CID, error)

	// Purge forgets up to limit terminal challenges whose last change is before
	// the given time (Unix milliseconds), their parts included, and returns which.
	Purge(ctx context.Context, before int64, limit int) ([]protocol.CID, error)
}

// Store is one backend that is State, Nonces and Counters; see Config.WithStore.
type Store interface {
	State
	Nonces
	Counters
}

// Names of parts. Boxes up to protocol.MaxInlineBox stand in the challenge.
const PartRequest = "request"

// openPart and readyPart name the boxes of one claim; the digest keeps two
// different boxes of one claim apart.
func openPart(seq uint32) string { return "open." + strconv.FormatUint(uint64(seq), 10) }

func readyPart(seq uint32, next protocol.State) string {
	return "ready." + strconv.FormatUint(uint64(seq), 10) + "." + string(next)
}

// Part is a large byte string beside a challenge.
type Part struct {
	Name string
	Data []byte
}

// Challenge is what State keeps of one challenge. Backends index CID,
// Platform, Rev, Progress.State and Progress.Due() and store the rest as the
// bytes of Encode.
type Challenge struct {
	CID      protocol.CID
	Platform string
	Rev      int64 // set by the store

	CreateDigest []byte // SM3 of the body that created it
	HClaim       []byte
	HWatch       []byte
	Terms        protocol.Terms
	CreatedAt    int64 // Unix ms
	ChangedAt    int64 // Unix ms of the last change

	Progress  protocol.Progress
	Open      *protocol.KEMBox    // the newest
	Ready     *protocol.ReadyBody // the newest
	ReadySize int                 // bytes of its box
	Result    *protocol.StoredResult
	Receipt   *protocol.SignedReceipt // of an end without a result
	Promise   *protocol.Promise

	Unknown jsontext.Value // members of the stored form that a newer node knows
}

// storedVersion of the stored form. A form without one is version 1, too.
const storedVersion = 1

// storedChallenge is a challenge as backends keep it: everything but what the backend indexes by itself.
type storedChallenge struct {
	V            int                     `json:"v"`
	CreateDigest protocol.Bytes          `json:"cd"`
	HClaim       protocol.Bytes          `json:"hc"`
	HWatch       protocol.Bytes          `json:"hw"`
	Terms        protocol.Terms          `json:"terms"`
	CreatedAt    int64                   `json:"created"`
	ChangedAt    int64                   `json:"changed"`
	Progress     protocol.Progress       `json:"progress"`
	Open         *protocol.KEMBox        `json:"open,omitempty"`
	Ready        *protocol.ReadyBody     `json:"ready,omitempty"`
	ReadySize    int                     `json:"ready_size,omitempty"`
	Result       *protocol.StoredResult  `json:"result,omitempty"`
	Receipt      *protocol.SignedReceipt `json:"receipt,omitempty"`
	Promise      *protocol.Promise       `json:"promise,omitempty"`
	protocol.Kept
}

// Encode is the stored form of everything but CID, Platform and Rev.
func (c Challenge) Encode() ([]byte, error) {
	b, err := json.Marshal(storedChallenge{storedVersion, c.CreateDigest, c.HClaim, c.HWatch, c.Terms, c.CreatedAt, c.ChangedAt, c.Progress,
		c.Open, c.Ready, c.ReadySize, c.Result, c.Receipt, c.Promise, protocol.Kept{Unknown: c.Unknown}})
	if err != nil {
		return nil, fmt.Errorf("encode challenge: %w", err)
	}
	return b, nil
}

// DecodeChallenge reads what Encode wrote.
func DecodeChallenge(cid protocol.CID, platform string, rev int64, data []byte) (Challenge, error) {
	var r storedChallenge
	if err := json.Unmarshal(data, &r); err != nil {
		return Challenge{}, fmt.Errorf("decode challenge: %w", err)
	}
	if r.V > storedVersion {
		return Challenge{}, fmt.Errorf("decode challenge: its form is version %d, this relay knows %d", r.V, storedVersion)
	}
	return Challenge{CID: cid, Platform: platform, Rev: rev, CreateDigest: r.CreateDigest, HClaim: r.HClaim, HWatch: r.HWatch,
		Terms: r.Terms, CreatedAt: r.CreatedAt, ChangedAt: r.ChangedAt, Progress: r.Progress, Open: r.Open, Ready: r.Ready,
		ReadySize: r.ReadySize, Result: r.Result, Receipt: r.Receipt, Promise: r.Promise, Unknown: r.Unknown}, nil
}
