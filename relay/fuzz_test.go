package relay_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

// serve answers a request without a network and holds what is true of every
// answer: a refusal is a problem of a known code, and never "internal".
func (w *world) serve(t *testing.T, req *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	w.relay.Handler().ServeHTTP(rec, req)
	if rec.Code == http.StatusOK {
		return rec
	}
	var p protocol.Problem
	if err := protocol.DecodeJSON(rec.Body.Bytes(), &p); err != nil || p.Status != rec.Code || protocol.Lookup(p.Code).Status != rec.Code {
		t.Fatalf("status %d with %q", rec.Code, rec.Body)
	}
	if p.Code == protocol.CodeInternal || p.Code == protocol.CodeUnavailable {
		t.Fatalf("%s %s: %s", req.Method, req.URL, rec.Body)
	}
	return rec
}

func fuzzWorld(f *testing.F) *world {
	return newWorld(f, func(c *relay.Config) {
		c.Limits.CallsPerDevice, c.Limits.OpenPerPlatform, c.Limits.WrongClaims = 1<<40, 1<<40, 1<<40
	})
}

// FuzzPhoneHeaders: whatever stands in pass and proof, nobody gets in.
func FuzzPhoneHeaders(f *testing.F) {
	w := fuzzWorld(f)
	d := w.newDevice("张三")
	good := d.request(http.MethodGet, "/v1/challenges/00000000000000000000000000000000", nil)
	pass, proof := good.Header.Get(protocol.HeaderPass), good.Header.Get(protocol.HeaderProof)
	f.Add(pass, proof)
	f.Add(pass, "")
	f.Add("e30.AA", "e30")
	f.Fuzz(func(t *testing.T, fuzzedPass, fuzzedProof string) {
		req := httptest.NewRequest(http.MethodGet, "/v1/challenges/00000000000000000000000000000001", nil)
		req.Header.Set(protocol.HeaderPass, fuzzedPass)
		req.Header.Set(protocol.HeaderProof, fuzzedProof)
		rec := w.serve(t, req)
		if rec.Code != http.StatusUnauthorized { // the proof is for another URL, or worse
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
	})
}

// FuzzSignatureHeaders: whatever stands in the fields of RFC 9421, nobody gets in.
func FuzzSignatureHeaders(f *testing.F) {
	w := fuzzWorld(f)
	good := w.platform.request(http.MethodPost, "/v1/challenges/00000000000000000000000000000000/cancel", []byte("{}"))
	input, signature, digest := good.Header.Get("Signature-Input"), good.Header.Get("Signature"), good.Header.Get("Content-Digest")
	f.Add(input, signature, digest)
	f.Add(`sig1=("@method");created="x"`, "sig1=:AA==:", "sha-256=:AA==:")
	f.Add(`sig1=("@method";req "@query-param";name=1);created=1;tag=x`, "sig1=1", "")
	f.Fuzz(func(t *testing.T, input, signature, digest string) {
		req := httptest.NewRequest(http.MethodPost, "/v1/challenges/00000000000000000000000000000001/cancel", bytes.NewReader([]byte("{}")))
		req.Header.Set("Signature-Input", input)
		req.Header.Set("Signature", signature)
		req.Header.Set("Content-Digest", digest)
		if rec := w.serve(t, req); rec.Code != http.StatusUnauthorized { // at best signed for another path
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
	})
}

// FuzzBodies: authenticated calls with any body are answered by the catalogue.
func FuzzBodies(f *testing.F) {
	w := fuzzWorld(f)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindSeal, true)
	c.claimed(d)
	paths := []string{"", "/ready", "/ack", "/fail", "/cancel", "/claim", "/open", "/result", "/reject", "/fail"}
	f.Add(uint8(0), encode(f, c.body))
	f.Add(uint8(1), encode(f, protocol.ReadyBody{ClaimSeq: 1, Next: protocol.StateReady, Box: make([]byte, 40)}))
	f.Add(uint8(2), encode(f, protocol.AckBody{Result: make([]byte, 32)}))
	f.Add(uint8(3), encode(f, protocol.FailBody{Code: "x"}))
	f.Add(uint8(4), []byte{})
	f.Add(uint8(5), encode(f, c.claimBody()))
	f.Add(uint8(6), encode(f, protocol.OpenBody{ClaimSeq: 2, KEM: make([]byte, 140), Box: make([]byte, 40)}))
	f.Add(uint8(7), encode(f, c.resultBody(d, 1, 100)))
	f.Add(uint8(8), encode(f, protocol.RejectBody{ClaimSeq: 1, Reason: "not_me", Receipt: c.deviceReceipt(d, 1, "other")}))
	receipt := c.deviceReceipt(d, 1, "cert_revoked")
	f.Add(uint8(9), encode(f, protocol.FailBody{Code: "cert_revoked", ClaimSeq: 1, Receipt: &receipt}))
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		w.t = t
		path := c.path + paths[int(which)%len(paths)]
		var signed *http.Request
		switch n := int(which) % len(paths); {
		case n >= 5:
			signed = d.request(http.MethodPost, path, body)
		case n < 2:
			signed = w.platform.request(http.MethodPut, path, body)
		default:
			signed = w.platform.request(http.MethodPost, path, body)
		}
		req := httptest.NewRequest(signed.Method, path, bytes.NewReader(body))
		req.Header = signed.Header
		if rec := w.serve(t, req); rec.Code == http.StatusUnauthorized {
			t.Fatalf("the test signs wrongly: %s", rec.Body)
		}
	})
}
