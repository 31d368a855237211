package protocol

import "crypto"

// Receipt is the usage record of one claimed challenge. On a result the
// user's certificate signs it (TagReceipt); on a rejection or a failure the
// device key does (TagReject); on an expiry after the claim the relay's ledger
// key does (TagReject).
type Receipt struct {
	V        int    `json:"v"`
	CID      CID    `json:"cid"`
	Kind     Kind   `json:"kind"`
	Platform string `json:"platform"`
	Project  string `json:"project,omitzero"` // project label, where the request has one
	Cert     Bytes  `json:"cert,omitzero"`    // SM3 of the signer's certificate; absent on a rejection
	Device   string `json:"device"`
	ClaimSeq uint32 `json:"claim_seq"`
	Result   Bytes  `json:"result,omitzero"` // ResultDigest; absent on a rejection
	Reason   string `json:"reason,omitzero"` // rejection reason or failure code
	NOK      int    `json:"n_ok"`
	NFail    int    `json:"n_fail"`
	IAT      int64  `json:"iat"` // Unix seconds
}

// SignedReceipt is a receipt on the wire: its exact bytes, the signature over
// tag | bytes and, for results, the signer's chain (DER, signer first).
type SignedReceipt struct {
	Bytes     Bytes   `json:"bytes"`
	Signature Bytes   `json:"signature"`
	Chain     []Bytes `json:"chain,omitzero"`
}

// MaxReceipt is the largest receipt, chain included, in bytes.
const MaxReceipt = 32 << 10

// ReceiptMessage is what is signed under TagReceipt or TagReject.
func ReceiptMessage(tag Tag, raw []byte) []byte { return concat(T(tag), raw) }

// SignReceipt encodes and signs a receipt.
func SignReceipt(key crypto.Signer, tag Tag, r Receipt, chain []Bytes) (*SignedReceipt, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	raw, err := encodeBounded(r)
	if err != nil {
		return nil, err
	}
	sig, err := Sign(key, ReceiptMessage(tag, raw))
	if err != nil {
		return nil, err
	}
	return &SignedReceipt{Bytes: raw, Signature: sig, Chain: chain}, nil
}

// Parse reads the receipt's exact bytes without verifying the signature. A
// receipt has one of two forms: of a result, with certificate and result
// digest, or of another end, with a reason. Error: CodeReceiptInvalid.
func (s *SignedReceipt) Parse() (*Receipt, error) {
	size := len(s.Bytes) + len(s.Signature)
	for _, c := range s.Chain {
		size += len(c)
	}
	if size > MaxReceipt || len(s.Chain) > MaxChain {
		return nil, Errorf(CodeReceiptInvalid, "receipt and chain of %d bytes", size)
	}
	var r Receipt
	if err := decodeInner(s.Bytes, &r, CodeReceiptInvalid); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return &r, nil
}

func (r *Receipt) check() error {
	result := len(r.Cert) == HashSize && len(r.Result) == HashSize && r.Reason == ""
	other := len(r.Cert) == 0 && len(r.Result) == 0 && r.Reason != "" && len(r.Reason) <= maxName
	switch {
	case r.V != Version || !r.Kind.Known() || !identifier(r.Platform) || !hexID(r.Device):
		return Errorf(CodeReceiptInvalid, "receipt is incomplete")
	case r.ClaimSeq == 0 || r.IAT <= 0 || r.NOK < 0 || r.NFail < 0 || r.NOK > MaxItems || r.NFail > MaxItems:
		return Errorf(CodeReceiptInvalid, "a number of the receipt is out of range")
	case !result && !other:
		return Errorf(CodeReceiptInvalid, "a receipt names certificate and result, or a reason")
	case len(r.Project) > maxText || !graphic(r.Project):
		return Errorf(CodeReceiptInvalid, "project label is too long or holds control characters")
	}
	return nil
}

// Verify checks the signature under pub. Error: CodeReceiptInvalid.
func (s *SignedReceipt) Verify(pub crypto.PublicKey, tag Tag) error {
	if !Verify(pub, ReceiptMessage(tag, s.Bytes), s.Signature) {
		return Errorf(CodeReceiptInvalid, "signature on the receipt does not verify")
	}
	return nil
}

// RejectReason is why a user rejected.
type RejectReason string

// Reasons of a rejection; advisory, the device signs them.
const (
	RejectNotMe        RejectReason = "not_me"
	RejectWrongContent RejectReason = "wrong_content"
	RejectOther        RejectReason = "other"
)

// Known reports whether r is one of the three reasons.
func (r RejectReason) Known() bool {
	return r == RejectNotMe || r == RejectWrongContent || r == RejectOther
}

// Promise is what the relay gives with the 200 on a result: the place of the
// receipt in its ledger, signed, so that an omission can be shown.
type Promise struct {
	Index     uint64 `json:"index"` // from 0
	Salt      Bytes  `json:"salt"`  // 32 random bytes
	Entry     Bytes  `json:"entry"` // SM3(receipt bytes | salt)
	Head      Bytes  `json:"head"`  // chain head after this entry
	Signature Bytes  `json:"signature"`
}

// LedgerEntry is SM3(receipt bytes | salt): without salt and receipt a head identifies no one.
func LedgerEntry(receipt, salt []byte) []byte { return H(receipt, salt) }

// LedgerHead chains an entry: H(T(ledger) | 0x00 | previous head | u64 index | entry).
// The head before the first entry is 32 zero bytes.
func LedgerHead(prev []byte, index uint64, entry []byte) []byte {
	return H(T(TagLedger), []byte{0}, prev, u64(index), entry)
}

// PromiseMessage is what the relay signs: T(ledger) | 0x01 | u64 index | entry | head.
func PromiseMessage(p *Promise) []byte {
	return concat(T(TagLedger), []byte{1}, u64(p.Index), p.Entry, p.Head)
}

// VerifyPromise checks that a promise is for this receipt and signed by the relay.
func VerifyPromise(pub crypto.PublicKey, p *Promise, receipt []byte) error {
	switch {
	case p == nil || len(p.Salt) != HashSize || len(p.Entry) != HashSize || len(p.Head) != HashSize:
		return Errorf(CodeLedgerInvalid, "ledger promise is incomplete")
	case !Equal(p.Entry, LedgerEntry(receipt, p.Salt)):
		return Errorf(CodeLedgerInvalid, "ledger promise is for another receipt")
	case !Verify(pub, PromiseMessage(p), p.Signature):
		return Errorf(CodeLedgerInvalid, "signature on the ledger promise does not verify")
	}
	return nil
}
