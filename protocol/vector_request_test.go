package protocol_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/go-json-experiment/json/jsontext"
)

func runCommitment(i in) (values, error) {
	raw, cert := i.hex("request"), i.hex("certificate")
	rh := protocol.Commit(raw, cert)
	message := cat([]byte("bidseal/1 rh\x00"), protocol.H(raw), protocol.H(cert))
	hold(i.t, "rh", rh, protocol.H(message))
	return values{"h_request": hexed(protocol.H(raw)), "h_certificate": hexed(protocol.H(cert)), "message": hexed(message), "rh": hexed(rh), "rh16": hexed(rh[:16])}, nil
}

func runRequestSignature(i in) (values, error) {
	pub := must(protocol.ParseKey(i.hex("public_key")))(i.t)
	raw := i.hex("request")
	if err := protocol.VerifyRequest(pub, raw, i.hex("signature")); err != nil {
		return nil, err
	}
	return values{"message": hexed(cat([]byte("bidseal/1 request\x00"), protocol.H(raw)))}, nil
}

func runRequest(i in) (values, error) {
	r, err := protocol.ParseRequest(i.hex("request"))
	if err != nil {
		return nil, err
	}
	digests := []string{}
	for _, d := range protocol.ItemDigests(r.Items) {
		digests = append(digests, hexed(d))
	}
	return values{"cid": r.CID.String(), "kind": string(r.Kind), "platform": r.Platform, "nonce": hexed(r.Nonce), "iat": r.IAT, "exp": r.EXP,
		"e_point": hexed(r.E), "two_phase": r.Policy.TwoPhase, "match": string(r.Policy.Match), "item_digests": digests}, nil
}

func runRequestBox(i in) (values, error) {
	ks := must(protocol.Derive(i.hex("s")))(i.t)
	box := i.hex("boxr")
	opened, err := protocol.OpenRequest(ks, i.hex("rh16"), box)
	if err != nil {
		return nil, err
	}
	req, _ := ks.ReqMix()
	plaintext, aad := encoded(i.t, opened.Sealed), cat([]byte("bidseal/1 boxR\x00"), ks.CID[:])
	hold(i.t, "boxR", box, must(protocol.SealFixed(req, box[:12], plaintext, aad))(i.t))
	return values{"k_req": hexed(req), "nonce": hexed(box[:12]), "aad": hexed(aad), "plaintext": hexed(plaintext), "plaintext_text": string(plaintext),
		"request": hexed(opened.Sealed.Request), "signature": hexed(opened.Sealed.Signature), "rh": hexed(opened.RH)}, nil
}

func runShown(i in) (values, error) {
	r, err := protocol.ParseRequest(i.hex("request"))
	if err != nil {
		return nil, err
	}
	lines := protocol.ShownLines(r, i.text("platform_name"))
	var message []byte
	message = append(message, be32(uint32(len(lines)))...)
	for _, l := range lines {
		message = append(append(message, be32(uint32(len(l)))...), l...)
	}
	hold(i.t, "shown", protocol.ShownDigest(lines), protocol.H(message))
	return values{"lines": lines, "message": hexed(message), "digest": hexed(protocol.H(message))}, nil
}

func requestCases(t testing.TB) []tried {
	return append(requestFormCases(t), requestBoxCases(t)...)
}

