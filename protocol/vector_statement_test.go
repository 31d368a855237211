package protocol_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/protocol"
)

func runStatement(i in) (values, error) {
	r := must(protocol.ParseRequest(i.hex("request")))(i.t)
	want := protocol.Expected{Request: r, RH: i.hex("rh"), ClaimSeq: i.u32("claim_seq"), PlatformName: i.text("platform_name"), Cert: i.hex("certificate")}
	s, err := protocol.CheckStatement(i.hex("statement"), i.texts("shown"), want)
	if err != nil {
		return nil, err
	}
	return values{"typ": string(s.Typ), "aud": s.Aud, "cid": s.CID.String(), "rh": hexed(s.RH), "nonce": hexed(s.Nonce), "claim_seq": s.ClaimSeq, "cert": hexed(s.Cert),
		"device": s.Device, "frame": hexed(s.Frame), "shown": hexed(s.Shown), "n_ok": s.NOK, "n_fail": s.NFail, "iat": s.IAT, "app": s.App}, nil
}

func runStatementSignature(i in) (values, error) {
	raw := i.hex("statement")
	if err := protocol.VerifyStatement(must(protocol.ParseKey(i.hex("public_key")))(i.t), raw, i.hex("signature")); err != nil {
		return nil, err
	}
	return values{"message": hexed(cat([]byte("bidseal/1 statement\x00"), be32(uint32(len(raw))), raw))}, nil
}

// runOpenSignature has no code of its own in the package: the verdict is a seal challenge's.
func runOpenSignature(i in) (values, error) {
	message := protocol.OpenMessage(i.hex("rh"), i.u32("claim_seq"), i.hex("e_point"), i.hex("kem"))
	hold(i.t, "message", message, cat([]byte("bidseal/1 open\x00"), i.hex("rh"), be32(i.u32("claim_seq")), i.hex("e_point"), protocol.H(i.hex("kem"))))
	if !protocol.Verify(must(protocol.ParseKey(i.hex("public_key")))(i.t), message, i.hex("signature")) {
		return nil, protocol.Errorf(protocol.CodeStatementSignature, "the signature on the open does not verify")
	}
	return values{"message": hexed(message)}, nil
}

func statementCases(t testing.TB) []tried {
	return append(statementFormCases(t), statementSignatureCases(t)...)
}

// statementInput is what a verifier of the world's request is given.
func statementInput(w *world, raw []byte) values {
	return values{"request": hexed(w.raw), "request_text": string(w.raw), "rh": hexed(w.rh), "claim_seq": 1, "platform_name": platformName,
		"certificate": hexed(w.userCert), "shown": w.shown(), "statement": hexed(raw), "statement_text": strings.ToValidUTF8(string(raw), "?")}
}

