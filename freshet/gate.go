package freshet

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"freshet.dev/freshet/internal/clock"
)

const (
	// throttled is how long an issuer is left alone that says "too many" and not for how long. It doubles with every time it
	// says so again, up to throttledMost.
	throttled     = 60 * time.Second
	throttledMost = 8 * time.Minute
	// enough failures in a row, of whichever keys, are the issuer's and not a key's.
	enough = 3
	// Then it is left alone for outage, doubling up to outageMost: one request a minute finds out soon enough that it is back,
	// and troubles nobody.
	outage     = 5 * time.Second
	outageMost = 60 * time.Second
	// loginAgain is how long it is remembered that somebody has to log in, deniedAgain that the issuer refuses.
	loginAgain  = 120 * time.Second
	deniedAgain = 30 * time.Second
	// wide is how many of a host's tenants must be blocked for the host to be.
	wide = 3
	// proving is when to look again while a probe is under way.
	proving = time.Second
	// longestSilence bounds what is believed of a Retry-After: longer is a mistake, or an attack on everybody behind us.
	longestSilence = time.Hour
)

// gateKey names whom a gate keeps from being asked: a target; a host, whatever the tenant and client; or, with an identity, what
// that one asks in a tenant.
type gateKey struct {
	Target
	whole bool
	id    *Identity
}

// gate is what is held against an issuer, or against an identity at its issuer. There is none for those who do well.
//
// Blocked until a time; then one flight, the probe, finds out whether that is over, while others are refused as before; its
// success opens the gate, and its failure blocks again, for longer. If nobody asks for an hour, or for as long again as it was
// shut if that is longer, it is forgotten.
type gate struct {
	key      gateKey
	failures int       // in a row
	parties  []string  // of a host: who began to fail since somebody did not; no more than matter
	blocks   int       // in a row
	until    int64     // monotonic; 0: not blocked
	shut     int64     // for how long, as of the last block
	err      *Error    // what blocked it
	by       *Identity // whose retrieval did
	probing  bool
}

// forgotten reports whether a block is so long over that whoever asks next is nobody's probe.
func (b *gate) forgotten(now clock.Reading) bool {
	return b.until != 0 && !b.probing && b.until+max(b.shut, int64(longestSilence)) <= now.Mono
}

// refusal is why, and until when (monotonic), an issuer is not asked.
type refusal struct {
	err     *Error
	until   int64
	proving bool // a probe finds out whether that is over: who can wait learns it
}

// at is the refusal as callers get it: the original cause with what is left of the time.
func (r *refusal) at(now clock.Reading) *Error {
	e := *r.err
	if r.until != clock.Never.Mono {
		e.RetryAfter = max(time.Duration(r.until-now.Mono), time.Millisecond)
	}
	return &e
}

// gateKeys are whose gates a retrieval has to pass.
func gateKeys(id *Identity, t Target) [3]gateKey {
	return [3]gateKey{{Target: Target{Host: t.Host}, whole: true}, {Target: t}, {Target: Target{Tenant: t.Tenant}, id: id}}
}

// pass returns why a retrieval may not go ahead, or the gates it is the probe of. g.mu is held.
func (g *governor) passLocked(keys *[3]gateKey, now clock.Reading) (probes []*gate, no *refusal) {
	for _, k := range keys {
		b := g.gates[k]
		switch {
		case b == nil || b.until == 0:
			continue
		case b.until > now.Mono:
			no = longer(no, &refusal{err: b.err, until: b.until})
		case b.probing:
			no = longer(no, &refusal{b.err, now.Mono + int64(proving), true})
		case b.forgotten(now):
			delete(g.gates, k)
		default:
			probes = append(probes, b)
		}
	}
	if no != nil {
		return nil, no
	}
	for _, b := range probes {
		b.probing = true
	}
	return probes, nil
}

func longer(a, b *refusal) *refusal {
	if a != nil && a.until >= b.until {
		return a
	}
	return b
}

