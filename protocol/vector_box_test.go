package protocol_test

import (
	"math/big"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/protocol"
)

func boxCases(t testing.TB) []tried {
	w := newWorld(t)
	openPlain, readyPlain := []byte(`{"digits":"07"}`), []byte(`{"code":"match_wrong","tries_left":2}`)
	openBox, readyBox := w.box(protocol.BoxOpen, 1, openPlain), w.box(protocol.BoxReady, 1, readyPlain)
	result := w.box(protocol.BoxResult, 1, w.resultBox(encoded(t, w.statement())))
	up, dn := w.claim(1).Boxes()
	seal := func(key []byte, dir byte, typ protocol.BoxType, cid protocol.CID, rh []byte, plain string) string {
		return hexed(w.seal(key, "nonce of a box", []byte(plain), boxAAD(dir, typ, cid, rh, 1)))
	}
	box := func(typ protocol.BoxType, box string, change values) values {
		v := values{"s": hexed(w.secret), "e": hexed(detPrivate("ephemeral e")), "rh": hexed(w.rh), "claim_seq": 1, "kem": hexed(w.kem("x of claim")), "type": typ, "box": box}
		for k, x := range change {
			v[k] = x
		}
		return v
	}
	altered := cat(openBox)
	altered[20] ^= 1
	noTag := w.seal(up, "nonce of a box", openPlain, boxAAD(0, 1, w.keys.CID, w.rh, 1)[len(protocol.T(protocol.TagBox)):])
	wrongTag := w.seal(up, "nonce of a box", openPlain, cat(protocol.T(protocol.TagOpen), boxAAD(0, 1, w.keys.CID, w.rh, 1)[len(protocol.T(protocol.TagBox)):]))
	other := protocol.CID(det("another cid", 16))
	o, r, s := protocol.BoxOpen, protocol.BoxReady, protocol.BoxResult
	bad := protocol.CodeBoxInvalid
	within := func(typ protocol.BoxType, dir byte, plain string) values {
		key := up
		if dir == 1 {
			key = dn
		}
		return box(typ, seal(key, dir, typ, w.keys.CID, w.rh, plain), nil)
	}
	return []tried{
		{"box_open", "claim_box", "open with digits", box(o, hexed(openBox), nil), ""},
		{"box_ready", "claim_box", "ready with a refusal of the digits", box(r, hexed(readyBox), nil), ""},
		{"box_result", "claim_box", "result with statement, signature and shown lines", box(s, hexed(result), nil), ""},
		{"box_other_type", "claim_box", "an open box where a result belongs", box(s, hexed(openBox), nil), bad},
		{"box_other_direction_key", "claim_box", "an open box under the key of the other direction", box(o, seal(dn, 0, o, w.keys.CID, w.rh, string(openPlain)), nil), bad},
		{"box_other_direction", "claim_box", "an open box that says direction 1", box(o, seal(up, 1, o, w.keys.CID, w.rh, string(openPlain)), nil), bad},
		{"box_other_cid", "claim_box", "a box of another challenge", box(o, seal(up, 0, o, other, w.rh, string(openPlain)), nil), bad},
		{"box_other_rh", "claim_box", "a box for another request", box(o, seal(up, 0, o, w.keys.CID, det("other rh", 32), string(openPlain)), nil), bad},
		{"box_other_claim_seq", "claim_box", "a box of claim 1 opened in claim 2", box(o, hexed(openBox), values{"claim_seq": 2}), bad},
		{"box_other_kem", "claim_box", "a box of one x opened with another", box(o, hexed(openBox), values{"kem": hexed(w.kem("another x"))}), bad},
		{"box_other_secret", "claim_box", "x alone is not enough: k_mix follows from the code", box(o, hexed(openBox), values{"s": hexed(det("another secret", 16))}), bad},
		{"box_wrong_tag", "claim_box", "sealed under the tag of a signature", box(o, hexed(wrongTag), nil), bad},
		{"box_no_tag", "claim_box", "sealed without a tag", box(o, hexed(noTag), nil), bad},
		{"box_altered", "claim_box", "one bit is another", box(o, hexed(altered), nil), bad},
		{"box_truncated", "claim_box", "the last byte is missing", box(o, hexed(openBox[:len(openBox)-1]), nil), bad},
		{"box_empty", "claim_box", "no bytes", box(o, "", nil), bad},
		{"box_type_unknown", "claim_box", "type 4", box(4, hexed(openBox), nil), protocol.CodeMalformed},
		{"box_no_json", "claim_box", "the plaintext is no JSON", within(o, 0, "07"), bad},
		{"box_unknown_name", "claim_box", "the plaintext has a name that this version does not know", within(o, 0, `{"digits":"07","x":1}`), bad},
		{"box_duplicate_name", "claim_box", "the plaintext has a name twice", within(o, 0, `{"digits":"07","digits":"08"}`), bad},
		{"box_three_digits", "claim_box", "three digits", within(o, 0, `{"digits":"007"}`), bad},
		{"box_other_digits", "claim_box", "digits of another script", within(o, 0, `{"digits":"٣٤"}`), bad},
		{"box_ready_unknown_code", "claim_box", "an answer that does not exist", within(r, 1, `{"code":"fine","tries_left":2}`), bad},
		{"box_ready_tries", "claim_box", "more tries than there are", within(r, 1, `{"code":"match_wrong","tries_left":4}`), bad},
		{"box_result_no_chain", "claim_box", "a result without certificate", within(s, 0, `{"statement":"e30","signature":"AA","chain":[],"shown":[]}`), bad},
	}
}

