package broker

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"freshet.dev/freshet"
)

// Drill is what an outage of an identity's issuers would do, if it began now and callers went on to ask for what they ask for.
// Times are seconds from now.
type Drill struct {
	Identity string   `json:"identity"`
	Issuers  []string `json:"issuers"` // hosts that are down in it
	Down     float64  `json:"down_seconds"`
	// Probe is how long after the outage it may take until an issuer is asked again.
	Probe float64 `json:"probe_seconds"`

	Wanted   int      `json:"keys"`                  // that depend on them, and that somebody uses
	Failing  int      `json:"failing"`               // of these
	First    *float64 `json:"first_failure_seconds"` // null: nobody fails
	Runway   *float64 `json:"runway_seconds"`        // how long it takes until somebody fails, however long it is down; null: nobody would
	Shortest string   `json:"shortest,omitempty"`    // the identity that has it

	Outcomes []Outcome `json:"outcomes"` // those that fail first, then by identity
	// Partial: there may be other identities, which the caller may not use.
	Partial bool `json:"partial"`
}

// Outcome is how an outage goes for one key.
type Outcome struct {
	Identity string `json:"identity"`
	Key      string `json:"key,omitempty"` // "" of an identity that nobody has asked for, or of which nobody was given anything
	Outcome  Fate   `json:"outcome"`
	// Lasts is for how long it can be served.
	Lasts *float64 `json:"lasts_seconds,omitempty"`
	From  *float64 `json:"fails_from_seconds,omitempty"`
	Until *float64 `json:"fails_until_seconds,omitempty"` // at the latest
	// UsedBy are the doors that hand it out, and the identities made from it, as far as they are known.
	UsedBy []string `json:"used_by,omitempty"`
}

// Fate is an outcome in one word.
type Fate string

// The fates of a key.
const (
	Fails    Fate = "fails"
	Survives Fate = "survives"
	Lapses   Fate = "lapses"  // nobody has asked for it since it was last replaced
	Idle     Fate = "idle"    // nothing of the identity is held: who is the first to ask for it fails
	Refused  Fate = "refused" // it is not served as it is, for another reason
	Loading  Fate = "loading" // it is being retrieved for the first time
)

// DrillProbe is the longest that a block towards an issuer lasts once that is well, as the engine's backoff ends there.
const DrillProbe = time.Minute

// Rehearse works out what happens if every issuer behind an identity is down for some time from now. Errors are of kind
// [freshet.Invalid].
func Rehearse(s Status, identity string, down time.Duration) (Drill, error) {
	all := estate(slices.Clone(s.Identities))
	slices.SortFunc(all, func(a, b IdentityStatus) int { return cmp.Compare(a.Name, b.Name) })
	id := all.find(identity)
	if id == nil {
		e := &freshet.Error{Kind: freshet.Invalid, Why: fmt.Sprintf("unknown identity %q", identity), Cause: ErrUnknown}
		if len(all) > 0 {
			e.WithHint("there are: %s", strings.Join(all.names(), ", "))
		}
		return Drill{}, e
	}
	d := Drill{Identity: identity, Issuers: id.Issuers, Down: down.Seconds(), Probe: DrillProbe.Seconds(), Partial: s.Partial, Outcomes: []Outcome{}}
	for i := range all {
		d.identity(all, &all[i])
	}
	slices.SortStableFunc(d.Outcomes, func(a, b Outcome) int {
		switch {
		case a.From != nil && b.From != nil:
			return cmp.Compare(*a.From, *b.From)
		case a.From != nil:
			return -1
		case b.From != nil:
			return 1
		}
		return 0
	})
	return d, nil
}

// identity adds the outcomes of an identity's keys.
func (d *Drill) identity(all estate, id *IdentityStatus) {
	keys := slices.Clone(id.asked())
	if len(keys) == 0 {
		if slices.ContainsFunc(id.Issuers, func(h string) bool { return slices.Contains(d.Issuers, h) }) {
			d.Outcomes = append(d.Outcomes, Outcome{Identity: id.Name, Outcome: Idle, UsedBy: id.UsedBy})
		}
		return
	}
	slices.SortFunc(keys, func(a, b KeyStatus) int { return cmp.Compare(a.Key, b.Key) })
	for i := range keys {
		k := &keys[i]
		lasts, affected := all.lasts(id, k, d.Issuers)
		if !affected {
			continue
		}
		o := Outcome{Identity: id.Name, Key: k.Key, Lasts: &lasts, UsedBy: id.UsedBy}
		switch {
		case !k.Wanted:
			o.Outcome = Lapses
		case !k.counts() && k.LastKind == "":
			o.Outcome = Loading
		case !k.counts():
			o.Outcome = Refused
		default:
			d.count(&o, id.Name)
		}
		d.Outcomes = append(d.Outcomes, o)
	}
}

// count decides the fate of a key that somebody uses.
func (d *Drill) count(o *Outcome, identity string) {
	d.Wanted++
	if d.Runway == nil || *o.Lasts < *d.Runway {
		d.Runway, d.Shortest = o.Lasts, identity
	}
	o.Outcome = Survives
	if *o.Lasts >= d.Down {
		return
	}
	until := d.Down + d.Probe
	o.Outcome, o.From, o.Until = Fails, o.Lasts, &until
	d.Failing++
	if d.First == nil || *o.From < *d.First {
		d.First = o.From
	}
}
