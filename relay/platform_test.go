package relay_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/internal/callsig"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
)

// TestLibraryClient: what Sign makes is accepted, with and without a body, a
// query, and a spelling of the host that is not canonical.
func TestLibraryClient(t *testing.T) {
	w := newWorld(t)
	c := w.platform.newChallenge(protocol.KindLogin, false)
	call := func(method, path string, body []byte) *http.Request {
		t.Helper()
		var req *http.Request
		var err error
		if body == nil {
			req, err = http.NewRequestWithContext(t.Context(), method, w.origin+path, nil)
		} else {
			req, err = http.NewRequestWithContext(t.Context(), method, w.origin+path, bytes.NewReader(body))
		}
		must(t, err)
		must(t, callsig.Sign(req, w.platform.key, w.platform.id))
		return req
	}
	for _, req := range []*http.Request{call(http.MethodPut, c.path, encode(t, c.body)), call(http.MethodGet, c.path, nil),
		call(http.MethodGet, c.path+"?after=0&wait=1", nil), call(http.MethodPost, c.path+"/cancel", nil), call(http.MethodGet, "/v1/feed?after=0", nil)} {
		resp, err := w.server.Client().Do(req)
		must(t, err)
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s: %s", req.Method, req.URL, resp.Status)
		}
	}
	if s := c.read(); s.State != protocol.StateCanceled {
		t.Fatalf("state %s", s.State)
	}
}

