// Package httpapi is what every HTTP API of the product does in the same way,
// whichever router it has: the id of a request, the guard against panics, the
// problem document of a refusal, bodies with a bound, and a server that drains.
//
// One API value belongs to one server. Its Handler is the outermost one:
//
//	api := httpapi.New(logger)
//	handler := api.Handler(router)
//
// Inside, a handler reads its body with Body and writes with JSON, Raw or Refuse:
//
//	raw, err := httpapi.Body(w, r, limit, 0)
//	if err != nil {
//		api.Refuse(w, r, err)
//		return
//	}
//	api.JSON(w, r, answer)
//
// Every request has one id, made by Handler. It stands in the response's header
// HeaderRequestID, in every problem document, and in every line that is logged
// with the request's context through a logger of Logger.
package httpapi

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/bidseal/bidseal/protocol"
)

// API is the common part of one server's handlers. It is safe for concurrent use.
type API struct {
	log *slog.Logger

	// Done, if set, is called for every request after it was handled.
	Done func(r *http.Request, o Outcome)
	// Show, where set, decides what a caller sees of a problem.
	Show func(p protocol.Problem) protocol.Problem
}

// New makes the common part; lines go to log with the id of their request.
func New(log *slog.Logger) *API { return &API{log: Logger(log)} }

// Outcome is how a request ended.
type Outcome struct {
	Status int           // 101 where the connection was taken over, 0 where nothing was written
	Code   protocol.Code // of the refusal; empty where there was none
	Took   time.Duration
}

// call is one request on its way. It is the ResponseWriter of its handler, and
// what the request's context carries.
type call struct {
	http.ResponseWriter
	id     string
	status int
	code   protocol.Code
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// RequestID returns the id of the request that ctx belongs to, "" outside of one.
func RequestID(ctx context.Context) string {
	if c := callOf(ctx); c != nil {
		return c.id
	}
	return ""
}

// HeaderRequestID carries a request's id in its response.
const HeaderRequestID = "X-Request-Id"

// requestIDSize is the length of an id in bytes; it is written in hexadecimal.
const requestIDSize = 8

// Handler gives requests their id, turns panics of next into "internal", and
// reports outcomes to Done. A request that already has an id keeps it: a handler
// may be mounted below another one of this package. An id that the caller sends
// is not used.
func (a *API) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := RequestID(r.Context())
		if id == "" {
			raw, err := protocol.Random(requestIDSize)
			if err != nil { // crypto/rand does not fail on any platform that Go supports
				http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
				return
			}
			id = hex.EncodeToString(raw)
		}
		c := &call{ResponseWriter: w, id: id}
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		w.Header().Set(HeaderRequestID, id)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		begun := time.Now()
		defer a.end(c, r, begun)
		next.ServeHTTP(c, r)
	})
}

// end recovers from a panic of the handler and reports the outcome.
func (a *API) end(c *call, r *http.Request, begun time.Time) {
	p := recover()
	err, _ := p.(error)
	switch {
	case p == nil:
	case errors.Is(err, http.ErrAbortHandler):
		a.report(c, r, begun)
		panic(p)
	default:
		// only its type: the value may hold what must not be logged
		a.log.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("type", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
		if c.status != 0 { // half an answer is on the wire: it must not look like a whole one
			c.code = protocol.CodeInternal
			a.report(c, r, begun)
			panic(http.ErrAbortHandler)
		}
		a.Refuse(c, r, &protocol.Error{Code: protocol.CodeInternal})
	}
	a.report(c, r, begun)
}

func (a *API) report(c *call, r *http.Request, begun time.Time) {
	if a.Done != nil {
		a.Done(r, Outcome{Status: c.status, Code: c.code, Took: time.Since(begun)})
	}
}

// WriteHeader implements http.ResponseWriter.
func (c *call) WriteHeader(status int) {
	if c.status == 0 && status >= http.StatusOK { // informational ones are followed by another
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (c *call) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	return c.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (c *call) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Flush implements http.Flusher.
func (c *call) Flush() { _ = http.NewResponseController(c.ResponseWriter).Flush() }

// Hijack implements http.Hijacker.
func (c *call) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(c.ResponseWriter).Hijack()
	if err == nil {
		c.status = http.StatusSwitchingProtocols
	}
	return conn, buffered, err
}

// JSON writes v as the answer with status 200, or the problem of an answer that
// cannot be encoded.
func (a *API) JSON(w http.ResponseWriter, r *http.Request, v any) {
	raw, err := protocol.EncodeJSON(v)
	if err != nil {
		a.Refuse(w, r, err)
		return
	}
	Raw(w, http.StatusOK, "application/json", raw)
}

// Raw writes an answer that is in no cache.
func Raw(w http.ResponseWriter, status int, media string, raw []byte) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", media)
	w.WriteHeader(status)
	_, _ = w.Write(raw) // a caller that is gone reads nothing
}

// Refuse writes the one form of a refusal, the problem document of RFC 9457. An
// error that is not classified is logged and leaves the process as "internal".
func (a *API) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) { // mostly the caller is gone; where not, it may come again
		err = &protocol.Error{Code: protocol.CodeOverloaded, RetryAfter: 1}
	}
	ctx := r.Context()
	p := protocol.ProblemOf(err)
	if p.Code == protocol.CodeInternal && ctx.Err() == nil {
		a.log.LogAttrs(ctx, slog.LevelError, "internal", slog.String("route", r.Pattern), slog.Any("error", err))
	}
	if c := callOf(ctx); c != nil {
		p.RequestID, c.code = c.id, p.Code
	}
	if a.Show != nil {
		p = a.Show(p)
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	raw, err := protocol.EncodeJSON(p)
	if err != nil {
		raw = []byte(`{}`)
	}
	Raw(w, p.Status, protocol.ProblemType, raw)
}
