// Package server is the authority's last room: its HTTP API, which openapi.yaml
// describes.
package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/listing"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/status"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/internal/httpapi/limit"
	"github.com/bidseal/bidseal/internal/httpapi/meter"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/gin-gonic/gin"
)

// Options of the HTTP API.
type Options struct {
	// AppOrigins are the web origins whose pages may call the API.
	AppOrigins []string
	// Concurrent bounds the calls that cost cryptography, questions for status
	// and others apart; what comes beyond is shed with Retry-After. Four for each
	// processor if zero.
	Concurrent int
	// Limits of callers by address.
	Limits Limits
}

const (
	// maxAPIBody in bytes. A body is read before its call takes a slot, so that
	// each connection may make the server hold one.
	maxAPIBody = 16 << 10
	// ocspMaxAge bounds how long a cache in between may keep an answer.
	ocspMaxAge = 5 * time.Minute
)

// Rooms are the rooms of the authority that is served, with its clock and
// its logger.
type Rooms struct {
	Audit    *audit.Log
	Listing  *listing.Listing
	Status   *status.Status
	Life     *life.Life
	Registry *registry.Registry
	Folder   *folder.Folder
	Now      func() time.Time
	Logger   *slog.Logger
}

// Server is the HTTP API of an authority.
type Server struct {
	a       Rooms
	log     *slog.Logger
	origins []string
	slots   chan struct{}                // of calls that change something
	status  chan struct{}                // of questions for status: logins hang on them
	limits  *limit.Limiter[netip.Prefix] // of addresses; nil for no limit
	heads   heads
	api     *httpapi.API
	engine  *gin.Engine
	handler http.Handler
	metrics *meter.Meter

	draining atomic.Bool
}

