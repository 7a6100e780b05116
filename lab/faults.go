package lab

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"freshet.dev/freshet"
)

// Inject lets something be wrong with an issuer, from now on and until the fault's time is over, [Cloud.Clear] is called, or a
// fault of the same kind for the same tenant takes its place. Errors are of kind Invalid.
//
// One fault at most touches a request: of those for its tenant, and then of those for all, the first, in the order in which they
// were put, whose chance comes up.
func (c *Cloud) Inject(issuer string, f Fault) error {
	if err := f.Check(issuer); err != nil {
		return err
	}
	if !c.issuers[issuer].faults.put(f.whole()) {
		return freshet.Errorf(freshet.Invalid, "lab: %s: it has %d faults already", issuer, maxFaults).WithHint("clear some")
	}
	return nil
}

// Clear ends an issuer's faults: those for a tenant, or with "" all. What waits for one goes on, or is cut.
func (c *Cloud) Clear(issuer, tenant string) error {
	i, ok := c.issuers[issuer]
	if !ok {
		return freshet.Errorf(freshet.Invalid, "lab: unknown issuer %q", issuer).WithHint("there are %s", list(Issuers()))
	}
	i.faults.clear(tenant)
	return nil
}

// Faults are the faults of all issuers that have some: name → faults, in the order in which they were put.
func (c *Cloud) Faults() map[string][]ActiveFault {
	all := make(map[string][]ActiveFault)
	for name, i := range c.issuers {
		if on := i.faults.status(); len(on) > 0 {
			all[name] = on
		}
	}
	return all
}

// ActiveFault is a fault that an issuer has.
type ActiveFault struct {
	Fault                  // with its defaults filled in
	Left     time.Duration // how long it will last yet
	Requests int64         // that it might have touched
	Touched  int64         // that it did touch
}

// activeJSON is how a fault is written that an issuer has: the fault, and these.
type activeJSON struct {
	faultJSON
	Left     duration `json:"left"`
	Requests int64    `json:"requests"`
	Touched  int64    `json:"touched"`
}

// MarshalJSON implements [json.Marshaler].
func (a ActiveFault) MarshalJSON() ([]byte, error) {
	return json.Marshal(activeJSON{a.text(), duration(a.Left), a.Requests, a.Touched})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (a *ActiveFault) UnmarshalJSON(text []byte) error {
	var j activeJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	f, err := j.fault()
	*a = ActiveFault{f, time.Duration(j.Left), j.Requests, j.Touched}
	return err
}

// faults are an issuer's.
type faults struct {
	mu sync.Mutex
	on []*active
}

// active is a fault that is on.
type active struct {
	Fault
	began freshet.Instant
	ended chan struct{} // closed when somebody, or something, noticed that it is over

	// The rest is the list's to lock.
	chance            *rand.Rand
	requests, touched int64
	first             map[[sha256.Size]byte]reply // of those that are repeated: what was asked → what was answered first
}

// newActive begins a fault. Its kind is a part of its chances, so that two with the same seed are independent of each other.
func newActive(f Fault) *active {
	kind := fnv.New64a()
	_, _ = kind.Write([]byte(f.Kind))
	return &active{Fault: f, began: freshet.Now(), ended: make(chan struct{}), chance: rand.New(rand.NewPCG(f.Seed, kind.Sum64()))}
}

// left is how long it lasts yet. It goes by age alone: setting the wall clock neither ends nor prolongs a rehearsal.
func (a *active) left() time.Duration { return a.For - a.began.Elapsed() }

// put adds a fault, in place of one of the same kind for the same tenant. It reports false where there are too many.
func (l *faults) put(f Fault) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweepLocked()
	a := newActive(f)
	if i := slices.IndexFunc(l.on, func(b *active) bool { return b.Kind == f.Kind && strings.EqualFold(b.Tenant, f.Tenant) }); i >= 0 {
		close(l.on[i].ended)
		l.on[i] = a
		return true
	}
	if len(l.on) >= maxFaults {
		return false
	}
	l.on = append(l.on, a)
	return true
}

func (l *faults) clear(tenant string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(func(a *active) bool { return tenant == "" || strings.EqualFold(a.Tenant, tenant) })
}

func (l *faults) sweepLocked() { l.endLocked(func(a *active) bool { return a.left() <= 0 }) }

func (l *faults) endLocked(over func(*active) bool) {
	l.on = slices.DeleteFunc(l.on, func(a *active) bool {
		if !over(a) {
			return false
		}
		close(a.ended)
		return true
	})
}

func (l *faults) status() []ActiveFault {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweepLocked()
	var all []ActiveFault
	for _, a := range l.on {
		all = append(all, ActiveFault{a.Fault, max(0, a.left()), a.requests, a.touched})
	}
	return all
}

// touch is a fault that came up for a request; nil: none did.
type touch struct {
	*active
	extra time.Duration // random, of a slow issuer's latency
}

// touch finds the fault that touches a request, if any.
func (l *faults) touch(tenant string) *touch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.on) == 0 {
		return nil
	}
	l.sweepLocked()
	for _, own := range []bool{true, false} {
		for _, a := range l.on {
			if (a.Tenant != "") != own || own && !strings.EqualFold(a.Tenant, tenant) {
				continue
			}
			a.requests++
			if a.chance.Float64() >= a.Probability {
				continue
			}
			a.touched++
			t := &touch{active: a}
			if a.Jitter > 0 {
				t.extra = time.Duration(a.chance.Int64N(int64(a.Jitter) + 1))
			}
			return t
		}
	}
	return nil
}

// is reports whether it shows in a way.
func (t *touch) is(k Kind, how string) bool { return t != nil && t.has(k, how) }

// pass lets time pass, or what is left of the fault if that is less. It reports false if the request ended first.
func (t *touch) pass(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(0, min(d, t.left())))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ended:
	case <-ctx.Done():
		return false
	}
	return ctx.Err() == nil
}

// maxRepeated is how many different answers a fault repeats.
const maxRepeated = 1024

// repeat is what was answered first to whoever asks this, and whether that was before.
func (l *faults) repeat(a *active, asked [sha256.Size]byte, now reply) (reply, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first, ok := a.first[asked]; ok {
		return first, true
	}
	if a.first == nil {
		a.first = make(map[[sha256.Size]byte]reply)
	}
	if len(a.first) < maxRepeated {
		a.first[asked] = now
	}
	return now, false
}

// spare takes back that a fault touched a request: there was nothing to alter.
func (l *faults) spare(a *active) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.touched--
}
