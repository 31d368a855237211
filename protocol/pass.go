package protocol

import (
	"crypto"
	"strings"
	"time"
)

// Pass and proof authenticate a phone towards the relay: the pass, issued by
// the lifecycle service or the authority, names the device key; the proof is
// that key's signature over one call.

// MaxPassLife is the longest life of a pass.
const MaxPassLife = 24 * time.Hour

// MaxSkew is how far a call's time may be from the server's clock.
const MaxSkew = 60 * time.Second

// StapleAge is how long before a request's iat the certificate status that a phone
// staples to its result may have been produced.
const StapleAge = 10 * time.Minute

// MaxClockOffset is the offset beyond which a phone refuses to work (CodeClockWrong).
const MaxClockOffset = 48 * time.Hour

// HTTP headers of a phone's call.
const (
	HeaderPass  = "Bidseal-Pass"
	HeaderProof = "Bidseal-Proof"
)

const maxPass = 4 << 10

// Pass is the content of a device pass.
type Pass struct {
	V       int    `json:"v"`
	Iss     string `json:"iss"`    // who issued it
	Device  string `json:"device"` // DeviceID of key
	Alg     Alg    `json:"alg"`    // algorithm of key
	Key     Bytes  `json:"key"`    // SubjectPublicKeyInfo of the device key
	Account string `json:"account"`
	IAT     int64  `json:"iat"` // Unix seconds
	EXP     int64  `json:"exp"` // Unix seconds
}

// IssuePass signs a pass: b64url(JSON) "." b64url(signature over T(pass) | JSON).
func IssuePass(key crypto.Signer, p Pass) (string, error) {
	if err := p.check(); err != nil {
		return "", err
	}
	raw, err := EncodeJSON(p)
	if err != nil {
		return "", err
	}
	sig, err := Sign(key, concat(T(TagPass), raw))
	if err != nil {
		return "", err
	}
	return Bytes(raw).String() + "." + Bytes(sig).String(), nil
}

func (p *Pass) check() error {
	switch {
	case p.V != Version || !passName(p.Account) || !passName(p.Iss):
		return Errorf(CodeUnauthorized, "device pass is incomplete")
	case p.IAT <= 0 || p.EXP <= p.IAT || p.EXP-p.IAT > int64(MaxPassLife/time.Second):
		return Errorf(CodeUnauthorized, "device pass lives too long or not at all")
	}
	pub, err := ParseKey(p.Key)
	if err != nil {
		return Errorf(CodeUnauthorized, "device pass holds no usable key")
	}
	if alg, _ := AlgOf(pub); alg != p.Alg || p.Device != DeviceID(p.Key) {
		return Errorf(CodeUnauthorized, "device pass contradicts its key")
	}
	return nil
}

// passName accepts 1 to 128 bytes of graphic characters.
func passName(s string) bool { return s != "" && len(s) <= 128 && graphic(s) }

// VerifiedPass is a pass whose issuer's signature was checked.
type VerifiedPass struct {
	Pass
	Public crypto.PublicKey // the device key
	Digest []byte           // SM3 of the pass text, bound by proofs
}

// VerifyPass checks form, signature and dates of a pass against the issuer's
// key. Error: CodeUnauthorized.
func VerifyPass(issuer crypto.PublicKey, text string, now time.Time) (*VerifiedPass, error) {
	raw, sig, err := splitPass(text)
	if err != nil {
		return nil, err
	}
	if !Verify(issuer, concat(T(TagPass), raw), sig) {
		return nil, Errorf(CodeUnauthorized, "device pass is not signed by the configured issuer")
	}
	return readPass(raw, text, now)
}

// ReadPass reads a pass without its issuer's signature being checked: what the
// phone itself needs to know when to renew it.
func ReadPass(text string) (*Pass, error) {
	raw, _, err := splitPass(text)
	if err != nil {
		return nil, err
	}
	var p Pass
	if err := decodeInner(raw, &p, CodeUnauthorized); err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return &p, nil
}

func readPass(raw []byte, text string, now time.Time) (*VerifiedPass, error) {
	v := &VerifiedPass{Digest: H([]byte(text))}
	if err := decodeInner(raw, &v.Pass, CodeUnauthorized); err != nil {
		return nil, err
	}
	if err := v.check(); err != nil {
		return nil, err
	}
	if t := now.Unix(); t < v.IAT-int64(MaxSkew/time.Second) || t >= v.EXP {
		return nil, Errorf(CodeUnauthorized, "device pass has expired")
	}
	pub, err := ParseKey(v.Key)
	if err != nil {
		return nil, err
	}
	v.Public = pub
	return v, nil
}

func splitPass(text string) (raw, sig Bytes, err error) {
	if len(text) > maxPass {
		return nil, nil, Errorf(CodeUnauthorized, "device pass of %d bytes", len(text))
	}
	a, b, ok := strings.Cut(text, ".")
	if !ok || raw.UnmarshalText([]byte(a)) != nil || sig.UnmarshalText([]byte(b)) != nil {
		return nil, nil, Errorf(CodeUnauthorized, "device pass is not well-formed")
	}
	return raw, sig, nil
}

// Proof is the device key's signature over one call.
type Proof struct {
	Time      int64 `json:"time"` // Unix milliseconds
	ID        Bytes `json:"id"`   // 16 random bytes
	Signature Bytes `json:"signature"`
}

// Call is what a proof covers. URL is the absolute URL with query, as the
// relay's configured origin and the request line give it.
type Call struct {
	Method string
	URL    string
	Body   []byte
}

// proofMessage is T(proof) | H(pass) | u32 len | method | u32 len | URL | H(body) | u64 time | id.
func proofMessage(passDigest []byte, c Call, ms int64, id []byte) []byte {
	return concat(T(TagProof), passDigest, u32(uint32(len(c.Method))), []byte(c.Method),
		u32(uint32(len(c.URL))), []byte(c.URL), H(c.Body), u64(uint64(ms)), id)
}

// NewProof signs one call; the result is the value of HeaderProof.
func NewProof(key crypto.Signer, pass string, c Call, now time.Time) (string, error) {
	id, err := Random(16)
	if err != nil {
		return "", err
	}
	p := Proof{Time: now.UnixMilli(), ID: id}
	if p.Signature, err = Sign(key, proofMessage(H([]byte(pass)), c, p.Time, id)); err != nil {
		return "", err
	}
	raw, err := EncodeJSON(p)
	if err != nil {
		return "", err
	}
	return Bytes(raw).String(), nil
}

// VerifyProof checks a proof against its pass. Errors: CodeUnauthorized, and
// CodeClockSkew with the server's time where only the clock is off.
func VerifyProof(v *VerifiedPass, text string, c Call, now time.Time) error {
	var raw Bytes
	var p Proof
	if len(text) > maxPass || raw.UnmarshalText([]byte(text)) != nil || DecodeJSON(raw, &p) != nil || len(p.ID) != 16 || p.Time <= 0 {
		return Errorf(CodeUnauthorized, "proof is not well-formed")
	}
	if !Verify(v.Public, proofMessage(v.Digest, c, p.Time, p.ID), p.Signature) {
		return Errorf(CodeUnauthorized, "proof does not verify")
	}
	if d := now.Sub(time.UnixMilli(p.Time)); d > MaxSkew || d < -MaxSkew {
		e := Errorf(CodeClockSkew, "the call's time is %s off", d.Truncate(time.Second))
		e.ServerTime = now.UnixMilli()
		return e
	}
	return nil
}
