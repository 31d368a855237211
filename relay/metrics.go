package relay

import (
	"sync/atomic"

	"github.com/bidseal/bidseal/internal/httpapi/meter"
	"github.com/bidseal/bidseal/protocol"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the meter of the API and what else the relay counts. Labels come
// from small fixed sets.
type metrics struct {
	*meter.Meter
	transitions   *prometheus.CounterVec
	storeFailures prometheus.Counter
	feedEvents    prometheus.Counter

	connections atomic.Int64
	polling     atomic.Int64
}

func newMetrics(routes []string) *metrics {
	m := &metrics{Meter: meter.New("relay", routes)}
	m.transitions = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bidseal_relay_transitions_total",
		Help: "Challenges that reached a state."}, []string{"kind", "state"})
	m.storeFailures = prometheus.NewCounter(prometheus.CounterOpts{Name: "bidseal_relay_store_failures_total",
		Help: "Operations of the store that failed."})
	m.feedEvents = prometheus.NewCounter(prometheus.CounterOpts{Name: "bidseal_relay_feed_events_total",
		Help: "Events sent over feed WebSockets."})
	gauge := func(name, help string, v *atomic.Int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(v.Load()) })
	}
	m.Register(m.transitions, m.storeFailures, m.feedEvents,
		gauge("bidseal_relay_connections", "Open WebSockets.", &m.connections),
		gauge("bidseal_relay_long_polls", "Waiting long-polls.", &m.polling))
	return m
}

func (m *metrics) moved(kind protocol.Kind, state protocol.State) {
	m.transitions.WithLabelValues(string(kind), string(state)).Inc()
}
