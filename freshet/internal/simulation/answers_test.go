package simulation

import (
	"context"
	"errors"
	"time"

	"freshet.dev/freshet"
)

// asking is a caller inside the engine.
type asking struct {
	*call
	key     *key
	began   time.Duration
	version int
	rejects *grant
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
	if own && a.rejects == nil && waited > 6*time.Second && m.quiet(k, a.began, now) {
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
