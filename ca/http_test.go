package ca_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust/timestamp"
)

// maxAPIBody is the longest body that the API takes, in bytes.
const maxAPIBody = 16 << 10

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

const appOrigin = "https://app.example"

func (f *fixture) serve(t testing.TB, method, target string, header http.Header, body []byte) reply {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(body))
	for name, values := range header {
		request.Header[name] = values
	}
	recorder := httptest.NewRecorder()
	ca.NewHandler(f.Authority, server.Options{AppOrigins: []string{appOrigin}}).ServeHTTP(recorder, request)
	theDescription(t).check(t, request, body, recorder)
	return reply{recorder.Code, recorder.Header(), recorder.Body.Bytes()}
}

// reply is an answer that was read whole.
type reply struct {
	status int
	Header http.Header
	body   []byte
}

func TestHTTPEnrol(t *testing.T) {
	f := newFixture(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	header := http.Header{protocol.HeaderProof: {p.call(t).Proof}}
	first := f.serve(t, "POST", caapi.PathEnrol, header, p.body)
	if first.status != http.StatusOK || first.Header.Get("Cache-Control") != "no-store" || first.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, header %v: %s", first.status, first.Header, first.body)
	}
	e := p.read(t, first.body)
	pass := signedCall(t, p.device, e.answer.Pass, caapi.PathPass, []byte(`{"v":1}`), f.clock.Now())
	renewed := f.serve(t, "POST", caapi.PathPass, http.Header{protocol.HeaderProof: {pass.Proof}, protocol.HeaderPass: {pass.Pass}}, pass.Body)
	if renewed.status != http.StatusOK {
		t.Fatalf("status %d: %s", renewed.status, renewed.body)
	}
	var info caapi.Info
	must(t, protocol.DecodeJSON(f.serve(t, "GET", caapi.PathInfo, nil, nil).body, &info))
	if len(info.Roots) != 1 || !bytes.Equal(info.Roots[0].Certificate, f.Folder.Root().Raw) || info.PassAlg != protocol.AlgSM2 {
		t.Errorf("info %+v", info)
	}
}

func TestHTTPRefusals(t *testing.T) {
	f := newFixture(t)
	p := newPhone(t, f.clock, f.code(t, 0))
	for name, v := range map[string]struct {
		method, target string
		body           []byte
		code           protocol.Code
	}{
		"no proof":       {"POST", caapi.PathEnrol, p.body, protocol.CodeUnauthorized},
		"no JSON":        {"POST", caapi.PathEnrol, []byte("x"), protocol.CodeMalformed},
		"unknown member": {"POST", caapi.PathPass, []byte(`{"v":1,"x":2}`), protocol.CodeMalformed},
		"huge body":      {"POST", caapi.PathEnrol, make([]byte, maxAPIBody+1), protocol.CodeTooLarge},
		"unknown path":   {"GET", "/v1/none", nil, protocol.CodeNotFound},
		"unknown list":   {"GET", "/crl/none.crl", nil, protocol.CodeNotFound},
		"list as pem":    {"GET", "/crl/issuing-1.pem", nil, protocol.CodeNotFound},
		"unknown cert":   {"GET", "/certs/..%2fca.cer", nil, protocol.CodeNotFound},
		"application":    {"GET", caapi.PathPlatformRequests + "/abc", nil, protocol.CodeNotFound},
	} {
		r := f.serve(t, v.method, v.target, nil, v.body)
		var problem protocol.Problem
		if err := protocol.DecodeJSON(r.body, &problem); err != nil || problem.Code != v.code || r.status != problem.Status ||
			r.Header.Get("Content-Type") != protocol.ProblemType {
			t.Errorf("%s: status %d, %+v, %v", name, r.status, problem, err)
		}
	}
}

