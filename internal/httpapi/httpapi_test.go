package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
)

func problemOf(t *testing.T, rec *httptest.ResponseRecorder) protocol.Problem {
	t.Helper()
	var p protocol.Problem
	if err := protocol.DecodeJSON(rec.Body.Bytes(), &p); err != nil || p.Status != rec.Code || rec.Header().Get("Content-Type") != protocol.ProblemType {
		t.Fatalf("%d %s is no problem document: %v", rec.Code, rec.Body, err)
	}
	return p
}

// TestOneIDForEachRequest: header, problem and log lines have the same id, and it
// is neither the caller's nor another one below a second Handler.
func TestOneIDForEachRequest(t *testing.T) {
	var lines bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&lines, nil))
	outer, inner := httpapi.New(log), httpapi.New(log)
	seen := map[string]bool{}
	h := outer.Handler(inner.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.Refuse(w, r, errors.New("the disk is full"))
		httpapi.Logger(httpapi.Logger(log)).With("part", "store").InfoContext(r.Context(), "own line")
	})))
	for range 3 {
		lines.Reset()
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set(httpapi.HeaderRequestID, "chosen-by-caller")
		h.ServeHTTP(rec, req)
		p := problemOf(t, rec)
		if p.Code != protocol.CodeInternal || p.Detail != "" {
			t.Errorf("problem %+v", p)
		}
		id := rec.Header().Get(httpapi.HeaderRequestID)
		if len(id) != 16 || seen[id] || p.RequestID != id {
			t.Errorf("id %q in the header, %q in the problem", id, p.RequestID)
		}
		seen[id] = true
		if got := strings.Count(lines.String(), `"request_id":"`+id+`"`); got != 2 || strings.Count(lines.String(), "request_id") != 2 {
			t.Errorf("%d lines with the id: %s", got, &lines)
		}
		if !strings.Contains(lines.String(), "the disk is full") {
			t.Errorf("the reason is not logged: %s", &lines)
		}
	}
	if httpapi.RequestID(context.Background()) != "" {
		t.Error("an id without a request")
	}
}

func TestRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		code   protocol.Code
		retry  string
	}{
		"classified":   {protocol.Errorf(protocol.CodeNotFound, "no such thing"), http.StatusNotFound, protocol.CodeNotFound, ""},
		"retry":        {&protocol.Error{Code: protocol.CodeOverloaded, RetryAfter: 7}, http.StatusServiceUnavailable, protocol.CodeOverloaded, "7"},
		"canceled":     {context.Canceled, http.StatusServiceUnavailable, protocol.CodeOverloaded, "1"},
		"unclassified": {io.ErrUnexpectedEOF, http.StatusInternalServerError, protocol.CodeInternal, ""},
	} {
		api := httpapi.New(slog.New(slog.DiscardHandler))
		var done httpapi.Outcome
		api.Done = func(_ *http.Request, o httpapi.Outcome) { done = o }
		rec := httptest.NewRecorder()
		api.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.Refuse(w, r, c.err) })).
			ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		p := problemOf(t, rec)
		if rec.Code != c.status || p.Code != c.code || rec.Header().Get("Retry-After") != c.retry || rec.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %+v %v", name, rec.Code, p, rec.Header())
		}
		if done.Code != c.code || done.Status != c.status {
			t.Errorf("%s: outcome %+v", name, done)
		}
	}
}

func TestShow(t *testing.T) {
	api := httpapi.New(slog.New(slog.DiscardHandler))
	api.Show = func(p protocol.Problem) protocol.Problem {
		p.Detail = ""
		return p
	}
	rec := httptest.NewRecorder()
	api.Refuse(rec, httptest.NewRequest(http.MethodGet, "/", nil), protocol.Errorf(protocol.CodeNotFound, "for developers"))
	if p := problemOf(t, rec); p.Detail != "" || p.Code != protocol.CodeNotFound {
		t.Errorf("problem %+v", p)
	}
}

