package bidseal_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/sdktest"
)

// page is a browser's side of the waiting page.
type page struct {
	t       *testing.T
	handler http.Handler
	origin  string
	cookies map[string]*http.Cookie
	headers map[string]string
	peer    string
}

func newPage(t *testing.T, h http.Handler) *page {
	return &page{t: t, handler: h, origin: sdktest.Origin, cookies: map[string]*http.Cookie{}, headers: map[string]string{}, peer: "192.0.2.1:1234"}
}

// answer is what came back: a view, the way on, or a problem.
type answer struct {
	ID          string          `json:"id"`
	State       string          `json:"state"`
	Digits      string          `json:"digits"`
	Name        string          `json:"name"`
	Holder      string          `json:"holder"`
	Confirm     bool            `json:"confirm"`
	Renewals    int             `json:"renewals"`
	SecondScans int             `json:"second_scans"`
	RemainMS    int64           `json:"remain_ms"`
	Reason      string          `json:"reason"`
	Frames      []frame         `json:"frames"`
	Problem     bidseal.Problem `json:"problem"`
	Next        string          `json:"next"`
	Code        bidseal.Code    `json:"code"`
	TitleZH     string          `json:"title_zh"`

	status int
	body   string
}

type frame struct {
	InMS int64  `json:"in_ms"`
	Size int    `json:"size"`
	Bits string `json:"bits"`
	Link string `json:"link"`
}

func (p *page) post(path, body string) answer {
	p.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.RemoteAddr = p.peer
	r.Header.Set("Content-Type", "application/json")
	if p.origin != "" {
		r.Header.Set("Origin", p.origin)
	}
	for name, value := range p.headers {
		r.Header.Set(name, value)
	}
	for _, c := range p.cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		p.cookies[c.Name] = c
		if c.MaxAge < 0 {
			delete(p.cookies, c.Name)
		}
	}
	a := answer{status: w.Code, body: w.Body.String()}
	if w.Body.Len() > 0 && strings.Contains(w.Header().Get("Content-Type"), "json") {
		must(p.t, json.Unmarshal(w.Body.Bytes(), &a))
	}
	if a.status >= 400 && a.Code == "" && w.Header().Get("Content-Type") == protocol.ProblemType {
		p.t.Fatalf("a problem without a code: %s", a.body)
	}
	return a
}

func (p *page) about(path string, a answer) answer {
	p.t.Helper()
	return p.post(path, `{"id":"`+a.ID+`"}`)
}

func (p *page) refused(a answer, code protocol.Code) {
	p.t.Helper()
	if a.Code != code || a.TitleZH == "" {
		p.t.Fatalf("got %d %s, want %s with words", a.status, a.body, code)
	}
}

// binding is the cookie that holds b, nil where there is none.
func (p *page) binding() *http.Cookie {
	for name, c := range p.cookies {
		if strings.HasPrefix(name, "__Host-bidseal-") || strings.HasPrefix(name, "bidseal-") {
			return c
		}
	}
	return nil
}

// counter counts the platform's commits.
type counter struct {
	logins []*bidseal.Login
	err    error
}

func (c *counter) options() bidseal.HandlerOptions {
	return bidseal.HandlerOptions{Links: true, OnLogin: func(w http.ResponseWriter, _ *http.Request, l *bidseal.Login) error {
		if c.err != nil {
			return c.err
		}
		c.logins = append(c.logins, l)
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "new"})
		return nil
	}}
}

