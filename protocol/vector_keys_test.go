package protocol_test

import (
	"crypto/hkdf"
	"encoding/binary"
	"math/big"
	"strings"
	"time"

	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
)

// extract is HKDF-Extract over HMAC-SM3, called here apart from the package.
func extract(t testing.TB, salt, ikm []byte) []byte {
	return must(hkdf.Extract(sm3.New, ikm, salt))(t)
}

func expandTo(t testing.TB, prk, info []byte, n int) []byte {
	return must(hkdf.Expand(sm3.New, prk, string(info), n))(t)
}

// hold ends the test where the package and the construction written out here differ.
func hold(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if hexed(got) != hexed(want) {
		t.Fatalf("%s: the package makes %x, the construction gives %x", what, got, want)
	}
}

func runKeySchedule(i in) (values, error) {
	s := i.hex("s")
	ks, err := protocol.Derive(s)
	if err != nil {
		return nil, err
	}
	prk := extract(i.t, []byte("bidseal/1"), s)
	req, mix := ks.ReqMix()
	hold(i.t, "cid", ks.CID[:], expandTo(i.t, prk, []byte("bidseal/1 cid\x00"), 16))
	hold(i.t, "k_claim", ks.KClaim, expandTo(i.t, prk, []byte("bidseal/1 claim\x00"), 32))
	hold(i.t, "k_req", req, expandTo(i.t, prk, []byte("bidseal/1 req\x00"), 16))
	hold(i.t, "k_mix", mix, expandTo(i.t, prk, []byte("bidseal/1 mix\x00"), 32))
	return values{"prk": hexed(prk), "cid": ks.CID.String(), "cid_json_text": protocol.Bytes(ks.CID[:]).String(), "k_claim": hexed(ks.KClaim),
		"h_claim": hexed(protocol.H(ks.KClaim)), "k_req": hexed(req), "k_mix": hexed(mix)}, nil
}

func runClaimKeys(i in) (values, error) {
	ks, err := protocol.Derive(i.hex("s"))
	if err != nil {
		return nil, err
	}
	e := must(sm2.NewPrivateKey(i.hex("e")))(i.t)
	ctx := protocol.Context{CID: ks.CID, RH: i.hex("rh"), ClaimSeq: i.u32("claim_seq"), E: point(i.t, e)}
	claim, err := protocol.OpenClaim(ks, ctx, e, i.hex("kem"))
	if err != nil {
		return nil, err
	}
	up, dn := claim.Boxes()
	_, mix := ks.ReqMix()
	x := must(sm2.Decrypt(e, i.hex("kem")))(i.t)
	prk2 := extract(i.t, ctx.RH, cat(x, mix))
	info := cat(ks.CID[:], be32(ctx.ClaimSeq), ctx.E)
	hold(i.t, "K_up", up, expandTo(i.t, prk2, cat([]byte("bidseal/1 up\x00"), info), 16))
	hold(i.t, "K_dn", dn, expandTo(i.t, prk2, cat([]byte("bidseal/1 down\x00"), info), 16))
	return values{"e_point": hexed(ctx.E), "x": hexed(x), "cid": ks.CID.String(), "k_mix": hexed(mix), "prk2": hexed(prk2), "ctx": hexed(info),
		"k_up": hexed(up), "k_dn": hexed(dn), "h_kem": hexed(protocol.H(i.hex("kem")))}, nil
}

