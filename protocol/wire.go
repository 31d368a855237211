package protocol

import "time"

// The bodies of the relay's HTTP API, all strict JSON. Paths, with {cid} in
// lower-case hex:
//
//	platform (RFC 9421)   PUT  /v1/challenges/{cid}            CreateBody  -> ChallengeState
//	                      GET  /v1/challenges/{cid}?after&wait             -> ChallengeState
//	                      PUT  /v1/challenges/{cid}/ready      ReadyBody   -> ChallengeState
//	                      POST /v1/challenges/{cid}/fail       FailBody    -> ChallengeState
//	                      POST /v1/challenges/{cid}/cancel     (empty)     -> ChallengeState
//	                      POST /v1/challenges/{cid}/ack        AckBody     -> ChallengeState
//	                      GET  /v1/feed?store&after&limit&wait             -> FeedPage
//	                      GET  /v1/feed/ws                     WebSocket, subprotocol FeedSubprotocol
//	phone (pass + proof)  POST /v1/challenges/{cid}/claim      ClaimBody   -> ClaimAnswer
//	                      POST /v1/challenges/{cid}/open       OpenBody    -> ChallengeState
//	                      POST /v1/challenges/{cid}/result     ResultBody  -> ResultAnswer
//	                      POST /v1/challenges/{cid}/reject     RejectBody  -> ResultAnswer
//	                      POST /v1/challenges/{cid}/fail       FailBody    -> ResultAnswer
//	                      GET  /v1/challenges/{cid}?after&wait             -> ChallengeState
//	page, bid client      GET  /v1/watch                       WebSocket, subprotocol WatchSubprotocol; first frame WatchBody
//	                      POST /v1/watch                       WatchBody (long-poll) -> WatchState
//	anyone                GET  /v1/info                        -> RelayInfo
//
// A call with a Signature-Input header is a platform's, one with
// HeaderPass a phone's. after is a rev, wait seconds (at most 25): the answer
// comes when rev > after or the wait is over.

// WebSocket subprotocols.
const (
	FeedSubprotocol  = "bidseal.feed.v1"
	WatchSubprotocol = "bidseal.watch.v1"
)

// SignatureTag is the RFC 9421 tag parameter of platform calls.
const SignatureTag = "bidseal-relay-1"

// Bounds of the relay's API.
const (
	MaxWait        = 25       // seconds of a long-poll
	MaxInlineBox   = 16 << 10 // boxes up to this ride in events; larger ones come by GET
	MaxFeedPage    = 200      // events of one page
	MaxRequestBody = 3 << 20  // bytes of one call's body: a 1 MiB box in base64url, its kem, frame and receipt
	MaxFeedBytes   = 2 << 20  // bytes of one page of the feed, which ends earlier where its next event would not fit
	ClaimIDSize    = 16       // bytes of a claim id
)

// CreateBody makes a challenge. The cid is the idempotency key: the same bytes
// again answer 200, others 409.
type CreateBody struct {
	BoxR      Bytes     `json:"box_r"`
	HClaim    Bytes     `json:"h_claim"` // H(k_claim)
	HWatch    Bytes     `json:"h_watch"` // H(watch)
	Kind      Kind      `json:"kind"`
	TwoPhase  bool      `json:"two_phase"`
	Deadlines Deadlines `json:"deadlines"`
}

// Deadlines in seconds.
type Deadlines struct {
	Pending int64 `json:"pending"` // until the claim
	Claim   int64 `json:"claim"`   // from the claim to the end
	Ready   int64 `json:"ready"`   // from opened to ready
	Keep    int64 `json:"keep"`    // from the result to the ack
}

// DefaultDeadlines are the limits of the kind.
func DefaultDeadlines(k Kind) Deadlines {
	return Deadlines{
		Pending: int64(PendingLimit.Seconds()), Claim: int64(ClaimLimit(k).Seconds()),
		Ready: int64(ReadyLimitOf(k).Seconds()), Keep: int64(KeepLimit.Seconds()),
	}
}

// Terms are the body's limits as the state machine takes them.
func (b CreateBody) Terms() Terms {
	return Terms{Kind: b.Kind, TwoPhase: b.TwoPhase, Pending: b.Deadlines.Pending * 1000,
		Claim: b.Deadlines.Claim * 1000, Ready: b.Deadlines.Ready * 1000, Keep: b.Deadlines.Keep * 1000}
}

