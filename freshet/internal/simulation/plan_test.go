package simulation

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

const tenants = 200

// spec is an identity of every world.
type spec struct {
	name        string
	issuer      int
	resources   int // keys a tenant
	lifetimes   []time.Duration
	absolute    bool          // the issuer states an expiry, by its own clock; else a lifetime
	noneSooner  time.Duration // before the end: it answers from a cache of its own until then
	from        int           // the identity that it is made from; 0: none
	fresh       bool          // with a new input each time
	asked       bool          // by callers
	input       bool          // another is made from it, so that it may be asked for any time
	claims      bool
	pin         bool
	concurrency int
	rate        float64
	timeout     time.Duration
}

const issuers = 5

// The identities. Their numbers are in faults and keys. None is made from number 0. No two keys of an identity with a limit share an
// input: who is next in its line would depend on which of the two goroutines wakes first.
var specs = []spec{
	{name: "entra", issuer: 0, resources: 7, lifetimes: []time.Duration{time.Hour, 80 * time.Minute, 24 * time.Hour}, asked: true, claims: true, timeout: 30 * time.Second},
	{name: "oauth", issuer: 1, resources: 6, lifetimes: []time.Duration{5 * time.Minute, 20 * time.Minute, time.Hour}, absolute: true, asked: true, timeout: 20 * time.Second},
	{name: "oidc", issuer: 3, resources: 3, lifetimes: []time.Duration{10 * time.Minute}, asked: true, input: true, timeout: 15 * time.Second},
	{name: "role", issuer: 2, resources: 3, lifetimes: []time.Duration{15 * time.Minute, time.Hour}, absolute: true, from: 2, asked: true, input: true, concurrency: 8, timeout: 40 * time.Second},
	{name: "assertion", issuer: 3, resources: 3, lifetimes: []time.Duration{5 * time.Minute}, input: true, timeout: 15 * time.Second},
	{name: "web", issuer: 2, resources: 3, lifetimes: []time.Duration{30 * time.Minute, 3 * time.Hour}, from: 4, fresh: true, asked: true, timeout: 45 * time.Second},
	{name: "program", issuer: 4, resources: 2, lifetimes: []time.Duration{time.Hour}, noneSooner: 5 * time.Minute, asked: true, concurrency: 8, rate: 20, timeout: 20 * time.Second},
	{name: "deep", issuer: 2, resources: 1, lifetimes: []time.Duration{time.Hour}, from: 3, asked: true, concurrency: 1, timeout: 60 * time.Second},
	{name: "pinned", issuer: 1, resources: 1, lifetimes: []time.Duration{10 * time.Minute}, pin: true, timeout: 20 * time.Second},
}

// chain is the identities that one is made of, itself first.
func chain(id int) []int {
	list := []int{id}
	for specs[id].from != 0 {
		id = specs[id].from
		list = append(list, id)
	}
	return list
}

// trouble is a kind of what goes wrong, or at least changes.
type trouble int

const (
	serverErrors trouble = iota // 503
	refused                     // no connection
	hang                        // no answer until the retrieval is given up
	deaf                        // nor then
	throttle                    // 429
	retryAfter                  // 429 with a time
	malformed
	expiredReply
	sameAgain
	panics
	slow
	loginNeeded
	denied
	skewed  // the issuer's clock
	stepped // ours
	suspended
	reloaded
	changed
	rejections
	flood // one tenant asks for thousands of things that it never asks for again
	troubles
)

var troubleNames = [troubles]string{
	"5xx", "refused", "hang", "deaf", "throttle", "retry-after", "malformed", "expired", "same", "panic", "slow", "login", "denied", "skew",
	"step", "suspend", "reload", "changed", "rejections", "flood",
}

func (t trouble) String() string { return troubleNames[t] }

// fault is trouble of some time, for some.
type fault struct {
	number     int // in its plan
	trouble    trouble
	issuer     int // −1: not one
	identity   int // −1: all
	tenant     int // −1: all
	start, end time.Duration
	share      float64       // of the calls that meet it
	by         time.Duration // how long, how far
}

func (f *fault) String() string {
	s := fmt.Sprintf("fault %d: %v from %v to %v", f.number, f.trouble, f.start.Round(time.Second), f.end.Round(time.Second))
	if f.issuer >= 0 {
		s += fmt.Sprintf(" at issuer %d", f.issuer)
	}
	if f.identity >= 0 {
		s += " for identity " + specs[f.identity].name
	}
	if f.tenant >= 0 {
		s += fmt.Sprintf(" for tenant %d", f.tenant)
	}
	if f.by != 0 {
		s += fmt.Sprintf(" by %v", f.by)
	}
	if f.share < 1 {
		s += fmt.Sprintf(" for %.0f %%", 100*f.share)
	}
	return s
}

