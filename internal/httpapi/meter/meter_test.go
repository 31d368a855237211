package meter_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/internal/httpapi/meter"
	"github.com/bidseal/bidseal/protocol"
)

func scrape(m *meter.Meter) string {
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return rec.Body.String()
}

// series counts those about calls.
func series(m *meter.Meter) (n int) {
	for line := range strings.Lines(scrape(m)) {
		if strings.HasPrefix(line, "bidseal_") {
			n++
		}
	}
	return n
}

func TestMeter(t *testing.T) {
	m := meter.New("relay", []string{"GET /things/{id}"})
	api := httpapi.New(slog.New(slog.DiscardHandler))
	api.Done = m.Done
	mux := http.NewServeMux()
	mux.HandleFunc("GET /things/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") == "none" {
			api.Refuse(w, r, protocol.Errorf(protocol.CodeNotFound, ""))
			return
		}
		api.JSON(w, r, struct{}{})
	})
	h := api.Handler(mux)
	call := func(method, path string) {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
	}
	call(http.MethodGet, "/things/1")
	call(http.MethodGet, "/things/2")
	call(http.MethodGet, "/things/none")
	call("BREW", "/pot")
	text := scrape(m)
	for _, line := range []string{
		`bidseal_relay_requests_total{code="ok",method="GET",route="GET /things/{id}"} 2`,
		`bidseal_relay_requests_total{code="not_found",method="GET",route="GET /things/{id}"} 1`,
		`bidseal_relay_requests_total{code="other",method="other",route="other"} 1`,
		`bidseal_relay_request_seconds_count{route="GET /things/{id}"} 3`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

// TestInventedWordsMakeNoSeries: nobody makes the process hold a label for each
// method, path or code that it can think of.
func TestInventedWordsMakeNoSeries(t *testing.T) {
	m := meter.New("relay", []string{"/a"})
	call := func(i int) {
		word := fmt.Sprintf("INVENTED%d", i)
		r := httptest.NewRequest(word, "/"+word, nil)
		r.Pattern = "/" + word // even where a router names what was called
		m.Done(r, httpapi.Outcome{Status: 200 + i%400, Code: protocol.Code(word)})
	}
	call(0)
	before := series(m)
	for i := range 10_000 {
		call(i)
	}
	if after := series(m); after != before || before == 0 {
		t.Errorf("%d series, then %d", before, after)
	}
}
