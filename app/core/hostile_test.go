package core_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/protocol"
)

// TestRequestRefused: each request is wrong in one way, and the phone says which
// before it shows anything. Where the request is at fault, the platform is told.
func TestRequestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		order func(w *world) order
		want  protocol.Code
		told  protocol.Code // code that the challenge ends with; "" where the phone stays silent
	}{
		"swapped request": {func(w *world) order {
			other := w.login(order{})
			return order{sealed: func(s *protocol.SealedRequest) { s.Request = rawRequest(t, other) }}
		}, protocol.CodeRequestSwapped, ""},
		"swapped certificate": {func(w *world) order {
			fake := w.authority.platform(platformID, platformName)
			return order{sealed: func(s *protocol.SealedRequest) { s.Chain = w.authority.chain(fake.cert) }}
		}, protocol.CodeRequestSwapped, ""},
		"wrong signature": {func(*world) order {
			return order{sealed: func(s *protocol.SealedRequest) { s.Signature[len(s.Signature)-1] ^= 1 }}
		}, protocol.CodeRequestSignature, protocol.CodeRequestSignature},
		"platform of a foreign authority": {func(w *world) order {
			foreign := newPKI(t, w.clock, "foreign")
			p := foreign.platform(platformID, platformName)
			return order{signer: &p, chain: foreign.chain(p.cert), ocsp: foreign.ocsp(p.cert)}
		}, protocol.CodePlatformUntrusted, protocol.CodePlatformUntrusted},
		"person's certificate": {func(w *world) order {
			p := w.authority.issue(w.authority.holder(make([]byte, 16), signUsage), &w.authority.issuing, w.authority.key())
			return order{signer: &p}
		}, protocol.CodePlatformUntrusted, protocol.CodePlatformUntrusted},
		"another platform's certificate": {func(w *world) order {
			p := w.authority.platform("other-platform", platformName)
			return order{signer: &p}
		}, protocol.CodePlatformUntrusted, protocol.CodePlatformUntrusted},
		"another key id": {func(*world) order {
			return order{change: func(r *protocol.Request) { r.Key[0] ^= 1 }}
		}, protocol.CodePlatformUntrusted, protocol.CodePlatformUntrusted},
		"revoked platform": {func(w *world) order {
			w.authority.revoke(w.platform.cert)
			return order{}
		}, protocol.CodePlatformRevoked, protocol.CodePlatformRevoked},
		"status of yesterday": {func(w *world) order {
			old := w.authority.ocsp(w.platform.cert)
			w.clock.add(25 * time.Hour)
			return order{ocsp: old}
		}, protocol.CodeStatusStale, protocol.CodeStatusStale},
		"no status": {func(*world) order {
			return order{ocsp: []byte{}}
		}, protocol.CodeStatusStale, protocol.CodeStatusStale},
		"status of another certificate": {func(w *world) order {
			return order{ocsp: w.authority.ocsp(w.authority.platform(platformID, platformName).cert)}
		}, protocol.CodeStatusStale, protocol.CodeStatusStale},
		"dated in the future": {func(*world) order {
			return order{change: func(r *protocol.Request) { r.IAT, r.EXP = r.IAT+120, r.EXP+120 }}
		}, protocol.CodeRequestInvalid, protocol.CodeRequestInvalid},
		"expired": {func(*world) order {
			return order{change: func(r *protocol.Request) { r.IAT, r.EXP = r.IAT-300, r.EXP-300 }}
		}, protocol.CodeExpired, ""},
		"longer than allowed": {func(*world) order {
			return order{change: func(r *protocol.Request) { r.EXP += 3600 }}
		}, protocol.CodeRequestInvalid, ""},
		"bidirectional text": {func(*world) order {
			return order{change: func(r *protocol.Request) { r.Display = []string{"登录\u202e台平"} }}
		}, protocol.CodeRequestInvalid, ""},
		"critical name": {func(*world) order {
			return order{change: func(r *protocol.Request) { r.Crit = []string{"payment"} }}
		}, protocol.CodeCritUnknown, ""},
		"kind that is not built": {func(*world) order {
			return order{change: func(r *protocol.Request) {
				r.Kind = protocol.KindDecrypt
				r.EXP = r.IAT + int64((protocol.PendingLimit + protocol.ClaimLimit(r.Kind)).Seconds())
				r.Items = append(r.Items, []byte(`{"id":"1"}`))
				r.Expect = &protocol.Expect{Owner: &protocol.Owner{Anchor: make([]byte, 32), CreditCode: creditCode}}
			}}
		}, protocol.CodeKindUnsupported, protocol.CodeKindUnsupported},
		"another person expected": {func(w *world) order {
			return order{change: func(r *protocol.Request) {
				r.Expect = &protocol.Expect{Owner: &protocol.Owner{Anchor: protocol.H(w.authority.root.cert.Raw), CreditCode: "91110000000000000X"}}
			}}
		}, protocol.CodeNoCertificate, protocol.CodeNoCertificate},
		"another authority's person expected": {func(*world) order {
			return order{change: func(r *protocol.Request) {
				r.Expect = &protocol.Expect{Owner: &protocol.Owner{Anchor: make([]byte, 32), CreditCode: creditCode}}
			}}
		}, protocol.CodeNoCertificate, protocol.CodeNoCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			w := enrolled(t)
			d := w.login(c.order(w))
			_, err := w.phone.Scan(t.Context(), d.link)
			wantCode(t, err, c.want)
			if c.told != "" {
				d.ended(protocol.StateFailed, c.told)
			} else if d.at.p.State != protocol.StateClaimed {
				t.Errorf("the challenge is %s", d.at.p.State)
			}
		})
	}
}

