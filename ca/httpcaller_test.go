package ca_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/protocol"
)

// TestCallersBehindAProxy: applications are counted against who stands behind a
// trusted proxy, and nobody chooses that by headers of their own.
func TestCallersBehindAProxy(t *testing.T) {
	f := newFixture(t)
	e := ca.NewHandler(f.Authority, server.Options{Limits: server.Limits{TrustedProxies: []string{"127.0.0.1"}}})
	for _, call := range []struct {
		from  string
		lines []string
	}{
		{"127.0.0.1:99", []string{"198.51.100.7"}},
		{"127.0.0.1:99", []string{"203.0.113.1", "198.51.100.7"}}, // the first is what the caller wrote
		{"198.51.100.7:99", []string{"203.0.113.1"}},
	} {
		p := newApplicant(t)
		body, err := protocol.EncodeJSON(p.body)
		must(t, err)
		request := httptest.NewRequestWithContext(t.Context(), "POST", caapi.PathPlatformRequests, bytes.NewReader(body))
		request.RemoteAddr = call.from
		request.Header["X-Forwarded-For"] = call.lines
		request.Header.Set(protocol.HeaderProof, signedCall(t, p.api, "", caapi.PathPlatformRequests, body, f.clock.Now()).Proof)
		recorder := httptest.NewRecorder()
		e.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusOK {
			t.Fatalf("%d %s", recorder.Code, recorder.Body)
		}
	}
	if n := f.count(t, `SELECT count(*) FROM ca_platforms WHERE caller = '198.51.100.7'`); n != 3 {
		t.Errorf("%d of 3 applications are counted against their caller", n)
	}
}

// TestLimitIgnoresRealIP: a header that proxies pass on as it came gives nobody
// another address.
func TestLimitIgnoresRealIP(t *testing.T) {
	f := newFixture(t)
	e := ca.NewHandler(f.Authority, server.Options{Limits: server.Limits{TrustedProxies: []string{"127.0.0.1"}, PerSecond: 1, Burst: 1}})
	for i, spoofed := range []string{"203.0.113.1", "203.0.113.2"} {
		request := httptest.NewRequestWithContext(t.Context(), "GET", caapi.PathInfo, http.NoBody)
		request.RemoteAddr = "127.0.0.1:99"
		request.Header.Set("X-Forwarded-For", "198.51.100.7:4711") // a port: as some proxies write it
		request.Header.Set("X-Real-IP", spoofed)
		recorder := httptest.NewRecorder()
		e.ServeHTTP(recorder, request)
		if want := []int{http.StatusOK, http.StatusTooManyRequests}[i]; recorder.Code != want {
			t.Errorf("call %d: %d, want %d", i, recorder.Code, want)
		}
	}
}