func TestPageSignsIn(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	var commits counter
	p := newPage(t, env.Client().LoginHandler(commits.options()))
	v := p.post("/start", "{}")
	cookie := p.binding()
	if v.status != 200 || v.State != "waiting" || len(v.Frames) < 5 || v.RemainMS <= 0 || cookie == nil {
		t.Fatalf("start: %d %s", v.status, v.body)
	}
	if !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" || len(cookie.Value) != 43 {
		t.Errorf("cookie %+v", cookie)
	}
	must(t, env.PhoneOf(sdktest.Holder{Person: "张三", Organisation: "示例建设有限公司"}).Approve(ctx, v.Frames[0].Link))
	untilPage(t, p, &v, func() bool { return v.State == "done" })
	if !v.Confirm || v.Name != "张*" || v.Holder != "示例****公司" || strings.Contains(v.body, "张三") {
		t.Fatalf("state: %s", v.body)
	}
	end := p.about("/finish", v)
	if end.Next != "/" || len(commits.logins) != 1 || commits.logins[0].Person != "张三" {
		t.Fatalf("finish: %d %s", end.status, end.body)
	}
	if p.cookies["session"] == nil || p.binding() != nil {
		t.Errorf("cookies after the sign-in: %v", p.cookies)
	}
	p.cookies[cookie.Name] = cookie
	p.refused(p.about("/finish", v), protocol.CodeResultConsumed)
	if len(commits.logins) != 1 {
		t.Errorf("%d commits", len(commits.logins))
	}
}

// A result is collected by the browser that started it, and by no other.
func TestPageOtherBrowser(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	var commits counter
	h := env.Client().LoginHandler(commits.options())
	mine, theirs := newPage(t, h), newPage(t, h)
	v := mine.post("/start", "{}")
	must(t, env.Phone("张三").Approve(ctx, v.Frames[0].Link))
	for _, path := range []string{"/state", "/finish", "/cancel", "/renew"} {
		theirs.refused(theirs.about(path, v), protocol.CodeCookieMismatch)
	}
	theirs.post("/start", "{}") // a cookie of their own helps no better
	theirs.refused(theirs.about("/finish", v), protocol.CodeCookieMismatch)
	untilPage(t, mine, &v, func() bool { return v.State == "done" })
	if mine.about("/finish", v); len(commits.logins) != 1 {
		t.Errorf("%d commits", len(commits.logins))
	}
}

// A second tab keeps the first one's cookie, a planted value is never taken.
func TestPageCookie(t *testing.T) {
	env := sdktest.New(t)
	var commits counter
	p := newPage(t, env.Client().LoginHandler(commits.options()))
	first := p.post("/start", "{}")
	b := p.binding().Value
	p.post("/start", "{}")
	if p.binding().Value != b {
		t.Error("a second tab took the first one's cookie away")
	}
	if a := p.about("/state", first); a.State != "waiting" {
		t.Errorf("the first tab: %s", a.body)
	}
	planted := &http.Cookie{Name: "__Host-bidseal-planted", Value: strings.Repeat("A", 43)}
	p.cookies = map[string]*http.Cookie{planted.Name: planted}
	p.post("/start", "{}")
	delete(p.cookies, planted.Name)
	if got := p.binding().Value; got == planted.Value || got == b {
		t.Errorf("cookie after a planted one: %s", got)
	}
}

// Two tabs that start before either has its answer both keep what they were given,
// whichever answer comes last.
func TestPageTwoTabsAtOnce(t *testing.T) {
	env := sdktest.New(t)
	var commits counter
	h := env.Client().LoginHandler(commits.options())
	one, two := newPage(t, h), newPage(t, h)
	first, second := one.post("/start", "{}"), two.post("/start", "{}")
	jar := newPage(t, h)
	for _, p := range []*page{two, one} {
		jar.cookies[p.binding().Name] = p.binding()
	}
	for _, v := range []answer{first, second} {
		if a := jar.about("/state", v); a.State != "waiting" {
			t.Errorf("state: %s", a.body)
		}
	}
}

