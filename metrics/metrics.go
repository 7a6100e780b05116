// Package metrics tells Prometheus what a broker does: names freshet_…, base units, no tenant, client or key in a label. Callers
// are named to who scrapes the daemon's own socket alone.
package metrics

import (
	"cmp"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"freshet.dev/broker"
	"freshet.dev/freshet"
)

// Metrics collects what [Metrics.Observe] and [Metrics.ObserveProxy] are told, and reads the rest from the broker when it is scraped.
type Metrics struct {
	registry   *prometheus.Registry
	callers    *prometheus.Registry // what the socket's scrapes see beside it
	retrievals *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	throttled  *prometheus.CounterVec
	retried    *prometheus.CounterVec
	reloaded   prometheus.Gauge
	proxies    *proxies
	bridges    *bridges
	hosts      labels
}

// New makes metrics without a broker; see [Metrics.Read].
func New(version string) *Metrics {
	m := &Metrics{
		hosts:    labels{most: maxHosts},
		proxies:  newProxies(),
		bridges:  newBridges(),
		registry: prometheus.NewRegistry(),
		callers:  prometheus.NewRegistry(),
		retrievals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "freshet_retrievals_total",
			Help: "Retrievals that have ended, by why they were made and how they ended.",
		}, []string{"identity", "source", "reason", "outcome"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "freshet_retrieval_duration_seconds",
			Help:    "How long sources took to answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"source"}),
		throttled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "freshet_issuer_throttled_total",
			Help: "Answers by which the issuer said that too much is asked of it: 429, or a time to come back after.",
		}, []string{"host"}),
		retried: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "freshet_issuer_retries_total",
			Help: "Retrievals in which the issuer answered 5xx and was asked once more.",
		}, []string{"host"}),
	}
	m.reloaded = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "freshet_config_last_reload_successful",
		Help: "Whether the configuration file as it was last read is in force: 1, or 0.",
	})
	m.reloaded.Set(1)
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "freshet_build_info", Help: "Always 1; its label is the version."}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.retrievals, m.durations, m.throttled, m.retried, m.reloaded, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(m.proxies.public()...)
	m.registry.MustRegister(m.bridges.all()...)
	m.callers.MustRegister(m.proxies.byCaller)
	return m
}

// Observe counts a retrieval that has ended.
func (m *Metrics) Observe(e freshet.Event) {
	outcome := "ok"
	if e.Err != nil {
		outcome = outcomes[e.Err.Kind]
	}
	m.retrievals.WithLabelValues(e.Identity, e.Kind, string(e.Reason), outcome).Inc()
	if !e.Asked {
		return // what it failed with is not the issuer's answer
	}
	m.durations.WithLabelValues(e.Kind).Observe(e.Took.Seconds())
	host := m.hosts.label(cmp.Or(e.Target.Host, e.Identity))
	m.throttled.WithLabelValues(host).Add(truth(e.Err != nil && (e.Err.Status == http.StatusTooManyRequests || e.Err.RetryAfter > 0)))
	m.retried.WithLabelValues(host).Add(truth(e.Retried))
}

// Reloaded tells how the last attempt to read the configuration again went.
func (m *Metrics) Reloaded(ok bool) {
	m.reloaded.Set(truth(ok))
}

// truth is a fact as a figure.
func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// outcomes are the kinds of failure as label values.
var outcomes = map[freshet.Kind]string{
	freshet.Invalid: "invalid", freshet.LoginNeeded: "login_needed", freshet.Denied: "denied", freshet.Unavailable: "unavailable",
	freshet.Malformed: "malformed", freshet.Bug: "bug",
}

// Read adds a broker's figures.
func (m *Metrics) Read(b *broker.Broker) {
	m.registry.MustRegister(reader{b, &m.hosts})
	m.callers.MustRegister(callers{b})
}

// Handler answers scrapes. Who comes over a Unix socket, to which the kernel lets only some users, is told who the callers are;
// who comes by TCP, or nobody knows how, is not.
func (m *Metrics) Handler() http.Handler {
	opts := promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}
	everybody := promhttp.HandlerFor(m.registry, opts)
	local := promhttp.HandlerFor(prometheus.Gatherers{m.registry, m.callers}, opts)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, unix := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); unix {
			local.ServeHTTP(w, r)
			return
		}
		everybody.ServeHTTP(w, r)
	})
}
