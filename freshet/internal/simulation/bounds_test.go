package simulation

import (
	"slices"
	"time"

	"freshet.dev/freshet"
)

type span struct{ from, to time.Duration }

// retrieved hears of a retrieval from the engine: there alone is it said that it was one of those that nobody waited for. What is made
// from another's credential holds no worker while it waits for that.
func (m *model) retrieved(e *freshet.Event) {
	derived := slices.ContainsFunc(specs, func(s spec) bool { return s.name == e.Identity && s.from != 0 })
	if derived || e.Reason != freshet.ReasonDue && e.Reason != freshet.ReasonChanged {
		return
	}
	now := m.w.now()
	own := span{now - e.Started.Elapsed(), now}
	spans := slices.DeleteFunc(m.workers[e.Target.Host], func(s span) bool { return s.to < now-2*time.Minute })
	spans = append(spans, own)
	m.workers[e.Target.Host] = spans
	beside := slices.DeleteFunc(slices.Clone(spans), func(s span) bool { return s.to <= own.from })
	if len(beside) > shareOfWorkers {
		if n := overlap(beside); n > shareOfWorkers {
			m.breaks("a host has its share of workers", nil, "%s had %d", e.Target.Host, n)
		}
	}
}

// A host's share of those that may run at once, and bounds on all flights.
const (
	shareOfWorkers  = 64
	mostFlights     = 16384
	mostFlightsEach = 4096
)

// wantBounds checks what must not grow without end.
func (m *model) wantBounds(st freshet.Stats, goroutines, inside int, heap uint64) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if st.Flights > mostFlights+len(specs)*tenants {
		m.breaks("everything is bounded", nil, "%d flights", st.Flights)
	}
	if most := inside + 4*st.Flights + 50; goroutines > most {
		m.breaks("everything is bounded", nil, "%d goroutines, with %d callers and %d flights", goroutines, inside, st.Flights)
	}
	// What the world itself keeps is mostly its history.
	if most := uint64(256<<20 + 256*len(m.history.events) + 4096*len(w.all)); heap > most {
		m.breaks("everything is bounded", nil, "%d MiB of memory", heap>>20)
	}
	if w.over {
		valid := 0
		for _, k := range w.all {
			if g := k.latest(w.versions[k.id]); g != nil && m.remaining(g)+g.doubt > 0 {
				valid++
			}
		}
		if st.Entries > valid {
			m.breaks("what has ended goes", nil, "%d entries, and %d credentials that live", st.Entries, valid)
		}
	}
}

// wantRoom checks that a host's flights are bounded, which is when there are most.
func (m *model) wantRoom(issuers []freshet.IssuerState) {
	for _, s := range issuers {
		// Inputs, and tenants with few flights, are let in past the bound.
		if s.Whole && s.Flights > mostFlightsEach+len(specs)*tenants/4 {
			m.breaks("everything is bounded", nil, "%d flights to %s", s.Flights, s.Target.Host)
		}
	}
}

// overlap is the most of some spans that there were at once.
func overlap(spans []span) int {
	type edge struct {
		at   time.Duration
		more int
	}
	var edges []edge
	for _, s := range spans {
		edges = append(edges, edge{s.from, 1}, edge{s.to, -1})
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if a.at != b.at {
			return int(min(1, max(-1, a.at-b.at)))
		}
		return a.more - b.more
	})
	most, n := 0, 0
	for _, e := range edges {
		n += e.more
		most = max(most, n)
	}
	return most
}

// wantWell checks that a world in which everything has been well for long has answered everybody.
func (m *model) wantWell() {
	for _, k := range m.w.keys {
		if m.w.plan.tenant >= 0 && m.w.plan.tenant != k.tenant {
			continue
		}
		if g := k.latest(m.w.versions[k.id]); g == nil || !m.valid(g) {
			m.breaks("everything can be had once all is well", k, "there is nothing to serve")
		}
	}
}