func rawRequest(t *testing.T, d *desk) []byte {
	t.Helper()
	raw, err := protocol.EncodeJSON(d.request)
	must(t, err)
	return raw
}

// The expected owner by credit code and by lineage.
func TestExpectedOwner(t *testing.T) {
	w := enrolled(t)
	own, err := w.phone.Certificates(t.Context())
	must(t, err)
	anchor := protocol.H(w.authority.root.cert.Raw)
	for _, owner := range []protocol.Owner{{Anchor: anchor, CreditCode: creditCode}, {Anchor: anchor, Lineage: own[0].Identity.Lineage}} {
		s := w.scan(w.login(order{change: func(r *protocol.Request) { r.Expect = &protocol.Expect{Owner: &owner} }}))
		if n := len(s.Review().Candidates); n != 1 {
			t.Errorf("%d candidates for %+v", n, owner)
		}
	}
}

func TestForeignCodes(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{})
	digits := strings.SplitN(d.link, "#", 2)[1]
	for text, want := range map[string]protocol.Code{
		"":                                    protocol.CodeForeignCode,
		"https://evil.example.cn/q#" + digits: protocol.CodeForeignCode,
		"https://app.example.cn.evil/q#" + digits:   protocol.CodeForeignCode,
		"http://app.example.cn/q#" + digits:         protocol.CodeForeignCode,
		appOrigin + "/q?x=1#" + digits:              protocol.CodeForeignCode,
		appOrigin + "/q#" + digits[1:]:              protocol.CodePayloadInvalid,
		appOrigin + "/q#" + strings.Repeat("9", 80): protocol.CodePayloadInvalid,
	} {
		_, err := w.phone.Scan(t.Context(), text)
		wantCode(t, err, want)
	}
	if len(w.calls) != 0 {
		t.Errorf("%d calls went out for foreign codes", len(w.calls))
	}
}

// A relay that answers a claim with another challenge's box, a broken one, or
// too much of it.
func TestHostileClaimAnswers(t *testing.T) {
	w := enrolled(t)
	other := w.login(order{})
	for name, c := range map[string]struct {
		change func(*protocol.ClaimAnswer) []byte
		want   protocol.Code
	}{
		"another challenge's box": {func(a *protocol.ClaimAnswer) []byte { a.BoxR = other.at.boxR; return nil }, protocol.CodeBoxInvalid},
		"flipped bit":             {func(a *protocol.ClaimAnswer) []byte { a.BoxR[20] ^= 1; return nil }, protocol.CodeBoxInvalid},
		"cut off":                 {func(a *protocol.ClaimAnswer) []byte { a.BoxR = a.BoxR[:20]; return nil }, protocol.CodeBoxInvalid},
		"no claim":                {func(a *protocol.ClaimAnswer) []byte { a.ClaimSeq = 0; return nil }, protocol.CodeMalformed},
		"not json":                {func(*protocol.ClaimAnswer) []byte { return []byte("<html>") }, protocol.CodeMalformed},
		"duplicate name":          {func(*protocol.ClaimAnswer) []byte { return []byte(`{"claim_seq":1,"claim_seq":2}`) }, protocol.CodeMalformed},
		"float":                   {func(*protocol.ClaimAnswer) []byte { return []byte(`{"claim_seq":1.0}`) }, protocol.CodeMalformed},
		"null":                    {func(*protocol.ClaimAnswer) []byte { return []byte(`{"box_r":null}`) }, protocol.CodeMalformed},
		"oversized":               {func(*protocol.ClaimAnswer) []byte { return make([]byte, core.MaxAnswer+1) }, protocol.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			d := w.login(order{})
			w.intercept = func(call core.Call, serve func() core.Answer) (core.Answer, error) {
				answer := serve()
				if !strings.HasSuffix(call.URL, "/claim") {
					return answer, nil
				}
				var a protocol.ClaimAnswer
				must(t, protocol.DecodeJSON(answer.Body, &a))
				if raw := c.change(&a); raw != nil {
					return core.Answer{Status: 200, Body: raw}, nil
				}
				return reply(t, a), nil
			}
			_, err := w.phone.Scan(t.Context(), d.link)
			wantCode(t, err, c.want)
		})
	}
}

