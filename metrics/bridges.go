package metrics

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// bridges count what agents ask of bridges. Those that callers open for a while are one bridge.
type bridges struct {
	names, upstreams labels

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	sessions  *prometheus.GaugeVec
	approvals *prometheus.CounterVec
}

const (
	maxBridges   = 64
	maxUpstreams = 128
)

func newBridges() *bridges {
	return &bridges{
		names: labels{most: maxBridges}, upstreams: labels{most: maxUpstreams},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "freshet_mcp_requests_total",
			Help: "Requests of agents that have ended, by how.",
		}, []string{"bridge", "upstream", "method", "outcome"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "freshet_mcp_request_duration_seconds",
			Help:    "How long agents' requests took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"bridge"}),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "freshet_mcp_sessions",
			Help: "Agents that are connected to a bridge over the daemon's socket.",
		}, []string{"bridge"}),
		approvals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "freshet_mcp_approvals_total",
			Help: "Calls that wanted an operator's word, by what became of that.",
		}, []string{"outcome"}),
	}
}

func (b *bridges) all() []prometheus.Collector {
	return []prometheus.Collector{b.requests, b.durations, b.sessions, b.approvals}
}

// methods are those of the protocol's requests; an agent may make up others.
var methods = []string{
	"initialize", "ping", "server/discover", "logging/setLevel", "completion/complete", "subscriptions/listen",
	"tools/list", "tools/call", "prompts/list", "prompts/get",
	"resources/list", "resources/read", "resources/templates/list", "resources/subscribe", "resources/unsubscribe",
	"tasks/get", "tasks/update", "tasks/cancel", "tasks/list", "tasks/result",
}

// ends are how a request or an approval may end.
var (
	requestEnds  = []string{"ok", "error", "refused", "timeout", "cancelled"}
	approvalEnds = []string{"asked", "approved", "denied", "expired", "used"}
)

// among is a word, if it is one of those that are known.
func among(known []string, word string) string {
	if slices.Contains(known, word) {
		return word
	}
	return other
}

// BridgeRequest is a request of an agent that has ended.
type BridgeRequest struct {
	Bridge, Upstream, Method, Outcome string
	Seconds                           float64
}

// ObserveBridge counts a request of an agent.
func (m *Metrics) ObserveBridge(r BridgeRequest) {
	b := m.bridges
	bridge := b.names.label(strings.ToValidUTF8(r.Bridge, "?"))
	b.requests.WithLabelValues(bridge, b.upstreams.label(strings.ToValidUTF8(r.Upstream, "?")), among(methods, r.Method), among(requestEnds, r.Outcome)).Inc()
	b.durations.WithLabelValues(bridge).Observe(r.Seconds)
}

// BridgeSessions tells that so many more agents, or fewer, are connected to a bridge.
func (m *Metrics) BridgeSessions(bridge string, more int) {
	m.bridges.sessions.WithLabelValues(m.bridges.names.label(bridge)).Add(float64(more))
}

// ObserveApproval counts what became of a call that wants an operator's word.
func (m *Metrics) ObserveApproval(outcome string) {
	m.bridges.approvals.WithLabelValues(among(approvalEnds, outcome)).Inc()
}
