package protocol

import (
	"crypto"
	"crypto/rand"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// OpenBox is what a phone sends in open: digits typed from the page, or its
// choice of certificate and seal. It is the plaintext of BoxOpen.
type OpenBox struct {
	Digits string  `json:"digits,omitzero"` // two decimal digits
	Choice *Choice `json:"choice,omitzero"`
}

// Choice names the certificate and seal for a seal challenge, signed by the
// chosen certificate under TagOpen.
type Choice struct {
	Chain     []Bytes `json:"chain"`
	Seal      Bytes   `json:"seal"`
	Signature Bytes   `json:"signature"`
}

// ReadyCode is the platform's answer to an open.
type ReadyCode string

// Answers to an open.
const (
	ReadyOK        ReadyCode = "ok"
	ReadyMatch     ReadyCode = "match_wrong"
	ReadySealOther ReadyCode = "choose_other_seal"
)

// ReadyBox is the plaintext of BoxReady.
type ReadyBox struct {
	Code      ReadyCode `json:"code"`
	TriesLeft int       `json:"tries_left"`
}

// MatchTries is how many wrong digits a challenge bears over all its claims.
const MatchTries = 3

// NewDigits draws the two digits of a number match, "00" to "99".
func NewDigits() (string, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(100))
	if err != nil {
		return "", fmt.Errorf("draw match digits: %w", err)
	}
	return fmt.Sprintf("%02d", n.Int64()), nil
}

// Outcome is the result of one item: its code and a commitment to what was
// delivered, SM3(salt | value); keys themselves travel only in the result box.
type Outcome struct {
	ID     string `json:"id"`
	Code   string `json:"code"` // "ok" or a code of the catalogue
	Commit Bytes  `json:"commit,omitzero"`
}

// OutcomeValue opens the commitment of one outcome; it stands in the result box only.
type OutcomeValue struct {
	ID    string `json:"id"`
	Value Bytes  `json:"value"`
	Salt  Bytes  `json:"salt"` // 16 random bytes
}

// Statement is what the user's certificate signs: who did what for whom, bound
// to one request and one claim.
type Statement struct {
	V        int       `json:"v"`
	Typ      Kind      `json:"typ"`
	Aud      string    `json:"aud"` // platform id
	CID      CID       `json:"cid"`
	RH       Bytes     `json:"rh"`
	Nonce    Bytes     `json:"nonce"`
	ClaimSeq uint32    `json:"claim_seq"`
	Cert     Bytes     `json:"cert"`   // SM3 of the signer's certificate
	Device   string    `json:"device"` // DeviceID
	Frame    Bytes     `json:"frame,omitzero"`
	Shown    Bytes     `json:"shown"` // ShownDigest
	Items    []Bytes   `json:"items,omitzero"`
	Outcomes []Outcome `json:"outcomes,omitzero"`
	NOK      int       `json:"n_ok"`
	NFail    int       `json:"n_fail"`
	IAT      int64     `json:"iat"` // Unix seconds
	App      string    `json:"app"` // app name and version
}

// StatementMessage is what is signed: T(statement) | u32 length | exact JSON.
func StatementMessage(raw []byte) []byte {
	return concat(T(TagStatement), u32(uint32(len(raw))), raw)
}

// OpenMessage is what the chosen certificate signs in an open of a seal challenge.
func OpenMessage(rh []byte, claimSeq uint32, e, kem []byte) []byte {
	return concat(T(TagOpen), rh, u32(claimSeq), e, H(kem))
}

// ResultBox is the plaintext of BoxResult.
type ResultBox struct {
	Statement Bytes          `json:"statement"` // exact JSON bytes
	Signature Bytes          `json:"signature"`
	Chain     []Bytes        `json:"chain"` // DER, signer first
	OCSP      Bytes          `json:"ocsp,omitzero"`
	Shown     []string       `json:"shown"`
	Outcomes  []OutcomeValue `json:"outcomes,omitzero"`
}

// Expected is what a verifier knows about a statement before it reads it.
type Expected struct {
	Request      *Request
	RH           []byte
	ClaimSeq     uint32
	PlatformName string // verified name, as shown on the phone
	Cert         []byte // DER of the presented signer certificate
}

// statement iat may precede the request by this much.
const iatEarly = 60 * time.Second

// CheckStatement compares an authentic statement with what was asked. The
// caller verifies signature, chain and status, and judges the frame.
func CheckStatement(raw []byte, shown []string, want Expected) (*Statement, error) {
	var s Statement
	if err := DecodeJSON(raw, &s); err != nil {
		return nil, err
	}
	r := want.Request
	switch {
	case s.V != Version || s.Typ != r.Kind:
		return nil, Errorf(CodeStatementInvalid, "version or type differs from the request")
	case s.Aud != r.Platform:
		return nil, Errorf(CodeStatementAudience, "signed for another platform")
	case s.CID != r.CID || !Equal(s.RH, want.RH) || !Equal(s.Nonce, r.Nonce):
		return nil, Errorf(CodeStatementReplayed, "signed for another request")
	case s.ClaimSeq != want.ClaimSeq:
		return nil, Errorf(CodeStatementReplayed, "signed in claim %d, want %d", s.ClaimSeq, want.ClaimSeq)
	case !Equal(s.Cert, H(want.Cert)):
		return nil, Errorf(CodeStatementInvalid, "names another certificate than the one presented")
	case s.IAT < r.IAT-int64(iatEarly/time.Second) || s.IAT > r.EXP:
		return nil, Errorf(CodeStatementTime, "signed at %d, request valid %d to %d", s.IAT, r.IAT, r.EXP)
	case !deviceID(s.Device):
		return nil, Errorf(CodeStatementInvalid, "device is not a device id")
	case !Equal(s.Shown, ShownDigest(shown)) || !slices.Equal(shown, ShownLines(r, want.PlatformName)):
		return nil, Errorf(CodeShownMismatch, "the lines shown differ from the request")
	}
	return &s, s.checkItems(r)
}

func (s *Statement) checkItems(r *Request) error {
	items := ItemDigests(r.Items)
	same := slices.EqualFunc(s.Items, items, func(a, b Bytes) bool { return Equal(a, b) })
	switch {
	case !same:
		return Errorf(CodeStatementInvalid, "the item list differs from the request")
	case s.NOK < 0 || s.NFail < 0 || s.NOK+s.NFail != max(1, len(items)):
		return Errorf(CodeStatementInvalid, "counts do not add up")
	case r.Kind == KindLogin && (s.NOK != 1 || len(s.Outcomes) != 0):
		return Errorf(CodeStatementInvalid, "a login has one operation and no outcomes")
	}
	return nil
}

func deviceID(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 32
}

// VerifyStatement checks the signature over the exact statement bytes.
func VerifyStatement(pub crypto.PublicKey, raw, sig []byte) error {
	if !Verify(pub, StatementMessage(raw), sig) {
		return Errorf(CodeStatementSignature, "signature on the statement does not verify")
	}
	return nil
}