// requestFormCases hold what R may be. edit changes the exact bytes by text.
func requestFormCases(t testing.TB) []tried {
	w := newWorld(t)
	var out []tried
	add := func(name, description string, raw []byte, want protocol.Code) {
		out = append(out, tried{name, "request", description, values{"request": hexed(raw), "request_text": strings.ToValidUTF8(string(raw), "?")}, want})
	}
	edit := func(name, description, old, new string, want protocol.Code) {
		t.Helper()
		if !bytes.Contains(w.raw, []byte(old)) {
			t.Fatalf("%s: %q is not in the request", name, old)
		}
		add(name, description, bytes.Replace(w.raw, []byte(old), []byte(new), 1), want)
	}
	change := func(name, description string, want protocol.Code, f func(r *protocol.Request)) {
		r := w.request
		f(&r)
		add(name, description, encoded(t, r), want)
	}
	bad := protocol.CodeRequestInvalid
	add("request_login", "a login request", w.raw, "")
	add("request_white_space", "insignificant white space is allowed; the commitment covers it", bytes.ReplaceAll(w.raw, []byte(`":`), []byte("\" :\n")), "")
	add("request_truncated", "the last byte is missing", w.raw[:len(w.raw)-1], bad)
	add("request_trailing", "data after the object", append(cat(w.raw), "{}"...), bad)
	edit("request_duplicate_name", "a name stands twice", `"v":1`, `"v":1,"v":1`, bad)
	edit("request_duplicate_nested", "a nested name stands twice", `"two_phase":false`, `"two_phase":false,"two_phase":true`, bad)
	edit("request_other_case", "a name in another case", `"exp":`, `"EXP":`, bad)
	edit("request_both_cases", "a name stands in two cases", `"v":1`, `"v":1,"V":1`, bad)
	edit("request_escaped_duplicate", "a name stands twice, once escaped", `"v":1`, `"v":1,"\u0076":1`, bad)
	edit("request_unknown_name", "names of later versions are passed over", `"v":1`, `"v":1,"later":{"x":[1]}`, "")
	edit("request_crit_unknown", "an unknown name is listed in crit", `"v":1`, `"v":1,"later":1,"crit":["later"]`, protocol.CodeCritUnknown)
	edit("request_crit_known", "a known name is listed in crit", `"v":1`, `"v":1,"crit":["policy.match","e"]`, "")
	edit("request_crit_nested_elsewhere", "a crit that is not the outermost object's has no meaning", `"v":1`, `"v":1,"later":{"crit":["x"]}`, "")
	edit("request_crit_no_list", "crit is not a list", `"v":1`, `"v":1,"crit":"v"`, bad)
	edit("request_depth_8", "eight levels, the outermost object counted", `"v":1`, `"v":1,"later":`+strings.Repeat("[", 7)+strings.Repeat("]", 7), "")
	edit("request_depth_9", "nine levels", `"v":1`, `"v":1,"later":`+strings.Repeat("[", 8)+strings.Repeat("]", 8), bad)
	edit("request_version_2", "another version", `"v":1`, `"v":2`, bad)
	edit("request_float", "a number with a fraction", `"iat":1800000000`, `"iat":1800000000.0`, bad)
	edit("request_exponent", "a number with an exponent", `"iat":1800000000`, `"iat":18e8`, bad)
	edit("request_null", "null", `"v":1`, `"v":1,"items":null`, bad)
	edit("request_exp_later", "exp is later than the limits of the kind allow", `"exp":1800000240`, `"exp":1800000241`, bad)
	edit("request_cid_padded", "base64url with padding", protocol.Bytes(w.keys.CID[:]).String(), protocol.Bytes(w.keys.CID[:]).String()+"==", bad)
	edit("request_kind_unknown", "an unknown kind", `"kind":"login"`, `"kind":"pay"`, protocol.CodeKindUnsupported)
	change("request_short_nonce", "a nonce of 31 bytes", bad, func(r *protocol.Request) { r.Nonce = r.Nonce[:31] })
	change("request_off_curve", "E is not on the curve", bad, func(r *protocol.Request) { r.E = append(cat(r.E[:64]), r.E[64]^1) })
	change("request_compressed", "E in the compressed form", bad, func(r *protocol.Request) { r.E = cat([]byte{2 + r.E[64]&1}, r.E[1:33]) })
	change("request_hybrid", "E in the hybrid form", bad, func(r *protocol.Request) { r.E = cat([]byte{6 + r.E[64]&1}, r.E[1:]) })
	change("request_infinity", "E is the point at infinity", bad, func(r *protocol.Request) { r.E = []byte{0} })
	change("request_platform_upper", "a platform id in upper case", bad, func(r *protocol.Request) { r.Platform = "P1" })
	change("request_match_one_phase", "digits need two phases", bad, func(r *protocol.Request) { r.Policy.Match = protocol.MatchType })
	change("request_login_items", "a login with items", bad, func(r *protocol.Request) { r.Items = []jsontext.Value{jsontext.Value(`{"id":"a"}`)} })
	change("request_bidi", "a display line with a right-to-left override", bad, func(r *protocol.Request) { r.Display = []string{"pay \u202e001"} })
	change("request_zero_width", "a display line with a zero-width joiner", bad, func(r *protocol.Request) { r.Display = []string{"a\u200db"} })
	change("request_line_break", "a display line with a line break", bad, func(r *protocol.Request) { r.Display = []string{"a\nb"} })
	change("request_filler", "a display line of a filler that shows nothing", bad, func(r *protocol.Request) { r.Display = []string{"\u3164"} })
	change("request_not_nfc", "a display line that is not in normalization form C", bad, func(r *protocol.Request) { r.Display = []string{"e\u0301"} })
	change("request_long_line", "a display line of 81 characters", bad, func(r *protocol.Request) { r.Display = []string{strings.Repeat("长", 81)} })
	change("request_80_characters", "a display line of 80 characters", "", func(r *protocol.Request) { r.Display = []string{strings.Repeat("长", 80)} })
	change("request_21_lines", "21 display lines", bad, func(r *protocol.Request) { r.Display = strings.Split(strings.Repeat("x", 21), "") })
	decrypt := func(name, description string, want protocol.Code, f func(r *protocol.Request)) {
		r := w.decrypt()
		f(&r)
		add(name, description, encoded(t, r), want)
	}
	decrypt("request_decrypt", "a request with two items and an expected owner", "", func(*protocol.Request) {})
	decrypt("request_no_owner", "every kind but login names an expected owner", bad, func(r *protocol.Request) { r.Expect = nil })
	decrypt("request_owner_both", "an owner by credit code and lineage at once", bad, func(r *protocol.Request) {
		r.Expect = &protocol.Expect{Owner: &protocol.Owner{Anchor: det("anchor", 32), CreditCode: "91330100MA27Y5A30X", Lineage: strings.Repeat("0a", 16)}}
	})
	decrypt("request_lineage_upper", "a lineage id in upper case", bad, func(r *protocol.Request) {
		r.Expect = &protocol.Expect{Owner: &protocol.Owner{Anchor: det("anchor", 32), Lineage: strings.Repeat("0A", 16)}}
	})
	decrypt("request_items_alike", "two items with the same id", bad, func(r *protocol.Request) {
		r.Items = []jsontext.Value{r.Items[0], r.Items[0]}
	})
	return out
}

