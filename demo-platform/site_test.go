package demoplatform

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestSignOut(t *testing.T) {
	site := newTestSite(t, "", nil, (&clock{at: morning()}).now)
	v := newVisitor(t, site)
	v.signedIn(site, zhang())
	id := v.session()

	for name, change := range map[string]func(*http.Request){
		"another site": func(r *http.Request) {
			r.Header.Set("Origin", "https://evil.example")
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		},
		"a sister site": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"an old browser from another site": func(r *http.Request) {
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", "https://evil.example")
		},
	} {
		if answer := v.do(http.MethodPost, "/signout", "", change); answer.StatusCode != http.StatusForbidden {
			t.Errorf("sign-out from %s: %s", name, answer.Status)
		}
	}
	if _, ok := site.sessions.find(id); !ok {
		t.Fatal("a refused sign-out ended the session")
	}
	if answer := v.do(http.MethodPost, "/signout", "", nil); answer.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-out: %s", answer.Status)
	}
	if _, ok := site.sessions.find(id); ok || v.session() != "" {
		t.Error("the session lives on")
	}
	if !strings.Contains(v.page("/?notice=signedout"), "您已安全退出") {
		t.Error("the page does not say that the visitor signed out")
	}
	if own := site.records.of(zhang()); len(own) != 2 || own[0].Action != actionSignOut {
		t.Errorf("records after the sign-out: %+v", own)
	}
}

func TestSessionEnds(t *testing.T) {
	now := &clock{at: morning()}
	site := newTestSite(t, "", nil, now.now)
	v := newVisitor(t, site)
	v.signedIn(site, zhang())
	for range 17 { // every request counts as a sign of life, up to the session's whole life
		now.advance(sessionIdle - time.Second)
		if v.get("/account").StatusCode != http.StatusOK {
			break
		}
	}
	if lived := now.now().Sub(morning()); lived < sessionLife || lived > sessionLife+sessionIdle {
		t.Errorf("the session lived %v", lived)
	}
	v.signedIn(site, zhang())
	now.advance(sessionIdle)
	answer := v.get("/account?page=2")
	if to := answer.Header.Get("Location"); to != "/signin?return=%2Faccount%3Fpage%3D2&why=expired" {
		t.Errorf("after an idle session the page leads to %q", to)
	}
	if v.session() != "" {
		t.Error("the dead session's cookie stays")
	}
	if !strings.Contains(v.page("/signin?return=%2Faccount%3Fpage%3D2&why=expired"), "登录已过期") {
		t.Error("the sign-in page does not say why")
	}
}

// An id from before the sign-in, planted or old, opens nothing after it.
func TestSessionRotates(t *testing.T) {
	site := newTestSite(t, "", nil, (&clock{at: morning()}).now)
	first := site.sessions.begin("planted", zhang(), "")
	second := site.sessions.begin(first, zhang(), "")
	if first == "planted" || second == first {
		t.Error("an id from before was taken over")
	}
	for _, dead := range []string{"planted", first, ""} {
		if _, ok := site.sessions.find(dead); ok {
			t.Errorf("id %q is alive", dead)
		}
	}
	if _, ok := site.sessions.find(second); !ok {
		t.Error("the new id is not alive")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	now := &clock{at: morning()}
	s := newSessions(now.now)
	oldest := s.begin("", zhang(), "")
	now.advance(time.Second)
	for range maxSessions + 5 {
		s.begin("", zhang(), "")
	}
	if len(s.byID) != maxSessions {
		t.Errorf("%d sessions are kept", len(s.byID))
	}
	if _, ok := s.find(oldest); ok {
		t.Error("the oldest session was kept")
	}
}

func TestOnlyOwnRecordsAndEvidence(t *testing.T) {
	site := newTestSite(t, t.TempDir(), nil, (&clock{at: morning()}).now)
	owner, other := newVisitor(t, site), newVisitor(t, site)
	owner.signedIn(site, zhang())
	other.signedIn(site, li())

	if page := other.page("/account"); strings.Contains(page, "张三丰") || strings.Contains(page, zhang().CID) {
		t.Error("another person's records are shown")
	}
	if rows := text(t, other.get("/account/records.csv")); strings.Contains(rows, "张三丰") || !strings.Contains(rows, "李四") {
		t.Errorf("exported records of 李四: %s", rows)
	}
	foreign, unknown := other.get("/account/evidence/"+zhang().CID), other.get("/account/evidence/"+strings.Repeat("9", 32))
	if foreign.StatusCode != http.StatusNotFound || unknown.StatusCode != http.StatusNotFound {
		t.Errorf("foreign evidence %s, unknown %s", foreign.Status, unknown.Status)
	}
	if answer := owner.get("/account/evidence/" + zhang().CID); answer.StatusCode != http.StatusOK || text(t, answer) != `{"v":1}` {
		t.Errorf("own evidence: %s", answer.Status)
	}
	if answer := newVisitor(t, site).get("/account/evidence/" + zhang().CID); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("evidence without a session: %s", answer.Status)
	}
}

