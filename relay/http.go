package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/bidseal/bidseal/protocol"
	"github.com/gin-gonic/gin"
)

// maxSmallBody bounds bodies that carry no box, in bytes.
const maxSmallBody = 64 << 10

// routes builds the public handler and the one for the operator's listener.
func (r *Relay) routes() (public, admin http.Handler) {
	gin.SetMode(gin.ReleaseMode) // otherwise gin prints its routes to stdout
	e := gin.New()
	e.RedirectTrailingSlash, e.RedirectFixedPath = false, false
	e.Use(r.guard)
	e.NoRoute(func(c *gin.Context) { r.refuse(c, notFound()) })

	one := e.Group("/v1/challenges/:cid")
	one.PUT("", r.onCreate)
	one.GET("", r.onRead)
	one.PUT("/ready", r.onReady)
	one.POST("/cancel", r.onCancel)
	one.POST("/ack", r.onAck)
	one.POST("/fail", r.onFail)
	one.POST("/claim", r.onClaim)
	one.POST("/open", r.onOpen)
	one.POST("/result", r.onResult)
	one.POST("/reject", r.onReject)
	e.GET("/v1/feed", r.onFeed)
	e.GET("/v1/feed/ws", r.onFeedSocket)
	e.GET("/v1/watch", r.onWatchSocket)
	e.POST("/v1/watch", r.onWatch)
	e.OPTIONS("/v1/watch", r.onWatchOptions)
	e.GET("/v1/info", func(c *gin.Context) { r.answer(c, r.Info(), nil) })
	e.GET("/v1/ledger/head", r.onLedgerHead)
	r.health(e)
	if !r.cfg.PrivateMetrics {
		e.GET("/metrics", gin.WrapH(r.metrics.handler()))
	}

	a := gin.New()
	r.health(a)
	a.GET("/metrics", gin.WrapH(r.metrics.handler()))
	return e, a
}

func (r *Relay) health(e *gin.Engine) {
	e.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	e.GET("/readyz", func(c *gin.Context) {
		if r.draining.Load() {
			c.String(http.StatusServiceUnavailable, "draining\n")
			return
		}
		if _, err := r.cfg.Store.ID(c.Request.Context()); err != nil {
			c.String(http.StatusServiceUnavailable, "store is not available\n")
			return
		}
		c.String(http.StatusOK, "ready\n")
	})
}

// guard turns a panic into "internal" and counts.
func (r *Relay) guard(c *gin.Context) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // the sentinel of net/http, compared as it compares it
				panic(p)
			}
			r.log.LogAttrs(c.Request.Context(), slog.LevelError, "panic", slog.Any("value", p), slog.String("stack", string(debug.Stack())))
			if !c.Writer.Written() {
				r.refuse(c, &protocol.Error{Code: protocol.CodeInternal})
			}
		}
	}()
	c.Next()
}

// answer writes v as JSON, or the problem of err.
func (r *Relay) answer(c *gin.Context, v any, err error) {
	if err != nil {
		r.refuse(c, err)
		return
	}
	raw, err := protocol.EncodeJSON(v)
	if err != nil {
		r.refuse(c, err)
		return
	}
	r.write(c, http.StatusOK, "application/json", raw, "ok")
}

// refuse writes the one form of a refusal: RFC 9457.
func (r *Relay) refuse(c *gin.Context, err error) {
	if errors.Is(err, context.Canceled) {
		c.Abort() // the caller is gone
		return
	}
	p := protocol.ProblemOf(err)
	if p.Code == protocol.CodeInternal {
		r.log.LogAttrs(c.Request.Context(), slog.LevelError, "internal", slog.String("route", c.FullPath()), slog.Any("error", err))
	}
	if p.RetryAfter > 0 {
		c.Header("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	raw, err := protocol.EncodeJSON(p)
	if err != nil {
		raw = []byte(`{}`)
	}
	r.write(c, p.Status, protocol.ProblemType, raw, string(p.Code))
	c.Abort()
}

func (r *Relay) write(c *gin.Context, status int, media string, raw []byte, code string) {
	c.Header("Cache-Control", "no-store")
	c.Header("X-Content-Type-Options", "nosniff")
	c.Data(status, media, raw)
	route := c.FullPath()
	if route == "" {
		route = "none"
	}
	r.metrics.requests.WithLabelValues(c.Request.Method+" "+route, code).Inc()
}

// readBody reads at most limit bytes, within Limits.BodyTimeout.
func (r *Relay) readBody(c *gin.Context, limit int64) ([]byte, error) {
	req := c.Request
	if req.Header.Get("Content-Encoding") != "" {
		return nil, protocol.Errorf(protocol.CodeMalformed, "bodies are not encoded")
	}
	if req.ContentLength == 0 {
		return nil, nil
	}
	if req.ContentLength > limit {
		return nil, protocol.Errorf(protocol.CodeTooLarge, "body of %d bytes, at most %d", req.ContentLength, limit)
	}
	ctl := http.NewResponseController(c.Writer)
	if err := ctl.SetReadDeadline(time.Now().Add(r.limits.BodyTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	// bytes.MinRead beyond what was announced, so that the end is found without growing
	body := bytes.NewBuffer(make([]byte, 0, min(max(req.ContentLength, 0), maxSmallBody)+bytes.MinRead))
	if _, err := body.ReadFrom(io.LimitReader(req.Body, limit+1)); err != nil {
		return nil, protocol.Errorf(protocol.CodeMalformed, "body broke off")
	}
	raw := body.Bytes()
	if int64(len(raw)) > limit {
		return nil, protocol.Errorf(protocol.CodeTooLarge, "body of more than %d bytes", limit)
	}
	if err := ctl.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	return raw, nil
}

// query reads the query parameters, of which only the named ones may stand there, once each.
func query(c *gin.Context, names ...string) (url.Values, error) {
	values, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeMalformed, "query does not parse")
	}
	for name, v := range values {
		if !slices.Contains(names, name) || len(v) != 1 {
			return nil, protocol.Errorf(protocol.CodeMalformed, "query parameter is unknown or repeated")
		}
	}
	return values, nil
}

// number reads a non-negative decimal parameter; 0 where it is missing.
func number(values url.Values, name string) (int64, error) {
	text := values.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, protocol.Errorf(protocol.CodeMalformed, "query parameter %s is no number", name)
	}
	return n, nil
}

// cursor reads after and wait.
func cursor(values url.Values) (after int64, wait time.Duration, err error) {
	if after, err = number(values, "after"); err != nil {
		return 0, 0, err
	}
	seconds, err := number(values, "wait")
	if err != nil {
		return 0, 0, err
	}
	wait, err = waitOf(int(min(seconds, protocol.MaxWait+1)))
	return after, wait, err
}