// A claim answer with another claim's number: the platform, which has it from
// the relay's events, cannot open what was sealed for a claim that never was.
func TestReplayedClaimAnswer(t *testing.T) {
	w := enrolled(t)
	d := w.login(order{})
	w.intercept = func(call core.Call, serve func() core.Answer) (core.Answer, error) {
		answer := serve()
		if strings.HasSuffix(call.URL, "/claim") {
			var a protocol.ClaimAnswer
			must(t, protocol.DecodeJSON(answer.Body, &a))
			a.ClaimSeq = 7
			return reply(t, a), nil
		}
		return answer, nil
	}
	s := w.scan(d)
	_, err := s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte(password))
	wantCode(t, err, protocol.CodeClaimSeq)
	if d.at.final != nil {
		t.Fatal("a result for a claim that never was is stored")
	}
}

// What a relay answers to an open: a ready that it made up, one of another
// claim, one that contradicts its box.
func TestHostileReady(t *testing.T) {
	for name, forge := range map[string]func(w *world, d *desk, c *challenge){
		"made up": func(w *world, _ *desk, c *challenge) {
			box, err := protocol.Random(64)
			must(t, err)
			w.relay.answerOpen(c, protocol.ReadyBody{ClaimSeq: c.open.ClaimSeq, Next: protocol.StateReady, Box: box})
		},
		"wrong digits called right": func(w *world, d *desk, c *challenge) {
			box, err := d.keys(c.open.ClaimSeq, c.open.KEM).Seal(protocol.BoxReady, protocol.ReadyBox{Code: protocol.ReadyMatch, TriesLeft: 2})
			must(t, err)
			w.relay.answerOpen(c, protocol.ReadyBody{ClaimSeq: c.open.ClaimSeq, Next: protocol.StateReady, Box: box})
		},
		"the phone's own open": func(w *world, _ *desk, c *challenge) {
			w.relay.answerOpen(c, protocol.ReadyBody{ClaimSeq: c.open.ClaimSeq, Next: protocol.StateReady, Box: c.open.Box})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := enrolled(t)
			d := w.login(order{digits: "42"})
			s := w.scan(d)
			w.relay.onOpen = func(c *challenge) { forge(w, d, c) }
			wantCode(t, s.EnterDigits(t.Context(), "42"), protocol.CodeBoxInvalid)
			_, err := s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte(password))
			wantCode(t, err, protocol.CodeMatchRequired)
		})
	}
}

// A relay that never answers the open, but does not wait either, is asked with
// pauses and until the request ends.
func TestPlatformNeverAnswers(t *testing.T) {
	w := enrolled(t)
	s := w.scan(w.login(order{digits: "42"}))
	w.relay.onOpen = nil
	err := s.EnterDigits(t.Context(), "42")
	wantCode(t, err, protocol.CodeExpired)
	if n := len(w.calls); n > 400 {
		t.Errorf("%d calls in four minutes", n)
	}
}

// A platform that comes from another root than before is pointed out.
func TestKeyChanged(t *testing.T) {
	w := newWorld(t)
	second := newPKI(t, w.clock, "second")
	setup := core.Setup{Anchors: [][]byte{w.authority.root.cert.Raw, second.root.cert.Raw}}
	_, err := w.phone.Enrol(t.Context(), w.authority.file(), setup, []byte(password))
	must(t, err)
	w.approve(w.scan(w.login(order{})))
	p := second.platform(platformID, platformName)
	d := w.login(order{signer: &p, chain: second.chain(p.cert), ocsp: second.ocsp(p.cert)})
	if f := w.scan(d).Review().Familiarity; f != core.KeyChanged {
		t.Errorf("familiarity %s", f)
	}
}

func TestOwnCertificateRevoked(t *testing.T) {
	w := enrolled(t)
	w.authority.revoke(w.authority.issued[0])
	d := w.login(order{})
	s := w.scan(d)
	_, err := s.Approve(t.Context(), s.Review().Candidates[0].ID, []byte(password))
	wantCode(t, err, protocol.CodeCertRevoked)
	d.ended(protocol.StateFailed, protocol.CodeCertRevoked)
}

func TestOwnCertificateExpired(t *testing.T) {
	w := enrolled(t)
	w.clock.add(31 * 24 * time.Hour)
	w.platform = w.authority.platform(platformID, platformName)
	d := w.login(order{})
	_, err := w.phone.Scan(t.Context(), d.link)
	wantCode(t, err, protocol.CodeCertExpired)
	d.ended(protocol.StateFailed, protocol.CodeNoCertificate)
}