// tail is for how long after its end a fault may still be felt: as long as an issuer may be left alone, until one retrieval has found
// out, and what a retrieval that met it may take.
func (f *fault) tail() time.Duration {
	const probe = 10 * time.Second
	const outage = 72*time.Second + probe
	switch f.trouble {
	case serverErrors, refused, malformed, expiredReply, panics:
		return outage
	case hang, slow:
		return outage + time.Minute
	case deaf:
		return outage + 3*time.Minute
	case throttle:
		return 10*time.Minute + probe
	case retryAfter:
		return min(f.by, time.Hour) + probe
	case loginNeeded:
		return 120*time.Second + probe
	case denied:
		return 40*time.Second + probe
	case stepped, suspended:
		return 3 * time.Minute
	}
	return time.Minute
}

// concerns reports whether a fault can be felt by who asks for a key.
func (f *fault) concerns(k *key) bool {
	if f.tenant >= 0 && f.tenant != k.tenant && !f.fills(k) {
		return false
	}
	if f.issuer < 0 && f.identity < 0 {
		return true
	}
	for _, id := range chain(k.id) {
		if (f.issuer < 0 || f.issuer == specs[id].issuer) && (f.identity < 0 || f.identity == id) {
			return true
		}
	}
	return false
}

// fills reports whether a fault can keep the slots of a limit that a key's retrieval needs, whoever's they are.
func (f *fault) fills(k *key) bool {
	if f.trouble != hang && f.trouble != deaf && f.trouble != slow {
		return false
	}
	for _, id := range chain(k.id) {
		if specs[id].concurrency > 0 && specs[id].issuer == f.issuer {
			return true
		}
	}
	return false
}

// plan is all that happens in a run, but for what comes of it.
type plan struct {
	seed   uint64
	until  time.Duration
	tenant int // −1: callers of all; else of this one alone
	faults []fault
}

// stream is random numbers of a plan that depend on nothing else that is drawn.
func (p *plan) stream(of string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(of))
	return rand.New(rand.NewPCG(p.seed, h.Sum64()))
}

// between is a duration that no other event is likely to share to the nanosecond.
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// howOften is how many faults of a kind a day has.
var howOften = [troubles]int{
	serverErrors: 4, refused: 3, hang: 3, deaf: 2, throttle: 3, retryAfter: 5, malformed: 3, expiredReply: 2, sameAgain: 3, panics: 2, slow: 3,
	loginNeeded: 3, denied: 3, skewed: 3, stepped: 4, suspended: 1, reloaded: 4, changed: 8, rejections: 10, flood: 2,
}

func newPlan(seed uint64) *plan {
	p := &plan{seed: seed, until: day, tenant: -1}
	for t, n := range howOften {
		for i := range n {
			r := p.stream(fmt.Sprint("fault ", t, i))
			p.faults = append(p.faults, draw(r, trouble(t)))
		}
	}
	slices.SortFunc(p.faults, func(a, b fault) int { return cmp.Compare(a.start, b.start) })
	for i := range p.faults {
		p.faults[i].number = i
	}
	return p
}

// draw is a fault of some kind.
func draw(r *rand.Rand, t trouble) fault {
	f := fault{trouble: t, issuer: -1, identity: -1, tenant: -1, share: 1, start: between(r, 10*time.Minute, day-90*time.Minute)}
	f.end = f.start + between(r, time.Minute, 40*time.Minute)
	if r.IntN(3) == 0 {
		f.share = 0.2 + 0.7*r.Float64()
	}
	f.issuer = r.IntN(issuers)
	if r.IntN(2) == 0 {
		f.tenant = r.IntN(tenants)
	}
	switch t {
	case retryAfter:
		f.end = f.start + between(r, time.Minute, 10*time.Minute)
		f.by = []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute, 10 * time.Hour}[r.IntN(4)]
	case throttle, loginNeeded, denied:
		f.end = f.start + between(r, time.Minute, 10*time.Minute)
		if t != throttle {
			f.identity, f.issuer = r.IntN(len(specs)), -1
		}
	case slow:
		f.by = between(r, 2*time.Second, 40*time.Second)
	case skewed:
		f.issuer, f.tenant, f.share = 1+r.IntN(2), -1, 1
		f.by = between(r, -4*time.Minute, 4*time.Minute)
	case stepped:
		f.issuer, f.tenant, f.share = -1, -1, 1
		f.by = between(r, -10*time.Minute, 10*time.Minute)
		f.end = f.start + between(r, 5*time.Minute, 2*time.Hour) // when it is stepped back
	case suspended:
		f.issuer, f.tenant, f.share = -1, -1, 1
		f.by, f.end = 2*time.Hour, f.start
	case reloaded, changed:
		f.issuer, f.tenant, f.share, f.identity = -1, -1, 1, r.IntN(len(specs))
		f.end = f.start
	case rejections:
		f.issuer, f.identity, f.share = -1, r.IntN(len(specs)), 1
	case flood:
		f.issuer, f.share = -1, 1
		f.identity, f.tenant = []int{0, 6}[r.IntN(2)], r.IntN(tenants)
		f.end = f.start + 10*time.Second
	}
	return f
}