func TestTenderDocuments(t *testing.T) {
	now := &clock{at: morning()}
	site := newTestSite(t, "", nil, now.now)
	v := newVisitor(t, site)
	var open, over tender
	for _, candidate := range site.tenders.running(now.now()) {
		if now.now().Before(candidate.schedule.Documents) {
			open = candidate
		} else {
			over = candidate
		}
	}
	if to := v.get(open.Path() + "/documents.txt").Header.Get("Location"); !strings.HasPrefix(to, "/signin?return=%2Ftenders%2F") {
		t.Errorf("a visitor is sent to %q", to)
	}
	if answer := v.get(open.Path() + "/notice.txt"); answer.StatusCode != http.StatusOK || !strings.Contains(text(t, answer), open.Number) {
		t.Errorf("the public notice: %s", answer.Status)
	}
	v.signedIn(site, zhang())
	for range 2 {
		if answer := v.get(open.Path() + "/documents.txt"); answer.StatusCode != http.StatusOK || !strings.Contains(text(t, answer), open.Name.ZH) {
			t.Errorf("the documents: %s", answer.Status)
		}
	}
	if answer := v.get(over.Path() + "/documents.txt"); answer.StatusCode != http.StatusForbidden {
		t.Errorf("documents after their time: %s", answer.Status)
	}
	own := site.records.of(zhang())
	if len(own) != 3 || own[0].Result != resultRefused || own[1].Result != resultDone || own[1].Object != open.Number {
		t.Errorf("records: %+v", own)
	}
}

func TestErrorPages(t *testing.T) {
	var log bytes.Buffer
	site, err := New(Options{Origin: testOrigin, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	v := newVisitor(t, site)
	for _, path := range []string{"/nothing", "/tenders/HD-GC-20200101-01", "/static/secret.css", "/static/..%2Fsite.go", "/signout"} {
		answer := v.get(path)
		if page := text(t, answer); answer.StatusCode != http.StatusNotFound || !strings.Contains(page, "没有找到这个页面") {
			t.Errorf("GET %s: %s", path, answer.Status)
		}
	}
	v.handler = site.recovered(site.headers(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(errors.New("secret cause")) })))
	answer := v.get("/")
	page := text(t, answer)
	if answer.StatusCode != http.StatusInternalServerError || !strings.Contains(page, "平台一侧的故障") || strings.Contains(page, "secret") {
		t.Errorf("a panic: %s\n%s", answer.Status, page)
	}
	_, rest, _ := strings.Cut(log.String(), "reference=")
	if reference, _, _ := strings.Cut(rest, " "); len(reference) != 12 || !strings.Contains(page, reference) {
		t.Errorf("the page does not name the log's reference %q", reference)
	}
}