// reportLocked takes account of how a retrieval ended; err is nil if it brought a credential.
func (g *governor) reportLocked(p *permit, err *Error, now clock.Reading) {
	probes, by := p.probes, p.keys[2].id
	for _, b := range probes {
		b.probing = false
	}
	if !p.asked.Load() {
		return // the next one is the probe
	}
	host, target, own := p.keys[0], p.keys[1], p.keys[2]
	if err == nil {
		g.answeredLocked(host, target, now)
		delete(g.gates, own)
		return
	}
	probed := func(k gateKey) bool { return slices.ContainsFunc(probes, func(b *gate) bool { return b.key == k }) }
	shut := func(k gateKey, d time.Duration) {
		b := g.gate(k)
		b.blocks++
		if d == 0 {
			d = about(target.Host, min(outage<<min(b.blocks-1, 10), outageMost))
		}
		g.blockLocked(b, d, err, by, now)
	}
	switch b := g.gates[target]; {
	case err.throttles():
		d := min(err.RetryAfter, longestSilence)
		if d <= 0 {
			if b != nil && b.until > now.Mono {
				return // it was said before this one came back
			}
			before := 0
			if b != nil {
				before = b.blocks
			}
			d = about(target.Host, min(throttled<<min(before, 10), throttledMost))
		}
		shut(target, d)
		if probed(host) && host != target {
			shut(host, d)
		}
	case outOfOrder(err):
		b = g.gate(target)
		b.failures++
		if b.until <= now.Mono && (b.failures >= enough || probed(target)) {
			shut(target, 0)
		}
		// So many tenants of a host that fail, and none that succeeds meanwhile, are the host's failure.
		h := g.gates[host]
		if b.failures == 1 && remote(err) {
			h = g.gate(host)
			h.parties = with(h.parties, target.party())
			h.failures = len(h.parties)
		}
		if h != nil && h.until <= now.Mono && (h.failures >= wide || probed(host)) {
			shut(host, 0)
		}
	case err.Kind == LoginNeeded || err.Kind == Denied || err.Kind == Invalid:
		g.answeredLocked(host, target, now)
		// Without a login, or with a bad secret (invalid_client, RFC 6749 §5.2), it is no use for any key. What an issuer wants
		// for a scope, or in answer to a challenge, is for that key alone, which remembers it.
		switch {
		case err.Kind == LoginNeeded && err.Status == 0 && !p.claims.Load():
			g.blockLocked(g.gate(own), loginAgain, err, by, now)
		case err.Kind == Denied && err.Status == http.StatusUnauthorized:
			g.blockLocked(g.gate(own), deniedAgain, err, by, now)
		}
	case len(probes) > 0: // not what a probe had to bring
		for _, p := range probes {
			g.blockLocked(p, about(target.Host, outage), err, by, now)
		}
	}
}

// answeredLocked is for an issuer that answered, and so is well. A block that began since the request was sent stays.
func (g *governor) answeredLocked(host, target gateKey, now clock.Reading) {
	for _, k := range [...]gateKey{host, target} {
		if b := g.gates[k]; b != nil && b.until > now.Mono {
			b.failures, b.parties = 0, nil
		} else {
			delete(g.gates, k)
		}
	}
}

// gate is the gate of a key, made if there is none. g.mu is held.
func (g *governor) gate(k gateKey) *gate {
	b := g.gates[k]
	if b == nil {
		if len(g.gates) >= g.sweepAt {
			g.sweepLocked()
		}
		b = &gate{key: k}
		g.gates[k] = b
	}
	return b
}

// sweepLocked forgets what has been over for long, so that tenants who are made up leave nothing behind.
func (g *governor) sweepLocked() {
	now := clock.Now()
	for k, b := range g.gates {
		if !b.probing && b.until < now.Mono-int64(throttledMost) {
			delete(g.gates, k)
		}
	}
	g.sweepAt = max(minSweep, 2*len(g.gates))
}

const minSweep = 1024

// party is who is told apart when an issuer fails several: the tenant, or the client where there are no tenants. One tenant whose
// clients all fail is no reason to leave the others' alone.
func (k gateKey) party() string {
	if k.Tenant != "" {
		return k.Tenant
	}
	return k.Client
}

// with adds a party to those that count, up to as many as matter.
func with(parties []string, party string) []string {
	if len(parties) == wide || slices.Contains(parties, party) {
		return parties
	}
	return append(parties, party)
}

// blockLocked shuts a gate. Where that is the third tenant of a host's, the host's is shut as well: what throttles one tenant after
// the other throttles whoever sends from here (Entra and STS do so by address).
func (g *governor) blockLocked(b *gate, d time.Duration, err *Error, by *Identity, now clock.Reading) {
	b.until, b.err, b.by = max(b.until, now.Mono+int64(d)), err, by
	b.shut = b.until - now.Mono
	if b.key.whole || b.key.id != nil || !remote(err) {
		return
	}
	var parties []string
	for k, other := range g.gates {
		if k.Host == b.key.Host && k.id == nil && !k.whole && other.until > now.Mono {
			if parties = with(parties, k.party()); len(parties) == wide {
				h := g.gate(gateKey{Target: Target{Host: b.key.Host}, whole: true})
				h.blocks = max(h.blocks, 1)
				h.until, h.err, h.by = max(h.until, b.until), err, by
				h.shut = h.until - now.Mono
				return
			}
		}
	}
}

// about is a duration with full jitter on its last fifth, so that those who wait for the same block do not come at once.
func about(host string, d time.Duration) time.Duration { return d*4/5 + jitter(host, d*2/5) }

// throttles reports whether an error asks for its issuer to be left alone.
func (e *Error) throttles() bool {
	return e.Kind == Unavailable && (e.RetryAfter > 0 || e.Status == http.StatusTooManyRequests)
}

// remote reports whether an error is of a host, and not of one program among others of its name.
func remote(err *Error) bool {
	_, ok := errors.AsType[*url.Error](err.Cause)
	return ok || err.Status != 0
}

// outOfOrder reports whether an error says that the issuer does not work, rather than that it will not have this request: 5xx, or
// no answer. A program that fails, or a file that is not there, is no issuer's outage.
func outOfOrder(err *Error) bool {
	if err.Kind != Unavailable {
		return false
	}
	if err.Status != 0 {
		return err.Status/100 == 5
	}
	_, network := errors.AsType[net.Error](err.Cause)
	return network || errors.Is(err.Cause, io.EOF) || errors.Is(err.Cause, io.ErrUnexpectedEOF)
}
