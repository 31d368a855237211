package ca_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/protocol"
)

// FuzzHTTP: no method, path, head or body makes the server fail: it answers, or refuses with a code. A panic would be
// answered by 500, too. Every route that is mounted is a seed.
func FuzzHTTP(f *testing.F) {
	a := newFixture(f)
	handler := ca.NewHandler(a.Authority, server.Options{})
	e := a.enrol(f)
	renewal := signedCall(f, e.device, e.answer.Pass, caapi.PathPass, []byte(`{"v":1}`), a.clock.Now())
	f.Add(http.MethodPost, caapi.PathPass, renewal.Proof, renewal.Pass, renewal.Body)
	for _, route := range handler.Routes() {
		path := route.Path
		for _, part := range strings.Split(route.Path, "/") {
			if strings.HasPrefix(part, ":") || strings.HasPrefix(part, "*") {
				path = strings.Replace(path, part, "issuing-1.crl", 1)
			}
		}
		f.Add(route.Method, path, renewal.Proof, renewal.Pass, []byte(`{"v":1}`))
	}
	f.Fuzz(func(t *testing.T, method, path, proof, pass string, body []byte) {
		target, query, _ := strings.Cut(path, "?")
		if !strings.HasPrefix(target, "/") {
			return // not what a server gets
		}
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", bytes.NewReader(body))
		request.Method, request.URL = method, &url.URL{Path: target, RawQuery: query}
		request.Header[http.CanonicalHeaderKey(protocol.HeaderProof)] = []string{proof}
		request.Header[http.CanonicalHeaderKey(protocol.HeaderPass)] = []string{pass}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code >= http.StatusInternalServerError {
			t.Fatalf("%s %s: %d %s", method, path, recorder.Code, recorder.Body)
		}
	})
}