func TestHeaders(t *testing.T) {
	site := newTestSite(t, "", nil, (&clock{at: morning()}).now)
	v := newVisitor(t, site)
	for _, path := range []string{"/", "/signin", "/nothing", "/static/site.css", "/account"} {
		header := v.get(path).Header
		policy := header.Get("Content-Security-Policy")
		for _, want := range []string{"frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy %q lacks %q", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", path, header)
		}
	}
	v.signedIn(site, zhang())
	if header := v.get("/account").Header; header.Get("Cache-Control") != "no-store" {
		t.Error("the account page may be kept by a cache")
	}
}

func TestAssetsAreKeptByVersion(t *testing.T) {
	site := newTestSite(t, "", nil, (&clock{at: morning()}).now)
	v := newVisitor(t, site)
	path, err := site.assetPath("site.css")
	if err != nil {
		t.Fatal(err)
	}
	if kept := v.get(path).Header.Get("Cache-Control"); !strings.Contains(kept, "immutable") {
		t.Errorf("the present version: %q", kept)
	}
	if kept := v.get("/static/site.css?v=old").Header.Get("Cache-Control"); kept != "no-cache" {
		t.Errorf("another version: %q", kept)
	}
	if _, err := site.assetPath("missing.css"); err == nil {
		t.Error("a missing asset has an address")
	}
}

func TestOtherHostsAreSentToTheOrigin(t *testing.T) {
	site := newTestSite(t, "", nil, (&clock{at: morning()}).now)
	v := newVisitor(t, site)
	other := func(r *http.Request) { r.Host = "localhost:8400" }
	answer := v.do(http.MethodGet, "/tenders/x?a=b", "", other)
	if to := answer.Header.Get("Location"); to != testOrigin+"/tenders/x?a=b" {
		t.Errorf("%s to %q", answer.Status, to)
	}
	if answer := v.do(http.MethodPost, "/signout", "", other); answer.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a POST to another host: %s", answer.Status)
	}
	if answer := v.do(http.MethodGet, "/health", "", other); answer.StatusCode != http.StatusOK {
		t.Errorf("health: %s", answer.Status)
	}
}

func TestOriginIsChecked(t *testing.T) {
	for _, origin := range []string{"", "bid.example.cn", "ftp://bid.example.cn", "https://", "https://bid.example.cn/path"} {
		if _, err := New(Options{Origin: origin}); err == nil {
			t.Errorf("origin %q is accepted", origin)
		}
	}
}

func TestReturnPath(t *testing.T) {
	for path, want := range map[string]string{
		"/account":                               "/account",
		"/tenders/HD-GC-1?a=b#c":                 "/tenders/HD-GC-1?a=b#c",
		"":                                       "/else",
		"account":                                "/else",
		"//evil.example":                         "/else",
		"/\\evil.example":                        "/else",
		"\\\\evil.example":                       "/else",
		"/\t/evil.example":                       "/else",
		"/%2f%2fevil.example":                    "/else",
		"/%5cevil.example":                       "/else",
		"https://evil.example":                   "/else",
		"javascript:alert(1)":                    "/else",
		"/a\r\nSet-Cookie: x":                    "/else",
		"/" + strings.Repeat("a", maxReturnPath): "/else",
	} {
		if got := returnPath(path, "/else"); got != want {
			t.Errorf("%q leads to %q, want %q", path, got, want)
		}
	}
	site := newTestSite(t, "", nil, (&clock{at: morning()}).now)
	v := newVisitor(t, site)
	v.signedIn(site, zhang())
	if to := v.get("/signin?return=//evil.example").Header.Get("Location"); to != "/account" {
		t.Errorf("a foreign way back leads to %q", to)
	}
	if to := v.get("//evil.example/?lang=en").Header.Get("Location"); strings.HasPrefix(to, "//") || strings.Contains(to, "evil.example") && !strings.HasPrefix(to, "/evil") {
		t.Errorf("the language switch leads to %q", to)
	}
}
