package relay

import (
	"net/http"
	"sync/atomic"

	"github.com/bidseal/bidseal/protocol"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the relay's own registry. Labels come from small fixed sets.
type metrics struct {
	registry      *prometheus.Registry
	transitions   *prometheus.CounterVec
	requests      *prometheus.CounterVec
	storeFailures prometheus.Counter
	feedEvents    prometheus.Counter

	connections atomic.Int64
	polling     atomic.Int64
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.transitions = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bidseal_relay_transitions_total",
		Help: "Challenges that reached a state."}, []string{"kind", "state"})
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bidseal_relay_requests_total",
		Help: "HTTP calls by route and outcome code."}, []string{"route", "code"})
	m.storeFailures = prometheus.NewCounter(prometheus.CounterOpts{Name: "bidseal_relay_store_failures_total",
		Help: "Operations of the store that failed."})
	m.feedEvents = prometheus.NewCounter(prometheus.CounterOpts{Name: "bidseal_relay_feed_events_total",
		Help: "Events sent over feed WebSockets."})
	gauge := func(name, help string, v *atomic.Int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(v.Load()) })
	}
	m.registry.MustRegister(m.transitions, m.requests, m.storeFailures, m.feedEvents,
		gauge("bidseal_relay_connections", "Open WebSockets.", &m.connections),
		gauge("bidseal_relay_long_polls", "Waiting long-polls.", &m.polling),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) moved(kind protocol.Kind, state protocol.State) {
	m.transitions.WithLabelValues(string(kind), string(state)).Inc()
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
