// Package metrics tells Prometheus what a broker does: names freshet_…, base units, no tenant, caller or key in a label.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"freshet.dev/broker"
	"freshet.dev/freshet"
)

// Metrics collects what [Metrics.Observe] is told, and reads the rest from the broker when it is scraped.
type Metrics struct {
	registry   *prometheus.Registry
	retrievals *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	reloaded   prometheus.Gauge
}

// New makes metrics without a broker; see [Metrics.Read].
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		retrievals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "freshet_retrievals_total",
			Help: "Retrievals that have ended, by why they were made and how they ended.",
		}, []string{"identity", "source", "reason", "outcome"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "freshet_retrieval_duration_seconds",
			Help:    "How long sources took to answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"source"}),
	}
	m.reloaded = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "freshet_config_last_reload_successful",
		Help: "Whether the configuration file as it was last read is in force: 1, or 0.",
	})
	m.reloaded.Set(1)
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "freshet_build_info", Help: "Always 1; its label is the version."}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.retrievals, m.durations, m.reloaded, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Observe counts a retrieval that has ended.
func (m *Metrics) Observe(e freshet.Event) {
	outcome := "ok"
	if e.Err != nil {
		outcome = outcomes[e.Err.Kind]
	}
	m.retrievals.WithLabelValues(e.Identity, e.Kind, string(e.Reason), outcome).Inc()
	if e.Asked {
		m.durations.WithLabelValues(e.Kind).Observe(e.Took.Seconds())
	}
}

// Reloaded tells how the last attempt to read the configuration again went.
func (m *Metrics) Reloaded(ok bool) {
	value := 0.0
	if ok {
		value = 1
	}
	m.reloaded.Set(value)
}

// outcomes are the kinds of failure as label values.
var outcomes = map[freshet.Kind]string{
	freshet.Invalid: "invalid", freshet.LoginNeeded: "login_needed", freshet.Denied: "denied", freshet.Unavailable: "unavailable",
	freshet.Malformed: "malformed", freshet.Bug: "bug",
}

// Read adds a broker's figures.
func (m *Metrics) Read(b *broker.Broker) { m.registry.MustRegister(reader{b}) }

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// reader reads a broker's figures at each scrape, which takes O(identities + keys).
type reader struct{ *broker.Broker }

var (
	entries  = desc("freshet_cache_entries", "Keys in the cache.")
	size     = desc("freshet_cache_bytes", "Memory accounted to the cache's entries.")
	flights  = desc("freshet_flights", "Retrievals under way, running and queued.")
	lost     = desc("freshet_audit_lost_lines_total", "Lines that the audit log could not take.")
	handOuts = desc("freshet_hand_outs_total", "Credentials handed out.", "identity")
	keys     = desc("freshet_keys", "Keys with a credential, by the state of what they serve.", "identity", "state")
	shortest = desc("freshet_credential_remaining_seconds", "Life left of the identity's credential that ends first.", "identity")
	failures = desc("freshet_retrieval_failures_in_a_row", "Retrievals of the identity that failed since one succeeded.", "identity")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (r reader) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{entries, size, flights, lost, handOuts, keys, shortest, failures} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (r reader) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	s := r.Stats()
	gauge(entries, float64(s.Entries))
	gauge(size, float64(s.Bytes))
	gauge(flights, float64(s.Flights))
	counter(lost, float64(r.AuditLost()))
	for name, n := range r.HandOuts() {
		counter(handOuts, float64(n), name)
	}
	r.Each(func(name string, list []freshet.Entry, row int) {
		var fresh, stale int
		least := time.Duration(-1)
		for _, e := range list {
			switch {
			case e.Credential == nil:
				continue
			case e.Stale:
				stale++
			default:
				fresh++
			}
			if left := e.Credential.Remaining(); !e.Credential.Static() && (least < 0 || left < least) {
				least = left
			}
		}
		gauge(keys, float64(fresh), name, "fresh")
		gauge(keys, float64(stale), name, "stale")
		gauge(failures, float64(row), name)
		if least >= 0 {
			gauge(shortest, least.Seconds(), name)
		}
	})
}