func requestBoxCases(t testing.TB) []tried {
	w := newWorld(t)
	req, _ := w.keys.ReqMix()
	aad := cat(protocol.T(protocol.TagBoxR), w.keys.CID[:])
	boxR := w.boxR()
	box := func(change values) values {
		v := values{"s": hexed(w.secret), "rh16": hexed(w.rh[:16]), "boxr": hexed(boxR)}
		for k, x := range change {
			v[k] = x
		}
		return v
	}
	swapped := newWorld(t)
	swapped.raw = bytes.Replace(swapped.raw, []byte("203.0.113.9"), []byte("203.0.113.8"), 1)
	spaced := newWorld(t)
	spaced.raw = bytes.Replace(spaced.raw, []byte(`{"v":1,`), []byte(`{ "v":1,`), 1)
	otherCert := newWorld(t)
	otherCert.platformCert = []byte("another certificate of the same key")
	foreign := newWorld(t)
	r := foreign.request
	r.CID = protocol.CID(det("another cid", 16))
	foreign.setRequest(r)
	signature := func(change values) values {
		v := values{"public_key": hexed(spki(t, w.platform.Public())), "request": hexed(w.raw), "signature": hexed(w.sr)}
		for k, x := range change {
			v[k] = x
		}
		return v
	}
	es := detP256(t, "platform P-256 key")
	message := cat(protocol.T(protocol.TagRequest), protocol.H(w.raw))
	otherID := must(w.platform.Sign(nil, message, sm2.NewSM2SignerOption(true, []byte("another id"))))(t)
	no := protocol.CodeRequestSignature
	return []tried{
		{"commitment", "commitment", "rh over request and platform certificate", values{"request": hexed(w.raw), "certificate": hexed(w.platformCert)}, ""},
		{"request_box", "request_box", "boxR opens and holds what the code commits to", box(nil), ""},
		{"request_box_wrong_tag", "request_box", "sealed with the tag of another box", box(values{"boxr": hexed(w.seal(req, "n", w.sealed(), cat(protocol.T(protocol.TagBox), w.keys.CID[:])))}), protocol.CodeBoxInvalid},
		{"request_box_other_cid", "request_box", "sealed for another challenge", box(values{"boxr": hexed(w.seal(req, "n", w.sealed(), cat(protocol.T(protocol.TagBoxR), det("another cid", 16))))}), protocol.CodeBoxInvalid},
		{"request_box_other_secret", "request_box", "opened with the secret of another code", box(values{"s": hexed(det("another secret", 16))}), protocol.CodeBoxInvalid},
		{"request_box_truncated", "request_box", "the last byte is missing", box(values{"boxr": hexed(boxR[:len(boxR)-1])}), protocol.CodeBoxInvalid},
		{"request_box_short", "request_box", "27 bytes are no box", box(values{"boxr": hexed(boxR[:27])}), protocol.CodeBoxInvalid},
		{"request_box_swapped", "request_box", "another request, sealed by somebody who saw the code", box(values{"boxr": hexed(swapped.boxR())}), protocol.CodeRequestSwapped},
		{"request_box_reserialised", "request_box", "the same request with one more space", box(values{"boxr": hexed(spaced.boxR())}), protocol.CodeRequestSwapped},
		{"request_box_other_certificate", "request_box", "the same request under another certificate", box(values{"boxr": hexed(otherCert.boxR())}), protocol.CodeRequestSwapped},
		{"request_box_names_other_cid", "request_box", "the request names another challenge than the code", box(values{"boxr": hexed(foreign.boxR()), "rh16": hexed(foreign.rh[:16])}), protocol.CodeRequestSwapped},
		{"request_box_unknown_name", "request_box", "the sealed object knows no other names", box(values{"boxr": hexed(w.seal(req, "n", bytes.Replace(w.sealed(), []byte(`{`), []byte(`{"x":1,`), 1), aad))}), protocol.CodeRequestInvalid},
		{"request_box_no_chain", "request_box", "no certificate", box(values{"boxr": hexed(w.seal(req, "n", encoded(t, protocol.SealedRequest{Request: w.raw, Signature: w.sr}), aad))}), protocol.CodeRequestInvalid},
		{"request_signature", "request_signature", "SR over T(request) | H(R)", signature(nil), ""},
		{"request_signature_wrong_tag", "request_signature", "signed under the tag of statements", signature(values{"signature": hexed(detSign(t, w.platform, cat(protocol.T(protocol.TagStatement), protocol.H(w.raw))))}), no},
		{"request_signature_no_tag", "request_signature", "signed without a tag", signature(values{"signature": hexed(detSign(t, w.platform, protocol.H(w.raw)))}), no},
		{"request_signature_altered", "request_signature", "one character of the request is another", signature(values{"request": hexed(swapped.raw)}), no},
		{"request_signature_other_key", "request_signature", "the key of somebody else", signature(values{"public_key": hexed(spki(t, w.user.Public()))}), no},
		{"request_signature_p256", "request_signature", "a request key is an SM2 key", signature(values{"public_key": hexed(spki(t, es.Public())), "signature": hexed(detSign(t, es, message))}), no},
		{"request_signature_other_id", "request_signature", "another SM2 identifier than the default", signature(values{"signature": hexed(otherID)}), no},
		{"request_signature_trailing", "request_signature", "a byte behind the signature's DER", signature(values{"signature": hexed(append(cat(w.sr), 0))}), no},
		{"request_signature_empty", "request_signature", "no signature", signature(values{"signature": ""}), no},
		{"shown", "shown", "lines that the phone shows, and their digest", values{"request": hexed(w.raw), "platform_name": platformName}, ""},
		{"shown_bare", "shown", "a request without display lines and initiator", values{"request": hexed(bare(t, w)), "platform_name": "P"}, ""},
	}
}

func bare(t testing.TB, w *world) []byte {
	r := w.request
	r.Initiator, r.Display = nil, nil
	return encoded(t, r)
}
