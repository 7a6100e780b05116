package freshet

import (
	"time"

	"freshet.dev/freshet/internal/chance"
	"freshet.dev/freshet/internal/clock"
)

// state is what the schedule says of a version.
type state uint8

const (
	fresh   state = iota
	due           // served, and replaced in the background
	expired       // not served
)

// dueAt is when a key's credential is due, on both clocks. at overrides that as a fraction of its lifetime; 0 leaves it to the issuer and
// the rules below. Jitter is drawn with every call, for a key.
func dueAt(of string, l life, at float64) clock.Reading {
	if l.lifetime == 0 {
		return earliest(l, at)
	}
	after, width := dueWithin(l, at)
	return l.sent.Add(max(spacing(l.lifetime), after-jitter(of, width)))
}

// earliest is when jitter can make a credential due at the earliest.
func earliest(l life, at float64) clock.Reading {
	if l.lifetime != 0 {
		after, width := dueWithin(l, at)
		return l.sent.Add(max(spacing(l.lifetime), after-width))
	}
	if l.refreshIn == 0 {
		return clock.Never
	}
	return l.sent.Add(max(l.refreshIn, spacing(0)))
}

// dueWithin is the age at which a credential that expires is due, and by how much jitter may make that earlier.
func dueWithin(l life, at float64) (after, width time.Duration) {
	switch {
	case l.noneSooner:
		return l.refreshIn, 0
	case at > 0:
		after = time.Duration(float64(l.lifetime) * at)
	case l.refreshIn > 0:
		after = l.refreshIn
	default:
		after = dueAfter(l.lifetime)
	}
	return after, l.lifetime / 10
}

// dueAfter is the age at which a credential of this lifetime is due, where its issuer does not say.
//
// Over 2 h it is half, as azidentity and msal do. From 40 min up it leaves at least 20 min, because SDKs refetch inside their
// own last 5 to 15 minutes and would otherwise ask at every call. Below 5 min it is half again: a 12 s outage at a life of
// 30 s fails callers when refreshing at 75 %, and none at 50 %.
func dueAfter(lifetime time.Duration) time.Duration {
	switch {
	case lifetime > 2*time.Hour, lifetime < 5*time.Minute:
		return lifetime / 2
	case lifetime >= 40*time.Minute:
		return min(lifetime*3/4, lifetime-20*time.Minute)
	}
	return lifetime * 3 / 4
}

// floor is the last part of a life in which nothing is served: a request signed there would arrive too late. A request takes as long
// whatever the life: MinIO's STS has its credentials end with the token that they are made of, so that in an outage of the token's
// issuer their lives are halved again and again, and 2 % of those is nothing.
func floor(lifetime time.Duration) time.Duration {
	return min(10*time.Second, max(lifetime/50, min(500*time.Millisecond, lifetime/3)))
}

// spacing is how far apart retrievals of one key must be.
func spacing(lifetime time.Duration) time.Duration {
	if lifetime == 0 {
		return 30 * time.Second
	}
	return max(time.Second, min(30*time.Second, lifetime/10))
}

// backoff is how long to wait with the nth failure in a row (n ≥ 1) of a refresh: the spacing, plus full jitter over a width that
// doubles with every failure up to eight spacings. left is how long what is served still is: one attempt more is made within it,
// if the spacing allows.
func backoff(of string, lifetime time.Duration, n int, left time.Duration) time.Duration {
	s := spacing(lifetime)
	width := s << min(n-1, 3)
	if left > 0 {
		width = min(width, max(0, left-2*s))
	}
	return s + jitter(of, width)
}

// again is how long to wait after the nth failure in a row with nothing to serve: a second, plus full jitter over a width that
// doubles from one second up to eight. It is short because somebody waits; an issuer that fails for many is spared by its gate.
func again(of string, n int) time.Duration { return time.Second + jitter(of, time.Second<<min(n-1, 3)) }

// jitter is a random duration in [0, width], drawn for a key or a host.
func jitter(of string, width time.Duration) time.Duration {
	if width <= 0 {
		return 0
	}
	return time.Duration(chance.Below(of, int64(width)+1))
}