// TestHTTPOCSP: POST, and GET with the question's base64 escaped or not, with
// the characters that paths treat specially.
func TestHTTPOCSP(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	question := ask(t, e.sign, f.Status.Current().Certificate(), nil)
	text := base64.StdEncoding.EncodeToString(question)
	posted := f.serve(t, "POST", caapi.PathOCSP, http.Header{"Content-Type": {"application/ocsp-request"}}, question)
	f.judge(t, posted.body, e.sign, nil)
	for name, target := range map[string]string{
		"escaped":   caapi.PathOCSP + "/" + url.QueryEscape(text),
		"unescaped": caapi.PathOCSP + "/" + strings.ReplaceAll(text, "+", "%2B"),
	} {
		r := f.serve(t, "GET", target, nil, nil)
		if r.Header.Get("Content-Type") != "application/ocsp-response" || r.Header.Get("Cache-Control") != "public, no-transform, must-revalidate, max-age=300" ||
			r.Header.Get("Expires") == "" || r.Header.Get("ETag") == "" {
			t.Errorf("%s: header %v", name, r.Header)
		}
		f.judge(t, r.body, e.sign, nil)
	}
	nonce := f.serve(t, "GET", caapi.PathOCSP+"/"+url.QueryEscape(base64.StdEncoding.EncodeToString(ask(t, e.sign, f.Status.Current().Certificate(), []byte("12345678")))), nil, nil)
	if nonce.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("with a nonce: %v", nonce.Header)
	}
	for _, target := range []string{"/ocsp/", "/ocsp/@@", "/ocsp/aGVsbG8="} {
		r := f.serve(t, "GET", target, nil, nil)
		if raw := r.body; r.status != http.StatusOK || !bytes.Equal(raw, []byte{0x30, 3, 0x0A, 1, 1}) {
			t.Errorf("%s: status %d, %x", target, r.status, raw)
		}
	}
}

func TestHTTPPublishedFiles(t *testing.T) {
	f := newFixture(t)
	list := f.serve(t, "GET", "/crl/issuing-1.crl", nil, nil)
	if list.status != http.StatusOK || list.Header.Get("Content-Type") != "application/pkix-crl" || list.Header.Get("ETag") != fmt.Sprintf(`"issuing-1-%d"`, f.clock.Now().Unix()) {
		t.Errorf("list: %d, %v", list.status, list.Header)
	}
	for name, want := range map[string][]byte{"root": f.Folder.Root().Raw, "issuing-1": f.Status.Current().Certificate().Raw} {
		r := f.serve(t, "GET", "/certs/"+name+".cer", nil, nil)
		if !bytes.Equal(r.body, want) || r.Header.Get("Content-Type") != "application/pkix-cert" {
			t.Errorf("certificate %s: %v", name, r.Header)
		}
	}
	if r := f.serve(t, "GET", "/readyz", nil, nil); r.status != http.StatusOK {
		t.Errorf("readyz: %d", r.status)
	}
	must(t, f.Close())
	if r := f.serve(t, "GET", "/readyz", nil, nil); r.status != http.StatusServiceUnavailable {
		t.Errorf("readyz without a database: %d", r.status)
	}
	if r := f.serve(t, "GET", "/healthz", nil, nil); r.status != http.StatusOK {
		t.Errorf("healthz: %d", r.status)
	}
}

func TestHTTPCrossOrigin(t *testing.T) {
	f := newFixture(t)
	allowed := f.serve(t, "OPTIONS", caapi.PathEnrol, http.Header{"Origin": {appOrigin}}, nil)
	if allowed.status != http.StatusNoContent || allowed.Header.Get("Access-Control-Allow-Origin") != appOrigin ||
		!strings.Contains(allowed.Header.Get("Access-Control-Allow-Headers"), protocol.HeaderProof) {
		t.Errorf("the app: %d, %v", allowed.status, allowed.Header)
	}
	if other := f.serve(t, "OPTIONS", caapi.PathEnrol, http.Header{"Origin": {"https://evil.example"}}, nil); other.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another page: %v", other.Header)
	}
}