// TestSignatureRefused goes through what a signature may lack or have too much.
func TestSignatureRefused(t *testing.T) {
	w := newWorld(t)
	c := w.platform.created(protocol.KindLogin, false)
	body := encode(t, protocol.FailBody{Code: protocol.CodeMatchFailed})
	now := time.Now().Unix()
	without := func(name string) func(*signing) {
		return func(s *signing) {
			var rest []string
			for _, c := range s.components {
				if c != name {
					rest = append(rest, c)
				}
			}
			s.components = rest
		}
	}
	for _, tc := range []struct {
		name  string
		alter func(*signing)
		edit  func(*http.Request)
		want  protocol.Code
	}{
		{"wrong tag", func(s *signing) { s.tag = "other" }, nil, protocol.CodeUnauthorized},
		{"no tag", func(s *signing) { s.tag = "" }, nil, protocol.CodeUnauthorized},
		{"method not covered", without("@method"), nil, protocol.CodeUnauthorized},
		{"authority not covered", without("@authority"), nil, protocol.CodeUnauthorized},
		{"path not covered", without("@path"), nil, protocol.CodeUnauthorized},
		{"query not covered", without("@query"), nil, protocol.CodeUnauthorized},
		{"digest not covered", without("content-digest"), nil, protocol.CodeUnauthorized},
		{"digest missing", func(s *signing) { without("content-digest")(s); s.digest = "" }, nil, protocol.CodeUnauthorized},
		{"another field", func(s *signing) { s.components = append(s.components, "date") }, func(r *http.Request) { r.Header.Set("Date", "x") }, protocol.CodeUnauthorized},
		{"component twice", func(s *signing) { s.components = append(s.components, "@method") }, nil, protocol.CodeUnauthorized},
		{"component with a parameter", func(s *signing) { s.components[1] = "@authority;req" }, nil, protocol.CodeUnauthorized},
		{"query parameter in place of the query", func(s *signing) { s.components[3] = `@query-param;name="after"` }, nil, protocol.CodeUnauthorized},
		{"other authority", func(s *signing) { s.authority = "other.example.cn" }, nil, protocol.CodeUnauthorized},
		{"relay reached as another", func(s *signing) { s.authority = "other.example.cn" }, func(r *http.Request) { r.Host = "other.example.cn" }, protocol.CodeUnauthorized},
		{"unknown key", func(s *signing) { s.keyID = "nobody" }, nil, protocol.CodeUnauthorized},
		{"too long a life", func(s *signing) { s.expires = s.created + 61 }, nil, protocol.CodeUnauthorized},
		{"expires before created", func(s *signing) { s.expires = s.created - 1 }, nil, protocol.CodeUnauthorized},
		{"short nonce", func(s *signing) { s.nonce = "abc" }, nil, protocol.CodeUnauthorized},
		{"long nonce", func(s *signing) { s.nonce = strings.Repeat("a", 65) }, nil, protocol.CodeUnauthorized},
		{"unknown parameter", func(s *signing) { s.extra = ";more=1" }, nil, protocol.CodeUnauthorized},
		{"other algorithm", func(s *signing) { s.extra = `;alg="hmac-sha256"` }, nil, protocol.CodeUnauthorized},
		{"parameter of another type", func(s *signing) { s.extra = `;alg=1` }, nil, protocol.CodeUnauthorized},
		{"nonce twice", func(s *signing) { s.extra = `;nonce="aaaaaaaaaaaaaaaaaaaaaa"` }, nil, protocol.CodeUnauthorized},
		{"stale", func(s *signing) { s.created, s.expires = now-90, now-31 }, nil, protocol.CodeClockSkew},
		{"from the future", func(s *signing) { s.created, s.expires = now+90, now+120 }, nil, protocol.CodeClockSkew},
		{"altered body", nil, func(r *http.Request) { setBody(r, append(bytes.Clone(body), ' ')) }, protocol.CodeUnauthorized},
		{"dropped body", nil, func(r *http.Request) { setBody(r, nil) }, protocol.CodeUnauthorized},
		{"other path", nil, func(r *http.Request) { r.URL.Path = c.path + "/cancel" }, protocol.CodeUnauthorized},
		{"other query", nil, func(r *http.Request) { r.URL.RawQuery = "a=1" }, protocol.CodeUnauthorized},
		{"other method", nil, func(r *http.Request) { r.Method = http.MethodPut; r.URL.Path = c.path }, protocol.CodeUnauthorized},
		{"two signature fields", nil, func(r *http.Request) { r.Header.Add("Signature", r.Header.Get("Signature")) }, protocol.CodeUnauthorized},
		{"two inputs", nil, func(r *http.Request) { r.Header.Add("Signature-Input", r.Header.Get("Signature-Input")) }, protocol.CodeUnauthorized},
		{"a second label", nil, func(r *http.Request) {
			in, sig := r.Header.Get("Signature-Input"), r.Header.Get("Signature")
			r.Header.Set("Signature-Input", in+", "+strings.Replace(in, "sig1", "sig2", 1))
			r.Header.Set("Signature", sig+", "+strings.Replace(sig, "sig1", "sig2", 1))
		}, protocol.CodeUnauthorized},
		{"a label twice", nil, func(r *http.Request) {
			in := r.Header.Get("Signature-Input")
			r.Header.Set("Signature-Input", `sig1=("@method");created=1, `+in)
		}, protocol.CodeUnauthorized},
		{"created is a string", nil, func(r *http.Request) {
			r.Header.Set("Signature-Input", strings.Replace(r.Header.Get("Signature-Input"), "created=", `created="1";x=`, 1))
		}, protocol.CodeUnauthorized},
		{"no signature value", nil, func(r *http.Request) { r.Header.Set("Signature", "sig1=1") }, protocol.CodeUnauthorized},
		{"digest of another algorithm", func(s *signing) { s.digest = strings.Replace(s.digest, "sha-256", "sha-512", 1) }, nil, protocol.CodeUnauthorized},
		{"two digests", func(s *signing) { s.digest = "md5=:AAAA:, " + s.digest }, nil, protocol.CodeUnauthorized},
		{"a pass, too", nil, func(r *http.Request) { r.Header.Set(protocol.HeaderPass, "x.y") }, protocol.CodeUnauthorized},
		{"encoded body", nil, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, protocol.CodeMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &platform{w: w, id: w.platform.id, key: w.platform.key, alter: tc.alter}
			req := p.request(http.MethodPost, c.path+"/fail", body)
			if tc.edit != nil {
				tc.edit(req)
			}
			resp, err := w.do(req)
			must(t, err)
			e := wantCode(t, answer(resp, nil), tc.want)
			if tc.want == protocol.CodeClockSkew && e.ServerTime == 0 {
				t.Error("no server time")
			}
		})
	}
	// the same call without alteration reaches the state machine
	wantCode(t, w.platform.call(http.MethodPost, c.path+"/fail", protocol.FailBody{Code: protocol.CodeMatchFailed}, nil), protocol.CodeWrongState)
	c.wantState(protocol.StatePending)
}

