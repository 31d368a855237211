package demoplatform

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	bidseal "github.com/bidseal/bidseal/sdk"
)

// clock stands still until a test moves it.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// morning is a Tuesday at ten in Beijing.
func morning() time.Time { return time.Date(2026, time.March, 10, 10, 0, 0, 0, beijing()) }

const testOrigin = "https://bid.example.cn"

// newTestSite makes a site with records in dir ("" for memory).
func newTestSite(t *testing.T, dir string, client *bidseal.Client, now func() time.Time) *Site {
	t.Helper()
	site, err := New(Options{
		Client: client, Origin: testOrigin, Dir: dir, Clock: now,
		Demo: &DemoOptions{PhoneHints: []PhoneHint{{Name: "张三", Role: "admin", Organisation: "某公司", Command: "bidseal phone scan LINK"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return site
}

// visitor is a browser: it keeps cookies and does not follow redirects.
type visitor struct {
	t       *testing.T
	handler http.Handler
	jar     *cookiejar.Jar
}

func newVisitor(t *testing.T, site *Site) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, handler: site.Handler(), jar: jar}
}

// do sends a request the way a browser sends one from a page of the site, changed by the caller.
func (v *visitor) do(method, path, body string, change func(*http.Request)) *http.Response {
	v.t.Helper()
	r := httptest.NewRequestWithContext(v.t.Context(), method, testOrigin+path, strings.NewReader(body))
	for _, cookie := range v.jar.Cookies(r.URL) {
		r.AddCookie(cookie)
	}
	r.Header.Set("User-Agent", "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/130.0 Safari/537.36")
	if method != http.MethodGet {
		r.Header.Set("Origin", testOrigin)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	v.handler.ServeHTTP(w, r)
	answer := w.Result()
	v.jar.SetCookies(r.URL, answer.Cookies())
	return answer
}

func (v *visitor) get(path string) *http.Response {
	v.t.Helper()
	return v.do(http.MethodGet, path, "", nil)
}

// page gets a page that must be there, and returns it.
func (v *visitor) page(path string) string {
	v.t.Helper()
	answer := v.get(path)
	if answer.StatusCode != http.StatusOK {
		v.t.Fatalf("GET %s: %s, to %q", path, answer.Status, answer.Header.Get("Location"))
	}
	return text(v.t, answer)
}

func text(t *testing.T, answer *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// call posts JSON the way the waiting element does.
func (v *visitor) call(path string, in, out any) *http.Response {
	v.t.Helper()
	raw, err := json.Marshal(in)
	if err != nil {
		v.t.Fatal(err)
	}
	answer := v.do(http.MethodPost, path, string(raw), func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Sec-Fetch-Dest", "empty")
	})
	if out != nil {
		if err := json.Unmarshal([]byte(text(v.t, answer)), out); err != nil {
			v.t.Fatalf("POST %s: %s: %v", path, answer.Status, err)
		}
	}
	return answer
}

// signedIn gives the browser a session and the site the record, as after a sign-in.
func (v *visitor) signedIn(site *Site, who account) {
	v.t.Helper()
	if _, err := site.records.add(usageRecord{ID: who.CID, Action: actionSignIn, Result: resultDone, At: site.now(), Account: who}, []byte(`{"v":1}`)); err != nil {
		v.t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(v.t.Context(), http.MethodPost, testOrigin+"/", nil)
	site.beginSession(w, r, who)
	v.jar.SetCookies(r.URL, w.Result().Cookies())
}

// session returns the id that the browser holds.
func (v *visitor) session() string {
	v.t.Helper()
	at, err := url.Parse(testOrigin)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, cookie := range v.jar.Cookies(at) {
		if cookie.Name == "__Host-bidding" {
			return cookie.Value
		}
	}
	return ""
}

func zhang() account {
	return account{Anchor: "aa11", Lineage: "01", Kind: "organisation", Person: "张三丰", Organisation: "某建设公司", CreditCode: "91330100MA2XQ4TL9B",
		Role: "admin", Serial: "5C1E09A47B22", CID: strings.Repeat("1", 32), At: morning()}
}

func li() account {
	return account{Anchor: "aa11", Lineage: "02", Kind: "person", Person: "李四", Serial: "77AA", CID: strings.Repeat("2", 32), At: morning()}
}
