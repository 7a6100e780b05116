package broker

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

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
	Identity string  `json:"identity,omitempty"` // one that asks as this, and fails if one does; "" if none asks any more
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
		if oversees {
			s.Hint = s.unblock(mine)
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

// unblock says what would open the blocks of this issuer, and fills in whose they are; "" where there is nothing to open.
func (s *IssuerStatus) unblock(all estate) string {
	var names []string
	if s.Blocked {
		if names = all.blocked(TargetStatus{Host: s.Host}); len(names) == 0 && len(s.Identities) > 0 {
			names = []string{cmp.Or(s.First, s.Identities[0])}
		}
	}
	for i := range s.Blocks {
		b := &s.Blocks[i]
		if whose := all.blocked(b.TargetStatus); len(whose) > 0 {
			b.Identity = whose[0]
			names = append(names, whose...)
		} else if b.Identity = all.asking(b.TargetStatus); b.Identity != "" {
			names = append(names, b.Identity)
		}
	}
	slices.Sort(names)
	switch names = slices.Compact(names); {
	case len(names) == 0:
		return ""
	case len(names) > maxHinted:
		names = append(names[:maxHinted], fmt.Sprintf("%d more", len(names)-maxHinted))
	}
	hint := "once it is well: freshet unblock " + names[0]
	if len(names) > 1 {
		hint += "; so too " + strings.Join(names[1:], ", ")
	}
	return hint
}

// maxHinted bounds how many identities a hint names.
const maxHinted = 5

// blocked are the identities that fail at a target, sorted: it is for them that it is blocked. One that asks it too, and still has
// what it needs, is none of them.
func (all estate) blocked(t TargetStatus) []string {
	var names []string
	for i := range all {
		if id := &all[i]; id.failed == t || id.missed == t ||
			slices.ContainsFunc(id.Keys, func(k KeyStatus) bool { return k.Target == t && trouble(k.LastKind) }) {
			names = append(names, id.Name)
		}
	}
	return names
}

// asking is the first identity with a key that asks this target, or that would by default.
func (all estate) asking(t TargetStatus) string {
	for i := range all {
		if id := &all[i]; id.usual == t || slices.ContainsFunc(id.Keys, func(k KeyStatus) bool { return k.Target == t }) {
			return id.Name
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
