package protocol

import (
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
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
	Code      ReadyCode        `json:"code"`
	TriesLeft int              `json:"tries_left"`
	Items     []jsontext.Value `json:"items,omitzero"` // seal: what is to be signed, SPEC.md section 12
}

func (b *OpenBox) check() error {
	switch {
	case b.Digits != "" && !matchDigits(b.Digits):
		return Errorf(CodeBoxInvalid, "digits are not two decimal digits")
	case b.Choice != nil && (len(b.Choice.Chain) == 0 || len(b.Choice.Chain) > MaxChain):
		return Errorf(CodeBoxInvalid, "chain of %d certificates", len(b.Choice.Chain))
	}
	return nil
}

func (b *ReadyBox) check() error {
	switch {
	case b.Code != ReadyOK && b.Code != ReadyMatch && b.Code != ReadySealOther:
		return Errorf(CodeBoxInvalid, "answer %q is not known", clip(string(b.Code)))
	case b.TriesLeft < 0 || b.TriesLeft > MatchTries || len(b.Items) > MaxItems:
		return Errorf(CodeBoxInvalid, "tries or items are out of range")
	}
	return nil
}

func (b *ResultBox) check() error {
	switch {
	case len(b.Chain) == 0 || len(b.Chain) > MaxChain || len(b.Chain[0]) == 0:
		return Errorf(CodeBoxInvalid, "chain of %d certificates", len(b.Chain))
	case len(b.Shown) > maxShownLines || len(b.Outcomes) > MaxItems:
		return Errorf(CodeBoxInvalid, "too many lines or outcomes")
	}
	return nil
}

func matchDigits(s string) bool {
	return len(s) == 2 && s[0] >= '0' && s[0] <= '9' && s[1] >= '0' && s[1] <= '9'
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

// OutcomeOK is the code of an item that was done.
const OutcomeOK = "ok"

// Outcome is the result of one item: its code and a commitment to what was
// delivered, SM3(salt | value); keys themselves travel only in the result box.
type Outcome struct {
	ID     string `json:"id"`
	Code   string `json:"code"` // OutcomeOK or a code of the catalogue
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
// caller verifies signature, chain and status, and judges the frame
// (JudgeStatementFrame).
func CheckStatement(raw []byte, shown []string, want Expected) (*Statement, error) {
	if want.Request == nil || len(want.RH) != HashSize || want.ClaimSeq == 0 || len(want.Cert) == 0 {
		return nil, errors.New("check statement: the expectation is incomplete")
	}
	var s Statement
	if err := decodeInner(raw, &s, CodeStatementInvalid); err != nil {
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
	case !hexID(s.Device) || len(s.App) > maxText || !graphic(s.App):
		return nil, Errorf(CodeStatementInvalid, "device or app is not well-formed")
	case len(s.Frame) != 0 && len(s.Frame) != frameSize:
		return nil, Errorf(CodeStatementInvalid, "frame of %d bytes", len(s.Frame))
	case !Equal(s.Shown, ShownDigest(shown)) || !slices.Equal(shown, ShownLines(r, want.PlatformName)):
		return nil, Errorf(CodeShownMismatch, "the lines shown differ from the request")
	}
	if err := s.checkItems(r); err != nil {
		return nil, err
	}
	return &s, nil
}

// checkItems compares item list, outcomes and counts. A login is one operation
// without items; every other kind has an outcome for each item, in order.
func (s *Statement) checkItems(r *Request) error {
	if !slices.EqualFunc(s.Items, ItemDigests(r.Items), func(a, b Bytes) bool { return Equal(a, b) }) {
		return Errorf(CodeStatementInvalid, "the item list differs from the request")
	}
	if r.Kind == KindLogin {
		if s.NOK != 1 || s.NFail != 0 || len(s.Outcomes) != 0 {
			return Errorf(CodeStatementInvalid, "a login has one operation and no outcomes")
		}
		return nil
	}
	ids, err := ItemIDs(r.Items)
	if err != nil {
		return err
	}
	done := 0
	for i, o := range s.Outcomes {
		if i >= len(ids) || o.ID != ids[i] || o.Code == "" || len(o.Commit) != 0 && len(o.Commit) != HashSize {
			return Errorf(CodeStatementInvalid, "outcome %d does not fit the request", i+1)
		}
		if o.Code == OutcomeOK {
			done++
		}
	}
	if len(s.Outcomes) != len(ids) || s.NOK != done || s.NFail != len(ids)-done {
		return Errorf(CodeStatementInvalid, "counts do not add up")
	}
	return nil
}

// hexID holds the form of a device id and of a lineage id.
func hexID(s string) bool {
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
