package metrics

import (
	"fmt"
	"strings"
	"testing"
)

func TestBridgesRequestsAreCounted(t *testing.T) {
	m := New("v1")
	for _, r := range []BridgeRequest{
		{Method: "tools/call", Outcome: "ok", Seconds: 2}, {Method: "tools/call", Outcome: "ok", Seconds: 1},
		{Method: "tools/list", Outcome: "error"}, {Method: "made/up", Outcome: "made up"},
	} {
		r.Bridge, r.Upstream = "tools", "aws"
		m.ObserveBridge(r)
	}
	m.BridgeSessions("tools", 1)
	m.BridgeSessions("tools", 1)
	m.BridgeSessions("tools", -1)
	for _, outcome := range []string{"asked", "asked", "used", "made up"} {
		m.ObserveApproval(outcome)
	}
	check(t, scrape(t, m), map[string]string{
		`freshet_mcp_requests_total{bridge="tools",method="tools/call",outcome="ok",upstream="aws"}`:    "2",
		`freshet_mcp_requests_total{bridge="tools",method="tools/list",outcome="error",upstream="aws"}`: "1",
		`freshet_mcp_requests_total{bridge="tools",method="other",outcome="other",upstream="aws"}`:      "1",
		`freshet_mcp_request_duration_seconds_count{bridge="tools"}`:                                    "4",
		`freshet_mcp_request_duration_seconds_sum{bridge="tools"}`:                                      "3",
		`freshet_mcp_sessions{bridge="tools"}`:                                                          "1",
		`freshet_mcp_approvals_total{outcome="asked"}`:                                                  "2",
		`freshet_mcp_approvals_total{outcome="used"}`:                                                   "1",
		`freshet_mcp_approvals_total{outcome="other"}`:                                                  "1",
	})
}

// TestBridgesSeriesAreBounded: an agent can make up methods, and a caller servers.
func TestBridgesSeriesAreBounded(t *testing.T) {
	m := New("v1")
	for i := range 500 {
		s := fmt.Sprint("x", i)
		m.ObserveBridge(BridgeRequest{Bridge: s, Upstream: "u", Method: s, Outcome: s})
		m.ObserveBridge(BridgeRequest{Bridge: "b", Upstream: s, Method: "ping", Outcome: "ok"})
		m.BridgeSessions(s, 1)
		m.ObserveApproval(s)
	}
	m.ObserveBridge(BridgeRequest{Bridge: "b\xff", Upstream: "u\xff"})
	text := scrape(t, m)
	for family, most := range map[string]int{
		"freshet_mcp_requests_total": maxBridges + 1 + maxUpstreams + 1, "freshet_mcp_sessions": maxBridges + 1, "freshet_mcp_approvals_total": 1,
		"freshet_mcp_request_duration_seconds_count": maxBridges + 1,
	} {
		if n := strings.Count(text, "\n"+family+"{"); n > most {
			t.Errorf("%s has %d series, want at most %d", family, n, most)
		}
	}
}