func qrCases(t testing.TB) []tried {
	w := newWorld(t)
	static := must(protocol.Payload{Secret: w.secret, RH16: w.rh[:16]}.Encode(origin))(t)
	animated := must(protocol.Payload{Secret: w.secret, RH16: w.rh[:16], Frame: &w.frame}.Encode(origin))(t)
	zero := must(protocol.Payload{Secret: make([]byte, 16), RH16: make([]byte, 16)}.Encode(origin))(t)
	number := func(n *big.Int, digits int) string {
		text := n.String()
		return origin + "/q#" + strings.Repeat("0", max(0, digits-len(text))) + text
	}
	power := func(bits uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), bits) }
	staticRaw := func(flags byte) string {
		return number(new(big.Int).SetBytes(cat([]byte{flags}, w.secret, w.rh[:16])), protocol.StaticDigits)
	}
	animatedRaw := func(flags byte) string {
		return number(new(big.Int).SetBytes(cat([]byte{flags}, w.secret, w.rh[:16], w.frame.Bytes())), protocol.AnimatedDigits)
	}
	in := func(text string) values {
		return values{"text": text, "origins": []string{origin, "http://127.0.0.1:8403"}}
	}
	foreign, bad := protocol.CodeForeignCode, protocol.CodePayloadInvalid
	cid := w.keys.CID.String()
	out := []tried{
		{"qr_static", "qr", "33 bytes as 80 digits", in(static), ""},
		{"qr_animated", "qr", "43 bytes as 104 digits", in(animated), ""},
		{"qr_zero_secret", "qr", "leading digits are kept", in(zero), ""},
		{"qr_loopback", "qr", "a configured origin of the demo", in(strings.Replace(static, origin, "http://127.0.0.1:8403", 1)), ""},
		{"qr_foreign_origin", "qr", "an origin that is not configured", in(strings.Replace(static, "app.", "www.", 1)), foreign},
		{"qr_origin_prefix", "qr", "a host that begins like the configured one", in(strings.Replace(static, ".cn", ".cn.evil.example", 1)), foreign},
		{"qr_origin_user", "qr", "the configured origin as user name of another host", in(strings.Replace(static, ".cn", ".cn@evil.example", 1)), foreign},
		{"qr_origin_port", "qr", "the configured host with a port", in(strings.Replace(static, ".cn", ".cn:443", 1)), foreign},
		{"qr_http", "qr", "plain http", in(strings.Replace(static, "https", "http", 1)), foreign},
		{"qr_upper_case", "qr", "the link in upper case", in(strings.ToUpper(static)), foreign},
		{"qr_other_path", "qr", "another path", in(strings.Replace(static, "/q#", "/Q#", 1)), foreign},
		{"qr_query", "qr", "a query before the fragment", in(strings.Replace(static, "/q#", "/q?a=b#", 1)), foreign},
		{"qr_no_fragment", "qr", "no fragment", in(origin + "/q"), foreign},
		{"qr_web_link", "qr", "some other code", in("https://example.com/pay?id=1"), foreign},
		{"qr_huge", "qr", "a text of 513 bytes", in(static + strings.Repeat("0", 513-len(static))), foreign},
		{"qr_short", "qr", "79 digits", in(static[:len(static)-1]), bad},
		{"qr_long", "qr", "81 digits", in(strings.Replace(static, "#", "#0", 1)), bad},
		{"qr_empty", "qr", "an empty fragment", in(origin + "/q#"), bad},
		{"qr_sign", "qr", "a sign in place of a digit", in(strings.Replace(static, "#0", "#+", 1)), bad},
		{"qr_underscore", "qr", "a separator in place of a digit", in(static[:len(static)-3] + "_" + static[len(static)-2:]), bad},
		{"qr_other_digits", "qr", "digits of another script", in(origin + "/q#" + strings.Repeat("٠", 40)), bad},
		{"qr_two_fragments", "qr", "a second number sign", in(static[:len(static)-1] + "#"), bad},
		{"qr_static_overflow", "qr", "2^264 in 80 digits", in(number(power(264), protocol.StaticDigits)), bad},
		{"qr_animated_overflow", "qr", "2^344 in 104 digits", in(number(power(344), protocol.AnimatedDigits)), bad},
		{"qr_static_flag_animated", "qr", "the animated flag on 33 bytes", in(staticRaw(0x11)), bad},
		{"qr_animated_flag_static", "qr", "no animated flag on 43 bytes", in(animatedRaw(0x10)), bad},
		{"qr_flag_unknown", "qr", "bit 1 of the flags", in(staticRaw(0x12)), bad},
		{"qr_version_2", "qr", "high nibble 2", in(staticRaw(0x20)), bad},
		{"qr_version_0", "qr", "high nibble 0", in(staticRaw(0x00)), bad},
		{"frame_mac", "frame_mac", "the MAC of frame 7", values{"k_frame": hexed(w.kFrame), "cid": cid, "t": frameNumber}, ""},
		{"frame_mac_last", "frame_mac", "the MAC of frame 65535", values{"k_frame": hexed(w.kFrame), "cid": cid, "t": 65535}, ""},
	}
	return append(out, frameCases(w)...)
}

