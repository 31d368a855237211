package protocol_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// seeds are the inputs of that name of all vectors of a kind.
func seeds(f *testing.F, kind, input string, asText bool) [][]byte {
	f.Helper()
	var out [][]byte
	for _, file := range must(filepath.Glob(filepath.Join(vectorDir, "*.json")))(f) {
		v := readVector(f, file)
		text, ok := v.Input[input].(string)
		if v.Kind != kind || !ok {
			continue
		}
		if asText {
			out = append(out, []byte(text))
			continue
		}
		out = append(out, must(hex.DecodeString(text))(f))
	}
	if len(out) == 0 {
		f.Fatalf("no vector of kind %s has an input %s", kind, input)
	}
	return out
}

func addSeeds(f *testing.F, all ...[][]byte) {
	for _, s := range slices.Concat(all...) {
		f.Add(s)
	}
}

// classified fails the target where an error has no code, or one that is not
// in the catalogue.
func classified(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if code := protocol.CodeOf(err); code == protocol.CodeInternal || !slices.Contains(protocol.Codes(), code) {
		t.Fatalf("an error without a code: %v", err)
	}
	if _, err := protocol.EncodeJSON(protocol.ProblemOf(err)); err != nil {
		t.Fatalf("a refusal that cannot be told: %v", err)
	}
}

func documents() map[string]func() any {
	return map[string]func() any{
		"create": func() any { return new(protocol.CreateBody) }, "claim": func() any { return new(protocol.ClaimBody) },
		"open": func() any { return new(protocol.OpenBody) }, "ready": func() any { return new(protocol.ReadyBody) },
		"result": func() any { return new(protocol.ResultBody) }, "reject": func() any { return new(protocol.RejectBody) },
		"fail": func() any { return new(protocol.FailBody) }, "ack": func() any { return new(protocol.AckBody) },
		"watch": func() any { return new(protocol.WatchBody) }, "state": func() any { return new(protocol.ChallengeState) },
		"feed": func() any { return new(protocol.FeedPage) }, "hello": func() any { return new(protocol.FeedHello) },
		"openbox": func() any { return new(protocol.OpenBox) }, "readybox": func() any { return new(protocol.ReadyBox) },
		"resultbox": func() any { return new(protocol.ResultBox) }, "sealed": func() any { return new(protocol.SealedRequest) },
		"problem": func() any { return new(protocol.Problem) },
	}
}

// FuzzDecodeJSON: what one reading takes, encoding and another reading keep,
// and the strict reader takes nothing that encoding/json finds invalid.
func FuzzDecodeJSON(f *testing.F) {
	addSeeds(f, seeds(f, "json", "document", false), seeds(f, "request", "request", false), seeds(f, "statement", "statement", false), seeds(f, "receipt", "receipt", false))
	for _, make := range documents() {
		f.Add(must(protocol.EncodeJSON(make()))(f))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, make := range documents() {
			v := make()
			err := protocol.DecodeJSON(data, v)
			classified(t, err)
			if err != nil {
				continue
			}
			if !json.Valid(data) {
				t.Fatalf("%s: taken, and no JSON", name)
			}
			roundTrip(t, name, v, make())
		}
	})
}

func roundTrip(t *testing.T, name string, v, again any) {
	t.Helper()
	raw, err := protocol.EncodeJSON(v)
	if err != nil {
		t.Fatalf("%s: read, and not to be written: %v", name, err)
	}
	if err := protocol.DecodeJSON(raw, again); err != nil {
		t.Fatalf("%s: written, and not to be read: %v", name, err)
	}
	if twice, err := protocol.EncodeJSON(again); err != nil || !bytes.Equal(twice, raw) {
		t.Fatalf("%s: %s was read and written as %s, %v", name, raw, twice, err)
	}
}

func FuzzParseRequest(f *testing.F) {
	addSeeds(f, seeds(f, "request", "request", false))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := protocol.ParseRequest(data)
		classified(t, err)
		if err != nil {
			return
		}
		raw, err := protocol.EncodeJSON(r)
		if err != nil {
			t.Fatalf("read, and not to be written: %v", err)
		}
		again, err := protocol.ParseRequest(raw)
		if err != nil || again.CID != r.CID || !slices.Equal(protocol.ShownLines(again, "x"), protocol.ShownLines(r, "x")) {
			t.Fatalf("%s\nwas read and written as\n%s, %v", data, raw, err)
		}
	})
}

