package relay

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/bidseal/bidseal/internal/httpapi"
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
	e.Use(func(c *gin.Context) { c.Request.Pattern = c.FullPath() }) // what the meter and the log call the route
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
	// the set of routes is complete before the meter of them is made
	var routes []string
	for _, route := range e.Routes() {
		routes = append(routes, route.Path)
	}
	r.metrics = newMetrics(routes)
	if r.cfg.PublicMetrics {
		e.GET("/metrics", gin.WrapH(r.metrics.Handler()))
	}

	a := gin.New()
	r.health(a)
	a.GET("/metrics", gin.WrapH(r.metrics.Handler()))
	r.api = httpapi.New(r.log)
	r.api.Done = r.metrics.Done
	return r.api.Handler(e), a
}

func (r *Relay) health(e *gin.Engine) {
	e.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	e.GET("/readyz", func(c *gin.Context) {
		if r.draining.Load() {
			c.String(http.StatusServiceUnavailable, "draining\n")
			return
		}
		if _, err := r.cfg.State.ID(c.Request.Context()); err != nil {
			c.String(http.StatusServiceUnavailable, "store is not available\n")
			return
		}
		c.String(http.StatusOK, "ready\n")
	})
}

// answer writes v as JSON, or the problem of err.
func (r *Relay) answer(c *gin.Context, v any, err error) {
	if err != nil {
		r.refuse(c, err)
		return
	}
	r.api.JSON(c.Writer, c.Request, v)
}

// refuse writes the problem of err and ends the handling.
func (r *Relay) refuse(c *gin.Context, err error) {
	r.api.Refuse(c.Writer, c.Request, err)
	c.Abort()
}

// readBody reads at most limit bytes, within Limits.BodyTimeout.
func (r *Relay) readBody(c *gin.Context, limit int64) ([]byte, error) {
	return httpapi.Body(c.Writer, c.Request, limit, r.limits.BodyTimeout)
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
		return 0, protocol.Errorf(protocol.CodeMalformed, "query parameter %s is not a number", name)
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
