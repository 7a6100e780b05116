package simulation

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/internal/chance"
	"freshet.dev/freshet/internal/clock"
)

// world is a plan being played. Time in it is what has passed since it began, by the monotonic clock.
type world struct {
	plan  *plan
	start time.Time
	cache *freshet.Cache
	*model

	mu        sync.Mutex // guards what follows, and the model
	keys      []*key     // those that callers of the plan ask for
	all       map[name]*key
	ids       []*freshet.Identity // as configured now
	versions  []int
	offset    time.Duration // of the wall clock: suspended + stepped
	suspended time.Duration
	over      bool // everything is well from now on
	inside    int  // callers
}

// key is one of the engine's keys, as the model knows it.
type key struct {
	name
	number   int             // in the order of their appearance
	handle   *freshet.Handle // of version handleOf
	handleOf int

	record
}

// now is the time in the world.
func (w *world) now() time.Duration { return time.Since(w.start) }

// sleep lets virtual time pass.
func sleep(d time.Duration) { time.Sleep(d) }

// wall is the machine's wall clock, as the time in the world that it would be if nothing had happened to it.
func (w *world) wall() time.Duration { return w.now() + w.offset }

// name tells keys apart.
type name struct {
	id       int
	tenant   int // −1: none
	resource string
	claims   string
}

// plain is the name of the key for who asks the same without claims.
func (n name) plain() name {
	n.claims = ""
	return n
}

func (n name) String() string {
	s := fmt.Sprintf("%s/%d/%s", specs[n.id].name, n.tenant, n.resource)
	if n.claims != "" {
		s += "/" + n.claims
	}
	return s
}

// newKeys are the keys that are asked for.
func newKeys() []*key {
	var keys []*key
	for id, s := range specs {
		for r := range s.resources {
			for t := range tenants {
				if s.asked {
					keys = append(keys, &key{name: name{id: id, tenant: t, resource: "r" + strconv.Itoa(r)}})
				}
			}
		}
	}
	return keys
}

// keyOf is the key of what a source or the engine is asked; w.mu is held.
func (w *world) keyOf(id int, req *freshet.Request) *key {
	n := name{id: id, tenant: -1, claims: req.Claims}
	if req.Tenant != "" {
		n.tenant, _ = strconv.Atoi(req.Tenant)
	}
	if len(req.Scopes) == 1 {
		n.resource = req.Scopes[0]
	}
	k := w.all[n]
	if k == nil {
		k = &key{name: n}
		w.meet(k)
	}
	return k
}

// meet makes a key known.
func (w *world) meet(k *key) {
	k.number = len(w.history.keys)
	w.history.keys = append(w.history.keys, k)
	w.all[k.name] = k
}

func (k *key) request() freshet.Request {
	req := freshet.Request{Claims: k.claims}
	if k.tenant >= 0 {
		req.Tenant = strconv.Itoa(k.tenant)
	}
	if k.resource != "" {
		req.Scopes = []string{k.resource}
	}
	return req
}

// play plays a plan, and returns what happened, and what rule was broken: nil if none was.
func play(t *testing.T, p *plan) (h *history, broken *violation) {
	t.Helper()
	// One processor, and no collector that stops it where it likes, so that what becomes runnable at one moment runs in one order.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(p)
		defer chance.Simulate(w.chance)()
		defer clock.SetOffset(0)()
		w.run()
		h, broken = w.history, w.broken
	})
	return h, broken
}

// chance is what jitter is drawn from.
func (w *world) chance(of string, n int64) int64 {
	h := fnv.New64a()
	var b [24]byte
	binary.LittleEndian.PutUint64(b[:], w.plan.seed)
	binary.LittleEndian.PutUint64(b[8:], uint64(w.now()))
	binary.LittleEndian.PutUint64(b[16:], uint64(n))
	h.Write(b[:])
	h.Write([]byte(of))
	x := h.Sum64()
	x ^= x >> 32 // FNV's low bits alone are poor
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	return int64(x % uint64(n))
}

func newWorld(p *plan) *world {
	w := &world{plan: p, start: time.Now(), keys: newKeys(), all: make(map[name]*key), ids: make([]*freshet.Identity, len(specs)), versions: make([]int, len(specs))}
	w.model = newModel(w)
	for _, k := range w.keys {
		w.meet(k)
	}
	w.cache = freshet.NewCache(freshet.CacheConfig{Observe: w.observe})
	for id := range specs {
		w.configure(id)
	}
	return w
}

