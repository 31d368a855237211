package protocol_test

import (
	"crypto"
	"crypto/ecdsa"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm2"
)

// document is a body of about n bytes.
func document(n int) []byte { return []byte(`{"watch":"` + strings.Repeat("A", n&^3) + `"}`) }

func TestSizes(t *testing.T) {
	w := newWorld(t)
	var body protocol.WatchBody
	noErr(t, protocol.DecodeJSON(document(protocol.MaxDocument-64), &body))
	wantCode(t, protocol.DecodeJSON(document(protocol.MaxDocument), &body), protocol.CodeTooLarge)
	_, err := protocol.EncodeJSON(protocol.WatchBody{Watch: make([]byte, protocol.MaxDocument)})
	wantCode(t, err, protocol.CodeTooLarge)

	claim := w.claim(1)
	large := protocol.ResultBox{Chain: []protocol.Bytes{w.userCert}, Statement: make([]byte, 780_000)}
	box := must(claim.Seal(protocol.BoxResult, large))(t)
	noErr(t, claim.Open(protocol.BoxResult, box, new(protocol.ResultBox)))
	noErr(t, protocol.ResultBody{ClaimSeq: 1, KEM: claim.KEM, Box: box}.Check())
	raw := must(protocol.EncodeJSON(protocol.ResultBody{ClaimSeq: 1, KEM: claim.KEM, Box: box}))(t)
	if len(raw) > protocol.MaxRequestBody {
		t.Fatalf("a full box makes a body of %d bytes", len(raw))
	}
	noErr(t, protocol.DecodeJSON(raw, new(protocol.ResultBody)))
	large.Statement = make([]byte, protocol.MaxJSON)
	_, err = claim.Seal(protocol.BoxResult, large)
	wantCode(t, err, protocol.CodeTooLarge)
	_, err = protocol.SealRequest(w.keys, protocol.SealedRequest{Request: make([]byte, protocol.MaxJSON)})
	wantCode(t, err, protocol.CodeTooLarge)

	up, _ := claim.Boxes()
	over := w.seal(up, "n", document(protocol.MaxJSON+8), boxAAD(0, 1, w.keys.CID, w.rh, 1))
	wantCode(t, claim.Open(protocol.BoxOpen, over, new(protocol.OpenBox)), protocol.CodeBoxInvalid)
	_, err = protocol.OpenRequest(w.keys, w.rh[:16], make([]byte, protocol.MaxBox+1))
	wantCode(t, err, protocol.CodeBoxInvalid)
	_, err = protocol.ParseRequest([]byte(strings.Replace(string(w.raw), `"v":1`, `"v":1,"x":"`+strings.Repeat("a", protocol.MaxJSON)+`"`, 1)))
	wantCode(t, err, protocol.CodeRequestInvalid)
	_, err = (&protocol.SignedReceipt{Bytes: encoded(t, w.receipt()), Chain: []protocol.Bytes{make([]byte, protocol.MaxReceipt)}}).Parse()
	wantCode(t, err, protocol.CodeReceiptInvalid)
	_, err = (&protocol.SignedReceipt{Bytes: encoded(t, w.receipt()), Chain: make([]protocol.Bytes, protocol.MaxChain+1)}).Parse()
	wantCode(t, err, protocol.CodeReceiptInvalid)
}