func setBody(r *http.Request, body []byte) {
	fresh, err := http.NewRequest(r.Method, r.URL.String(), bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Body, r.ContentLength, r.GetBody = fresh.Body, fresh.ContentLength, fresh.GetBody
}

func TestSignatureOfAnotherKey(t *testing.T) {
	w := newWorld(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	thief := &platform{w: w, id: w.platform.id, key: key}
	wantCode(t, thief.call(http.MethodGet, "/v1/feed", nil, nil), protocol.CodeUnauthorized)
}

func TestNonceReplayed(t *testing.T) {
	w := newWorld(t)
	req := w.platform.request(http.MethodGet, "/v1/feed", nil)
	again := req.Clone(t.Context())
	resp, err := w.do(req)
	must(t, err)
	must(t, answer(resp, nil))
	resp, err = w.do(again)
	must(t, err)
	wantCode(t, answer(resp, nil), protocol.CodeReplayed)
	// a nonce is remembered for each platform by itself
	other := w.newPlatform("p2")
	other.alter = func(s *signing) { s.nonce = "aaaaaaaaaaaaaaaaaaaaaa" }
	w.platform.alter = other.alter
	must(t, w.platform.call(http.MethodGet, "/v1/feed", nil, nil))
	must(t, other.call(http.MethodGet, "/v1/feed", nil, nil))
	wantCode(t, other.call(http.MethodGet, "/v1/feed", nil, nil), protocol.CodeReplayed)
}

func TestBlockedPlatform(t *testing.T) {
	w := newWorld(t)
	must(t, w.store.BlockPlatform(t.Context(), w.platform.id, true))
	wantCode(t, w.platform.call(http.MethodGet, "/v1/feed", nil, nil), protocol.CodeForbidden)
	must(t, w.store.BlockPlatform(t.Context(), w.platform.id, false))
	must(t, w.platform.call(http.MethodGet, "/v1/feed", nil, nil))
}

// TestForeignAndUnknown: ids that belong to somebody else answer as if they did not exist.
func TestForeignAndUnknown(t *testing.T) {
	w := newWorld(t)
	other := w.newPlatform("p2")
	mine := w.platform.created(protocol.KindLogin, false)
	none := other.newChallenge(protocol.KindLogin, false)
	stranger := w.newDevice("李四")
	mine.claimed(w.newDevice("张三"))
	problem := func(do func(path string) *http.Request, path string) string {
		t.Helper()
		resp, err := w.do(do(path))
		must(t, err)
		defer resp.Body.Close()
		var b bytes.Buffer
		_, err = b.ReadFrom(resp.Body)
		must(t, err)
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s %s", path, resp.Status, b.Bytes())
		}
		id := resp.Header.Get(httpapi.HeaderRequestID) // all that may differ
		if strings.Count(b.String(), id) != 1 {
			t.Errorf("%s: id %q in %s", path, id, b.Bytes())
		}
		return strings.Replace(b.String(), id, "", 1)
	}
	ack := encode(t, protocol.AckBody{Result: make([]byte, 32)})
	fail := encode(t, protocol.FailBody{Code: protocol.CodeMatchFailed})
	ready := encode(t, protocol.ReadyBody{ClaimSeq: 1, Next: protocol.StateReady, Box: make([]byte, 40)})
	for name, do := range map[string]func(path string) *http.Request{
		"read":       func(path string) *http.Request { return other.request(http.MethodGet, path, nil) },
		"cancel":     func(path string) *http.Request { return other.request(http.MethodPost, path+"/cancel", nil) },
		"ack":        func(path string) *http.Request { return other.request(http.MethodPost, path+"/ack", ack) },
		"fail":       func(path string) *http.Request { return other.request(http.MethodPost, path+"/fail", fail) },
		"ready":      func(path string) *http.Request { return other.request(http.MethodPut, path+"/ready", ready) },
		"phone read": func(path string) *http.Request { return stranger.request(http.MethodGet, path, nil) },
	} {
		if foreign, unknown := problem(do, mine.path), problem(do, none.path); foreign != unknown {
			t.Errorf("%s: foreign %s, unknown %s", name, foreign, unknown)
		}
	}
	mine.wantState(protocol.StateClaimed)
	if page := other.feed("", 0); len(page.Events) != 0 {
		t.Fatal("a foreign feed is not empty")
	}
	for _, path := range []string{"/v1/challenges/" + strings.ToUpper(mine.cid.String()), "/v1/challenges/00", "/v1/nothing"} {
		wantCode(t, w.platform.call(http.MethodGet, path, nil, nil), protocol.CodeNotFound)
	}
}

func TestCreateRefused(t *testing.T) {
	w := newWorld(t, func(c *relay.Config) { c.Limits.OpenPerPlatform = 2 })
	c := w.platform.created(protocol.KindLogin, false)
	c.body.BoxR = append(bytes.Clone(c.body.BoxR), 0)
	wantCode(t, c.create(nil), protocol.CodeConflict)
	other := w.newPlatform("p2").newChallenge(protocol.KindLogin, false)
	other.path = c.path
	wantCode(t, other.create(nil), protocol.CodeConflict)

	bad := w.platform.newChallenge(protocol.KindLogin, false)
	for name, alter := range map[string]func(*protocol.CreateBody){
		"pending too long": func(b *protocol.CreateBody) { b.Deadlines.Pending++ },
		"claim too long":   func(b *protocol.CreateBody) { b.Deadlines.Claim++ },
		"no h_claim":       func(b *protocol.CreateBody) { b.HClaim = nil },
		"short h_watch":    func(b *protocol.CreateBody) { b.HWatch = b.HWatch[1:] },
		"empty box":        func(b *protocol.CreateBody) { b.BoxR = nil },
		"seal in one":      func(b *protocol.CreateBody) { b.Kind = protocol.KindSeal },
	} {
		b := bad.body
		alter(&b)
		if err := w.platform.call(http.MethodPut, bad.path, b, nil); protocol.CodeOf(err) != protocol.CodeMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := bad.body
	b.Deadlines.Keep = int64(protocol.MaxKeepLimit.Seconds())
	wantCode(t, w.platform.call(http.MethodPut, bad.path, b, nil), protocol.CodeForbidden)
	b = bad.body
	b.Kind = "other"
	wantCode(t, w.platform.call(http.MethodPut, bad.path, b, nil), protocol.CodeKindUnsupported)
	raw := bytes.Replace(encode(t, bad.body), []byte(`"kind"`), []byte(`"Kind"`), 1)
	resp, err := w.do(w.platform.request(http.MethodPut, bad.path, raw))
	must(t, err)
	wantCode(t, answer(resp, nil), protocol.CodeMalformed)
	resp, err = w.do(w.platform.request(http.MethodPut, bad.path, make([]byte, protocol.MaxRequestBody+1)))
	must(t, err)
	wantCode(t, answer(resp, nil), protocol.CodeTooLarge)

	must(t, w.platform.newChallenge(protocol.KindLogin, false).create(nil))
	err = bad.create(nil)
	if e := wantCode(t, err, protocol.CodeRateLimited); e.RetryAfter == 0 {
		t.Error("no Retry-After")
	}
}

// TestLargeBoxes: a box beyond the inline size stays out of the feed and comes by GET.
func TestLargeBoxes(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("张三")
	c := w.platform.created(protocol.KindSeal, true)
	c.claimed(d)
	open := protocol.OpenBody{ClaimSeq: 1, KEM: make([]byte, 140), Box: bytes.Repeat([]byte{1}, 20_000)}
	must(t, d.call(http.MethodPost, c.path+"/open", open, nil))
	ready := protocol.ReadyBody{ClaimSeq: 1, Next: protocol.StateReady, Box: bytes.Repeat([]byte{2}, protocol.MaxJSON)}
	must(t, w.platform.call(http.MethodPut, c.path+"/ready", ready, nil))
	result := c.signResult(d, protocol.ResultBody{ClaimSeq: 1, KEM: open.KEM, Box: bytes.Repeat([]byte{3}, protocol.MaxJSON)})
	_, err := c.result(d, result)
	must(t, err)

	e := w.platform.feed("", 0).Events[0]
	if len(e.Open.Box) != 0 || e.Open.Size != len(open.Box) || len(e.Ready.Box) != 0 || len(e.Result.Box) != 0 || e.Result.Size != len(result.Box) {
		t.Fatalf("boxes in the feed: %d, %d, %d", len(e.Open.Box), len(e.Ready.Box), len(e.Result.Box))
	}
	s := c.wantState(protocol.StateFulfilled)
	if !bytes.Equal(s.Open.Box, open.Box) || !bytes.Equal(s.Ready.Box, ready.Box) || !bytes.Equal(s.Result.Box, result.Box) {
		t.Fatal("boxes by GET differ")
	}
	tooBig := open
	tooBig.Box = make([]byte, 64<<10+1)
	wantCode(t, d.call(http.MethodPost, c.path+"/open", tooBig, nil), protocol.CodeMalformed)
}

func TestQueryRefused(t *testing.T) {
	w := newWorld(t)
	for _, q := range []string{"after=-1", "after=x", "wait=26", "wait=-1", "after=1&after=2", "other=1", "limit=x", "wait=99999999999999999999"} {
		if err := w.platform.call(http.MethodGet, "/v1/feed?"+q, nil, nil); protocol.CodeOf(err) != protocol.CodeMalformed {
			t.Errorf("%s: %v", q, err)
		}
	}
}