func runClaimBox(i in) (values, error) {
	ks := must(protocol.Derive(i.hex("s")))(i.t)
	e := must(sm2.NewPrivateKey(i.hex("e")))(i.t)
	rh, seq, box := i.hex("rh"), i.u32("claim_seq"), i.hex("box")
	claim, err := protocol.OpenClaim(ks, protocol.Context{CID: ks.CID, RH: rh, ClaimSeq: seq, E: point(i.t, e)}, e, i.hex("kem"))
	if err != nil {
		return nil, err
	}
	up, dn := claim.Boxes()
	typ, key, dir := protocol.BoxType(i.int("type")), up, byte(0)
	var content any
	switch typ {
	case protocol.BoxOpen:
		content = &protocol.OpenBox{}
	case protocol.BoxReady:
		content, key, dir = &protocol.ReadyBox{}, dn, 1
	default:
		content = &protocol.ResultBox{}
	}
	if err := claim.Open(typ, box, content); err != nil {
		return nil, err
	}
	plaintext := encoded(i.t, content)
	aad := boxAAD(dir, typ, ks.CID, rh, seq)
	hold(i.t, "box", box, must(protocol.SealFixed(key, box[:12], plaintext, aad))(i.t))
	return values{"key": hexed(key), "nonce": hexed(box[:12]), "aad": hexed(aad), "plaintext": hexed(plaintext), "plaintext_text": string(plaintext)}, nil
}

func runResultDigest(i in) (values, error) {
	cid, seq, kem, box := i.cid("cid"), i.u32("claim_seq"), i.hex("kem"), i.hex("box")
	message := cat([]byte("bidseal/1 result\x00"), cid[:], be32(seq), be32(uint32(len(kem))), kem, box)
	digest := protocol.ResultDigest(cid, seq, kem, box)
	hold(i.t, "digest", digest, protocol.H(message))
	return values{"message": hexed(message), "digest": hexed(digest)}, nil
}

func runQR(i in) (values, error) {
	text := i.text("text")
	p, err := protocol.ParsePayload(text, i.texts("origins"))
	if err != nil {
		return nil, err
	}
	link, digits, _ := strings.Cut(text, "#")
	if again := must(p.Encode(strings.TrimSuffix(link, "/q")))(i.t); again != text {
		i.t.Fatalf("read as %v, written as %s", p, again)
	}
	n, _ := new(big.Int).SetString(digits, 10)
	out := values{"secret": hexed(p.Secret), "rh16": hexed(p.RH16), "number_text": digits}
	raw := cat([]byte{0x10}, p.Secret, p.RH16)
	if p.Frame != nil {
		raw = cat([]byte{0x11}, p.Secret, p.RH16, p.Frame.Bytes())
		out["t"], out["mac"] = p.Frame.T, hexed(p.Frame.MAC[:])
	}
	hold(i.t, "number", n.Bytes(), raw)
	out["bytes"] = hexed(raw)
	return out, nil
}

func runFrameMAC(i in) (values, error) {
	cid, number := i.cid("cid"), uint16(i.int("t"))
	f := protocol.NewFrame(i.hex("k_frame"), cid, number)
	message := cat([]byte("bidseal/1 frame\x00"), cid[:], binary.BigEndian.AppendUint16(nil, number))
	full := extract(i.t, i.hex("k_frame"), message) // HKDF-Extract is HMAC, the salt its key
	hold(i.t, "MAC", f.MAC[:], full[:8])
	return values{"message": hexed(message), "hmac": hexed(full), "mac": hexed(f.MAC[:]), "frame": hexed(f.Bytes())}, nil
}

func runFrameJudgement(i in) (values, error) {
	return nil, protocol.JudgeFrame(i.hex("frame"), i.hex("k_frame"), i.cid("cid"), millis(i.int("elapsed_ms")), millis(i.int("age_ms")))
}

