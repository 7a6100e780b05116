package broker

import (
	"sync"
	"sync/atomic"
)

// requests are the tallies of what became of the requests that came to a door.
type requests struct {
	rows  sync.Map // request → *tally
	known atomic.Int64
}

type request struct{ from, outcome, reason string }

// maxRequests bounds the tallies that a door keeps at hand. Past it those of the others are looked up each time, and are forgotten
// as any that do not grow.
const maxRequests = 1024

// Record says what became of a request that came to the door: from whom, "" for somebody who was not let in, and its outcome in a
// word, with the reason for one that is not good. The first of each is recorded, the others are counted.
func (d *Door) Record(from, outcome, reason string) {
	a := d.broker.audit
	if a == nil {
		return
	}
	k := request{from, outcome, reason}
	if t, ok := d.rows.Load(k); ok && t.(*tally).add() {
		return
	}
	line := tallyKey{event: "request", caller: d.caller.name(), reason: reason, outcome: outcome}
	if from != "" {
		line.caller += ":" + from
	}
	if len(d.names) == 1 {
		line.identity = d.names[0]
	}
	t, _ := a.tally(line, d.caller.PID) // what has happened is not undone
	if t == nil {
		return
	}
	if _, ok := d.rows.Load(k); ok || d.known.Add(1) <= maxRequests {
		t.retired.Store(false) // it may have been another door's, of the same proxy
		d.rows.Store(k, t)
	}
}

// retire lets the tallies be forgotten once they are told of.
func (r *requests) retire() {
	for _, t := range r.rows.Range {
		t.(*tally).retired.Store(true)
	}
}
