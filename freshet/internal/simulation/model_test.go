package simulation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"freshet.dev/freshet"
)

// model is what must hold, as far as it can be told from outside: by what sources are asked and give, and callers ask and get. It
// keeps no more than that. Everything is under world.mu.
type model struct {
	w       *world
	history *history
	broken  *violation
	bans    map[freshet.Target]ban
	silent  map[silence]time.Duration // until when
	targets map[freshet.Target]*state
	begun   map[string][]time.Duration // limited identity and version → retrievals that began in the last second
	running map[string]int             // limited identity and version → retrievals under way
	workers map[string][]span          // host → refreshes that nobody waited for
}

// violation is a rule that was broken.
type violation struct {
	rule string
	key  *key
	at   time.Duration
	text string
}

func (v *violation) String() string {
	s := fmt.Sprintf("%s: %v", v.rule, v.at)
	if v.key != nil {
		s += " " + v.key.String()
	}
	return s + ": " + v.text
}

// record is what the model knows of a key.
type record struct {
	n        int // retrievals
	under    []*retrieval
	last     *retrieval // begun last
	hasty    bool       // that followed the one before it sooner than by the spacing
	grants   []*grant   // the newest last
	waiting  int        // callers
	asked    time.Duration
	pardoned time.Duration // when what keeps attempts apart was to be forgotten
	newest   *grant        // that was served
	newestAt time.Duration
}

// grant is a credential that an issuer gave, and that the engine was handed.
type grant struct {
	token, fingerprint string
	claims             string // that it answers
	version            int
	credential         *freshet.Credential
	sent, delivered    time.Duration
	life               time.Duration
	mono, wall         time.Duration // the last moments to serve it, by each clock
	doubt              time.Duration // how uncertain those are
	refused            *refusal      // of its token, whichever key serves it
	ended              bool          // by a clock that was stepped back since
	waited             bool          // somebody did, when it was retrieved
	asked              time.Duration // when somebody did first, while it was the one to serve; 0: nobody
	used               int           // as an input that is for one exchange
}

// lives works out how long a grant may be served: to its end less the floor, by either clock.
func (g *grant) lives(c *retrieval, absolute bool, life, now, wall, truth time.Duration) {
	g.doubt = 0
	if absolute {
		// It lives from now on, and not from when it was asked for. The engine learns how the clocks differ from a Date in whole
		// seconds, of which it knows the moment but for half of the time that the answer took; nothing, if a clock was set meanwhile.
		took := now - c.started
		g.doubt = 2500*time.Millisecond + took/2 + (wall - c.wall - took).Abs()
		life += truth - c.truth
	}
	less := min(10*time.Second, max(life/50, min(500*time.Millisecond, life/3)))
	g.mono, g.wall = c.started+life-less, c.wall+life-less
}

// retrieval is one call of a source.
type retrieval struct {
	key      *key
	n        int
	version  int
	started  time.Duration
	wall     time.Duration
	truth    time.Duration
	deadline time.Time
	hard     time.Duration // when the engine gives it up
	ended    time.Duration // 0: it has not
	granted  bool
	err      *freshet.Error
	waited   bool // a caller does
	retry    bool // of the one before, in its flight
}

// over is when a retrieval ended for the engine.
func (c *retrieval) over() time.Duration {
	if c.ended == 0 || c.ended > c.hard {
		return c.hard
	}
	return c.ended
}

// refusal is that of a token by a service.
type refusal struct{ at time.Duration } // when somebody told first; 0: nobody did

func newModel(w *world) *model {
	return &model{
		w: w, history: &history{}, bans: make(map[freshet.Target]ban), silent: make(map[silence]time.Duration),
		targets: make(map[freshet.Target]*state), begun: make(map[string][]time.Duration), running: make(map[string]int),
		workers: make(map[string][]span),
	}
}

// breaks records that a rule was broken. The first counts.
func (m *model) breaks(rule string, k *key, format string, args ...any) {
	if m.broken == nil {
		m.broken = &violation{rule, k, m.w.now(), fmt.Sprintf(format, args...)}
	}
}