// configure makes an identity of the cache in its present version.
func (w *world) configure(id int) {
	s := &specs[id]
	src := &source{w, id, w.versions[id]}
	cfg := freshet.IdentityConfig{
		Name: s.name, Version: strconv.Itoa(w.versions[id]), Source: src, Timeout: s.timeout, Concurrency: s.concurrency, Rate: s.rate, Pin: s.pin,
		Around: w.around,
	}
	if s.from != 0 {
		cfg.Source, cfg.From = deriver{src}, w.ids[s.from]
	}
	made, err := w.cache.Add(cfg)
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids[id] = made
}

// around lets a moment pass before each flight asks, another for each: of those that begin together, none is the first by the whim of
// the scheduler, which would decide who gets the next slot of a limit.
func (w *world) around(ctx context.Context, key string, retrieve func(context.Context) (*freshet.Credential, error)) (*freshet.Credential, bool, error) {
	sleep(time.Duration(w.chance(key, int64(5*time.Millisecond))))
	cred, err := retrieve(ctx)
	return cred, false, err
}

// run is the driver: it lets happen what the plan says, when it says so.
func (w *world) run() {
	type action struct {
		at time.Duration
		do func()
	}
	var actions []action
	for i := range w.plan.faults {
		f := &w.plan.faults[i]
		actions = append(actions, action{f.start, func() { w.begin(f) }})
		if f.trouble == stepped {
			actions = append(actions, action{f.end, func() { w.step(-f.by) }})
		}
	}
	for at := 7 * time.Minute; at < w.plan.until; at += 90 * time.Minute {
		actions = append(actions, action{at, w.takeStock})
	}
	slices.SortStableFunc(actions, func(a, b action) int { return int(min(1, max(-1, a.at-b.at))) })
	calls := w.plan.calls()
	next := calls.next()
	for !w.failed() {
		at := next.at
		if len(actions) > 0 && actions[0].at < at {
			at = actions[0].at
		}
		if at >= w.plan.until {
			break
		}
		time.Sleep(at - w.now())
		if at < next.at {
			actions[0].do()
			actions = actions[1:]
			continue
		}
		if k := w.keys[next.key]; w.plan.tenant < 0 || w.plan.tenant == k.tenant {
			q := next
			for range q.callers {
				go w.ask(k, &q)
			}
			if q.job {
				go w.job(k.tenant, &q)
			}
		}
		next = calls.next()
	}
	w.end()
}

// end has everything be well again, and looks at what is left.
func (w *world) end() {
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	w.step(w.suspended - w.offset)
	time.Sleep(3 * time.Hour)
	synctest.Wait()
	if !w.failed() {
		w.takeStock()
		var callers sync.WaitGroup
		r := w.plan.stream("end")
		for _, k := range w.keys {
			if w.plan.tenant < 0 || w.plan.tenant == k.tenant {
				time.Sleep(between(r, time.Microsecond, 40*time.Millisecond))
				callers.Go(func() { w.ask(k, &call{deadline: 2 * time.Minute, at: w.now()}) })
			}
		}
		callers.Wait()
		w.mu.Lock()
		w.wantWell()
		w.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	err := w.cache.Close(ctx)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.breaks("leaves nothing behind", nil, "Close: %v", err)
	}
	if st := w.cache.Stats(); st.Flights != 0 || st.Workers != 0 || st.Waiting != 0 {
		w.breaks("leaves nothing behind", nil, "closed, and yet %+v", st)
	}
}

// begin is the moment when a fault begins that is a deed; the others are looked up by who meets them.
func (w *world) begin(f *fault) {
	w.mu.Lock()
	w.note(began, nil, int64(f.number), 0)
	w.mu.Unlock()
	switch f.trouble {
	case stepped:
		w.step(f.by)
	case suspended:
		w.mu.Lock()
		w.suspended += f.by
		w.mu.Unlock()
		w.step(f.by)
	case reloaded:
		w.reload(f.identity)
	case changed:
		w.mu.Lock()
		id := w.ids[f.identity]
		w.pardon(f.identity)
		w.mu.Unlock()
		id.Changed()
	case rejections:
		w.rejectSome(f)
	case flood:
		w.flood(f)
	}
}

func (w *world) step(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stepping()
	w.offset += by
	clock.SetOffset(w.offset)
	w.stepping()
}

// reload configures an identity anew, and all that are made from it, as a changed configuration does.
func (w *world) reload(id int) {
	for other := range specs {
		if !slices.Contains(chain(other), id) {
			continue
		}
		w.mu.Lock()
		old := w.ids[other]
		w.versions[other]++
		w.forget(other)
		w.mu.Unlock()
		w.cache.Remove(old)
	}
	for other := range specs {
		if slices.Contains(chain(other), id) {
			w.configure(other)
		}
	}
}