// Check holds the rules of a create body.
func (b CreateBody) Check() error {
	if err := checkBox(b.BoxR); err != nil {
		return err
	}
	if len(b.HClaim) != HashSize || len(b.HWatch) != HashSize {
		return Errorf(CodeMalformed, "h_claim or h_watch has a wrong length")
	}
	d := b.Deadlines
	for _, n := range []int64{d.Pending, d.Claim, d.Ready, d.Keep} {
		if n < 0 || n > int64(MaxKeepLimit/time.Second) { // keeps the product with 1000 in range
			return Errorf(CodeMalformed, "a deadline is out of range")
		}
	}
	return CheckTerms(b.Terms())
}

// ClaimBody takes a challenge for a device.
type ClaimBody struct {
	KClaim  Bytes `json:"k_claim"`
	ClaimID Bytes `json:"claim_id"` // 16 random bytes; the same id gets the same answer
	Frame   Bytes `json:"frame,omitzero"`
}

func checkBox(box []byte) error {
	if len(box) < gcmNonceSize+gcmTagSize || len(box) > MaxBox {
		return Errorf(CodeMalformed, "box of %d bytes", len(box))
	}
	return nil
}

// Check holds the rules of a claim body.
func (b ClaimBody) Check() error {
	if len(b.KClaim) != KClaimSize || len(b.ClaimID) != ClaimIDSize || len(b.Frame) != 0 && len(b.Frame) != frameSize {
		return Errorf(CodeMalformed, "k_claim, claim_id or frame has a wrong length")
	}
	return nil
}

// Check holds the rules of an open body.
func (b OpenBody) Check() error { return checkClaimBox(b.ClaimSeq, b.KEM, b.Box) }

// Check holds the rules of a ready body.
func (b ReadyBody) Check() error {
	if b.ClaimSeq == 0 || b.Next != StateReady && b.Next != StateClaimed {
		return Errorf(CodeMalformed, "claim_seq or next is out of range")
	}
	return checkBox(b.Box)
}

// Check holds the rules of a result body; its receipt is still to be verified.
func (b ResultBody) Check() error { return checkClaimBox(b.ClaimSeq, b.KEM, b.Box) }

// Check holds the rules of an acknowledgement.
func (b AckBody) Check() error {
	if len(b.Result) != HashSize {
		return Errorf(CodeMalformed, "result digest of %d bytes", len(b.Result))
	}
	return nil
}

// Check holds the rules of a watcher's first frame.
func (b WatchBody) Check() error {
	if len(b.Watch) != WatchSize || b.After < 0 || b.Wait < 0 || b.Wait > MaxWait {
		return Errorf(CodeMalformed, "watch, after or wait is out of range")
	}
	return nil
}

func checkClaimBox(seq uint32, kem, box []byte) error {
	if seq == 0 {
		return Errorf(CodeMalformed, "claim_seq counts from 1")
	}
	if err := CheckKEM(kem); err != nil {
		return Errorf(CodeMalformed, "kem of %d bytes is not an SM2 ciphertext", len(kem))
	}
	return checkBox(box)
}

// ClaimAnswer is what the phone needs to go on.
type ClaimAnswer struct {
	BoxR       Bytes  `json:"box_r"`
	ServerTime int64  `json:"server_time"` // Unix ms
	ClaimSeq   uint32 `json:"claim_seq"`
	Rev        int64  `json:"rev"`
	ClaimUntil int64  `json:"claim_until"` // Unix ms
}

// OpenBody is the phone's first phase; box is a BoxOpen.
type OpenBody struct {
	ClaimSeq uint32 `json:"claim_seq"`
	KEM      Bytes  `json:"kem"`
	Box      Bytes  `json:"box"`
}

// ReadyBody is the platform's answer; box is a BoxReady under the keys of claim_seq.
type ReadyBody struct {
	ClaimSeq uint32 `json:"claim_seq"`
	Next     State  `json:"next"` // ready or claimed
	Box      Bytes  `json:"box"`
}

// ResultBody ends a challenge with a result; box is a BoxResult.
type ResultBody struct {
	ClaimSeq uint32        `json:"claim_seq"`
	KEM      Bytes         `json:"kem"`
	Box      Bytes         `json:"box"`
	Receipt  SignedReceipt `json:"receipt"`
}

// RejectBody ends a challenge by the user's decision; the device signs the receipt (TagReject).
type RejectBody struct {
	ClaimSeq uint32        `json:"claim_seq"`
	Reason   RejectReason  `json:"reason"`
	Receipt  SignedReceipt `json:"receipt"`
}

