package ca_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/server"
)

// get makes one call without a body.
func get(h http.Handler, method, path string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Method, request.URL.Path = method, path
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	return recorder
}

// scrape returns the lines of the authority's own metrics.
func scrape(t *testing.T, s *server.Server) (lines []string) {
	t.Helper()
	recorder := get(s.AdminHandler(), http.MethodGet, "/metrics")
	if recorder.Code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", recorder.Code, recorder.Body)
	}
	for line := range strings.Lines(recorder.Body.String()) {
		if strings.HasPrefix(line, "bidseal_ca_") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// TestMetrics: calls by route and code, and the days left of what the authority
// lives on, which a scrape does not renew.
func TestMetrics(t *testing.T) {
	f := newFixture(t)
	s := ca.NewHandler(f.Authority, server.Options{})
	get(s, http.MethodGet, caapi.PathInfo)
	get(s, http.MethodGet, caapi.PathInfo)
	get(s, http.MethodGet, "/crl/none.crl")
	if public := get(s, http.MethodGet, "/metrics"); public.Code != http.StatusNotFound {
		t.Errorf("/metrics for everybody: %d", public.Code)
	}
	holds := func(wanted ...string) {
		t.Helper()
		text := "\n" + strings.Join(scrape(t, s), "\n") + "\n"
		for _, line := range wanted {
			if !strings.Contains(text, "\n"+line+"\n") {
				t.Errorf("no %s in%s", line, text)
			}
		}
	}
	holds(`bidseal_ca_requests_total{code="ok",method="GET",route="`+caapi.PathInfo+`"} 2`,
		`bidseal_ca_requests_total{code="not_found",method="GET",route="/crl/:file"} 1`,
		`bidseal_ca_requests_total{code="not_found",method="GET",route="other"} 1`,
		`bidseal_ca_request_seconds_count{route="`+caapi.PathInfo+`"} 2`)

	certificates := f.count(t, `SELECT count(*) FROM ca_certificates`)
	days := func(end time.Time) string { return fmt.Sprint(end.Sub(f.clock.Now()).Hours() / 24) }
	stamp, err := f.Life.TimestampCertificate(t.Context())
	must(t, err)
	for range 2 {
		holds(`bidseal_ca_certificate_days_left{authority="root",profile="root"} `+days(f.Folder.Root().NotAfter),
			`bidseal_ca_certificate_days_left{authority="issuing-1",profile="issuing"} `+days(f.Status.Current().Certificate().NotAfter),
			`bidseal_ca_certificate_days_left{authority="issuing-1",profile="timestamp"} `+days(stamp.NotAfter),
			`bidseal_ca_certificate_days_left{authority="issuing-1",profile="ocsp"} `+days(time.Unix(int64(f.count(t, `SELECT not_after FROM ca_certificates WHERE profile = 'ocsp'`)), 0)))
		f.clock.add(400 * 24 * time.Hour) // the responder's has ended
	}
	if n := f.count(t, `SELECT count(*) FROM ca_certificates`); n != certificates {
		t.Errorf("%d certificates before a scrape, %d after it", certificates, n)
	}
}

// TestInventedCallsMakeNoSeries: nobody makes the authority hold a label for each
// method and path that it can think of.
func TestInventedCallsMakeNoSeries(t *testing.T) {
	f := newFixture(t)
	s := ca.NewHandler(f.Authority, server.Options{Limits: server.Limits{PerSecond: -1}})
	invent := func(i int) {
		word := fmt.Sprintf("INVENTED%d", i)
		get(s, word, caapi.PathInfo)
		get(s, word, "/"+word)
		get(s, http.MethodGet, "/"+word)
		get(s, http.MethodGet, "/crl/"+word+".crl")
	}
	invent(0)
	before := len(scrape(t, s))
	for i := range 1000 {
		invent(i)
	}
	if after := len(scrape(t, s)); after != before {
		t.Errorf("%d series, then %d", before, after)
	}
}

// TestReadiness: the same on both listeners, and false while the server drains.
func TestReadiness(t *testing.T) {
	f := newFixture(t)
	s := ca.NewHandler(f.Authority, server.Options{})
	both := func(path string, want int) {
		t.Helper()
		for name, h := range map[string]http.Handler{"public": s, "admin": s.AdminHandler()} {
			if got := get(h, http.MethodGet, path).Code; got != want {
				t.Errorf("%s %s: %d, want %d", name, path, got, want)
			}
		}
	}
	both("/healthz", http.StatusOK)
	both("/readyz", http.StatusOK)
	s.Drain(t.Context())
	both("/healthz", http.StatusOK)
	both("/readyz", http.StatusServiceUnavailable)
}
