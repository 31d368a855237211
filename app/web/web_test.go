package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestScanPageIsInert(t *testing.T) {
	rec := httptest.NewRecorder()
	Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/q", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d", rec.Code)
	}
	csp := rec.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", styleHash(scanPage)} {
		if !strings.Contains(csp, want) {
			t.Errorf("CSP %q lacks %s", csp, want)
		}
	}
	body := strings.ToLower(rec.Body.String())
	for _, banned := range []string{"<script", "src=", "href=", "onload", "url(", "<form"} {
		if strings.Contains(body, banned) {
			t.Errorf("the static page holds %q", banned)
		}
	}
}

func TestOtherPathsAreNotServed(t *testing.T) {
	for _, c := range []struct {
		method, path string
		want         int
	}{{http.MethodGet, "/", 404}, {http.MethodGet, "/q/x", 404}, {http.MethodPost, "/q", 405}} {
		rec := httptest.NewRecorder()
		Handler().ServeHTTP(rec, httptest.NewRequest(c.method, c.path, nil))
		if rec.Code != c.want {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, rec.Code, c.want)
		}
	}
}
