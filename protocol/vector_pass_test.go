package protocol_test

import (
	"bytes"
	"crypto/ecdsa"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

func runPass(i in) (values, error) {
	text := i.text("pass")
	v, err := protocol.VerifyPass(must(protocol.ParseKey(i.hex("issuer")))(i.t), text, time.Unix(i.int("now"), 0))
	if err != nil {
		return nil, err
	}
	body, _, _ := strings.Cut(text, ".")
	var raw protocol.Bytes
	if err := raw.UnmarshalText([]byte(body)); err != nil {
		i.t.Fatal(err)
	}
	hold(i.t, "digest", v.Digest, protocol.H([]byte(text)))
	return values{"message": hexed(cat([]byte("bidseal/1 pass\x00"), raw)), "json_text": string(raw), "digest": hexed(v.Digest), "device": v.Device, "alg": string(v.Alg),
		"key": hexed(v.Key), "account": v.Account, "iat": v.IAT, "exp": v.EXP}, nil
}

func runProof(i in) (values, error) {
	text := i.text("pass")
	now := time.UnixMilli(i.int("now_ms"))
	v := must(protocol.VerifyPass(must(protocol.ParseKey(i.hex("issuer")))(i.t), text, now))(i.t)
	c := protocol.Call{Method: i.text("method"), URL: i.text("url"), Body: i.hex("body")}
	if err := protocol.VerifyProof(v, i.text("proof"), c, now); err != nil {
		return nil, err
	}
	var raw protocol.Bytes
	var p protocol.Proof
	if err := raw.UnmarshalText([]byte(i.text("proof"))); err != nil {
		i.t.Fatal(err)
	}
	if err := protocol.DecodeJSON(raw, &p); err != nil {
		i.t.Fatal(err)
	}
	return values{"message": hexed(proofMessage(text, c, p.Time, p.ID)), "pass_digest": hexed(v.Digest), "body_digest": hexed(protocol.H(c.Body)), "time": p.Time,
		"id": hexed(p.ID), "signature": hexed(p.Signature)}, nil
}

func runPublicKey(i in) (values, error) {
	der := i.hex("spki")
	pub, err := protocol.ParseKey(der)
	if err != nil {
		return nil, err
	}
	alg := must(protocol.AlgOf(pub))(i.t)
	return values{"alg": string(alg), "key_id": hexed(protocol.KeyID(der)), "device": protocol.DeviceID(der)}, nil
}

func passCases(t testing.TB) []tried {
	w := newWorld(t)
	sm2Pass, esPass := w.pass(w.phon.Public(), protocol.AlgSM2), w.pass(w.phoneES.Public(), protocol.AlgES256)
	raw := encoded(t, sm2Pass)
	pass := func(text string, now int64) values {
		return values{"issuer": hexed(spki(t, w.issuer.Public())), "pass": text, "now": now}
	}
	change := func(f func(p *protocol.Pass)) values {
		p := sm2Pass
		f(&p)
		return pass(w.passText(encoded(t, p)), madeAt)
	}
	text := w.passText(raw)
	body, sig, _ := strings.Cut(text, ".")
	unsigned := func(tag protocol.Tag) string {
		return body + "." + protocol.Bytes(detSign(t, w.issuer, cat(protocol.T(tag), raw))).String()
	}
	byUser := body + "." + protocol.Bytes(detSign(t, w.user, cat(protocol.T(protocol.TagPass), raw))).String()
	no := protocol.CodeUnauthorized
	const k = "pass"
	out := []tried{
		{"pass", k, "a pass for an SM2 device key", pass(text, madeAt), ""},
		{"pass_p256", k, "a pass for a P-256 device key", pass(w.passText(encoded(t, esPass)), madeAt), ""},
		{"pass_last_second", k, "in the last second of its life", pass(text, sm2Pass.EXP-1), ""},
		{"pass_expired", k, "at its exp", pass(text, sm2Pass.EXP), no},
		{"pass_from_future", k, "61 seconds before its iat", pass(text, sm2Pass.IAT-61), no},
		{"pass_long_life", k, "a pass for more than 24 hours", change(func(p *protocol.Pass) { p.EXP++ }), no},
		{"pass_version_2", k, "another version", change(func(p *protocol.Pass) { p.V = 2 }), no},
		{"pass_other_device", k, "a device id of another key", change(func(p *protocol.Pass) { p.Device = strings.Repeat("0", 32) }), no},
		{"pass_other_algorithm", k, "an algorithm that is not the key's", change(func(p *protocol.Pass) { p.Alg = protocol.AlgES256 }), no},
		{"pass_no_account", k, "no account", change(func(p *protocol.Pass) { p.Account = "" }), no},
		{"pass_wrong_tag", k, "signed under the tag of proofs", pass(unsigned(protocol.TagProof), madeAt), no},
		{"pass_other_issuer", k, "signed by another key", pass(byUser, madeAt), no},
		{"pass_altered", k, "another account under the same signature", pass(protocol.Bytes(bytes.Replace(raw, []byte("account-1"), []byte("account-2"), 1)).String()+"."+sig, madeAt), no},
		{"pass_unsigned", k, "no signature", pass(body+".", madeAt), no},
		{"pass_no_dot", k, "one part only", pass(body, madeAt), no},
		{"pass_padded", k, "base64url with padding", pass(text+"=", madeAt), no},
		{"pass_duplicate_name", k, "a name stands twice", pass(w.passText(bytes.Replace(raw, []byte(`"v":1`), []byte(`"v":1,"v":1`), 1)), madeAt), no},
		{"pass_huge", k, "more than 4 KiB", pass(text+strings.Repeat("A", 4097-len(text)), madeAt), no},
	}
	return slicesJoin(out, proofCases(w, text, w.passText(encoded(t, esPass))), publicKeyCases(t, w))
}

func slicesJoin(lists ...[]tried) []tried {
	var out []tried
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func proofCases(w *world, pass, esPass string) []tried {
	at := time.UnixMilli(madeAt*1000 + 250)
	call := protocol.Call{Method: "POST", URL: "https://relay.example.cn/v1/challenges/" + w.keys.CID.String() + "/claim", Body: []byte(`{"k_claim":"AA"}`)}
	proof := func(change values) values {
		v := values{"issuer": hexed(spki(w.t, w.issuer.Public())), "pass": pass, "proof": w.proofText(w.phon, pass, call, at), "method": call.Method, "url": call.URL,
			"body": hexed(call.Body), "now_ms": at.UnixMilli()}
		for k, x := range change {
			v[k] = x
		}
		return v
	}
	moved := func(ms int64) values { return proof(values{"now_ms": at.UnixMilli() + ms}) }
	get := protocol.Call{Method: "GET", URL: "https://relay.example.cn/v1/challenges/" + w.keys.CID.String() + "?after=1&wait=25"}
	// The boundary between method and URL is covered: "GETh" | "ttps" is another call.
	shifted := protocol.Call{Method: "POSTh", URL: strings.TrimPrefix(call.URL, "h"), Body: call.Body}
	no, skew := protocol.CodeUnauthorized, protocol.CodeClockSkew
	const k = "proof"
	return []tried{
		{"proof", k, "a call with a body", proof(nil), ""},
		{"proof_get", k, "a call without a body", proof(values{"proof": w.proofText(w.phon, pass, get, at), "method": "GET", "url": get.URL, "body": ""}), ""},
		{"proof_p256", k, "a P-256 device key", proof(values{"pass": esPass, "proof": w.proofText(w.phoneES, esPass, call, at)}), ""},
		{"proof_60_s_old", k, "60 seconds old", moved(60_000), ""},
		{"proof_old", k, "60.001 seconds old", moved(60_001), skew},
		{"proof_from_future", k, "60.001 seconds in the future", moved(-60_001), skew},
		{"proof_other_method", k, "for another method", proof(values{"method": "PUT"}), no},
		{"proof_other_url", k, "for another URL", proof(values{"url": call.URL + "x"}), no},
		{"proof_other_origin", k, "for another relay", proof(values{"url": strings.Replace(call.URL, "relay.", "relay2.", 1)}), no},
		{"proof_other_query", k, "for another query", proof(values{"url": call.URL + "?wait=1"}), no},
		{"proof_other_body", k, "for another body", proof(values{"body": hexed([]byte(`{"k_claim":"AQ"}`))}), no},
		{"proof_shifted", k, "the same characters with another boundary between method and URL", proof(values{"proof": w.proofText(w.phon, pass, shifted, at)}), no},
		{"proof_other_pass", k, "made for another pass of the same device", proof(values{"proof": w.proofText(w.phon, pass+"x", call, at)}), no},
		{"proof_other_device", k, "made by another device's key", proof(values{"proof": w.proofText(w.user, pass, call, at)}), no},
		{"proof_empty", k, "no proof", proof(values{"proof": ""}), no},
		{"proof_no_json", k, "not JSON", proof(values{"proof": "AAAA"}), no},
	}
}

func publicKeyCases(t testing.TB, w *world) []tried {
	der := spki(t, w.phon.Public())
	compressed := func(key *ecdsa.PublicKey, der []byte) []byte {
		point := make([]byte, 33)
		point[0] = byte(2 + new(big.Int).SetBytes(der[len(der)-1:]).Bit(0))
		copy(point[1:], der[len(der)-64:len(der)-32])
		var b cryptobyte.Builder
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(der[2 : len(der)-68]) // the AlgorithmIdentifier
			b.AddASN1BitString(point)
		})
		return must(b.Bytes())(t)
	}
	offCurve := cat(der[:len(der)-1], []byte{der[len(der)-1] ^ 1})
	key := func(b []byte) values { return values{"spki": hexed(b)} }
	bad := protocol.CodeMalformed
	const k = "public_key"
	return []tried{
		{"public_key_sm2", k, "an SM2 key", key(der), ""},
		{"public_key_p256", k, "a P-256 key", key(spki(t, w.phoneES.Public())), ""},
		{"public_key_p384", k, "another curve", key(p384SPKI(t)), bad},
		{"public_key_trailing", k, "a byte behind the DER", key(append(cat(der), 0)), bad},
		{"public_key_compressed", k, "a compressed point", key(compressed(&w.phon.PublicKey, der)), bad},
		{"public_key_p256_compressed", k, "a compressed P-256 point", key(compressed(&w.phoneES.PublicKey, spki(t, w.phoneES.Public()))), bad},
		{"public_key_off_curve", k, "a point that is not on the curve", key(offCurve), bad},
		{"public_key_empty", k, "no bytes", key(nil), bad},
	}
}