// New makes the HTTP API; openapi.yaml describes it.
func New(a Rooms, o Options) *Server {
	if o.Concurrent <= 0 {
		o.Concurrent = 4 * runtime.GOMAXPROCS(0)
	}
	s := &Server{
		a: a, log: httpapi.Logger(a.Logger), origins: o.AppOrigins, limits: o.Limits.limiter(a.Now),
		slots: make(chan struct{}, o.Concurrent), status: make(chan struct{}, o.Concurrent),
	}
	s.api = httpapi.New(s.log)
	s.engine = s.newEngine(o.Limits.TrustedProxies)
	s.metrics = s.newMetrics()
	s.api.Done = s.metrics.Done
	s.handler = s.api.Handler(s.engine)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Routes are the methods and paths of the API.
func (s *Server) Routes() gin.RoutesInfo { return s.engine.Routes() }

// newEngine mounts the routes.
func (s *Server) newEngine(trustedProxies []string) *gin.Engine {
	gin.SetMode(gin.ReleaseMode) // otherwise gin prints its routes to stdout
	e := gin.New()
	e.RedirectTrailingSlash, e.RedirectFixedPath = false, false
	// only a trusted proxy can name the address on whose behalf it calls
	if err := e.SetTrustedProxies(trustedProxies); err != nil {
		s.log.LogAttrs(context.Background(), slog.LevelError, "trusted proxies are ignored", slog.Any("error", err))
		if err := e.SetTrustedProxies(nil); err != nil { // gin's own default believes everybody
			panic(err)
		}
	}
	e.RemoteIPHeaders = []string{"X-Forwarded-For"} // not X-Real-IP, which proxies pass on as it came
	e.Use(named, s.crossOrigin)
	e.NoRoute(func(c *gin.Context) { s.refuse(c, protocol.Errorf(protocol.CodeNotFound, "no such resource")) })

	e.POST(caapi.PathEnrol, s.limited, s.bounded(s.slots), s.onEnrol)
	e.POST(caapi.PathPass, s.limited, s.bounded(s.slots), s.onPass)
	s.assistRoutes(e)
	s.timestampRoutes(e)
	e.POST(caapi.PathPlatformRequests, s.limited, s.bounded(s.slots), s.onPlatformRequest)
	e.GET(caapi.PathPlatformRequests+"/:id", s.limited, s.onPlatformState)
	e.GET(caapi.PathRecoveries, s.limited, s.bounded(s.slots), s.onHolderRecoveries)
	s.listingRoutes(e)
	s.operatorRoutes(e)
	e.GET(caapi.PathOpenAPI, func(c *gin.Context) {
		c.Header("Cache-Control", "public, max-age=3600")
		c.Data(http.StatusOK, "application/yaml", openAPI)
	})
	e.GET(caapi.PathInfo, s.limited, s.onInfo)
	e.GET("/crl/:file", s.onCRL)
	e.GET("/certs/:file", s.onCertificate)
	e.POST(caapi.PathOCSP, s.bounded(s.status), s.onOCSPPost)
	e.GET(caapi.PathOCSP+"/*request", s.bounded(s.status), s.onOCSPGet)
	for _, path := range []string{caapi.PathEnrol, caapi.PathPass, caapi.PathRecoveries, caapi.PathInfo, caapi.PathOCSP} {
		e.OPTIONS(path, func(c *gin.Context) { c.Status(http.StatusNoContent) })
	}
	s.health(e)
	return e
}

// named gives a request the name of its route, which log and metrics show.
func named(c *gin.Context) { c.Request.Pattern = c.FullPath() }

// crossOrigin lets the phone app's pages call the API, no other page.
func (s *Server) crossOrigin(c *gin.Context) {
	origin := c.GetHeader("Origin")
	if origin == "" || !slices.Contains(s.origins, origin) {
		return
	}
	c.Header("Access-Control-Allow-Origin", origin)
	c.Header("Vary", "Origin")
	if c.Request.Method == http.MethodOptions {
		c.Header("Access-Control-Allow-Methods", "GET, POST")
		c.Header("Access-Control-Allow-Headers", strings.Join([]string{"Content-Type", protocol.HeaderPass, protocol.HeaderProof}, ", "))
		c.Header("Access-Control-Max-Age", "600")
	}
}

// bounded sheds calls beyond what the processors can do. The body is read
// before: how long that takes is the caller's choice.
func (s *Server) bounded(slots chan struct{}) gin.HandlerFunc {
	return func(c *gin.Context) {
		raw, err := httpapi.Body(c.Writer, c.Request, maxAPIBody, 0)
		if err != nil {
			s.refuse(c, err)
			return
		}
		c.Set(bodyKey, raw)
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			c.Next()
		default:
			s.refuse(c, &protocol.Error{Code: protocol.CodeOverloaded, RetryAfter: 1})
		}
	}
}

// bodyKey is under what bounded leaves the body.
const bodyKey = "body"

// refuse writes the problem of err and ends the handling.
func (s *Server) refuse(c *gin.Context, err error) {
	s.api.Refuse(c.Writer, c.Request, err)
	c.Abort()
}

// signed is what a signed call consists of.
func signed(c *gin.Context) life.SignedCall {
	return life.SignedCall{
		Path: c.Request.URL.RequestURI(), Body: c.MustGet(bodyKey).([]byte),
		Pass: c.GetHeader(protocol.HeaderPass), Proof: c.GetHeader(protocol.HeaderProof), Caller: registry.Caller(c.ClientIP()),
	}
}

// answer writes v as JSON, or the problem of err.
func (s *Server) answer(c *gin.Context, v any, err error) {
	if err != nil {
		s.refuse(c, err)
		return
	}
	s.api.JSON(c.Writer, c.Request, v)
}

func (s *Server) onEnrol(c *gin.Context) {
	raw, err := s.a.Life.Enrol(c.Request.Context(), signed(c))
	if err != nil {
		s.refuse(c, err)
		return
	}
	httpapi.Raw(c.Writer, http.StatusOK, "application/json", raw)
}

func (s *Server) onPass(c *gin.Context) {
	answer, err := s.a.Life.RenewPass(c.Request.Context(), signed(c))
	s.answer(c, answer, err)
}

func (s *Server) onHolderRecoveries(c *gin.Context) {
	list, err := s.a.Registry.HolderRecoveries(c.Request.Context(), signed(c))
	s.answer(c, list, err)
}

func (s *Server) onPlatformRequest(c *gin.Context) {
	state, err := s.a.Registry.RequestPlatform(c.Request.Context(), signed(c))
	s.answer(c, state, err)
}

