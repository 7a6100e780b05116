package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"freshet.dev/broker"
	"freshet.dev/freshet"
)

// reader reads a broker's figures at each scrape, which takes O(identities + keys).
type reader struct {
	*broker.Broker
	hosts *labels
}

var (
	entries = desc("freshet_cache_entries", "Keys in the cache.")
	size    = desc("freshet_cache_bytes", "Memory accounted to the cache's entries.")
	flights = desc("freshet_flights", "Retrievals under way, running and queued.")
	workers = desc("freshet_refreshes", "Retrievals under way that nobody waits for.")
	waiting = desc("freshet_refreshes_waiting", "Keys that are due and wait for their turn to be refreshed.")
	lost    = desc("freshet_audit_lost_lines_total", "Lines that the audit log could not take.")

	requests    = desc("freshet_requests_total", "Requests that were answered with a credential, by where it came from.", "identity", "level")
	uncacheable = desc("freshet_uncacheable_requests_total", "Requests answered by the issuer that no cache could have answered, by why not.", "identity", "why")
	refused     = desc("freshet_refused_requests_total", "Requests that ended without a credential, by why.", "identity", "outcome")
	handOuts    = desc("freshet_hand_outs_total", "Credentials handed out.", "identity")
	stale       = desc("freshet_stale_hand_outs_total", "Credentials handed out that should have been replaced, and could not be.", "identity")

	keys     = desc("freshet_keys", "Keys with a credential, by the state of what they serve.", "identity", "state")
	shortest = desc("freshet_credential_remaining_seconds", "Life left of the identity's credential that ends first.", "identity")
	failures = desc("freshet_retrieval_failures_in_a_row", "Retrievals of the identity that failed since one succeeded.", "identity")
	missing  = desc("freshet_pinned_missing", "Whether a pinned credential of the identity cannot be served: 1, or 0.", "identity")
	runway   = desc("freshet_runway_seconds", "How long until a caller of the identity fails if nothing can be replaced from now on.", "identity")

	issuerRunway   = desc("freshet_issuer_runway_seconds", "How long the issuer may be down from now on until the first caller fails.", "host")
	issuerBlocked  = desc("freshet_issuer_blocked", "Whether the issuer is not asked, for some tenant and client at least, because of what it answered: 1, or 0.", "host")
	issuerRemains  = desc("freshet_issuer_block_remaining_seconds", "How long the issuer is not asked; 0 if it may be.", "host")
	issuerFailures = desc("freshet_issuer_failures_in_a_row", "Retrievals in a row that speak against the issuer.", "host")
	issuerFlights  = desc("freshet_issuer_flights", "Retrievals under way towards the issuer.", "host")
	issuerWaiting  = desc("freshet_issuer_waiting", "Keys that wait for their turn to be refreshed by the issuer.", "host")

	byCaller = desc("freshet_hand_outs_by_caller_total", "Credentials handed out, by who asked.", "caller", "identity")

	descs = []*prometheus.Desc{
		entries, size, flights, workers, waiting, lost, requests, uncacheable, refused, handOuts, stale, keys, shortest, failures, missing, runway,
		issuerRunway, issuerBlocked, issuerRemains, issuerFailures, issuerFlights, issuerWaiting,
	}
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (r reader) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (r reader) Collect(metrics chan<- prometheus.Metric) {
	ch := channel(metrics)
	s := r.Stats()
	ch.gauge(entries, float64(s.Entries))
	ch.gauge(size, float64(s.Bytes))
	ch.gauge(flights, float64(s.Flights))
	ch.gauge(workers, float64(s.Workers))
	ch.gauge(waiting, float64(s.Waiting))
	ch.counter(lost, r.AuditLost())
	for name, n := range r.Counts() {
		ch.counts(name, &n)
	}
	unloaded := r.Unloaded()
	r.Each(func(name string, list []freshet.Entry, row int) {
		ch.gauge(failures, float64(row), name)
		ch.keys(name, list)
		absent := slices.Contains(unloaded, name)
		if absent || slices.ContainsFunc(list, func(e freshet.Entry) bool { return e.Pinned }) {
			ch.gauge(missing, truth(absent), name)
		}
	})
	ch.issuers(r.hosts, r.Runways(), r.Issuers())
}

// channel is where a collector's figures go.
type channel chan<- prometheus.Metric

func (ch channel) gauge(d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (ch channel) counter(d *prometheus.Desc, v int64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

// counts tells how often an identity was asked for. What has not come to pass is told as 0, so that the first of it is seen as a
// change.
func (ch channel) counts(name string, n *broker.Counts) {
	ch.counter(requests, n.Memory, name, "memory")
	ch.counter(requests, n.Issuer, name, "issuer")
	ch.counter(uncacheable, n.Forced, name, "forced")
	ch.counter(uncacheable, n.Claims, name, "claims")
	ch.counter(uncacheable, n.Short, name, "short")
	ch.counter(handOuts, n.HandOuts(), name)
	ch.counter(stale, n.Stale, name)
	for kind, n := range n.Refused {
		ch.counter(refused, n, name, outcomes[kind])
	}
	ch.counter(refused, n.Left, name, "left")
}

// keys tells what an identity's keys serve.
func (ch channel) keys(name string, list []freshet.Entry) {
	var fresh, odd int
	least := time.Duration(-1)
	for _, e := range list {
		switch {
		case e.Credential == nil:
			continue
		case e.Stale:
			odd++
		default:
			fresh++
		}
		if left := e.Credential.Remaining(); !e.Credential.Static() && (least < 0 || left < least) {
			least = left
		}
	}
	ch.gauge(keys, float64(fresh), name, "fresh")
	ch.gauge(keys, float64(odd), name, "stale")
	if least >= 0 {
		ch.gauge(shortest, least.Seconds(), name)
	}
}

// issuers tells of what is asked, by its host: the worst of its tenants and clients, and all that is under way.
func (ch channel) issuers(names *labels, runways []broker.Runway, states []freshet.IssuerState) {
	type issuer struct {
		blocked                    bool
		remains                    time.Duration
		failures, flights, waiting int
	}
	all := make(map[string]*issuer) // label → issuer
	of := func(host string) *issuer {
		label := names.label(host)
		if all[label] == nil {
			all[label] = new(issuer)
		}
		return all[label]
	}
	least := make(map[string]float64) // label → runway
	for _, w := range runways {
		switch {
		case w.Issuer == "" && w.Known:
			ch.gauge(runway, w.Seconds, w.Identity)
		case w.Issuer != "":
			of(w.Issuer)
			label := names.label(w.Issuer)
			if before, ok := least[label]; w.Known && (!ok || w.Seconds < before) {
				least[label] = w.Seconds
			}
		}
	}
	for _, s := range states {
		i := of(s.Target.Host)
		i.blocked = i.blocked || s.Block != nil
		i.remains = max(i.remains, s.RetryIn)
		i.failures = max(i.failures, s.Failures)
		if s.Whole { // of a host, which its tenants are a part of
			i.flights += s.Flights
			i.waiting += s.Waiting
		}
	}
	for label, i := range all {
		ch.gauge(issuerBlocked, truth(i.blocked), label)
		ch.gauge(issuerRemains, i.remains.Seconds(), label)
		ch.gauge(issuerFailures, float64(i.failures), label)
		ch.gauge(issuerFlights, float64(i.flights), label)
		ch.gauge(issuerWaiting, float64(i.waiting), label)
	}
	for label, seconds := range least {
		ch.gauge(issuerRunway, seconds, label)
	}
}

// callers reads who was handed what.
type callers struct{ *broker.Broker }

// Describe implements prometheus.Collector.
func (callers) Describe(ch chan<- *prometheus.Desc) { ch <- byCaller }

// Collect implements prometheus.Collector.
func (c callers) Collect(metrics chan<- prometheus.Metric) {
	for _, h := range c.HandOutsByCaller() {
		channel(metrics).counter(byCaller, h.Count, h.Caller, h.Identity)
	}
}