// latest is the newest grant of a key in a version of its configuration; nil if there is none.
func (r *record) latest(version int) *grant {
	var newest *grant
	for _, g := range r.grants {
		if g.version == version && (newest == nil || g.sent >= newest.sent) {
			newest = g
		}
	}
	return newest
}

// before is the grant of a key that another replaced; nil if it is not known.
func (r *record) before(g *grant) *grant {
	var newest *grant
	for _, old := range r.grants {
		if old.version == g.version && old.sent < g.sent && (newest == nil || old.sent > newest.sent) {
			newest = old
		}
	}
	return newest
}

// valid reports whether a grant can be served now, without any doubt.
func (m *model) valid(g *grant) bool {
	return !g.ended && m.w.now() < g.mono-g.doubt && m.w.wall() < g.wall-g.doubt
}

// remaining is for how long a grant can be served.
func (m *model) remaining(g *grant) time.Duration {
	return min(g.mono-m.w.now(), g.wall-m.w.wall())
}

// quiet reports whether nothing was wrong for who asks for a key, from a time to another.
func (m *model) quiet(k *key, from, to time.Duration) bool {
	if until := m.w.plan.until; m.w.over && from < until+3*time.Minute {
		return false // when all faults ended, and the clock was set right
	}
	others := make(map[int]bool)
	for i := range m.w.plan.faults {
		f := &m.w.plan.faults[i]
		if f.start > to || f.start >= m.w.plan.until {
			break
		}
		if end := min(f.end, m.w.plan.until); end+f.tail() < from {
			continue
		}
		if f.concerns(k) {
			return false
		}
		// An issuer that fails tenant after tenant may be left alone for all.
		if f.tenant >= 0 && f.issuer >= 0 {
			for _, id := range chain(k.id) {
				if specs[id].issuer == f.issuer {
					others[f.tenant] = true
				}
			}
		}
	}
	return len(others) < 3
}

// granted finds what a token is.
func (m *model) granted(token string) (*grant, *key) {
	text, _, _ := strings.Cut(token, "#")
	number, err := strconv.Atoi(text)
	if err != nil || number >= len(m.history.keys) {
		return nil, nil
	}
	k := m.history.keys[number]
	for _, g := range k.grants {
		if g.token == token {
			return g, k
		}
	}
	return nil, k
}

// servable checks that a grant that is served now has not come to its end.
func (m *model) servable(k *key, g *grant) {
	if now, wall := m.w.now(), m.w.wall(); now >= g.mono+g.doubt || wall >= g.wall+g.doubt {
		m.breaks("nothing is served past its floor", k, "it was to be served until %v, or %v by the wall clock, which shows %v", g.mono, g.wall, wall)
	}
}

// keep adds a grant, and forgets those that nobody can have any more.
func (r *record) keep(g *grant, now time.Duration) {
	r.grants = append(slices.DeleteFunc(r.grants, func(old *grant) bool { return now > old.mono+10*time.Minute }), g)
}

// answersPlain is for a grant that answers a challenge: it replaces what is served to those who ask the same without one.
func (m *model) answersPlain(k *key, g *grant) {
	plain := m.w.all[k.plain()]
	if plain == nil {
		return
	}
	if old := plain.latest(g.version); old != nil && m.valid(old) {
		also := *g
		also.waited = false
		plain.keep(&also, m.w.now())
		plain.pardoned = m.w.now()
	}
}

// rejected hears that somebody rejects a grant.
func (m *model) rejected(g *grant) {
	if g.refused.at == 0 {
		g.refused.at = m.w.now()
	}
}

// stepping hears that the wall clock is about to be set, or has been: what has ended by now does not come to life again.
func (m *model) stepping() {
	for _, k := range m.w.all {
		for _, g := range k.grants {
			g.ended = g.ended || !m.valid(g)
		}
	}
}

// pardon hears that what an identity's source reads has changed.
func (m *model) pardon(id int) {
	for _, k := range m.w.all {
		if k.id == id {
			k.pardoned = m.w.now()
			delete(m.silent, silence{k.id, k.tenant})
		}
	}
}

// forget hears that an identity is configured anew.
func (m *model) forget(id int) {
	for _, k := range m.w.all {
		if k.id == id {
			k.grants, k.newest = nil, nil
			delete(m.silent, silence{k.id, k.tenant})
		}
	}
}