// String is how a plan is given to the flag -plan.
func (p *plan) String() string {
	s := fmt.Sprintf("seed=%d until=%v", p.seed, p.until)
	if all := newPlan(p.seed); len(p.faults) < len(all.faults) {
		var list []string
		for _, f := range p.faults {
			list = append(list, strconv.Itoa(f.number))
		}
		s += " faults=" + strings.Join(list, ",")
	}
	if p.tenant >= 0 {
		s += fmt.Sprintf(" tenant=%d", p.tenant)
	}
	return s
}

func parsePlan(text string) (*plan, error) {
	p := newPlan(0)
	var keep []int
	some := false
	for _, field := range strings.Fields(text) {
		name, value, _ := strings.Cut(field, "=")
		var err error
		switch name {
		case "seed":
			var seed uint64
			seed, err = strconv.ParseUint(value, 10, 64)
			p = newPlan(seed)
		case "until":
			p.until, err = time.ParseDuration(value)
		case "tenant":
			p.tenant, err = strconv.Atoi(value)
		case "faults":
			some = true
			for _, n := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' }) {
				number, bad := strconv.Atoi(n)
				keep, err = append(keep, number), cmp.Or(err, bad)
			}
		default:
			err = fmt.Errorf("want seed=, until=, faults=, tenant=")
		}
		if err != nil {
			return nil, fmt.Errorf("-plan: %s: %v", field, err)
		}
	}
	if some {
		p.faults = slices.DeleteFunc(p.faults, func(f fault) bool { return !slices.Contains(keep, f.number) })
	}
	return p, nil
}

// call is what one caller does, or several who do the same at the same moment.
type call struct {
	at       time.Duration
	key      int
	callers  int
	deadline time.Duration // of their context; 0: none
	cancel   time.Duration // after so long; 0: never
	hold     time.Duration
	minTTL   time.Duration
	reject   bool // what is served
	late     bool // or what that replaced
	claims   bool
	again    bool // after an error, at once, and once
	job      bool // for all keys of the key's tenant, one after the other without waiting
}

// calls are a plan's callers, in order.
type calls struct {
	r     *rand.Rand
	at    time.Duration
	order []int // of keys: the first are asked for most
}

// callsADay is about how many there are.
const callsADay = 150_000

func (p *plan) calls() *calls {
	c := &calls{r: p.stream("callers")}
	for i := range keyCount() {
		c.order = append(c.order, i)
	}
	c.r.Shuffle(len(c.order), func(i, j int) { c.order[i], c.order[j] = c.order[j], c.order[i] })
	return c
}

// next is the next call: they come at random, most at noon.
func (c *calls) next() call {
	busy := 0.15 + 0.85*math.Pow(math.Sin(math.Pi*float64(c.at)/float64(day)), 2)
	mean := float64(day) / callsADay * 0.575 / busy
	c.at += 1 + time.Duration(c.r.ExpFloat64()*mean)
	n := len(c.order)
	var key int
	switch p := c.r.Float64(); {
	case p < 0.60:
		key = c.r.IntN(n / 10)
	case p < 0.92:
		key = n/10 + c.r.IntN(n/2)
	default:
		key = n*6/10 + c.r.IntN(n*4/10)
	}
	q := call{at: c.at, key: c.order[key], callers: 1}
	r := c.r
	if r.IntN(100) == 0 {
		q.callers = 2 + r.IntN(30)
	}
	q.job = r.IntN(300) == 0
	switch r.IntN(10) {
	case 0:
		q.hold = between(r, time.Second, time.Minute)
	case 1:
	case 2, 3:
		q.cancel = between(r, time.Millisecond, 5*time.Second)
		if r.IntN(2) == 0 {
			q.deadline = between(r, 10*time.Second, 40*time.Second) // so it is held, and leaves before
			q.again = true
		}
	default:
		q.deadline = between(r, time.Second, 40*time.Second)
	}
	switch r.IntN(60) {
	case 0, 1:
		q.minTTL = between(r, time.Minute, 20*time.Minute)
	case 2:
		q.reject, q.late = true, r.IntN(2) == 0
	case 3:
		q.claims = r.IntN(4) == 0
	}
	return q
}

// keyCount is how many keys callers ask for.
func keyCount() int {
	n := 0
	for _, s := range specs {
		if s.asked {
			n += s.resources * tenants
		}
	}
	return n
}