// rejectSome has a service refuse what some keys of an identity serve, as several callers tell at once.
func (w *world) rejectSome(f *fault) {
	w.mu.Lock()
	id := w.ids[f.identity]
	var refused []string
	for _, k := range w.keys {
		if k.id != f.identity || f.tenant >= 0 && k.tenant != f.tenant || f.tenant < 0 && k.tenant%10 != f.number%10 {
			continue
		}
		if g := k.latest(w.versions[k.id]); g != nil && g.fingerprint != "" && w.valid(g) {
			refused = append(refused, g.fingerprint)
			w.rejected(g)
		}
	}
	w.mu.Unlock()
	for _, fingerprint := range refused {
		for range 3 {
			id.Reject(fingerprint)
		}
	}
}

// flood has a tenant ask for what nobody asked for before.
func (w *world) flood(f *fault) {
	r := w.plan.stream(fmt.Sprint("flood ", f.number))
	for i := range 6000 {
		time.Sleep(between(r, time.Microsecond, 100*time.Microsecond))
		w.mu.Lock()
		k := w.keyOf(f.identity, &freshet.Request{Tenant: strconv.Itoa(f.tenant), Scopes: []string{"junk" + strconv.Itoa(f.number) + "-" + strconv.Itoa(i)}})
		w.mu.Unlock()
		go w.ask(k, &call{at: w.now(), deadline: 10 * time.Second})
	}
	issuers := w.cache.Issuers()
	w.mu.Lock()
	w.wantRoom(issuers)
	w.mu.Unlock()
	for i := range 5 { // others come, and are not to wait for all that
		go w.job((f.tenant+1+37*i)%tenants, &call{at: w.now(), deadline: 15 * time.Second})
	}
}

// job is a program that begins, and asks for all that its tenant has.
func (w *world) job(tenant int, q *call) {
	for i, k := range w.keys {
		if k.tenant == tenant {
			sleep(time.Duration(w.chance(strconv.Itoa(i), int64(3*time.Millisecond))))
			go w.ask(k, q)
		}
	}
}

// ask is one caller, from its question to its answer.
func (w *world) ask(k *key, q *call) {
	ctx, began := context.Background(), w.now()
	if q.deadline > 0 {
		c, cancel := context.WithTimeout(ctx, q.deadline)
		defer cancel()
		ctx = c
	}
	if q.cancel > 0 {
		c, cancel := context.WithCancel(ctx)
		defer time.AfterFunc(q.cancel, cancel).Stop()
		defer cancel()
		ctx = c
	}
	w.mu.Lock()
	if q.claims && specs[k.id].claims {
		req := k.request()
		req.Claims = "challenge" + strconv.FormatInt(int64(began), 36)
		k = w.keyOf(k.id, &req)
	}
	a := &asking{call: q, key: k, began: began, version: w.versions[k.id]}
	req := k.request()
	req.Hold, req.MinTTL = q.hold, q.minTTL
	g := k.latest(a.version)
	if q.late && g != nil {
		g = k.before(g)
	}
	if q.reject && g != nil && (w.valid(g) || q.late) {
		req.Rejected = g.fingerprint
		a.rejects = g
		w.rejected(g)
	}
	id := w.ids[k.id]
	handle := k.handle
	if began%16 == 0 {
		handle = nil // as a program that makes a new one for each call
	}
	plain := req.Hold == 0 && req.MinTTL == 0 && req.Rejected == "" && k.claims == ""
	if plain && (handle == nil || k.handleOf != a.version) {
		var err error
		if handle, err = id.Handle(req); err != nil {
			panic(err)
		}
		k.handle, k.handleOf = handle, a.version
	}
	w.inside++
	w.enters(a)
	w.mu.Unlock()
	var ans freshet.Answer
	var err error
	if plain {
		ans, err = handle.Get(ctx)
	} else {
		ans, err = id.Get(ctx, req)
	}
	w.mu.Lock()
	w.inside--
	w.leaves(a, ctx, ans, err)
	w.mu.Unlock()
	if q.again && err != nil {
		another := *q
		another.again, another.claims = false, false
		w.ask(k, &another)
	}
}

// takeStock looks at what grows with what happens.
func (w *world) takeStock() {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	st := w.cache.Stats()
	w.mu.Lock()
	inside := w.inside
	w.mu.Unlock()
	w.wantBounds(st, runtime.NumGoroutine(), inside, m.HeapAlloc)
}

func (w *world) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken != nil
}

// observe hears of retrievals from the engine.
func (w *world) observe(e freshet.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.retrieved(&e)
}