// TestPanic: the caller is told "internal", and gets no half answer that looks
// like a whole one; what the panic said is not logged.
func TestPanic(t *testing.T) {
	var lines bytes.Buffer
	api := httpapi.New(slog.New(slog.NewTextHandler(&lines, nil)))
	var done []httpapi.Outcome
	api.Done = func(_ *http.Request, o httpapi.Outcome) { done = append(done, o) }
	handler := func(f http.HandlerFunc) http.Handler { return api.Handler(f) }

	rec := httptest.NewRecorder()
	handler(func(http.ResponseWriter, *http.Request) { panic("password 123") }).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	if p := problemOf(t, rec); p.Code != protocol.CodeInternal {
		t.Errorf("problem %+v", p)
	}
	if !strings.Contains(lines.String(), "TestPanic") || strings.Contains(lines.String(), "password") {
		t.Errorf("logged %s", &lines)
	}
	aborted := func(h http.Handler) (p error) {
		defer func() { p, _ = recover().(error) }()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		return nil
	}
	if p := aborted(handler(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic("then")
	})); !errors.Is(p, http.ErrAbortHandler) {
		t.Errorf("half an answer ends with %v", p)
	}
	if p := aborted(handler(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })); !errors.Is(p, http.ErrAbortHandler) {
		t.Errorf("an abort becomes %v", p)
	}
	if len(done) != 3 || done[0].Code != protocol.CodeInternal || done[1].Code != protocol.CodeInternal {
		t.Errorf("outcomes %+v", done)
	}
}

func TestJSON(t *testing.T) {
	api := httpapi.New(slog.New(slog.DiscardHandler))
	write := func(v any) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		api.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.JSON(w, r, v) })).
			ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		return rec
	}
	rec := write(struct {
		A int `json:"a"`
	}{1})
	if rec.Code != http.StatusOK || rec.Body.String() != `{"a":1}` || rec.Header().Get("Content-Type") != "application/json" ||
		rec.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %s %v", rec.Code, rec.Body, rec.Header())
	}
	if p := problemOf(t, write(func() {})); p.Code != protocol.CodeInternal {
		t.Errorf("problem %+v", p)
	}
}

func TestBody(t *testing.T) {
	const limit = 8
	read := func(change func(*http.Request), body io.Reader) ([]byte, error) {
		r := httptest.NewRequest(http.MethodPost, "/", body)
		change(r)
		return httpapi.Body(httptest.NewRecorder(), r, limit, 1)
	}
	unknown := func(r *http.Request) { r.ContentLength = -1 }
	for name, c := range map[string]struct {
		change func(*http.Request)
		body   io.Reader
		want   string
		code   protocol.Code
	}{
		"none":               {func(*http.Request) {}, nil, "", ""},
		"whole":              {func(*http.Request) {}, strings.NewReader("12345678"), "12345678", ""},
		"whole, no length":   {unknown, strings.NewReader("12345678"), "12345678", ""},
		"announced too long": {func(*http.Request) {}, strings.NewReader("123456789"), "", protocol.CodeTooLarge},
		"too long":           {unknown, strings.NewReader("123456789"), "", protocol.CodeTooLarge},
		"ends early":         {unknown, iotest.ErrReader(io.ErrUnexpectedEOF), "", protocol.CodeMalformed},
		"encoded":            {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, strings.NewReader("1"), "", protocol.CodeMalformed},
	} {
		got, err := read(c.change, c.body)
		if string(got) != c.want || protocol.CodeOf(err) != c.code {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestHijack: a connection that was taken over is no refusal and no silence.
func TestHijack(t *testing.T) {
	api := httpapi.New(slog.New(slog.DiscardHandler))
	outcomes := make(chan httpapi.Outcome, 1)
	api.Done = func(_ *http.Request, o httpapi.Outcome) { outcomes <- o }
	s := httptest.NewServer(api.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		conn.Close()
	})))
	defer s.Close()
	resp, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if o := <-outcomes; resp.StatusCode != http.StatusNoContent || o.Status != http.StatusSwitchingProtocols || o.Code != "" {
		t.Errorf("%s, %+v", resp.Status, o)
	}
}

// TestServeDrains: after the end of ctx what waits is ended first, requests in
// flight are answered, and new ones find nobody.
func TestServeDrains(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	srv := httpapi.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		w.WriteHeader(http.StatusTeapot)
	}), slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- httpapi.Serve(ctx, srv, l, func(context.Context) { close(release) }) }()
	status := make(chan int, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-entered
	cancel()
	if got := <-status; got != http.StatusTeapot {
		t.Errorf("the request in flight got %d", got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is open")
	}
	l.Close()
	if err := httpapi.Serve(t.Context(), httpapi.NewServer(nil, slog.New(slog.DiscardHandler)), l, nil); err == nil {
		t.Error("a closed listener was served")
	}
}
