package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/internal/httpapi/meter"
	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

// newMetrics makes the meter of the mounted routes.
func (s *Server) newMetrics() *meter.Meter {
	var routes []string
	for _, route := range s.engine.Routes() {
		routes = append(routes, route.Path)
	}
	m := meter.New("ca", routes)
	m.Register(certificateDays{life: s.a.Life, now: s.a.Now, log: s.log, desc: prometheus.NewDesc("bidseal_ca_certificate_days_left",
		"Days until a certificate of the authority or of its services ends.", []string{"profile", "authority"}, nil)})
	return m
}

// AdminHandler serves /metrics, /healthz and /readyz for a listener of their own.
func (s *Server) AdminHandler() http.Handler {
	gin.SetMode(gin.ReleaseMode) // otherwise gin prints its routes to stdout
	e := gin.New()
	s.health(e)
	e.GET("/metrics", gin.WrapH(s.metrics.Handler()))
	return e
}

// Drain turns readiness false. The caller then shuts its http.Server down.
func (s *Server) Drain(context.Context) { s.draining.Store(true) }

// health mounts what a load balancer asks for.
func (s *Server) health(e *gin.Engine) {
	e.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	e.GET("/readyz", func(c *gin.Context) {
		if s.draining.Load() {
			c.String(http.StatusServiceUnavailable, "draining\n")
			return
		}
		if err := s.a.Folder.Ready(c.Request.Context()); err != nil {
			c.String(http.StatusServiceUnavailable, "not ready\n")
			return
		}
		c.String(http.StatusOK, "ready\n")
	})
}

// scrapeTimeout bounds how long the database may take to say how old certificates are.
const scrapeTimeout = 5 * time.Second

// certificateDays is the prometheus.Collector of the lives of the authority's own
// certificates.
type certificateDays struct {
	life *life.Life
	now  func() time.Time
	log  *slog.Logger
	desc *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (d certificateDays) Describe(out chan<- *prometheus.Desc) { out <- d.desc }

// Collect implements prometheus.Collector. What the database does not tell is left
// out, so that its outage hides no other metric.
func (d certificateDays) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	own, err := d.life.OwnCertificates(ctx)
	if err != nil {
		d.log.LogAttrs(ctx, slog.LevelError, "days left of certificates", slog.Any("error", err))
	}
	for _, c := range own {
		days := c.NotAfter.Sub(d.now()).Hours() / 24
		out <- prometheus.MustNewConstMetric(d.desc, prometheus.GaugeValue, days, string(c.Profile), c.Authority)
	}
}
