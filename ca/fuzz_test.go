package ca

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/issuance"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// ours fails the test when an error escapes that callers could not tell.
func ours(t *testing.T, err error) {
	t.Helper()
	var own *protocol.Error
	if err != nil && !errors.As(err, &own) {
		t.Fatalf("an error without a code: %v", err)
	}
}

func FuzzCSR(f *testing.F) {
	key, err := sm2.GenerateKey(rand.Reader)
	must(f, err)
	der, err := smx509.CreateCertificateRequest(rand.Reader, &smx509.CertificateRequest{}, key)
	must(f, err)
	f.Add(der)
	f.Fuzz(func(t *testing.T, der []byte) {
		spki, err := readCSR(issuance.SM2, der)
		ours(t, err)
		if err == nil {
			if _, err := smx509.ParsePKIXPublicKey(spki); err != nil {
				t.Fatal("a key that cannot be read again")
			}
		}
	})
}

func FuzzEnrolment(f *testing.F) {
	a := newFixture(f)
	p := newPhone(f, a.clock, a.code(f, 0))
	f.Add(p.body, p.call(f).Proof)
	f.Add([]byte(`{"v":1}`), "")
	f.Fuzz(func(t *testing.T, body []byte, proof string) {
		_, err := a.Enrol(t.Context(), SignedCall{Path: caapi.PathEnrol, Body: body, Proof: proof})
		ours(t, err)
		_, err = a.RenewPass(t.Context(), SignedCall{Path: caapi.PathPass, Body: body, Proof: proof, Pass: proof})
		ours(t, err)
		_, err = a.RequestPlatform(t.Context(), SignedCall{Path: caapi.PathPlatformRequests, Body: body, Proof: proof})
		ours(t, err)
	})
}

func FuzzOCSPPath(f *testing.F) {
	a := newFixture(f)
	handler := NewHandler(a.Authority, HandlerOptions{})
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
