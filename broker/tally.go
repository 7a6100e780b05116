package broker

import (
	"math"
	"sync/atomic"

	"freshet.dev/freshet"
)

// tallyKey is what happens again and again and is told of once, then counted.
type tallyKey struct {
	event, caller, identity, fingerprint, reason, outcome string
	place                                                 string // of a call: see placeOf
}

func handOutKey(c Caller, identity, fingerprint string) tallyKey {
	k := tallyKey{event: "hand_out", caller: c.name(), identity: identity, fingerprint: fingerprint}
	if c.Signs {
		k.event = "sign"
	}
	return k
}

// record is its line.
func (k *tallyKey) record() record {
	r := record{Event: k.event, Identity: k.identity, Caller: k.caller, Fingerprint: k.fingerprint, Reason: k.reason, Outcome: k.outcome}
	r.Bridge, r.Upstream, r.Tool = k.where()
	return r
}

// plural is the event of the lines that count others.
var plural = map[string]string{"hand_out": "hand_outs", "sign": "signs", "request": "requests", "reject": "rejects", "deny": "denials", "call": "calls"}

// tally counts how often something happened since it was last told of.
type tally struct {
	tallyKey
	n       atomic.Int64 // far below 0 once it is forgotten
	retired atomic.Bool  // nobody adds to it any more
	idle    int          // rounds of counts in a row without any; the writer's own
}

const (
	// auditForget is after how many rounds without any a tally is forgotten, as most versions have been replaced by then; the
	// next of it is recorded as a first.
	auditForget = 120
	// maxTallies bounds them. Past it every event has a line of its own.
	maxTallies = 1 << 16

	forgotten = math.MinInt64 / 2
)

// add counts one more, or reports that the tally is forgotten: another has taken its place.
func (t *tally) add() bool { return t.n.Add(1) > 0 }

// tally counts an event, recording the first. It is nil when there are too many.
func (a *Audit) tally(k tallyKey, pid int) (*tally, error) {
	for {
		known, ok := a.tallies.Load(k)
		if !ok && a.known.Load() >= a.most {
			return nil, a.first(&k, pid)
		}
		if !ok {
			t := &tally{tallyKey: k}
			if known, ok = a.tallies.LoadOrStore(k, t); !ok {
				a.known.Add(1)
				return t, a.first(&k, pid)
			}
		}
		t := known.(*tally)
		if t.add() {
			return t, a.fit()
		}
		a.drop(t)
	}
}

func (a *Audit) first(k *tallyKey, pid int) error {
	r := k.record()
	r.PID = pid
	return a.put(r)
}

func (a *Audit) drop(t *tally) {
	if a.tallies.CompareAndDelete(t.tallyKey, t) {
		a.known.Add(-1)
	}
}

// count writes the tallies that have grown, and forgets those that have long not.
func (a *Audit) count(p *pen) {
	now := freshet.Now().Wall()
	a.tallies.Range(func(_, v any) bool {
		t := v.(*tally)
		if n := t.n.Load(); n > 0 {
			t.n.Add(-n)
			t.idle = 0
			r := t.record()
			r.Time, r.Event, r.Count = now, plural[t.event], n
			p.add(r, penned{tally: t, count: n})
			return true
		}
		if t.idle++; (t.idle > auditForget || t.retired.Load()) && t.n.CompareAndSwap(0, forgotten) {
			a.drop(t)
		}
		return true
	})
}