func FuzzParsePayload(f *testing.F) {
	addSeeds(f, seeds(f, "qr", "text", true))
	f.Fuzz(func(t *testing.T, data []byte) {
		origins := []string{origin, "http://127.0.0.1:8403"}
		p, err := protocol.ParsePayload(string(data), origins)
		classified(t, err)
		if err != nil {
			return
		}
		for _, o := range origins {
			if text, err := p.Encode(o); err == nil && text == string(data) {
				return
			}
		}
		t.Fatalf("%q has a second spelling", data)
	})
}

// FuzzOpenRequest seals anything under the right key, as whoever saw the code can.
func FuzzOpenRequest(f *testing.F) {
	w := newWorld(f)
	req, _ := w.keys.ReqMix()
	f.Add(w.sealed(), true)
	f.Add(w.boxR(), false)
	addSealed := func(raw []byte) {
		f.Add(must(protocol.EncodeJSON(protocol.SealedRequest{Request: raw, Chain: []protocol.Bytes{w.platformCert}}))(f), true)
	}
	for _, raw := range seeds(f, "request", "request", false) {
		addSealed(raw)
	}
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		box, rh16 := data, w.rh[:16]
		if seal && len(data) <= protocol.MaxJSON {
			box = must(protocol.SealFixed(req, det("n", 12), data, cat(protocol.T(protocol.TagBoxR), w.keys.CID[:])))(t)
			var sr protocol.SealedRequest
			if protocol.DecodeJSON(data, &sr) == nil && len(sr.Chain) > 0 {
				rh16 = protocol.Commit(sr.Request, sr.Chain[0])[:16]
			}
		}
		opened, err := protocol.OpenRequest(w.keys, rh16, box)
		classified(t, err)
		if err == nil && (opened.Request.CID != w.keys.CID || !bytes.Equal(opened.RH[:16], rh16)) {
			t.Fatal("opened what the code does not commit to")
		}
	})
}

// FuzzOpenBox lets a phone put anything under the right key, and a relay anything at all.
func FuzzOpenBox(f *testing.F) {
	w := newWorld(f)
	claim := w.claim(1)
	up, dn := claim.Boxes()
	for _, b := range seeds(f, "claim_box", "box", false) {
		f.Add(b, byte(0))
	}
	f.Add(w.resultBox(encoded(f, w.statement())), byte(3))
	f.Add([]byte(`{"digits":"07"}`), byte(1))
	f.Add([]byte(`{"code":"ok","tries_left":3}`), byte(2))
	f.Fuzz(func(t *testing.T, data []byte, sealed byte) {
		for typ, content := range map[protocol.BoxType]any{1: new(protocol.OpenBox), 2: new(protocol.ReadyBox), 3: new(protocol.ResultBox)} {
			box, key, dir := data, up, byte(0)
			if typ == protocol.BoxReady {
				key, dir = dn, 1
			}
			if sealed == byte(typ) && len(data) <= protocol.MaxJSON {
				box = must(protocol.SealFixed(key, det("n", 12), data, boxAAD(dir, typ, w.keys.CID, w.rh, 1)))(t)
			}
			err := claim.Open(typ, box, content)
			classified(t, err)
			if r, ok := content.(*protocol.ResultBox); ok && err == nil && len(r.Chain) == 0 {
				t.Fatal("a result without certificate")
			}
		}
	})
}

func FuzzKEM(f *testing.F) {
	w := newWorld(f)
	addSeeds(f, seeds(f, "claim_keys", "kem", false))
	f.Fuzz(func(t *testing.T, kem []byte) {
		w := w.in(t)
		claim, err := protocol.OpenClaim(w.keys, w.context(1), w.e, kem)
		classified(t, err)
		if err == nil && !bytes.Equal(claim.KEM, kem) {
			t.Fatal("another kem than was given")
		}
	})
}

func FuzzFrame(f *testing.F) {
	w := newWorld(f)
	addSeeds(f, seeds(f, "frame_judgement", "frame", false))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := protocol.ParseFrame(b)
		classified(t, err)
		if err == nil && !bytes.Equal(frame.Bytes(), b) {
			t.Fatalf("%x was read and written as %x", b, frame.Bytes())
		}
		err = protocol.JudgeFrame(b, w.kFrame, w.keys.CID, 16*time.Second, time.Second)
		classified(t, err)
		if err == nil && !bytes.Equal(b, w.frame.Bytes()) && frame.MAC != protocol.NewFrame(w.kFrame, w.keys.CID, frame.T).MAC {
			t.Fatal("a forged frame was found good")
		}
		classified(t, protocol.JudgeStatementFrame(b, w.frame.Bytes(), w.kFrame, w.keys.CID, 2, time.Minute))
		classified(t, protocol.JudgeStatementFrame(w.frame.Bytes(), b, w.kFrame, w.keys.CID, 2, time.Minute))
	})
}