func runStatementFrame(i in) (values, error) {
	return nil, protocol.JudgeStatementFrame(i.hex("signed"), i.hex("claimed"), i.hex("k_frame"), i.cid("cid"), i.u32("claim_seq"), millis(i.int("elapsed_ms")))
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func keyCases(t testing.TB) []tried {
	w := newWorld(t)
	zero := make([]byte, 16)
	claim := func(change values) values {
		v := values{"s": hexed(w.secret), "e": hexed(detPrivate("ephemeral e")), "rh": hexed(w.rh), "claim_seq": 1, "kem": hexed(w.kem("x of claim"))}
		for k, x := range change {
			v[k] = x
		}
		return v
	}
	kem := w.kem("x of claim")
	flipped := cat(kem)
	flipped[len(flipped)-1] ^= 1
	raw := rawKEM(t, kem)
	short := must(sm2.EncryptASN1(block(detPrivate("k of short")), &w.e.PublicKey, det("short x", 16)))(t)
	result := values{"cid": w.keys.CID.String(), "claim_seq": 1, "kem": hexed(kem), "box": hexed(w.box(protocol.BoxOpen, 1, []byte(`{"digits":"07"}`)))}
	return []tried{
		{"key_schedule", "key_schedule", "keys that follow from the code's secret s", values{"s": hexed(w.secret)}, ""},
		{"key_schedule_zero", "key_schedule", "s may be any 16 bytes", values{"s": hexed(zero)}, ""},
		{"key_schedule_short", "key_schedule", "s of 15 bytes", values{"s": hexed(zero[:15])}, protocol.CodeMalformed},
		{"claim_keys", "claim_keys", "keys of claim 1 from the phone's x, unwrapped with e", claim(nil), ""},
		{"claim_keys_claim_2", "claim_keys", "the same x gives other keys in claim 2", claim(values{"claim_seq": 2}), ""},
		{"claim_keys_other_rh", "claim_keys", "the same x gives other keys under another commitment", claim(values{"rh": hexed(det("other rh", 32))}), ""},
		{"claim_keys_claim_0", "claim_keys", "claims are counted from 1", claim(values{"claim_seq": 0}), protocol.CodeMalformed},
		{"claim_keys_short_rh", "claim_keys", "rh16 in place of rh", claim(values{"rh": hexed(w.rh[:16])}), protocol.CodeMalformed},
		{"claim_keys_kem_altered", "claim_keys", "one bit of the kem is another", claim(values{"kem": hexed(flipped)}), protocol.CodeBoxInvalid},
		{"claim_keys_kem_trailing", "claim_keys", "a byte behind the kem's DER", claim(values{"kem": hexed(append(cat(kem), 0))}), protocol.CodeBoxInvalid},
		{"claim_keys_kem_truncated", "claim_keys", "the kem's last byte is missing", claim(values{"kem": hexed(kem[:len(kem)-1])}), protocol.CodeBoxInvalid},
		{"claim_keys_kem_raw", "claim_keys", "the raw form C1|C3|C2 of a kem that would open", claim(values{"kem": hexed(raw)}), protocol.CodeBoxInvalid},
		{"claim_keys_kem_long_length", "claim_keys", "a length of the kem's DER in more bytes than needed", claim(values{"kem": hexed(longLength(kem))}), protocol.CodeBoxInvalid},
		{"claim_keys_kem_short_x", "claim_keys", "x of 16 bytes", claim(values{"kem": hexed(short)}), protocol.CodeBoxInvalid},
		{"claim_keys_kem_other_key", "claim_keys", "a kem for another ephemeral key", claim(values{"e": hexed(detPrivate("another e"))}), protocol.CodeBoxInvalid},
		{"claim_keys_kem_empty", "claim_keys", "no kem", claim(values{"kem": ""}), protocol.CodeBoxInvalid},
		{"result_digest", "result_digest", "what a receipt, an acknowledgement and the ledger name a result by", result, ""},
	}
}

// rawKEM is the form 04|X|Y|HASH|C of a ciphertext.
func rawKEM(t testing.TB, der []byte) []byte {
	return must(sm2.ASN1Ciphertext2Plain(der, nil))(t)
}

// longLength writes the outer length 0x81 nn as 0x82 00 nn, or nn as 0x81 nn: BER, not DER.
func longLength(der []byte) []byte {
	if der[1] == 0x81 {
		return cat([]byte{der[0], 0x82, 0}, der[2:])
	}
	return cat([]byte{der[0], 0x81}, der[1:])
}
