package simulation

import (
	"context"
	"errors"
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
	begun   map[*source][]time.Duration // of limited identities: retrievals of the last second
	running map[string]int              // limited identity and version → retrievals under way
	workers map[string][]span           // host → refreshes that nobody waited for
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
	less := min(10*time.Second, life/50)
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

// asking is a caller inside the engine.
type asking struct {
	*call
	key     *key
	began   time.Duration
	version int
	rejects *grant
}

// refusal is that of a token by a service.
type refusal struct{ at time.Duration } // when somebody told first; 0: nobody did

type ban struct{ told, until time.Duration }

// silence is that of one identity in one tenant, after a failure that only a person mends.
type silence struct{ id, tenant int }

// state is that of a target that fails.
type state struct {
	failures int           // in a row
	shut     time.Duration // when the last block began
	until    time.Duration // no retrieval before
	probe    *retrieval    // the last that began since
}

const (
	enough   = 3
	leastOut = 4 * time.Second  // the shortest block for an outage: 5 s less a fifth
	least429 = 48 * time.Second // for a 429 without a time: a minute less a fifth
	longest  = time.Hour        // after which a block may be forgotten
)

type span struct{ from, to time.Duration }

func newModel(w *world) *model {
	return &model{
		w: w, history: &history{}, bans: make(map[freshet.Target]ban), silent: make(map[silence]time.Duration),
		targets: make(map[freshet.Target]*state), begun: make(map[*source][]time.Duration), running: make(map[string]int),
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

// apart is how far retrievals of one key are to be apart, while there is something to serve.
func apart(life time.Duration) time.Duration { return max(time.Second, min(30*time.Second, life/10)) }

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

// starts hears of a source that is called.
func (m *model) starts(k *key, version int, ctx context.Context, req *freshet.Request) *retrieval {
	w, now := m.w, m.w.now()
	s := &specs[k.id]
	k.n++
	c := &retrieval{key: k, n: k.n, version: version, started: now, wall: w.wall(), truth: now + w.suspended, waited: k.waiting > 0}
	c.deadline, _ = ctx.Deadline()
	// The source is told to stop a little before its waiters are released: half a second, or a twentieth of the time.
	c.hard = now + time.Until(c.deadline) + min(500*time.Millisecond, s.timeout/20)
	w.note(retrieve, k, int64(version), int64(k.n))

	single := s.input && !s.asked // kept by nobody
	if !single {
		for _, other := range k.under {
			if other.version == version && now < other.over() {
				m.breaks("one flight a key", k, "retrieval %d is under way since %v", other.n, other.started)
			}
		}
		m.spaced(k, c)
		m.wanted(k, c)
	}
	target := (&source{w, k.id, version}).Target(*req)
	if b, ok := m.bans[target]; ok && b.told < now && now < b.until {
		m.breaks("Retry-After is obeyed", k, "its issuer said at %v to come back at %v", b.told, b.until)
	}
	m.spared(k, c, target)
	m.limited(k, c)
	if req.Input != nil {
		m.fed(k, req.Input)
	}
	k.last = c
	k.under = append(k.under, c)
	return c
}

// spaced checks that the attempts of a key are apart.
func (m *model) spaced(k *key, c *retrieval) {
	prev := k.last
	hasty := false
	if prev == nil || prev.version != c.version || k.pardoned >= prev.started && k.pardoned > 0 {
		k.hasty = false
		return
	}
	g := k.latest(c.version)
	held := g != nil && m.valid(g)
	switch {
	case c.deadline.Equal(prev.deadline): // of the same flight
		c.retry = true
		if prev.retry || prev.err == nil || prev.err.Status/100 != 5 || prev.err.RetryAfter > 0 || c.started-prev.over() < time.Second {
			m.breaks("attempts are apart", k, "retrieval %d is repeated in its flight after %v: %v", prev.n, c.started-prev.over(), prev.err)
		}
	case prev.granted:
		hasty = held && c.started-prev.started < apart(g.life)-g.doubt/10
		if hasty && k.hasty {
			m.breaks("attempts are apart", k, "retrieval %d comes %v after the last, and that had come as soon", c.n, c.started-prev.started)
		}
	case g != nil && g.delivered >= prev.started: // by a retrieval of another key, or one that took too long
	default:
		least := time.Second
		if held {
			least = apart(g.life) - g.doubt/10
		}
		if after := c.started - prev.over(); after < least {
			m.breaks("attempts are apart", k, "retrieval %d comes %v after the last failed: want %v", c.n, after, least)
		}
	}
	k.hasty = hasty
}

// wanted checks that what is retrieved is asked for, and was retrieved in time.
func (m *model) wanted(k *key, c *retrieval) {
	s := &specs[k.id]
	g := k.latest(c.version)
	if g == nil || k.pardoned > g.sent || g.refused.at != 0 {
		return
	}
	// Who asks while a refresh waits in line asks for what that brings.
	since := g.sent - 2*time.Minute
	if k.pardoned > 0 {
		since = min(since, k.pardoned)
	}
	if replaced := k.before(g); replaced != nil {
		since = min(since, replaced.sent+replaced.life*2/5)
	}
	if !c.waited && !s.pin && !s.input && !g.waited && g.delivered < c.started-s.timeout && k.asked < since {
		m.breaks("what nobody asks for lapses", k, "retrieval %d; asked for last at %v, and its credential is of %v", c.n, k.asked, g.sent)
	}
	ended := m.w.now() > g.mono || m.w.wall() > g.wall
	inTime := g.asked > 0 && g.asked < g.mono-g.doubt-30*time.Second
	if c.waited && ended && (g.waited || inTime) && m.quiet(k, g.sent, c.started) {
		m.breaks("refreshes come ahead of the end", k, "the credential of %v was asked for at %v, and let end at %v", g.sent, g.asked, g.mono)
	}
}

// spared checks that an issuer that fails, or that waits for somebody to log in, is left alone.
func (m *model) spared(k *key, c *retrieval, t freshet.Target) {
	if until := m.silent[silence{k.id, k.tenant}]; c.started < until && k.claims == "" {
		m.breaks("who refuses is left alone", k, "until %v", until)
	}
	s := m.targets[t]
	if s == nil || s.until == 0 || c.started > s.until+longest*5/6 {
		return
	}
	switch {
	case s.shut < c.started && c.started < s.until:
		m.breaks("who fails is left alone", k, "since %v, until %v", s.shut, s.until)
	case s.probe != nil && c.started > s.probe.started && c.started < s.probe.over():
		m.breaks("one probe at a time", k, "another is under way since %v", s.probe.started)
	}
	s.probe = c
}

// fails takes account of what a target has answered.
func (m *model) fails(t freshet.Target, c *retrieval) {
	s := m.targets[t]
	if s == nil {
		s = &state{}
		m.targets[t] = s
	}
	if s.probe == c {
		s.probe = nil
	}
	now := m.w.now()
	shut := func(d time.Duration) { s.shut, s.until = now, max(s.until, now+d) }
	switch e := c.err; {
	case e == nil, e.Kind == freshet.Denied, e.Kind == freshet.LoginNeeded: // it works
		if now >= s.until {
			*s = state{}
		}
		s.failures = 0
	case e.Kind != freshet.Unavailable || c.ended > c.hard || e.RetryAfter > 0:
	case e.Status == 429:
		shut(least429)
	case e.Status/100 == 5, e.Why == refused.String():
		probe := s.until > 0 && c.started >= s.until
		if e.Status != 0 && !probe && !c.retry {
			return // it may be repeated in its flight, and flights are counted
		}
		if s.failures++; now >= s.until && (s.failures >= enough || probe) {
			shut(leastOut)
		}
	}
}

// limited checks the limits of an identity.
func (m *model) limited(k *key, c *retrieval) {
	s := &specs[k.id]
	if s.concurrency == 0 {
		return
	}
	of := fmt.Sprint(k.id, " ", c.version)
	m.running[of]++
	if m.running[of] > s.concurrency {
		m.breaks("limits hold", k, "%d retrievals at once", m.running[of])
	}
	if s.rate == 0 {
		return
	}
	src := source{id: k.id, version: c.version}
	var lately []time.Duration
	for known, times := range m.begun {
		if *known == src {
			lately = append(slices.DeleteFunc(times, func(at time.Duration) bool { return at <= c.started-time.Second }), c.started)
			m.begun[known] = lately
		}
	}
	if lately == nil {
		m.begun[&src] = []time.Duration{c.started}
	}
	if len(lately) > int(s.rate)+2 {
		m.breaks("limits hold", k, "%d retrievals began within a second", len(lately))
	}
}

// fed checks what a credential is made from.
func (m *model) fed(k *key, input *freshet.Credential) {
	s := &specs[k.id]
	g, of := m.granted(input.Token())
	if g == nil || of.id != s.from || of.tenant != k.tenant {
		m.breaks("nobody gets another's", k, "its input is of %v", of)
		return
	}
	m.servable(of, g)
	switch {
	case s.fresh:
		if g.used++; g.used > 1 {
			m.breaks("what is for one exchange is used once", k, "the input of %v is used again", g.sent)
		}
	case m.w.now()-g.sent > g.life*78/100 && m.quiet(of, g.sent, m.w.now()):
		m.breaks("what is derived is not born short", k, "its input is of %v, and lives for %v", g.sent, g.life)
	}
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

// ends hears how a call of a source ended.
func (m *model) ends(c *retrieval, g *grant, err error) {
	k, w, now := c.key, m.w, m.w.now()
	c.ended, c.granted = now, g != nil
	if err != nil {
		c.err = freshet.AsError(err)
	}
	req := k.request()
	t := (&source{w, k.id, c.version}).Target(req)
	m.fails(t, c)
	k.under = slices.DeleteFunc(k.under, func(other *retrieval) bool { return other == c })
	if specs[k.id].concurrency > 0 {
		m.running[fmt.Sprint(k.id, " ", c.version)]--
	}
	if g != nil {
		w.note(granted, k, int64(c.version), int64(c.n))
		delete(m.silent, silence{k.id, k.tenant})
		if !slices.Contains(k.grants, g) {
			k.keep(g, now)
		}
		if k.claims != "" {
			m.answersPlain(k, g)
		}
		return
	}
	w.note(failed, k, int64(c.err.Status), int64(c.err.RetryAfter))
	switch {
	case k.claims != "" || c.ended > c.hard:
	case c.err.Kind == freshet.LoginNeeded:
		m.silent[silence{k.id, k.tenant}] = now + 120*time.Second
	case c.err.Kind == freshet.Denied:
		m.silent[silence{k.id, k.tenant}] = now + 30*time.Second
	}
	if c.err.RetryAfter > 0 {
		b := m.bans[t]
		b.told, b.until = now, max(b.until, now+min(c.err.RetryAfter, time.Hour))
		m.bans[t] = b
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

// enters hears of a caller who asks.
func (m *model) enters(a *asking) {
	k := a.key
	k.asked = a.began
	k.waiting++
	if g := k.latest(a.version); g != nil && g.asked == 0 && m.valid(g) {
		g.asked = a.began
	}
}

// leaves hears of what a caller got, and checks it.
func (m *model) leaves(a *asking, ctx context.Context, ans freshet.Answer, err error) {
	w, k, now := m.w, a.key, m.w.now()
	k.waiting--
	own := ctx.Err() != nil
	waited := now - a.began
	most := specs[k.id].timeout + a.hold
	if a.deadline > 0 {
		most = a.deadline
	}
	if a.cancel > 0 {
		most = min(most, a.cancel)
	}
	if waited > most {
		m.breaks("callers are back in time", k, "one waited %v, and could for %v", waited, most)
	}
	if err != nil {
		e := freshet.AsError(err)
		w.note(told, k, int64(waited), int64(e.RetryAfter))
		m.failed(a, e, own, waited)
		return
	}
	w.note(served, k, int64(ans.Credential.Lifetime()), int64(waited))
	g, of := m.granted(ans.Credential.Token())
	if g == nil || of != k && (of.claims == "" || k.claims != "" || of.plain() != k.name) {
		m.breaks("nobody gets another's", k, "got %v of %v", ans.Credential, of)
		return
	}
	if of != k { // as k has it
		g = nil
		for _, mine := range k.grants {
			if mine.token == ans.Credential.Token() {
				g = mine
			}
		}
		if g == nil {
			return // nothing was served when it came, as far as is certain
		}
	}
	m.served(a, g, ans, own, waited)
}

// failed checks that a caller who got an error had to get one.
func (m *model) failed(a *asking, e *freshet.Error, own bool, waited time.Duration) {
	k, now := a.key, m.w.now()
	if a.version != m.w.versions[k.id] {
		return // configured anew meanwhile
	}
	if g := k.latest(a.version); g != nil && m.valid(g) && g.delivered < now && a.rejects != g && g.refused.at == 0 {
		m.breaks("nobody fails while there is something valid", k, "after %v: %v; there is one of %v until %v", waited, e, g.sent, g.mono)
	}
	if !own && errors.Is(e, context.Canceled) {
		m.breaks("callers leave at their own end alone", k, "after %v: %v", waited, e)
	}
	if e.RetryAfter > time.Hour+time.Second {
		m.breaks("nobody is sent away for long", k, "for %v", e.RetryAfter)
	}
	from := a.began
	if a.deadline == 0 && a.hold == 0 {
		from -= longest // it cannot wait for somebody else's probe, however long the block is over
	}
	if !own && a.rejects == nil && m.quiet(k, from, now) {
		m.breaks("nobody fails for nothing", k, "after %v: %v (again in %v)", waited, e, e.RetryAfter)
	}
	if own && waited > 6*time.Second && m.quiet(k, a.began, now) {
		m.breaks("nobody waits for nothing", k, "until after %v: %v", waited, e)
	}
}

// served checks what a caller got.
func (m *model) served(a *asking, g *grant, ans freshet.Answer, own bool, waited time.Duration) {
	k, now := a.key, m.w.now()
	m.servable(k, g)
	if g.version != a.version {
		m.breaks("nobody gets another's", k, "version %d of the configuration was asked, and %d answers", a.version, g.version)
	}
	if a.rejects != nil && a.rejects.token == g.token {
		m.breaks("who rejects a version does not get it again", k, "of %v", g.sent)
	}
	switch {
	case ans.Rejected && g.refused.at == 0:
		m.breaks("what is rejected is marked, and nothing else", k, "nobody rejected the one of %v", g.sent)
	case !ans.Rejected && g.refused.at != 0 && g.refused.at < now:
		m.breaks("what is rejected is marked, and nothing else", k, "the one of %v was rejected at %v", g.sent, g.refused.at)
	}
	if k.newest != nil && k.newest.version == g.version && k.newest.sent > g.sent && k.newestAt < now {
		m.breaks("versions never go back", k, "of %v after of %v, served at %v", g.sent, k.newest.sent, k.newestAt)
	}
	if k.newest == nil || k.newest.version != g.version || g.sent >= k.newest.sent {
		k.newest, k.newestAt = g, now
	}
	c := k.last
	failedSince := c != nil && c.version == g.version && c.ended != 0 && !c.granted && !c.waited && c.started > g.delivered && c.ended <= c.hard
	switch {
	case !ans.Stale && ans.Due && failedSince && c.ended+1500*time.Millisecond < now:
		m.breaks("what could not be replaced is marked", k, "of %v, and retrieval %d failed at %v", g.sent, c.n, c.ended)
	case ans.Stale && !ans.Rejected && m.quiet(k, g.sent, now):
		m.breaks("what could not be replaced is marked", k, "of %v, and nothing failed", g.sent)
	}
	if a.minTTL > 0 && g.doubt == 0 {
		left := min(g.sent+g.life-now, g.life)
		switch {
		case left < a.minTTL && !ans.Short && m.quiet(k, g.sent, now):
			m.breaks("who asks for more life gets it, or is told", k, "%v left, %v wanted", left, a.minTTL)
		case ans.Short && !own && !ans.Rejected && a.minTTL < g.life-time.Minute && now-g.sent > apart(g.life)+time.Minute && m.quiet(k, g.sent, now) && specs[k.id].noneSooner == 0:
			m.breaks("who asks for more life gets it, or is told", k, "%v left, %v wanted, and the issuer gives %v", left, a.minTTL, g.life)
		}
	}
	if waited > 6*time.Second && a.rejects == nil && !m.w.over && m.quiet(k, a.began, now) {
		m.breaks("nobody waits for nothing", k, "%v", waited)
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
