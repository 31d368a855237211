package protocol_test

import (
	"bytes"
	"testing"

	"github.com/bidseal/bidseal/protocol"
)

func runReceipt(i in) (values, error) {
	tag := protocol.Tag(i.text("tag"))
	s := protocol.SignedReceipt{Bytes: i.hex("receipt"), Signature: i.hex("signature")}
	r, err := s.Parse()
	if err != nil {
		return nil, err
	}
	if err := s.Verify(must(protocol.ParseKey(i.hex("public_key")))(i.t), tag); err != nil {
		return nil, err
	}
	message := protocol.ReceiptMessage(tag, s.Bytes)
	hold(i.t, "message", message, cat([]byte("bidseal/1 "+string(tag)+"\x00"), s.Bytes))
	return values{"message": hexed(message), "cid": r.CID.String(), "kind": string(r.Kind), "platform": r.Platform, "cert": hexed(r.Cert), "device": r.Device,
		"claim_seq": r.ClaimSeq, "result": hexed(r.Result), "reason": r.Reason, "n_ok": r.NOK, "n_fail": r.NFail, "iat": r.IAT}, nil
}

func runLedger(i in) (values, error) {
	receipt, salt, prev, index := i.hex("receipt"), i.hex("salt"), i.hex("previous"), uint64(i.int("index"))
	entry := protocol.LedgerEntry(receipt, salt)
	head := protocol.LedgerHead(prev, index, entry)
	message := cat([]byte("bidseal/1 ledger\x00"), []byte{0}, prev, be32(uint32(index>>32)), be32(uint32(index)), entry)
	hold(i.t, "entry", entry, protocol.H(cat(receipt, salt)))
	hold(i.t, "head", head, protocol.H(message))
	return values{"entry": hexed(entry), "message": hexed(message), "head": hexed(head)}, nil
}

func runPromise(i in) (values, error) {
	p := &protocol.Promise{Index: uint64(i.int("index")), Salt: i.hex("salt"), Entry: i.hex("entry"), Head: i.hex("head"), Signature: i.hex("signature")}
	if err := protocol.VerifyPromise(must(protocol.ParseKey(i.hex("public_key")))(i.t), p, i.hex("receipt")); err != nil {
		return nil, err
	}
	message := protocol.PromiseMessage(p)
	hold(i.t, "message", message, cat([]byte("bidseal/1 ledger\x00"), []byte{1}, be32(uint32(p.Index>>32)), be32(uint32(p.Index)), p.Entry, p.Head))
	return values{"message": hexed(message)}, nil
}

func receiptCases(t testing.TB) []tried {
	w := newWorld(t)
	raw := encoded(t, w.receipt())
	signed := func(key, tag string, raw []byte, as protocol.Tag) values {
		k := w.user
		if key == "device" {
			k = w.phon
		}
		return values{"public_key": hexed(spki(t, k.Public())), "tag": tag, "receipt": hexed(raw), "receipt_text": string(raw), "signature": hexed(detSign(t, k, protocol.ReceiptMessage(as, raw)))}
	}
	change := func(f func(r *protocol.Receipt)) []byte {
		r := w.receipt()
		f(&r)
		return encoded(t, r)
	}
	rejection := change(func(r *protocol.Receipt) { r.Cert, r.Result, r.Reason, r.NOK = nil, nil, "not_me", 0 })
	user := func(raw []byte) values { return signed("user", "receipt", raw, protocol.TagReceipt) }
	altered := user(raw)
	altered["receipt"] = hexed(bytes.Replace(raw, []byte(`"n_ok":1`), []byte(`"n_ok":2`), 1))
	bad, no := protocol.CodeReceiptInvalid, protocol.CodeLedgerInvalid

	salt, zero := det("ledger salt", 32), make([]byte, 32)
	entry := protocol.LedgerEntry(raw, salt)
	head := protocol.LedgerHead(zero, 0, entry)
	promise := protocol.Promise{Index: 0, Salt: salt, Entry: entry, Head: head}
	promised := func(change values) values {
		v := values{"public_key": hexed(spki(t, w.ledger.Public())), "receipt": hexed(raw), "index": 0, "salt": hexed(salt), "entry": hexed(entry), "head": hexed(head),
			"signature": hexed(detSign(t, w.ledger, protocol.PromiseMessage(&promise)))}
		for k, x := range change {
			v[k] = x
		}
		return v
	}
	const k = "receipt"
	return []tried{
		{"receipt", k, "of a result, signed by the user's certificate", user(raw), ""},
		{"receipt_rejection", k, "of a rejection, signed by the device key", signed("device", "reject", rejection, protocol.TagReject), ""},
		{"receipt_wrong_tag", k, "a receipt of a result signed under the tag of rejections", signed("user", "receipt", raw, protocol.TagReject), bad},
		{"receipt_altered", k, "a count is another", altered, bad},
		{"receipt_duplicate_name", k, "a name stands twice", user(bytes.Replace(raw, []byte(`"v":1`), []byte(`"v":1,"v":1`), 1)), bad},
		{"receipt_unknown_name", k, "a receipt has no other names", user(bytes.Replace(raw, []byte(`"v":1`), []byte(`"v":1,"x":1`), 1)), bad},
		{"receipt_result_and_reason", k, "a result with a reason", user(change(func(r *protocol.Receipt) { r.Reason = "not_me" })), bad},
		{"receipt_neither", k, "neither result nor reason", user(change(func(r *protocol.Receipt) { r.Cert, r.Result = nil, nil })), bad},
		{"receipt_short_digest", k, "a result digest of 31 bytes", user(change(func(r *protocol.Receipt) { r.Result = r.Result[:31] })), bad},
		{"receipt_claim_0", k, "claims are counted from 1", user(change(func(r *protocol.Receipt) { r.ClaimSeq = 0 })), bad},
		{"receipt_negative_count", k, "a negative count", user(change(func(r *protocol.Receipt) { r.NFail = -1 })), bad},
		{"ledger_first", "ledger", "the first entry follows 32 zero bytes", values{"receipt": hexed(raw), "salt": hexed(salt), "previous": hexed(zero), "index": 0}, ""},
		{"ledger_second", "ledger", "the next entry follows the head before it", values{"receipt": hexed(rejection), "salt": hexed(det("another salt", 32)), "previous": hexed(head), "index": 1}, ""},
		{"promise", "promise", "the relay's word on an entry", promised(nil), ""},
		{"promise_other_receipt", "promise", "a promise for another receipt", promised(values{"receipt": hexed(rejection)}), no},
		{"promise_other_index", "promise", "another place in the ledger", promised(values{"index": 1}), no},
		{"promise_other_head", "promise", "another head", promised(values{"head": hexed(entry)}), no},
		{"promise_head_as_entry", "promise", "a signature over a head's message does not serve as a promise", promised(values{"signature": hexed(detSign(t, w.ledger, cat(protocol.T(protocol.TagLedger), []byte{0}, zero, make([]byte, 8), entry)))}), no},
		{"promise_short_salt", "promise", "a salt of 31 bytes", promised(values{"salt": hexed(salt[:31])}), no},
		{"promise_other_key", "promise", "signed by another key", promised(values{"public_key": hexed(spki(t, w.user.Public()))}), no},
	}
}
