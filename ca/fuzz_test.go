package ca_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
)

// ours fails the test when an error escapes that callers could not tell.
func ours(t *testing.T, err error) {
	t.Helper()
	var own *protocol.Error
	if err != nil && !errors.As(err, &own) {
		t.Fatalf("an error without a code: %v", err)
	}
}

func FuzzEnrolment(f *testing.F) {
	a := newFixture(f)
	p := newPhone(f, a.clock, a.code(f, 0))
	f.Add(p.body, p.call(f).Proof)
	f.Add([]byte(`{"v":1}`), "")
	f.Fuzz(func(t *testing.T, body []byte, proof string) {
		_, err := a.Life.Enrol(t.Context(), life.SignedCall{Path: caapi.PathEnrol, Body: body, Proof: proof})
		ours(t, err)
		_, err = a.Life.RenewPass(t.Context(), life.SignedCall{Path: caapi.PathPass, Body: body, Proof: proof, Pass: proof})
		ours(t, err)
		_, err = a.Registry.RequestPlatform(t.Context(), life.SignedCall{Path: caapi.PathPlatformRequests, Body: body, Proof: proof})
		ours(t, err)
	})
}

func FuzzOCSPPath(f *testing.F) {
	a := newFixture(f)
	handler := ca.NewHandler(a.Authority, server.Options{})
	f.Add("MEIwQDA%2BMDwwOjAJBgUrDgMCGgUABBQ")
	f.Add("/../%00")
	f.Fuzz(func(t *testing.T, path string) {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ocsp/x", nil)
		request.URL = &url.URL{Path: "/ocsp/" + path}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusOK {
			t.Fatalf("status %d", recorder.Code)
		}
		if _, err := trust.ParseOCSPResponse(recorder.Body.Bytes()); err == nil {
			t.Fatal("an answer to a question that nobody asked")
		}
	})
}
