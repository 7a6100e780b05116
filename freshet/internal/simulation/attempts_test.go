package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"freshet.dev/freshet"
)

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

// apart is how far retrievals of one key are to be apart, while there is something to serve.
func apart(life time.Duration) time.Duration { return max(time.Second, min(30*time.Second, life/10)) }

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
		// What is rejected is no input, however short ago it came.
		needed := g != nil && g.refused.at != 0 && specs[k.id].input
		hasty = held && !needed && c.started-prev.started < apart(g.life)-g.doubt/10
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
	lately := slices.DeleteFunc(m.begun[of], func(at time.Duration) bool { return at <= c.started-time.Second })
	m.begun[of] = append(lately, c.started)
	if len(m.begun[of]) > int(s.rate)+2 {
		m.breaks("limits hold", k, "%d retrievals began within a second", len(m.begun[of]))
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
