package ca_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/protocol"
)

func from(handler http.Handler, address, forwarded string) *httptest.ResponseRecorder {
	request := httptest.NewRequest("GET", caapi.PathInfo, nil)
	request.RemoteAddr = address
	if forwarded != "" {
		request.Header.Set("X-Forwarded-For", forwarded)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

// TestHTTPLimitsAnAddress: one address is bounded, others are not, and nobody
// becomes another by a header unless a proxy is trusted.
func TestHTTPLimitsAnAddress(t *testing.T) {
	f := newFixture(t)
	handler := ca.NewHandler(f.Authority, server.Options{Limits: server.Limits{PerSecond: 1, Burst: 2}})
	for range 2 {
		if r := from(handler, "192.0.2.1:1000", ""); r.Code != http.StatusOK {
			t.Fatalf("within the burst: %d", r.Code)
		}
	}
	for name, forwarded := range map[string]string{"the same": "", "a header": "198.51.100.9"} {
		r := from(handler, "192.0.2.1:2000", forwarded)
		var problem protocol.Problem
		must(t, protocol.DecodeJSON(r.Body.Bytes(), &problem))
		if r.Code != http.StatusTooManyRequests || r.Header().Get("Retry-After") != "1" || problem.Code != protocol.CodeRateLimited {
			t.Errorf("%s: %d %v", name, r.Code, r.Header())
		}
	}
	if r := from(handler, "192.0.2.2:1000", ""); r.Code != http.StatusOK {
		t.Errorf("another address: %d", r.Code)
	}
	f.clock.add(time.Second)
	if r := from(handler, "192.0.2.1:1000", ""); r.Code != http.StatusOK {
		t.Errorf("after a second: %d", r.Code)
	}
	proxied := ca.NewHandler(f.Authority, server.Options{Limits: server.Limits{PerSecond: 1, Burst: 1, TrustedProxies: []string{"192.0.2.0/24"}}})
	for i := range 3 {
		if r := from(proxied, "192.0.2.1:1000", fmt.Sprintf("198.51.100.%d", i)); r.Code != http.StatusOK {
			t.Errorf("behind a trusted proxy: %d", r.Code)
		}
	}
	broken := ca.NewHandler(f.Authority, server.Options{Limits: server.Limits{PerSecond: 1, Burst: 1, TrustedProxies: []string{"not an address"}}})
	from(broken, "192.0.2.1:1000", "198.51.100.1")
	if r := from(broken, "192.0.2.1:1000", "198.51.100.2"); r.Code != http.StatusTooManyRequests {
		t.Errorf("with a proxy that is no address everybody is believed: %d", r.Code)
	}
	if (server.Limits{TrustedProxies: []string{"not an address"}}).Check() == nil || (server.Limits{TrustedProxies: []string{"10.0.0.0/8", "::1"}}).Check() != nil {
		t.Error("check of trusted proxies")
	}
}

// TestHTTPLogInjection: what an attacker sends stands in no line of the log as a
// line of its own, and in the audit log only as quoted JSON.
func TestHTTPLogInjection(t *testing.T) {
	f := newFixture(t)
	desk := f.addOperator(t, "auditor", registry.RoleAudit)
	const forged = "level=ERROR msg=forged"
	for _, path := range []string{
		caapi.PathOperatorRecoveries + "/x%0A" + forged + "/approve", caapi.PathTreeProof + "?serial=%0A" + strings.ReplaceAll(forged, " ", "%20"),
		"/crl/%0A" + strings.ReplaceAll(forged, " ", "%20") + ".crl",
	} {
		path = strings.ReplaceAll(path, " ", "%20")
		request, body := desk.signed(t, "POST", caapi.PathOperatorRevocations, map[string]int{"v": 1})
		f.serve(t, "POST", path, request.Header, body)
		f.serve(t, "GET", path, request.Header, nil)
	}
	_ = f.serve(t, "POST", caapi.PathEnrol, http.Header{"User-Agent": {"x\n" + forged}}, []byte("{\"v\":1,\"code\":\"\\n"+forged+"\"}"))
	if bytes.Contains(f.log.Bytes(), []byte("\n"+forged)) {
		t.Errorf("a forged line:\n%s", f.log.Bytes())
	}
	if n := f.count(t, `SELECT count(*) FROM ca_audit WHERE content LIKE '%forged%'`); n != 0 {
		t.Errorf("%d entries hold what a stranger sent", n)
	}
}

// TestHTTPHeadsAreSignedRarely: whoever asks for heads without end makes nobody
// sign without end.
func TestHTTPHeadsAreSignedRarely(t *testing.T) {
	f := newFixture(t)
	handler := ca.NewHandler(f.Authority, server.Options{})
	ask := func(path string) string {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest("GET", path, nil))
		if recorder.Code != http.StatusOK || !strings.HasPrefix(recorder.Header().Get("Cache-Control"), "public, max-age=") {
			t.Fatalf("%s: %d %v", path, recorder.Code, recorder.Header())
		}
		return recorder.Body.String()
	}
	for _, path := range []string{caapi.PathAuditHead, caapi.PathTreeHead} {
		first := ask(path)
		f.enrol(t)
		if ask(path) != first {
			t.Errorf("%s was signed twice in a moment", path)
		}
		f.clock.add(10 * time.Second)
		if ask(path) == first {
			t.Errorf("%s stays old", path)
		}
	}
}

// TestHTTPListing: pages, proofs and refusals over HTTP.
func TestHTTPListing(t *testing.T) {
	f := newFixture(t)
	f.enrol(t)
	var page caapi.TreeEntries
	must(t, protocol.DecodeJSON(f.serve(t, "GET", caapi.PathTreeEntries+"?start=1&limit=2", nil, nil).body, &page))
	if len(page.Leaves) != 2 || page.Size != uint64(f.count(t, `SELECT count(*) FROM ca_certificates`)) || page.Start != 1 {
		t.Errorf("%+v", page)
	}
	must(t, protocol.DecodeJSON(f.serve(t, "GET", caapi.PathTreeEntries+"?start=99", nil, nil).body, &page))
	if r := f.serve(t, "GET", caapi.PathTreeConsistency+"?first=2&second=5", nil, nil); r.status != http.StatusOK {
		t.Errorf("consistency: %s", r.body)
	}
	for _, path := range []string{
		caapi.PathTreeEntries + "?limit=0", caapi.PathTreeEntries + "?limit=257", caapi.PathTreeEntries + "?start=-1", caapi.PathTreeEntries + "?start=01",
		caapi.PathTreeEntries + "?start=99999999999999999999", caapi.PathTreeProof, caapi.PathTreeProof + "?serial=1&release=2", caapi.PathTreeProof + "?serial=xyz",
		caapi.PathTreeProof + "?certificate=" + strings.Repeat("0", 65), caapi.PathTreeConsistency + "?first=3&second=2", caapi.PathTreeConsistency + "?first=1&second=99",
	} {
		if code := f.serve(t, "GET", path, nil, nil).code(t); code != protocol.CodeMalformed {
			t.Errorf("%s: %q", path, code)
		}
	}
	for _, path := range []string{caapi.PathTreeProof + "?serial=12", caapi.PathTreeProof + "?release=ab", caapi.PathTreeProof + "?certificate=00"} {
		if code := f.serve(t, "GET", path, nil, nil).code(t); code != protocol.CodeNotFound {
			t.Errorf("%s: %q", path, code)
		}
	}
}