// TestHTTPSlowBodiesTakeNoSlot: whoever sends a body byte by byte keeps nobody
// else out.
func TestHTTPSlowBodiesTakeNoSlot(t *testing.T) {
	f := newFixture(t)
	e := f.enrol(t)
	handler := ca.NewHandler(f.Authority, server.Options{Concurrent: 1})
	for _, path := range []string{caapi.PathEnrol, caapi.PathOCSP} {
		reading, body := newSlowBody()
		done := make(chan struct{})
		go func() {
			defer close(done)
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "POST", path, body))
		}()
		<-reading
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), "POST", path, bytes.NewReader(ask(t, e.sign, f.Status.Current().Certificate(), nil))))
		if recorder.Code == http.StatusServiceUnavailable {
			t.Errorf("%s: shed for a caller who sends nothing", path)
		}
		must(t, body.Close())
		<-done
	}
}

// newSlowBody is a body that says when it is read and does not come.
func newSlowBody() (reading chan struct{}, body io.ReadCloser) {
	reading = make(chan struct{})
	pipe, _ := io.Pipe()
	return reading, &slowBody{ReadCloser: pipe, reading: reading}
}

type slowBody struct {
	io.ReadCloser
	once    sync.Once
	reading chan struct{}
}

func (b *slowBody) Read(p []byte) (int, error) {
	b.once.Do(func() { close(b.reading) })
	return b.ReadCloser.Read(p)
}

// TestHTTPRequestID: an answer names its call as the lines of the log do, those of
// the server and those of the rooms.
func TestHTTPRequestID(t *testing.T) {
	f := newFixture(t)
	query := http.Header{"Content-Type": {"application/timestamp-query"}}
	_, question, err := timestamp.NewRequest(timestamp.SumSM3([]byte("message")))
	must(t, err)
	handler := ca.NewHandler(f.Authority, server.Options{})
	call := func(path string, header http.Header, body []byte) *httptest.ResponseRecorder {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body))
		request.Header = header
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		return recorder
	}
	logged := func(line, id string) bool {
		for text := range strings.Lines(string(f.log.Bytes())) {
			if strings.Contains(text, line) && strings.Contains(text, "request_id="+id) {
				return len(id) == 16
			}
		}
		return false
	}

	p := newPhone(t, f.clock, f.code(t, 0))
	f.StopWith(func(string) error { return errors.New("the disk is full") })
	refused := call(caapi.PathEnrol, http.Header{protocol.HeaderProof: {p.call(t).Proof}}, p.body)
	f.StopWith(nil)
	var problem protocol.Problem
	must(t, protocol.DecodeJSON(refused.Body.Bytes(), &problem))
	id := refused.Header().Get("X-Request-Id")
	if problem.Code != protocol.CodeInternal || problem.RequestID != id || !logged("the disk is full", id) {
		t.Errorf("a refusal with id %q: %+v\n%s", id, problem, f.log.Bytes())
	}

	first := call(caapi.PathTimestamp, query, question).Header().Get("X-Request-Id")
	f.clock.add(-time.Hour)
	if id = call(caapi.PathTimestamp, query, question).Header().Get("X-Request-Id"); id == first || !logged("the clock has gone back", id) {
		t.Errorf("a room's line with id %q\n%s", id, f.log.Bytes())
	}
}

// TestHTTPNeverSaysYesToACallThatWasBrokenOff: the other side may still listen.
func TestHTTPNeverSaysYesToACallThatWasBrokenOff(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	recorder := httptest.NewRecorder()
	p := newPhone(t, f.clock, f.code(t, 0))
	request := httptest.NewRequestWithContext(ctx, "POST", caapi.PathEnrol, bytes.NewReader(p.body))
	request.Header.Set(protocol.HeaderProof, p.call(t).Proof)
	ca.NewHandler(f.Authority, server.Options{}).ServeHTTP(recorder, request)
	if recorder.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d: %s", recorder.Code, recorder.Body)
	}
}