func statementFormCases(t testing.TB) []tried {
	w := newWorld(t)
	var out []tried
	change := func(name, description string, want protocol.Code, f func(s *protocol.Statement)) {
		s := w.statement()
		f(&s)
		out = append(out, tried{name, "statement", description, statementInput(w, encoded(t, s)), want})
	}
	raw := encoded(t, w.statement())
	edit := func(name, description string, text []byte) {
		out = append(out, tried{name, "statement", description, statementInput(w, text), protocol.CodeStatementInvalid})
	}
	other := func(name, description string, want protocol.Code, field string, value any) {
		v := statementInput(w, raw)
		v[field] = value
		out = append(out, tried{name, "statement", description, v, want})
	}
	bad, replayed, late := protocol.CodeStatementInvalid, protocol.CodeStatementReplayed, protocol.CodeStatementTime
	change("statement", "a login's statement", "", func(*protocol.Statement) {})
	edit("statement_truncated", "the last byte is missing", raw[:len(raw)-1])
	edit("statement_duplicate_name", "a name stands twice", bytes.Replace(raw, []byte(`"v":1`), []byte(`"v":1,"v":1`), 1))
	edit("statement_other_case", "a name in another case", bytes.Replace(raw, []byte(`"aud"`), []byte(`"Aud"`), 1))
	edit("statement_unknown_name", "a statement has no other names", bytes.Replace(raw, []byte(`"v":1`), []byte(`"v":1,"note":"x"`), 1))
	change("statement_version_2", "another version", bad, func(s *protocol.Statement) { s.V = 2 })
	change("statement_other_type", "signed for a decryption", bad, func(s *protocol.Statement) { s.Typ = protocol.KindDecrypt })
	change("statement_other_audience", "signed for another platform", protocol.CodeStatementAudience, func(s *protocol.Statement) { s.Aud = "p2.example" })
	change("statement_other_cid", "signed for another challenge", replayed, func(s *protocol.Statement) { s.CID = protocol.CID(det("another cid", 16)) })
	change("statement_other_rh", "signed for another request", replayed, func(s *protocol.Statement) { s.RH = det("other rh", 32) })
	change("statement_no_rh", "without the commitment", replayed, func(s *protocol.Statement) { s.RH = nil })
	change("statement_other_nonce", "signed for another nonce", replayed, func(s *protocol.Statement) { s.Nonce = det("other nonce", 32) })
	change("statement_other_claim_seq", "signed in claim 2", replayed, func(s *protocol.Statement) { s.ClaimSeq = 2 })
	other("statement_replayed_in_claim_2", "signed in claim 1, presented in claim 2", replayed, "claim_seq", 2)
	other("statement_other_certificate", "presented with another certificate", bad, "certificate", hexed([]byte("another certificate")))
	change("statement_earliest", "60 seconds before the request was made", "", func(s *protocol.Statement) { s.IAT = madeAt - 60 })
	change("statement_early", "61 seconds before the request was made", late, func(s *protocol.Statement) { s.IAT = madeAt - 61 })
	change("statement_latest", "in the last second of the request", "", func(s *protocol.Statement) { s.IAT = madeAt + 240 })
	change("statement_late", "a second after the request expired", late, func(s *protocol.Statement) { s.IAT = madeAt + 241 })
	change("statement_device_upper", "a device id in upper case", bad, func(s *protocol.Statement) { s.Device = strings.ToUpper(s.Device) })
	change("statement_frame_short", "a frame of nine bytes", bad, func(s *protocol.Statement) { s.Frame = s.Frame[:9] })
	change("statement_counts", "a login that failed", bad, func(s *protocol.Statement) { s.NOK, s.NFail = 0, 1 })
	change("statement_login_outcomes", "a login with outcomes", bad, func(s *protocol.Statement) { s.Outcomes = []protocol.Outcome{{ID: "a", Code: "ok"}} })
	change("statement_other_shown", "the digest of other lines", protocol.CodeShownMismatch, func(s *protocol.Statement) { s.Shown = protocol.ShownDigest([]string{"x"}) })
	other("statement_lines_exchanged", "other lines beside the statement", protocol.CodeShownMismatch, "shown", []string{"x"})
	other("statement_other_platform_name", "shown under another name than the certificate's", protocol.CodeShownMismatch, "platform_name", "另一个平台")
	return append(out, itemCases(t)...)
}