// FailBody ends a challenge with a failure. A phone adds claim_seq and a
// receipt signed by the device key (TagReject).
type FailBody struct {
	Code     Code           `json:"code"`
	ClaimSeq uint32         `json:"claim_seq,omitzero"`
	Receipt  *SignedReceipt `json:"receipt,omitzero"`
}

// AckBody says that the platform has committed the result.
type AckBody struct {
	Result Bytes `json:"result"` // ResultDigest
}

// ResultAnswer is the 200 that a phone may rely on: what it sent is durable.
type ResultAnswer struct {
	State   State    `json:"state"`
	Rev     int64    `json:"rev"`
	Promise *Promise `json:"promise,omitzero"`
}

// ChallengeState is the full public state of a challenge: the answer to reads
// and one event of a platform's feed. Times are Unix milliseconds of the relay.
type ChallengeState struct {
	CID          CID            `json:"cid"`
	Kind         Kind           `json:"kind"`
	State        State          `json:"state"`
	Rev          int64          `json:"rev"` // grows with every change, across the platform
	Code         string         `json:"code,omitzero"`
	ClaimSeq     uint32         `json:"claim_seq,omitzero"`
	AgeMS        int64          `json:"age_ms"` // since claim 1, computed as the answer is written; 0 before it
	Frame        Bytes          `json:"frame,omitzero"`
	Device       string         `json:"device,omitzero"`
	SecondScans  int            `json:"second_scans,omitzero"`
	Open         *KEMBox        `json:"open,omitzero"`
	Ready        *ReadyBody     `json:"ready,omitzero"` // the newest ready; its claim_seq tells whose keys open it
	Result       *StoredResult  `json:"result,omitzero"`
	Receipt      *SignedReceipt `json:"receipt,omitzero"` // of a rejection or a phone's failure
	Promise      *Promise       `json:"promise,omitzero"`
	PendingUntil int64          `json:"pending_until"`
	ClaimUntil   int64          `json:"claim_until,omitzero"`
	ReadyUntil   int64          `json:"ready_until,omitzero"`
	KeepUntil    int64          `json:"keep_until,omitzero"`
	Now          int64          `json:"now"` // when the answer was written
}

// KEMBox is a box and the ciphertext its keys come from. Box is empty where it
// is larger than MaxInlineBox and the state came through a feed: read by GET.
type KEMBox struct {
	ClaimSeq uint32 `json:"claim_seq"`
	KEM      Bytes  `json:"kem"`
	Box      Bytes  `json:"box,omitzero"`
	Size     int    `json:"size"` // bytes of the box
}

// StoredResult is a result as the phone sent it.
type StoredResult struct {
	KEMBox
	Digest  Bytes         `json:"digest"`
	Receipt SignedReceipt `json:"receipt"`
}

// FeedPage is a part of a platform's feed: its challenges in the order of
// their revs. A cursor with another store id starts at 0.
type FeedPage struct {
	Store  string           `json:"store"`
	Events []ChallengeState `json:"events"`
	Next   int64            `json:"next"` // cursor: the rev of the last event
	More   bool             `json:"more,omitzero"`
}

// FeedHello is the platform's first frame on the feed's WebSocket; each
// further frame of the relay is a FeedPage.
type FeedHello struct {
	Store string `json:"store,omitzero"`
	After int64  `json:"after"`
}

// WatchBody is the first frame of a page's WebSocket and the body of its long-poll.
type WatchBody struct {
	CID   CID   `json:"cid"`
	Watch Bytes `json:"watch"`
	After int64 `json:"after,omitzero"`
	Wait  int   `json:"wait,omitzero"` // seconds, long-poll only
}

// WatchState is all that a page may know: status, no content.
type WatchState struct {
	CID         CID    `json:"cid"`
	State       State  `json:"state"`
	Rev         int64  `json:"rev"`
	Code        string `json:"code,omitzero"`
	ClaimSeq    uint32 `json:"claim_seq,omitzero"`
	SecondScans int    `json:"second_scans,omitzero"`
	Until       int64  `json:"until,omitzero"` // Unix ms, deadline of this state
	Now         int64  `json:"now"`
}

// RelayInfo is public.
type RelayInfo struct {
	Version    int    `json:"version"`
	Origin     string `json:"origin"`
	LedgerKey  Bytes  `json:"ledger_key"` // SubjectPublicKeyInfo of the promise key
	ServerTime int64  `json:"server_time"`
}
