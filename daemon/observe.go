package daemon

import (
	"freshet.dev/broker"
	"freshet.dev/internal/wire"
	"freshet.dev/mcp"
	"freshet.dev/mcp/approval"
	"freshet.dev/metrics"
)

// observer has a bridge's calls of tools in the record, and tells whoever else observes.
func (b *Bridges) observer(s *bridgeSettings) func(mcp.Event) {
	type place struct{ upstream, profile string }
	identities := make(map[place]string)
	for _, u := range s.upstreams {
		for _, p := range u.profiles {
			identities[place{u.name, p.name}] = p.identity
		}
	}
	return func(e mcp.Event) {
		if e.Method == "tools/call" {
			b.Broker.Called(broker.Call{
				Caller: e.Caller, Bridge: e.Bridge, Upstream: e.Upstream, Tool: e.Tool, Identity: identities[place{e.Upstream, e.Profile}],
				Outcome: e.Outcome, // the reason is a text, of the server's even
			})
		}
		if b.Observe != nil {
			b.Observe(e)
		}
	}
}

// bridgeFigures counts what agents ask for.
func bridgeFigures(m *metrics.Metrics) func(mcp.Event) {
	return func(e mcp.Event) {
		if e.Bridge == ownBridge {
			e.Upstream = "" // which callers choose: each would be a series of its own
		}
		m.ObserveBridge(metrics.BridgeRequest{Bridge: e.Bridge, Upstream: e.Upstream, Method: e.Method, Outcome: e.Outcome, Seconds: e.Took.Seconds()})
	}
}

// approvals has what becomes of calls that want an operator's word in the record and the figures.
func approvals(b *broker.Broker, m *metrics.Metrics) func(approval.Event) {
	return func(e approval.Event) {
		b.Approval(broker.Approval{
			Call: broker.Call{Caller: e.Caller, Bridge: e.Bridge, Upstream: e.Upstream, Tool: e.Tool, Outcome: e.Outcome}, ID: e.ID, By: e.By,
		})
		m.ObserveApproval(e.Outcome)
	}
}

// Pending lists the calls that wait for an operator's word.
func (b *Bridges) Pending() []wire.Approval {
	if b.Approvals == nil {
		return nil
	}
	var all []wire.Approval
	for _, p := range b.Approvals.List() {
		all = append(all, wire.Approval{
			ID: p.ID, Bridge: p.Bridge, Upstream: p.Upstream, Tool: p.Tool, Caller: p.Caller, Arguments: p.Arguments, Asked: p.Asked, Expires: p.Expires,
		})
	}
	return all
}