func (s *Server) onPlatformState(c *gin.Context) {
	state, err := s.a.Registry.PlatformState(c.Request.Context(), c.Param("id"))
	s.answer(c, state, err)
}

func (s *Server) onInfo(c *gin.Context) {
	info, err := s.a.Folder.Info()
	s.answer(c, info, err)
}

// onCRL: RFC 2585 4.2, application/pkix-crl.
func (s *Server) onCRL(c *gin.Context) {
	name, ok := strings.CutSuffix(c.Param("file"), ".crl")
	if !ok {
		name = ""
	}
	list, err := s.a.Life.CRL(c.Request.Context(), name)
	if err != nil {
		s.refuse(c, err)
		return
	}
	c.Header("Last-Modified", list.ThisUpdate.Format(http.TimeFormat))
	tag := fmt.Sprintf(`"%s-%d"`, list.Issuer, list.Number)
	c.Header("ETag", tag)
	c.Header("Cache-Control", "public, max-age=300, must-revalidate")
	if c.GetHeader("If-None-Match") == tag { // a list of 20,000 revocations is a megabyte
		c.Status(http.StatusNotModified)
		c.Writer.WriteHeaderNow()
		return
	}
	c.Data(http.StatusOK, "application/pkix-crl", list.DER)
}

// onCertificate: RFC 2585 4.1, application/pkix-cert.
func (s *Server) onCertificate(c *gin.Context) {
	name, ok := strings.CutSuffix(c.Param("file"), ".cer")
	if !ok {
		name = ""
	}
	der, err := s.a.Status.CertificateDER(name)
	if err != nil {
		s.refuse(c, err)
		return
	}
	c.Header("Cache-Control", "public, max-age=86400")
	c.Data(http.StatusOK, "application/pkix-cert", der)
}

// onOCSPPost: RFC 6960 A.1.
func (s *Server) onOCSPPost(c *gin.Context) { s.ocsp(c, c.MustGet(bodyKey).([]byte)) }

// onOCSPGet: RFC 6960 A.1, the request as escaped base64 in the path. An
// unescaped one may hold slashes, which belong to it.
func (s *Server) onOCSPGet(c *gin.Context) {
	text, err := url.PathUnescape(strings.TrimPrefix(c.Request.URL.EscapedPath(), caapi.PathOCSP+"/"))
	if err == nil && len(text) <= 2*maxAPIBody {
		var der []byte
		if der, err = base64.StdEncoding.DecodeString(text); err == nil {
			s.ocsp(c, der)
			return
		}
	}
	c.Data(http.StatusOK, ocspType, trust.OCSPError(trust.MalformedRequest))
}

const ocspType = "application/ocsp-response"

// ocsp writes an answer with the cache headers of RFC 5019 6.2, for a shorter
// time than its nextUpdate: a cache in between learns of no revocation.
func (s *Server) ocsp(c *gin.Context, der []byte) {
	answer, err := s.a.Life.OCSP(c.Request.Context(), der)
	if err != nil {
		s.log.LogAttrs(c.Request.Context(), slog.LevelError, "OCSP", slog.Any("error", err))
		httpapi.Raw(c.Writer, http.StatusOK, ocspType, trust.OCSPError(trust.TryLater))
		return
	}
	if !answer.Cacheable || c.Request.Method != http.MethodGet {
		httpapi.Raw(c.Writer, http.StatusOK, ocspType, answer.DER)
		return
	}
	age := min(ocspMaxAge, answer.NextUpdate.Sub(s.a.Now())).Truncate(time.Second)
	c.Header("Cache-Control", fmt.Sprintf("public, no-transform, must-revalidate, max-age=%d", max(0, int(age.Seconds()))))
	c.Header("Last-Modified", answer.ProducedAt.Format(http.TimeFormat))
	c.Header("Expires", answer.NextUpdate.Format(http.TimeFormat))
	c.Header("ETag", fmt.Sprintf(`"%x"`, protocol.H(answer.DER)[:16]))
	c.Data(http.StatusOK, ocspType, answer.DER)
}