func TestPageWhoMayCall(t *testing.T) {
	env := sdktest.New(t)
	var commits counter
	p := newPage(t, env.Client().LoginHandler(commits.options()))
	for name, change := range map[string]func(){
		"no origin":     func() { p.origin = "" },
		"other origin":  func() { p.origin = "https://evil.example" },
		"null origin":   func() { p.origin = "null" },
		"other scheme":  func() { p.origin = strings.Replace(sdktest.Origin, "https", "http", 1) },
		"cross-site":    func() { p.headers["Sec-Fetch-Site"] = "cross-site" },
		"same-site":     func() { p.headers["Sec-Fetch-Site"] = "same-site" },
		"form in frame": func() { p.headers["Sec-Fetch-Dest"] = "iframe" },
		"form":          func() { p.headers["Sec-Fetch-Dest"] = "document" },
	} {
		p.origin, p.headers = sdktest.Origin, map[string]string{}
		change()
		if a := p.post("/start", "{}"); a.Code != protocol.CodeOriginRefused {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	p.origin, p.headers = sdktest.Origin, map[string]string{"Content-Type": "text/plain"}
	p.refused(p.post("/start", "{}"), protocol.CodeMalformed)
	p.headers = map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}
	p.refused(p.post("/start", `{"id":1}`), protocol.CodeMalformed)
	p.refused(p.post("/start", `{"id":"`+strings.Repeat("a", 5000)+`"}`), protocol.CodeTooLarge)
	p.refused(p.post("/state", `{"id":"`+strings.Repeat("0", 32)+`"}`), protocol.CodeNotFound)
	p.refused(p.post("/state", `{"id":"../../x"}`), protocol.CodeNotFound)
	if n := env.Relay.Calls("create"); n != 0 {
		t.Errorf("%d challenges were made", n)
	}
	if a := p.post("/start", "{}"); a.status != 200 {
		t.Errorf("the page's own call: %s", a.body)
	}
	r := httptest.NewRecorder()
	p.handler.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/start", nil))
	if r.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET start: %d", r.Code)
	}
}

// The digits are shown once a phone has claimed, not before.
func TestPageDigits(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	var commits counter
	o := commits.options()
	o.Login = func(*http.Request) (bidseal.LoginOptions, error) { return bidseal.LoginOptions{Static: true}, nil }
	p := newPage(t, env.Client().LoginHandler(o))
	v := p.post("/start", "{}")
	if v.Digits != "" || len(v.Frames) != 1 {
		t.Fatalf("start: %s", v.body)
	}
	link := v.Frames[0].Link
	if v = p.about("/state", v); v.Digits != "" {
		t.Fatalf("digits before the claim: %s", v.body)
	}
	scan, err := env.Phone("张三").Scan(ctx, link)
	must(t, err)
	st, _ := env.Relay.State(scan.Request.CID)
	v = p.post("/state", `{"id":"`+v.ID+`","rev":`+jsonNumber(st.Rev)+`}`)
	if v.State != "confirm" || len(v.Digits) != 2 || len(v.Frames) != 0 {
		t.Fatalf("after the claim: %s", v.body)
	}
	must(t, scan.Digits(ctx, v.Digits))
	if v = p.about("/state", v); v.State != "scanned" || v.Digits != "" {
		t.Fatalf("after the digits: %s", v.body)
	}
	must(t, scan.Approve(ctx))
	if v = p.about("/state", v); v.State != "done" {
		t.Fatalf("after the signature: %s", v.body)
	}
}

func jsonNumber(n int64) string { raw, _ := json.Marshal(n); return string(raw) }

func TestPageRenews(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	var commits counter
	p := newPage(t, env.Client().LoginHandler(commits.options()))
	v := p.post("/start", "{}")
	first := v.Frames[0].Link
	b := p.binding().Value
	env.Advance(protocol.PendingLimit + time.Second)
	untilPage(t, p, &v, func() bool { return v.Renewals == 1 })
	if v.State != "waiting" || v.Frames[0].Link == first || p.binding().Value != b {
		t.Fatalf("renewed: %s", v.body)
	}
	must(t, env.Phone("张三").Reject(ctx, v.Frames[0].Link, protocol.RejectWrongContent))
	untilPage(t, p, &v, func() bool { return v.State == "rejected" })
	if v.Reason != "wrong_content" || v.Problem.Code != protocol.CodeRejected {
		t.Fatalf("rejected: %s", v.body)
	}
	if v = p.about("/renew", v); v.State != "waiting" || len(v.Frames) == 0 {
		t.Fatalf("renewed by the button: %s", v.body)
	}
	if v = p.about("/cancel", v); v.State != "canceled" {
		t.Fatalf("canceled: %s", v.body)
	}
}