// itemCases are statements about a request with two items.
func itemCases(t testing.TB) []tried {
	w := newWorld(t)
	w.setRequest(w.decrypt())
	var out []tried
	change := func(name, description string, want protocol.Code, f func(s *protocol.Statement)) {
		s := w.statement()
		f(&s)
		out = append(out, tried{name, "statement", description, statementInput(w, encoded(t, s)), want})
	}
	bad := protocol.CodeStatementInvalid
	change("statement_items", "two items, one of them failed", "", func(*protocol.Statement) {})
	change("statement_items_done", "two items, both done", "", func(s *protocol.Statement) { s.Outcomes[1].Code, s.NOK, s.NFail = "ok", 2, 0 })
	change("statement_items_missing", "an item is not listed", bad, func(s *protocol.Statement) { s.Items = s.Items[:1] })
	change("statement_items_order", "items in another order", bad, func(s *protocol.Statement) { s.Items[0], s.Items[1] = s.Items[1], s.Items[0] })
	change("statement_outcome_order", "outcomes in another order", bad, func(s *protocol.Statement) {
		s.Outcomes[0], s.Outcomes[1] = s.Outcomes[1], s.Outcomes[0]
	})
	change("statement_outcome_missing", "an item without outcome", bad, func(s *protocol.Statement) { s.Outcomes, s.NFail = s.Outcomes[:1], 0 })
	change("statement_outcome_more", "more outcomes than items", bad, func(s *protocol.Statement) {
		s.Outcomes, s.NOK = append(s.Outcomes, protocol.Outcome{ID: "c", Code: "ok"}), 2
	})
	change("statement_items_counts", "counts that do not fit the outcomes", bad, func(s *protocol.Statement) { s.NOK, s.NFail = 2, 0 })
	change("statement_commit_short", "a commitment of 31 bytes", bad, func(s *protocol.Statement) { s.Outcomes[0].Commit = det("c", 31) })
	return out
}

func statementSignatureCases(t testing.TB) []tried {
	w := newWorld(t)
	raw := encoded(t, w.statement())
	sig := detSign(t, w.user, protocol.StatementMessage(raw))
	spaced := bytes.Replace(raw, []byte(`{"v":1,`), []byte(`{"v":1, `), 1)
	signed := func(change values) values {
		v := values{"public_key": hexed(spki(t, w.user.Public())), "statement": hexed(raw), "statement_text": string(raw), "signature": hexed(sig)}
		for k, x := range change {
			v[k] = x
		}
		return v
	}
	es := detP256(t, "a P-256 user")
	kem := w.kem("x of claim")
	openMessage := protocol.OpenMessage(w.rh, 1, point(t, w.e), kem)
	opened := func(change values) values {
		v := values{"public_key": hexed(spki(t, w.user.Public())), "rh": hexed(w.rh), "claim_seq": 1, "e_point": hexed(point(t, w.e)), "kem": hexed(kem), "signature": hexed(detSign(t, w.user, openMessage))}
		for k, x := range change {
			v[k] = x
		}
		return v
	}
	no := protocol.CodeStatementSignature
	const k = "statement_signature"
	return []tried{
		{"statement_signature", k, "an SM2 signature over T(statement) | u32 length | statement", signed(nil), ""},
		{"statement_signature_p256", k, "an ECDSA P-256 signature over the same message", signed(values{"public_key": hexed(spki(t, es.Public())), "signature": hexed(detSign(t, es, protocol.StatementMessage(raw)))}), ""},
		{"statement_signature_reserialised", k, "the same statement with one more space", signed(values{"statement": hexed(spaced), "statement_text": string(spaced)}), no},
		{"statement_signature_wrong_tag", k, "signed under the tag of receipts", signed(values{"signature": hexed(detSign(t, w.user, protocol.ReceiptMessage(protocol.TagReceipt, raw)))}), no},
		{"statement_signature_no_length", k, "signed without the length", signed(values{"signature": hexed(detSign(t, w.user, cat(protocol.T(protocol.TagStatement), raw)))}), no},
		{"statement_signature_other_key", k, "the key of somebody else", signed(values{"public_key": hexed(spki(t, w.platform.Public()))}), no},
		{"statement_signature_truncated", k, "the signature's last byte is missing", signed(values{"signature": hexed(sig[:len(sig)-1])}), no},
		{"open_signature", "open_signature", "what the chosen certificate signs in an open of a seal challenge", opened(nil), ""},
		{"open_signature_other_claim", "open_signature", "signed in another claim", opened(values{"claim_seq": 2}), no},
		{"open_signature_other_kem", "open_signature", "signed for another kem", opened(values{"kem": hexed(w.kem("another x"))}), no},
	}
}
