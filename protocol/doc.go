// Package protocol says what a BidSeal challenge is: the bytes that travel
// between a bidding platform, the relay and the phone, the keys that protect
// them, and the rules by which a challenge moves from one state to the next.
//
// It is a leaf: pure functions and data, no network, no storage, no clock of
// its own. SPEC.md beside this file is the norm; testdata/vectors holds one
// case per file, the refused ones too, so that another implementation can be
// checked against the same bytes.
//
// A challenge in one breath:
//
//	SDK    NewSecret -> Derive -> Request -> SignRequest -> SealRequest (boxR) ; Payload into the QR
//	relay  keeps boxR, H(k_claim), H(watch) and a Progress; it can read none of the boxes
//	phone  ParsePayload -> Derive -> OpenRequest -> NewClaim -> Seal(BoxOpen) ... Seal(BoxResult) + Receipt
//	SDK    OpenClaim -> Open(BoxResult) -> CheckStatement -> VerifySignature
//
// Everything that is signed starts with a tag of its own (type Tag), everything
// that is sealed carries the tag, the challenge and the claim in its
// associated data, so bytes made for one purpose never serve another.
package protocol