// untilPage asks for the state until it fits; each question re-reads the relay
// with a rev from the future, as a watcher's hint makes it do.
func untilPage(t *testing.T, p *page, v *answer, fits func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !fits(); {
		if time.Now().After(deadline) {
			t.Fatalf("the page stays at %s", v.body)
		}
		*v = p.post("/state", `{"id":"`+v.ID+`","rev":9007199254740991}`)
	}
}

// While the platform commits, a challenge cannot be canceled: the response would be untrue.
func TestPageNotMeDuringCommit(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	var p *page
	var v, canceled answer
	p = newPage(t, env.Client().LoginHandler(bidseal.HandlerOptions{Links: true, OnLogin: func(http.ResponseWriter, *http.Request, *bidseal.Login) error {
		canceled = p.about("/cancel", v)
		return nil
	}}))
	v = p.post("/start", "{}")
	must(t, env.Phone("王五").Approve(ctx, v.Frames[0].Link))
	untilPage(t, p, &v, func() bool { return v.State == "done" })
	if done := p.about("/finish", v); done.Next != "/" {
		t.Fatalf("finished: %s", done.body)
	}
	p.refused(canceled, protocol.CodeOverloaded)
}

// "Not me" refuses a result that is verified already.
func TestPageNotMe(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	var commits counter
	p := newPage(t, env.Client().LoginHandler(commits.options()))
	v := p.post("/start", "{}")
	must(t, env.Phone("王五").Approve(ctx, v.Frames[0].Link))
	untilPage(t, p, &v, func() bool { return v.State == "done" })
	if v = p.about("/cancel", v); v.State != "canceled" {
		t.Fatalf("canceled: %s", v.body)
	}
	p.refused(p.about("/finish", v), protocol.CodeCanceled)
	if len(commits.logins) != 0 {
		t.Errorf("%d commits", len(commits.logins))
	}
}

// A platform whose commit fails keeps the result for the next try.
func TestPageCommitFails(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	commits := counter{err: errors.New("the database is away: secret detail")}
	p := newPage(t, env.Client().LoginHandler(commits.options()))
	v := p.post("/start", "{}")
	must(t, env.Phone("张三").Approve(ctx, v.Frames[0].Link))
	untilPage(t, p, &v, func() bool { return v.State == "done" })
	a := p.about("/finish", v)
	if a.Code != protocol.CodeInternal || strings.Contains(a.body, "secret") {
		t.Fatalf("finish: %s", a.body)
	}
	if st := env.Relay.Calls("ack"); st != 0 {
		t.Errorf("%d acknowledgements", st)
	}
	commits.err = nil
	if a = p.about("/finish", v); a.Next == "" || len(commits.logins) != 1 {
		t.Fatalf("second try: %s", a.body)
	}
}

// While one call commits, another one of the same browser waits its turn.
func TestPageFinishesOnce(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	commits := 0
	h := env.Client().LoginHandler(bidseal.HandlerOptions{Links: true, OnLogin: func(http.ResponseWriter, *http.Request, *bidseal.Login) error {
		commits++
		close(entered)
		<-leave
		return nil
	}})
	p := newPage(t, h)
	v := p.post("/start", "{}")
	must(t, env.Phone("张三").Approve(ctx, v.Frames[0].Link))
	untilPage(t, p, &v, func() bool { return v.State == "done" })
	second := newPage(t, h)
	second.cookies[p.binding().Name] = p.binding()
	var first sync.WaitGroup
	first.Go(func() { p.about("/finish", v) })
	<-entered
	second.refused(second.about("/finish", v), protocol.CodeOverloaded)
	close(leave)
	first.Wait()
	second.refused(second.about("/finish", v), protocol.CodeResultConsumed)
	if commits != 1 {
		t.Errorf("%d commits", commits)
	}
}

