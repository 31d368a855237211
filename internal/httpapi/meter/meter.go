// Package meter counts and times the calls of an HTTP API. No label holds text
// from a caller: a series exists for a registered route, one of a fixed set of
// methods and a code of the catalogue, and all else is "other".
package meter

import (
	"net/http"
	"slices"

	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// other labels what is not in a fixed set.
const other = "other"

// methods are those that have a label of their own.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// Meter is the registry of one component with the metrics of its API. It is safe
// for concurrent use.
type Meter struct {
	registry *prometheus.Registry
	routes   map[string]bool
	codes    map[protocol.Code]bool
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// New makes the meter of a component, "relay" for example, with the routes of its
// API as their requests' Pattern names them.
func New(component string, routes []string) *Meter {
	m := &Meter{registry: prometheus.NewRegistry(), routes: map[string]bool{}, codes: map[protocol.Code]bool{}}
	for _, route := range routes {
		m.routes[route] = true
	}
	for _, code := range protocol.Codes() {
		m.codes[code] = true
	}
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bidseal_" + component + "_requests_total",
		Help: "HTTP calls by method, route and outcome code."}, []string{"method", "route", "code"})
	m.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "bidseal_" + component + "_request_seconds",
		Help: "Time of HTTP calls by route; long-polls wait up to 25 s.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30}}, []string{"route"})
	m.registry.MustRegister(m.requests, m.seconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register adds metrics of the component's own.
func (m *Meter) Register(own ...prometheus.Collector) { m.registry.MustRegister(own...) }

// Done counts a request; it is for httpapi.API.
func (m *Meter) Done(r *http.Request, o httpapi.Outcome) {
	method, route, code := r.Method, r.Pattern, string(o.Code)
	if !slices.Contains(methods, method) {
		method = other
	}
	if !m.routes[route] {
		route = other
	}
	switch {
	case code == "" && o.Status < http.StatusBadRequest:
		code = "ok"
	case !m.codes[o.Code]:
		code = other
	}
	m.requests.WithLabelValues(method, route, code).Inc()
	m.seconds.WithLabelValues(route).Observe(o.Took.Seconds())
}

// Handler serves the metrics. It belongs on a private listener.
func (m *Meter) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
