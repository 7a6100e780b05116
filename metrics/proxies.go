package metrics

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"freshet.dev/proxy"
)

// proxies count the requests that came to the signing proxy's routes. Those that callers open for a while are one route.
type proxies struct {
	routes, names, reasons labels

	requests   *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	signing    *prometheus.HistogramVec
	replays    *prometheus.CounterVec
	rejections *prometheus.CounterVec
	refusals   *prometheus.CounterVec
	byCaller   *prometheus.CounterVec // for the socket's scrapes
}

func newProxies() *proxies {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &proxies{
		routes: labels{most: maxRoutes}, names: labels{most: maxCallers}, reasons: labels{most: maxReasons},
		requests: counter("freshet_proxy_requests_total", "Requests that came to a proxy, by the status of the answer.", "route", "code"),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "freshet_proxy_request_duration_seconds",
			Help:    "How long requests took to the end of their answers.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"route"}),
		signing: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "freshet_proxy_signing_seconds",
			Help:    "How long requests were with the signer.",
			Buckets: []float64{1e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, .001, .01, .1},
		}, []string{"route"}),
		replays:    counter("freshet_proxy_replays_total", "Attempts beyond a request's first.", "route"),
		rejections: counter("freshet_proxy_rejections_total", "Versions of a credential that the upstream refused.", "route"),
		refusals:   counter("freshet_proxy_refusals_total", "Requests that freshet answered itself, by why.", "route", "reason"),
		byCaller:   counter("freshet_proxy_requests_by_caller_total", "Requests of callers that were let in.", "route", "caller"),
	}
}

// public are the families that everybody is told.
func (p *proxies) public() []prometheus.Collector {
	return []prometheus.Collector{p.requests, p.durations, p.signing, p.replays, p.rejections, p.refusals}
}

// maxReasons is more than the words there are for a refusal.
const maxReasons = 64

// ObserveProxy counts a request to a proxy that has ended.
func (m *Metrics) ObserveProxy(e proxy.Event) {
	p := m.proxies
	route := p.routes.label(e.Route)
	p.requests.WithLabelValues(route, code(e.Status)).Inc()
	p.durations.WithLabelValues(route).Observe(e.Took.Seconds())
	p.replays.WithLabelValues(route).Add(float64(e.Replays))
	p.rejections.WithLabelValues(route).Add(float64(e.Rejections))
	if e.Signing > 0 {
		p.signing.WithLabelValues(route).Observe(e.Signing.Seconds())
	}
	if e.Refused != "" && e.Status != 0 {
		p.refusals.WithLabelValues(route, p.reasons.label(e.Refused)).Inc()
	}
	if e.Caller != "" {
		p.byCaller.WithLabelValues(route, p.names.label(strings.ToValidUTF8(e.Caller, "?"))).Inc()
	}
}

// code is a status as a label; "left" for a caller that did not wait for one. An upstream may answer any three digits (RFC 9110
// §15); what is none of a class is one.
func code(status int) string {
	switch {
	case status == 0:
		return "left"
	case status < 100 || status > 599:
		return other
	}
	return strconv.Itoa(status)
}
