package protocol

import (
	"crypto"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Kind is what a challenge asks for.
type Kind string

// The kinds.
const (
	KindLogin   Kind = "login"
	KindSubmit  Kind = "submit"
	KindDecrypt Kind = "decrypt"
	KindSeal    Kind = "seal"
)

// Known reports whether k is one of the four kinds.
func (k Kind) Known() bool {
	return k == KindLogin || k == KindSubmit || k == KindDecrypt || k == KindSeal
}

// Time limits (SPEC.md, section 6).
const (
	PendingLimit   = 120 * time.Second
	ReadyLimit     = 60 * time.Second
	SealReadyLimit = 120 * time.Second
	KeepLimit      = 24 * time.Hour
	MaxKeepLimit   = 7 * 24 * time.Hour
	// UnackedAfter is how long after R.exp a login may still be collected.
	UnackedAfter = 60 * time.Second
	// MaxRenewals is how often an unclaimed code renews by itself.
	MaxRenewals = 5
)

// ClaimLimit is the time a phone has after its claim.
func ClaimLimit(k Kind) time.Duration {
	switch k {
	case KindDecrypt, KindSubmit:
		return 300 * time.Second
	case KindSeal:
		return 600 * time.Second
	}
	return 120 * time.Second
}

// ReadyLimitOf is the time a platform has between opened and ready.
func ReadyLimitOf(k Kind) time.Duration {
	if k == KindSeal {
		return SealReadyLimit
	}
	return ReadyLimit
}

// Limits of a request.
const (
	MaxDisplayLines = 20
	MaxDisplayRunes = 80
	MaxItems        = 500
	maxText         = 256 // bytes of an identifier or an initiator's field
	maxShownLines   = MaxDisplayLines + 7
)

// Request is R, what the platform asks for. Its exact UTF-8 bytes are signed
// and committed to; they are never serialised again.
type Request struct {
	V         int              `json:"v"`
	CID       CID              `json:"cid"`
	Kind      Kind             `json:"kind"`
	Platform  string           `json:"platform"` // platform id, as in its certificate
	Key       Bytes            `json:"key"`      // KeyID of the platform's request key
	Nonce     Bytes            `json:"nonce"`    // 32 random bytes
	IAT       int64            `json:"iat"`      // Unix seconds
	EXP       int64            `json:"exp"`      // Unix seconds
	E         Bytes            `json:"e"`        // ephemeral SM2 key, 04 | X | Y
	Initiator *Initiator       `json:"initiator,omitzero"`
	Display   []string         `json:"display,omitzero"`
	Items     []jsontext.Value `json:"items,omitzero"` // kind-specific, SPEC.md section 12
	Expect    *Expect          `json:"expect,omitzero"`
	Policy    Policy           `json:"policy"`
	Crit      []string         `json:"crit,omitzero"`
}

// Initiator is where the request was started, as far as the platform could
// establish it from trusted proxies.
type Initiator struct {
	IP        string `json:"ip,omitzero"`
	Region    string `json:"region,omitzero"`
	UserAgent string `json:"user_agent,omitzero"`
	Origin    string `json:"origin,omitzero"`
}

// Expect is what the signer must fulfil.
type Expect struct {
	Owner *Owner `json:"owner,omitzero"`
}

// Owner names an expected certificate owner; never a serial number, which
// changes with every renewal.
type Owner struct {
	Anchor     Bytes  `json:"anchor"`               // SM3 of the root certificate
	CreditCode string `json:"credit_code,omitzero"` // unified social credit code (GB 32100)
	Lineage    string `json:"lineage,omitzero"`     // lineage id, lower-case hex
}

// MatchPolicy says whether digits shown on the page are typed into the phone.
type MatchPolicy string

// Number match policies.
const (
	MatchNone MatchPolicy = "none"
	MatchType MatchPolicy = "type"
)

// Policy binds phone and SDK alike.
type Policy struct {
	TwoPhase bool        `json:"two_phase"`
	Match    MatchPolicy `json:"match"`
}

// requestNames are the names that this version understands in a request.
func requestNames() []string {
	return []string{
		"v", "cid", "kind", "platform", "key", "nonce", "iat", "exp", "e", "initiator", "initiator.ip", "initiator.region",
		"initiator.user_agent", "initiator.origin", "display", "items", "expect", "expect.owner", "expect.owner.anchor",
		"expect.owner.credit_code", "expect.owner.lineage", "policy", "policy.two_phase", "policy.match", "crit",
	}
}

// ParseRequest reads and checks the exact bytes of a request. Errors:
// CodeRequestInvalid, CodeKindUnsupported, CodeCritUnknown.
func ParseRequest(raw []byte) (*Request, error) {
	if len(raw) > MaxJSON {
		return nil, Errorf(CodeRequestInvalid, "request of %d bytes exceeds %d", len(raw), MaxJSON)
	}
	var r Request
	if err := DecodeJSONOpen(raw, &r, requestNames()); CodeOf(err) == CodeCritUnknown {
		return nil, err
	} else if err != nil {
		return nil, Errorf(CodeRequestInvalid, "%v", err)
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	return &r, nil
}

// Check holds the rules of a request that need nothing from outside.
func (r *Request) Check() error {
	switch {
	case r.V != Version:
		return Errorf(CodeRequestInvalid, "version %d, want %d", r.V, Version)
	case !r.Kind.Known():
		return Errorf(CodeKindUnsupported, "kind %q", clip(string(r.Kind)))
	case !identifier(r.Platform):
		return Errorf(CodeRequestInvalid, "platform id is not an identifier")
	case len(r.Key) != 16 || len(r.Nonce) != NonceSize:
		return Errorf(CodeRequestInvalid, "key id or nonce has a wrong length")
	case r.IAT <= 0 || r.EXP != r.IAT+int64((PendingLimit+ClaimLimit(r.Kind))/time.Second):
		return Errorf(CodeRequestInvalid, "exp is not iat plus the limits of a %s", r.Kind)
	case len(r.Items) > MaxItems:
		return Errorf(CodeRequestInvalid, "%d items, at most %d", len(r.Items), MaxItems)
	case r.Policy.Match != MatchNone && r.Policy.Match != MatchType:
		return Errorf(CodeRequestInvalid, "match policy %q", clip(string(r.Policy.Match)))
	case (r.Policy.Match == MatchType || r.Kind == KindSeal) && !r.Policy.TwoPhase:
		return Errorf(CodeRequestInvalid, "digits and seals need two phases")
	case r.Kind == KindLogin && len(r.Items) != 0:
		return Errorf(CodeRequestInvalid, "a login has no items")
	case r.Kind != KindLogin && len(r.Items) == 0:
		return Errorf(CodeRequestInvalid, "a %s needs items", r.Kind)
	}
	if _, err := parsePoint(r.E); err != nil {
		return Errorf(CodeRequestInvalid, "ephemeral key is not an uncompressed SM2 point")
	}
	if err := r.checkOwner(); err != nil {
		return err
	}
	if _, err := ItemIDs(r.Items); err != nil {
		return err
	}
	return r.checkText()
}

func (r *Request) checkOwner() error {
	if r.Expect == nil || r.Expect.Owner == nil {
		if r.Kind != KindLogin {
			return Errorf(CodeRequestInvalid, "a %s must say whose certificate it expects", r.Kind)
		}
		return nil
	}
	o := r.Expect.Owner
	switch {
	case len(o.Anchor) != HashSize || (o.CreditCode == "") == (o.Lineage == ""):
		return Errorf(CodeRequestInvalid, "an expected owner is a trust anchor and either credit code or lineage")
	case o.Lineage != "" && !hexID(o.Lineage):
		return Errorf(CodeRequestInvalid, "lineage is not 32 lower-case hex digits")
	case o.CreditCode != "" && !creditCode(o.CreditCode):
		return Errorf(CodeRequestInvalid, "credit code is not 18 digits and capital letters")
	}
	return nil
}

// creditCode holds the shape of a unified social credit code. Its check digit
// (GB 32100) is not asked for: some codes in legal use fail it.
func creditCode(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return len(s) == 18
}

func (r *Request) checkText() error {
	if len(r.Display) > MaxDisplayLines {
		return Errorf(CodeRequestInvalid, "%d display lines, at most %d", len(r.Display), MaxDisplayLines)
	}
	for i, line := range r.Display {
		if err := CheckDisplay(line); err != nil {
			return Errorf(CodeRequestInvalid, "display line %d: %v", i+1, err)
		}
	}
	if in := r.Initiator; in != nil {
		for _, s := range []string{in.IP, in.Region, in.UserAgent, in.Origin} {
			if len(s) > maxText || !graphic(s) {
				return Errorf(CodeRequestInvalid, "initiator holds control characters or is too long")
			}
		}
	}
	return nil
}

// identifier accepts 1 to 64 of a-z, 0-9, dot and hyphen.
func identifier(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// SignRequest makes SR, the platform's signature over the exact request bytes.
func SignRequest(key crypto.Signer, raw []byte) ([]byte, error) {
	return Sign(key, concat(T(TagRequest), H(raw)))
}

// VerifyRequest checks SR under the public key of the platform certificate.
func VerifyRequest(pub crypto.PublicKey, raw, sr []byte) error {
	if alg, err := AlgOf(pub); err != nil || alg != AlgSM2 {
		return Errorf(CodeRequestSignature, "the platform's request key is not an SM2 key")
	}
	if !Verify(pub, concat(T(TagRequest), H(raw)), sr) {
		return Errorf(CodeRequestSignature, "signature on the request does not verify")
	}
	return nil
}

// Commit is rh, the commitment to a request and the certificate it is signed
// with. Its first 16 bytes travel in the QR, the whole is signed in the statement.
func Commit(raw, platformCert []byte) []byte {
	return H(T(TagRH), H(raw), H(platformCert))
}

// SealedRequest is the plaintext of boxR.
type SealedRequest struct {
	Request   Bytes   `json:"r"`     // the exact bytes of R
	Signature Bytes   `json:"sr"`    // SR
	Chain     []Bytes `json:"chain"` // DER certificates, the platform's first
	OCSP      Bytes   `json:"ocsp"`  // DER OCSP response for the platform's certificate
}

// MaxChain is the largest number of certificates in any chain.
const MaxChain = 6

// SealRequest makes boxR.
func SealRequest(ks *KeySet, sr SealedRequest) ([]byte, error) {
	plain, err := encodeBounded(sr)
	if err != nil {
		return nil, err
	}
	return seal(ks.kReq, plain, concat(T(TagBoxR), ks.CID[:]))
}

// OpenedRequest is a request out of boxR whose bytes fit the QR. Its signature
// and chain are still to be verified.
type OpenedRequest struct {
	Request *Request
	Sealed  SealedRequest
	RH      []byte // 32
}

// OpenRequest opens boxR with the keys of a scanned payload and checks that it
// holds what the QR commits to. Errors: CodeBoxInvalid, CodeRequestSwapped and
// those of ParseRequest.
func OpenRequest(ks *KeySet, rh16, boxR []byte) (*OpenedRequest, error) {
	plain, err := open(ks.kReq, boxR, concat(T(TagBoxR), ks.CID[:]))
	if err != nil {
		return nil, err
	}
	var sr SealedRequest
	if err := decodeInner(plain, &sr, CodeRequestInvalid); err != nil {
		return nil, err
	}
	if len(sr.Chain) == 0 || len(sr.Chain) > MaxChain {
		return nil, Errorf(CodeRequestInvalid, "chain of %d certificates", len(sr.Chain))
	}
	rh := Commit(sr.Request, sr.Chain[0])
	if len(rh16) != RH16Size || !Equal(rh[:RH16Size], rh16) {
		return nil, Errorf(CodeRequestSwapped, "the request does not fit the code's commitment")
	}
	r, err := ParseRequest(sr.Request)
	if err != nil {
		return nil, err
	}
	if r.CID != ks.CID {
		return nil, Errorf(CodeRequestSwapped, "the request names another challenge")
	}
	return &OpenedRequest{Request: r, Sealed: sr, RH: rh}, nil
}