// frameCases judge frame 7, shown from second 14 of the challenge.
func frameCases(w *world) []tried {
	judge := func(frame []byte, elapsed, age int64) values {
		return values{"frame": hexed(frame), "k_frame": hexed(w.kFrame), "cid": w.keys.CID.String(), "elapsed_ms": elapsed, "age_ms": age}
	}
	signed := func(signed, claimed []byte, seq int, elapsed int64) values {
		return values{"signed": hexed(signed), "claimed": hexed(claimed), "k_frame": hexed(w.kFrame), "cid": w.keys.CID.String(), "claim_seq": seq, "elapsed_ms": elapsed}
	}
	f := w.frame.Bytes()
	otherKey := protocol.NewFrame(det("another k_frame", 32), w.keys.CID, frameNumber).Bytes()
	otherCID := protocol.NewFrame(w.kFrame, protocol.CID(det("another cid", 16)), frameNumber).Bytes()
	otherT := cat([]byte{0, frameNumber + 1}, f[2:])
	older, newer := protocol.NewFrame(w.kFrame, w.keys.CID, frameNumber-1).Bytes(), protocol.NewFrame(w.kFrame, w.keys.CID, frameNumber+5).Bytes()
	stale, bad := protocol.CodeFrameStale, protocol.CodeFrameInvalid
	return []tried{
		{"frame_live", "frame_judgement", "scanned in second 16", judge(f, 17_000, 1_000), ""},
		{"frame_earliest", "frame_judgement", "two seconds before its time", judge(f, 13_000, 1_000), ""},
		{"frame_early", "frame_judgement", "2.001 seconds before its time", judge(f, 12_999, 1_000), stale},
		{"frame_latest", "frame_judgement", "fifteen seconds after its time", judge(f, 30_000, 1_000), ""},
		{"frame_late", "frame_judgement", "15.001 seconds after its time", judge(f, 30_001, 1_000), stale},
		{"frame_old_claim", "frame_judgement", "the claim is 75 seconds old", judge(f, 91_000, 75_000), ""},
		{"frame_too_old_claim", "frame_judgement", "the claim is more than 75 seconds old", judge(f, 91_001, 75_001), stale},
		{"frame_negative_age", "frame_judgement", "a claim in the future", judge(f, 16_000, -1), stale},
		{"frame_missing", "frame_judgement", "no frame on an animated code", judge(nil, 16_000, 1_000), stale},
		{"frame_other_key", "frame_judgement", "the MAC of another key", judge(otherKey, 16_000, 1_000), bad},
		{"frame_other_cid", "frame_judgement", "the MAC of another challenge", judge(otherCID, 16_000, 1_000), bad},
		{"frame_other_t", "frame_judgement", "the MAC of another frame", judge(otherT, 16_000, 1_000), bad},
		{"frame_short", "frame_judgement", "nine bytes", judge(f[:9], 16_000, 1_000), bad},
		{"signed_frame", "statement_frame", "the statement signs the frame of claim 1", signed(f, f, 1, 60_000), ""},
		{"signed_frame_static", "statement_frame", "a static code has no frame", signed(nil, nil, 1, 60_000), ""},
		{"signed_frame_on_static", "statement_frame", "a frame was signed for a static code", signed(f, nil, 1, 60_000), bad},
		{"signed_frame_missing", "statement_frame", "no frame was signed for an animated code", signed(nil, f, 1, 60_000), stale},
		{"signed_frame_other", "statement_frame", "the relay told of another frame than the phone signed in claim 1", signed(newer, f, 1, 60_000), bad},
		{"signed_frame_rescan", "statement_frame", "a later claim signs a newer frame", signed(newer, f, 2, 60_000), ""},
		{"signed_frame_kept", "statement_frame", "a later claim signs the frame of claim 1", signed(f, f, 2, 60_000), ""},
		{"signed_frame_older", "statement_frame", "a later claim signs an older frame than claim 1 came with", signed(older, f, 2, 60_000), stale},
		{"signed_frame_future", "statement_frame", "a later claim signs a frame that was not shown yet", signed(newer, f, 2, 21_999), stale},
		{"signed_frame_forged", "statement_frame", "a later claim signs a forged frame", signed(otherKey, f, 2, 60_000), bad},
	}
}