func TestBodies(t *testing.T) {
	w := newWorld(t)
	kem, box := w.kem("x of claim"), make([]byte, 28)
	claim := protocol.ClaimBody{KClaim: w.keys.KClaim, ClaimID: det("id", 16)}
	for name, c := range map[string]struct {
		body interface{ Check() error }
		want protocol.Code
	}{
		"claim":             {claim, ""},
		"claim frame":       {protocol.ClaimBody{KClaim: claim.KClaim, ClaimID: claim.ClaimID, Frame: w.frame.Bytes()}, ""},
		"claim short frame": {protocol.ClaimBody{KClaim: claim.KClaim, ClaimID: claim.ClaimID, Frame: make([]byte, 9)}, protocol.CodeMalformed},
		"claim short id":    {protocol.ClaimBody{KClaim: claim.KClaim, ClaimID: det("id", 15)}, protocol.CodeMalformed},
		"claim short key":   {protocol.ClaimBody{KClaim: claim.KClaim[:31], ClaimID: claim.ClaimID}, protocol.CodeMalformed},
		"open":              {protocol.OpenBody{ClaimSeq: 1, KEM: kem, Box: box}, ""},
		"open claim 0":      {protocol.OpenBody{KEM: kem, Box: box}, protocol.CodeMalformed},
		"open raw kem":      {protocol.OpenBody{ClaimSeq: 1, KEM: rawKEM(t, kem), Box: box}, protocol.CodeMalformed},
		"open trailing kem": {protocol.OpenBody{ClaimSeq: 1, KEM: append(cat(kem), 0), Box: box}, protocol.CodeMalformed},
		"open short box":    {protocol.OpenBody{ClaimSeq: 1, KEM: kem, Box: box[:27]}, protocol.CodeMalformed},
		"ready":             {protocol.ReadyBody{ClaimSeq: 1, Next: protocol.StateReady, Box: box}, ""},
		"ready next":        {protocol.ReadyBody{ClaimSeq: 1, Next: protocol.StateFailed, Box: box}, protocol.CodeMalformed},
		"ready claim 0":     {protocol.ReadyBody{Next: protocol.StateReady, Box: box}, protocol.CodeMalformed},
		"result":            {protocol.ResultBody{ClaimSeq: 1, KEM: kem, Box: box}, ""},
		"result large":      {protocol.ResultBody{ClaimSeq: 1, KEM: kem, Box: make([]byte, protocol.MaxBox+1)}, protocol.CodeMalformed},
		"ack":               {protocol.AckBody{Result: det("r", 32)}, ""},
		"ack short":         {protocol.AckBody{Result: det("r", 31)}, protocol.CodeMalformed},
		"watch":             {protocol.WatchBody{Watch: det("w", 16), Wait: 25}, ""},
		"watch wait":        {protocol.WatchBody{Watch: det("w", 16), Wait: 26}, protocol.CodeMalformed},
		"watch short":       {protocol.WatchBody{Watch: det("w", 15)}, protocol.CodeMalformed},
		"watch after":       {protocol.WatchBody{Watch: det("w", 16), After: -1}, protocol.CodeMalformed},
	} {
		if err := c.body.Check(); protocol.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestKeysThatAreNone(t *testing.T) {
	for name, key := range map[string]any{"nothing": nil, "nil key": (*ecdsa.PublicKey)(nil), "text": "key", "no curve": &ecdsa.PublicKey{}} {
		if _, err := protocol.AlgOf(key); protocol.CodeOf(err) != protocol.CodeMalformed {
			t.Errorf("%s: %v", name, err)
		}
		if protocol.Verify(key, []byte("m"), []byte("s")) {
			t.Errorf("%s verifies", name)
		}
	}
	wantErr := errors.New("no entropy")
	_, err := protocol.Sign(brokenSigner{detSM2(t, "k"), wantErr}, []byte("m"))
	if !errors.Is(err, wantErr) {
		t.Fatalf("%v does not wrap the signer's error", err)
	}
}

// TestExpectationsAreWhole holds that a verifier cannot ask for nothing and be given it.
func TestExpectationsAreWhole(t *testing.T) {
	w := newWorld(t)
	whole := protocol.Expected{Request: &w.request, RH: w.rh, ClaimSeq: 1, PlatformName: platformName, Cert: w.userCert}
	for name, change := range map[string]func(e *protocol.Expected){
		"request": func(e *protocol.Expected) { e.Request = nil }, "rh": func(e *protocol.Expected) { e.RH = nil },
		"rh16": func(e *protocol.Expected) { e.RH = e.RH[:16] }, "claim": func(e *protocol.Expected) { e.ClaimSeq = 0 }, "cert": func(e *protocol.Expected) { e.Cert = nil },
	} {
		e := whole
		change(&e)
		if _, err := protocol.CheckStatement(encoded(t, w.statement()), w.shown(), e); err == nil {
			t.Errorf("accepted without %s", name)
		}
	}
}

func TestAppOrigins(t *testing.T) {
	for origin, good := range map[string]bool{
		"https://app.example.cn": true, "https://app.example.cn:8443": true, "http://127.0.0.1:8403": true, "http://localhost:1": true, "http://[::1]:80": true,
		"http://app.example.cn": false, "https://app.example.cn/": false, "https://app.example.cn/x": false, "https://u@app.example.cn": false,
		"https://app.example.cn?": false, "https://app.example.cn#": false, "https://": false, "app.example.cn": false, "ftp://app.example.cn": false,
		"http://127.0.0.1.evil.example": false, "http://localhost.evil.example": false, "": false,
	} {
		if (protocol.CheckAppOrigin(origin) == nil) != good {
			t.Errorf("%q: %v", origin, protocol.CheckAppOrigin(origin))
		}
	}
}

func TestDisplayLines(t *testing.T) {
	for line, good := range map[string]bool{
		"招标项目 A-01（第二次）": true, "价格：￥1,234.50": true, "全角　空格": true, "😀": true, "Ünïcode é": true,
		"": false, "\t": false, "a\u00a0b": false, "a\u2003b": false, "a\u202eb": false, "a\u2066b": false, "\u200b": false, "\ufeff": false,
		"x\ufe0f": false, "\u115f": false, "\u3164": false, "\u034f": false, "\u2800": false, "\U000e0041": false, "\ue000": false, "\u0378": false,
		"a\u2028b": false, "a\u0085b": false, "\u00ad": false, "\ufffd": false, "\xff": false, "e\u0301": false,
	} {
		if (protocol.CheckDisplay(line) == nil) != good {
			t.Errorf("%q: %v", line, protocol.CheckDisplay(line))
		}
	}
}

func TestFrameNumbers(t *testing.T) {
	for elapsed, want := range map[time.Duration]uint16{-time.Second: 0, 0: 0, 1999 * time.Millisecond: 0, 2 * time.Second: 1, 131070 * time.Second: 65535, 1000 * time.Hour: 65535} {
		if got := protocol.FrameAt(elapsed); got != want {
			t.Errorf("after %s frame %d, want %d", elapsed, got, want)
		}
	}
}

func TestDigits(t *testing.T) {
	seen := make(map[string]bool)
	for range 500 {
		d := must(protocol.NewDigits())(t)
		if len(d) != 2 || strings.Trim(d, "0123456789") != "" {
			t.Fatalf("%q", d)
		}
		seen[d] = true
	}
	if len(seen) < 80 {
		t.Fatalf("500 draws of two digits gave %d values", len(seen))
	}
}

// TestWiping holds that keys are gone from memory that others still point to.
func TestWiping(t *testing.T) {
	w := newWorld(t)
	claim := w.claim(1)
	up, dn := claim.Boxes()
	req, mix := w.keys.ReqMix()
	kClaim := w.keys.KClaim
	claim.Wipe()
	w.keys.Wipe()
	for n, b := range [][]byte{up, dn, req, mix, kClaim} {
		if strings.Trim(string(b), "\x00") != "" {
			t.Errorf("key %d was not wiped", n)
		}
	}
}

// TestClaimsDraw holds that every claim and every box is made of new randomness.
func TestClaimsDraw(t *testing.T) {
	w := newWorld(t)
	seen := make(map[string]bool)
	for range 20 {
		claim := must(protocol.NewClaim(w.keys, w.context(1)))(t)
		for range 2 {
			box := must(claim.Seal(protocol.BoxOpen, protocol.OpenBox{Digits: "07"}))(t)
			var back protocol.OpenBox
			other := must(protocol.OpenClaim(w.keys, w.context(1), w.e, claim.KEM))(t)
			noErr(t, other.Open(protocol.BoxOpen, box, &back))
			if back.Digits != "07" || seen[string(box[:12])] || len(claim.KEM) > protocol.MaxKEM {
				t.Fatalf("%+v", back)
			}
			seen[string(box[:12])] = true
		}
		if seen[string(claim.KEM)] {
			t.Fatal("two claims have the same kem")
		}
		seen[string(claim.KEM)] = true
	}
	c := w.context(1)
	c.E = cat(c.E[:64], []byte{c.E[64] ^ 1})
	_, err := protocol.NewClaim(w.keys, c)
	wantCode(t, err, protocol.CodeMalformed)
}

// brokenSigner is a key whose module refuses.
type brokenSigner struct {
	*sm2.PrivateKey
	err error
}

func (b brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, b.err }

func TestIsOrigin(t *testing.T) {
	for text, want := range map[string]bool{
		"https://bid.example.cn": true, "https://bid.example.cn:8443": true, "http://127.0.0.1:8400": true, "http://[::1]:8400": true,
		"": false, "bid.example.cn": false, "null": false, "ftp://bid.example.cn": false, "https://": false,
		"https://bid.example.cn/": false, "https://bid.example.cn/x": false, "https://u@bid.example.cn": false,
		"https://bid.example.cn?x": false, "https://bid.example.cn#x": false, "HTTPS://bid.example.cn": false,
	} {
		if got := protocol.IsOrigin(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
