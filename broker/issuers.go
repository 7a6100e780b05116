package broker

import (
	"cmp"
	"slices"

	"freshet.dev/freshet"
)

// IssuerStatus is what is known of an issuer: everything at one host.
type IssuerStatus struct {
	Host       string   `json:"host"`
	Runway     *float64 `json:"runway_seconds"`          // until the first caller fails, if it goes down now; null: nobody would notice
	First      string   `json:"first_to_fail,omitempty"` // the identity whose caller that is
	Identities []string `json:"identities"`              // that depend on it, through others too, sorted

	Blocked bool    `json:"blocked"` // nobody asks it
	RetryIn float64 `json:"retry_in_seconds,omitempty"`
	Why     string  `json:"why,omitempty"` // what it answered
	Hint    string  `json:"hint,omitempty"`

	Failures int `json:"failures"` // retrievals in a row that speak against it
	Flights  int `json:"flights"`  // retrievals under way
	Waiting  int `json:"waiting"`  // keys that wait for their turn to be refreshed
	// Blocks are those of some tenants or clients alone. They are for who oversees the broker.
	Blocks []BlockStatus `json:"blocks,omitempty"`
}

// BlockStatus is a tenant and client as which an issuer is not asked.
type BlockStatus struct {
	TargetStatus
	RetryIn  float64 `json:"retry_in_seconds"`
	Why      string  `json:"why"`
	Identity string  `json:"identity,omitempty"` // one that asks as this; "" if none does any more
}

// issuers are those that the identities of mine depend on, and, for who oversees the broker, every other that is asked.
func issuers(all, mine estate, states []freshet.IssuerState, oversees bool) []IssuerStatus {
	byHost := make(map[string]*IssuerStatus)
	var list []*IssuerStatus
	at := func(host string) *IssuerStatus {
		s := byHost[host]
		if s == nil {
			s = &IssuerStatus{Host: host, Identities: []string{}}
			byHost[host] = s
			list = append(list, s)
		}
		return s
	}
	for i := range mine {
		for _, host := range mine[i].Issuers {
			s := at(host)
			s.Identities = append(s.Identities, mine[i].Name)
		}
	}
	for i := range states {
		if s := &states[i]; oversees || byHost[s.Target.Host] != nil {
			at(s.Target.Host).add(s, oversees)
		}
	}
	done := make([]IssuerStatus, 0, len(list))
	for _, s := range list {
		s.Runway, s.First = all.runwayOf(s.Host, mine)
		for i := range s.Blocks {
			s.Blocks[i].Identity = mine.asking(s.Blocks[i].TargetStatus)
		}
		if name := s.blocking(); name != "" && oversees {
			s.Hint = "once it is well: freshet unblock " + name
		}
		slices.SortFunc(s.Blocks, func(a, b BlockStatus) int {
			return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Client, b.Client))
		})
		done = append(done, *s)
	}
	slices.SortFunc(done, func(a, b IssuerStatus) int {
		switch {
		case a.Runway != nil && b.Runway == nil:
			return -1
		case a.Runway == nil && b.Runway != nil:
			return 1
		case a.Runway != nil && *a.Runway != *b.Runway:
			return cmp.Compare(*a.Runway, *b.Runway)
		}
		return cmp.Compare(a.Host, b.Host)
	})
	return done
}

// blocking is an identity whose unblocking would open a block of this issuer; "" if there is none.
func (s *IssuerStatus) blocking() string {
	if s.Blocked && len(s.Identities) > 0 {
		return cmp.Or(s.First, s.Identities[0])
	}
	for i := range s.Blocks {
		if name := s.Blocks[i].Identity; name != "" {
			return name
		}
	}
	return ""
}

// asking is the first identity with a key that asks this target.
func (all estate) asking(t TargetStatus) string {
	for i := range all {
		if slices.ContainsFunc(all[i].Keys, func(k KeyStatus) bool { return k.Target == t }) {
			return all[i].Name
		}
	}
	return ""
}

// add puts in what the engine holds against a target at this host.
func (s *IssuerStatus) add(state *freshet.IssuerState, oversees bool) {
	s.Failures = max(s.Failures, state.Failures)
	if state.Whole {
		s.Flights, s.Waiting = state.Flights, state.Waiting
	}
	switch {
	case state.Block == nil:
	case state.Whole || state.Target.Tenant == "" && state.Target.Client == "": // or one that knows no tenants
		s.Blocked, s.RetryIn, s.Why = true, round(state.RetryIn), state.Block.Why
	case oversees:
		s.Blocks = append(s.Blocks, BlockStatus{TargetStatus: TargetStatus(state.Target), RetryIn: round(state.RetryIn), Why: state.Block.Why})
	}
}