func FuzzStatement(f *testing.F) {
	w, items := newWorld(f), newWorld(f)
	items.setRequest(items.decrypt())
	addSeeds(f, seeds(f, "statement", "statement", false))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, w := range []*world{w.in(t), items.in(t)} {
			want := protocol.Expected{Request: &w.request, RH: w.rh, ClaimSeq: 1, PlatformName: platformName, Cert: w.userCert}
			s, err := protocol.CheckStatement(raw, w.shown(), want)
			classified(t, err)
			if err == nil && (s.CID != w.keys.CID || s.Aud != w.request.Platform || !bytes.Equal(s.RH, w.rh) || s.NOK+s.NFail != max(1, len(w.request.Items))) {
				t.Fatalf("found good: %s", raw)
			}
		}
	})
}

func FuzzReceipt(f *testing.F) {
	addSeeds(f, seeds(f, "receipt", "receipt", false))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := (&protocol.SignedReceipt{Bytes: raw}).Parse()
		classified(t, err)
		if err != nil {
			return
		}
		again, err := (&protocol.SignedReceipt{Bytes: must(protocol.EncodeJSON(r))(t)}).Parse()
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%s was read and written as %+v, %v", raw, again, err)
		}
	})
}

// FuzzPass reads the input as a pass, and as the JSON of one. Signatures are
// left to the vectors: they would only slow the search down.
func FuzzPass(f *testing.F) {
	addSeeds(f, seeds(f, "pass", "pass", true))
	f.Add(encoded(f, newWorld(f).pass(newWorld(f).phon.Public(), protocol.AlgSM2)))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, text := range []string{string(data), protocol.Bytes(data).String() + ".AA"} {
			p, err := protocol.ReadPass(text)
			classified(t, err)
			if err != nil {
				continue
			}
			if p.EXP-p.IAT > 86400 || p.Device != protocol.DeviceID(p.Key) {
				t.Fatalf("found good: %s", text)
			}
			roundTrip(t, "pass", p, new(protocol.Pass))
		}
	})
}

func FuzzProof(f *testing.F) {
	w := newWorld(f)
	pass := w.passText(encoded(f, w.pass(w.phon.Public(), protocol.AlgSM2)))
	now := time.UnixMilli(madeAt*1000 + 250)
	v := must(protocol.VerifyPass(w.issuer.Public(), pass, now))(f)
	call := protocol.Call{Method: "GET", URL: "https://relay.example.cn/v1/x"}
	good := w.proofText(w.phon, pass, call, now)
	addSeeds(f, seeds(f, "proof", "proof", true), [][]byte{[]byte(good)})
	f.Fuzz(func(t *testing.T, data []byte) {
		err := protocol.VerifyProof(v, string(data), call, now)
		classified(t, err)
		if err == nil && string(data) != good {
			t.Fatalf("another proof was found good: %q", data)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	addSeeds(f, seeds(f, "public_key", "spki", false))
	f.Fuzz(func(t *testing.T, der []byte) {
		pub, err := protocol.ParseKey(der)
		classified(t, err)
		if err == nil && !bytes.Equal(must(protocol.MarshalKey(pub))(t), der) {
			t.Fatalf("%x has a second form", der)
		}
	})
}

// FuzzText reads one text as every small form that travels as text.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "AA", "AB", "AA==", "3fa45f5606c6eb353cade496f662dc9a", "3FA45F5606C6EB353CADE496F662DC9A", "AAECAwQFBgcICQoLDA0ODw", "登录"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cid, err := protocol.ParseCID(string(text))
		classified(t, err)
		if err == nil && cid.String() != string(text) {
			t.Fatalf("cid %q has a second spelling", text)
		}
		var b protocol.Bytes
		if b.UnmarshalText(text) == nil && b.String() != string(text) {
			t.Fatalf("bytes %q have a second spelling", text)
		}
		classified(t, protocol.CheckDisplay(string(text)))
		classified(t, protocol.CheckAppOrigin(string(text)))
	})
}