// Next never leads off the platform.
func TestPageNextStaysHere(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	client := env.Client()
	for next, want := range map[string]string{"/account?x=1": "/account?x=1", "https://evil.example/": "/", "//evil.example": "/", "/\\evil.example": "/", "": "/"} {
		var commits counter
		o := commits.options()
		o.Next = func(*http.Request, *bidseal.Login) string { return next }
		p := newPage(t, client.LoginHandler(o))
		v := p.post("/start", "{}")
		must(t, env.Phone("张三").Approve(ctx, v.Frames[0].Link))
		untilPage(t, p, &v, func() bool { return v.State == "done" })
		if a := p.about("/finish", v); a.Next != want {
			t.Errorf("%q leads to %q", next, a.Next)
		}
	}
}

// The phone is told where the page's user is, as far as a trusted proxy says so.
func TestPageInitiator(t *testing.T) {
	ctx, env := testContext(t), sdktest.New(t)
	proxies := func(c *bidseal.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }
	var commits counter
	h := env.Client(proxies).LoginHandler(commits.options())
	for _, test := range []struct{ peer, forwarded, want string }{
		{"10.0.0.1:80", "198.51.100.7, 203.0.113.9, 10.1.2.3", "203.0.113.9"},
		{"10.0.0.1:80", "", "10.0.0.1"},
		{"192.0.2.1:80", "203.0.113.9", ""},
		{"10.0.0.1:80", "not an address", "10.0.0.1"},
	} {
		p := newPage(t, h)
		p.peer = test.peer
		p.headers["User-Agent"] = "Mozilla/5.0 \u202eevil\x01"
		if test.forwarded != "" {
			p.headers["X-Forwarded-For"] = test.forwarded
		}
		v := p.post("/start", "{}")
		scan, err := env.Phone("张三").Scan(ctx, v.Frames[0].Link)
		must(t, err)
		in := scan.Request.Initiator
		switch {
		case test.want == "" && in != nil:
			t.Errorf("%+v: believed %+v", test, in)
		case test.want != "" && (in == nil || in.IP != test.want || in.UserAgent != "Mozilla/5.0 evil" || in.Origin != sdktest.Origin):
			t.Errorf("%+v: %+v", test, in)
		}
	}
}

// On loopback http, which only a demo uses, the cookie has no prefix to keep.
func TestPageOnLoopback(t *testing.T) {
	env := sdktest.New(t)
	var commits counter
	p := newPage(t, env.Client(func(c *bidseal.Config) { c.Origins = []string{"http://127.0.0.1:8400"} }).LoginHandler(commits.options()))
	p.origin = "http://127.0.0.1:8400"
	p.post("/start", "{}")
	if c := p.binding(); c == nil || c.Secure || !c.HttpOnly || !strings.HasPrefix(c.Name, "bidseal-") {
		t.Errorf("cookies %v", p.cookies)
	}
}

func TestSecurePage(t *testing.T) {
	env := sdktest.New(t)
	h := http.Header{}
	env.Client().SecurePage(h)
	policy := h.Get("Content-Security-Policy")
	for _, want := range []string{"frame-ancestors 'none'", "default-src 'self'", env.Relay.URL(), "ws" + strings.TrimPrefix(env.Relay.URL(), "http")} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy without %s: %s", want, policy)
		}
	}
	if h.Get("X-Frame-Options") != "DENY" {
		t.Errorf("headers %v", h)
	}
}

func TestWidgetIsServed(t *testing.T) {
	env := sdktest.New(t)
	var commits counter
	server := httptest.NewServer(http.StripPrefix("/bidseal", env.Client().LoginHandler(commits.options())))
	defer server.Close()
	get := func(tag string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/bidseal/widget.js", nil)
		must(t, err)
		r.Header.Set("If-None-Match", tag)
		resp, err := server.Client().Do(r)
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp, string(body)
	}
	resp, body := get("")
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/javascript") || !strings.Contains(body, "bidseal-qr") {
		t.Fatalf("%s %s", resp.Status, resp.Header)
	}
	if resp, body = get(resp.Header.Get("ETag")); resp.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("asked again: %s", resp.Status)
	}
}
