package freshet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// chaosTimeout bounds the retrievals of a chaotic source.
const chaosTimeout = 10 * time.Second

// chaos is a source of which everything is to be expected, until it is mended.
type chaos struct {
	t     *testing.T
	name  string
	need  *Need // set: it is made from another's credential
	alone bool  // all its calls are flights, so that no two of a key may overlap

	mu      sync.Mutex
	rand    *rand.Rand
	calls   int
	mended  bool
	running map[string]int // by key; those excepted that outlive their deadline
}

func newChaos(t *testing.T, name string, seed uint64) *chaos {
	return &chaos{t: t, name: name, alone: true, rand: rand.New(rand.NewPCG(seed, uint64(len(name)))), running: make(map[string]int)}
}

// chaosDeriver is a chaos that is made from another's credential.
type chaosDeriver struct{ *chaos }

func (d chaosDeriver) Needs(req Request) Need {
	if d.draw(200) == 0 {
		panic("Needs")
	}
	need := *d.need
	need.Request.Tenant = req.Tenant
	return need
}

func (f *chaos) Varies() Fields { return FieldTenant | FieldScopes | FieldClaims }

func (f *chaos) Target(req Request) Target {
	if f.draw(200) == 0 {
		panic("Target")
	}
	return Target{Host: "host" + fmt.Sprint(len(req.Scopes)), Tenant: req.Tenant, Client: f.name[:1]}
}

func (f *chaos) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mended = true
}

// draw is a number below n; never 0 once the source is mended.
func (f *chaos) draw(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mended {
		return n - 1
	}
	return f.rand.IntN(n)
}

func (f *chaos) Retrieve(ctx context.Context, req Request) (*Credential, error) {
	sent := Now()
	what, pause := f.draw(24), time.Duration(f.draw(2000))*time.Millisecond
	f.mu.Lock()
	f.calls++
	n, mended := f.calls, f.mended
	f.mu.Unlock()
	if !mended && what == 0 { // deaf
		<-time.After(chaosTimeout + time.Duration(f.draw(10))*time.Second)
	} else if f.alone {
		key := fmt.Sprintf("%q %q %q", req.Tenant, req.Scopes, req.Claims)
		f.mu.Lock()
		f.running[key]++
		if f.running[key] > 1 {
			f.t.Errorf("%s: two retrievals of %s at once", f.name, key)
		}
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			f.running[key]--
			f.mu.Unlock()
		}()
	}
	if mended {
		return NewBearer(fmt.Sprint(f.name, n), "", Validity{Sent: sent, Lifetime: time.Hour})
	}
	if what == 1 {
		pause = time.Hour
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch what {
	case 2:
		panic("Retrieve")
	case 3:
		runtime.Goexit()
	case 4, 5, 6:
		return nil, errServer
	case 7:
		return nil, after(errThrottled, time.Duration(f.draw(20))*time.Second)
	case 8:
		return nil, errRefused
	case 9:
		return nil, &Error{Kind: LoginNeeded, Why: "log in"}
	case 10:
		return nil, &Error{Kind: Denied, Why: "no", Status: 401}
	case 11:
		return nil, nil
	case 12:
		return NewBearer("same", "", Validity{Sent: sent, Lifetime: time.Minute})
	case 13:
		return NewBearer(fmt.Sprint(f.name, n), "", Validity{Sent: sent, Lifetime: time.Second})
	}
	return NewBearer(fmt.Sprint(f.name, n), "", Validity{Sent: sent, Lifetime: time.Duration(10+f.draw(120)) * time.Second})
}

// Whatever sources, callers and operators do, nothing is left behind: no flight, no worker, no slot of a limit, no probe that
// never reports, no key that nobody looks at again, no caller who waits past its time; and once the sources are well every
// credential can be had.
func TestChaosLeavesNothingBehind(t *testing.T) {
	for range 4 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runChaos(t, seed) })
		})
	}
}

// chaosWorld is the identities that a run of chaos plays with; some are removed, and added again, on the way.
type chaosWorld struct {
	t *testing.T
	c *Cache

	mu      sync.Mutex
	rand    *rand.Rand
	ids     []*Identity
	configs []IdentityConfig
	sources []*chaos
	version int
}

func (w *chaosWorld) draw(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.IntN(n)
}

func (w *chaosWorld) id(i int) *Identity {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ids[i]
}

func runChaos(t *testing.T, seed uint64) {
	w := &chaosWorld{t: t, c: NewCache(CacheConfig{Entries: 40}), rand: rand.New(rand.NewPCG(seed, 0))}
	sources := []*chaos{newChaos(t, "plain", seed), newChaos(t, "limited", seed), newChaos(t, "rated", seed), newChaos(t, "pinned", seed),
		newChaos(t, "chain", seed), newChaos(t, "fresh-chain", seed), newChaos(t, "long-chain", seed)}
	sources[1].alone = false // its retrievals are inputs, kept by nobody
	sources[4].need, sources[5].need, sources[6].need = &Need{}, &Need{Fresh: true}, &Need{Request: Request{MinTTL: time.Minute}}
	from := map[int]int{4: 0, 5: 1, 6: 4}
	for i, src := range sources {
		cfg := IdentityConfig{Name: src.name, Source: src, Timeout: chaosTimeout}
		if src.need != nil {
			cfg.Source, cfg.From = chaosDeriver{src}, w.ids[from[i]]
		}
		switch i {
		case 1, 5:
			cfg.Concurrency = 2
		case 2:
			cfg.Rate = 5
		case 6:
			cfg.Rate, cfg.Concurrency = 10, 1
		}
		cfg.Pin = i == 3 || i == 6
		w.ids, w.configs = append(w.ids, add(t, w.c, cfg)), append(w.configs, cfg)
	}
	w.sources = sources
	undo := clock.SetOffset(0)
	defer undo()
	var actors sync.WaitGroup
	for range 30 {
		actors.Go(func() {
			for range 40 {
				w.act()
				time.Sleep(time.Duration(w.draw(3000)) * time.Millisecond)
			}
		})
	}
	actors.Wait()
	for _, src := range w.sources {
		src.mend()
	}
	clock.SetOffset(0)
	time.Sleep(time.Hour) // blocks end, deaf sources return, queues drain
	synctest.Wait()
	wantQuiet(t, w.c)
	for i := range w.ids {
		if a, err := w.id(i).Get(t.Context(), Request{}); err != nil {
			t.Errorf("%s, its source well for an hour: %v", w.id(i).Name(), err)
		} else if a.Stale {
			t.Errorf("%s, its source well for an hour: stale", w.id(i).Name())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.c.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
	synctest.Wait()
	wantQuiet(t, w.c)
}

// act is one thing that somebody does.
func (w *chaosWorld) act() {
	i := w.draw(len(w.ids))
	id := w.id(i)
	switch w.draw(40) {
	case 0:
		id.Changed()
	case 1:
		id.Unblock()
	case 2:
		_ = id.Pin(w.draw(2) == 0) // fails where it was removed
	case 3:
		for _, e := range id.Entries() {
			if e.Credential != nil {
				id.Reject(e.Credential.Fingerprint())
			}
		}
		w.c.Issuers()
		id.Loaded()
	case 4:
		clock.SetOffset(time.Duration(w.draw(120)-60) * time.Second)
	case 5:
		w.replace(i)
	case 6:
		id.SetLimit(w.draw(4), float64(w.draw(3)*10))
	default:
		w.get(id)
	}
}

// replace removes an identity that no other is made from, and adds it anew.
func (w *chaosWorld) replace(i int) {
	if i == 0 || i == 1 || i == 4 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.c.Remove(w.ids[i])
	w.version++
	cfg := w.configs[i]
	cfg.Version = fmt.Sprint(w.version)
	old := w.sources[i]
	old.mend() // what it has under way goes on
	src := newChaos(w.t, old.name, uint64(w.version))
	src.need, cfg.Source = old.need, src
	if src.need != nil {
		cfg.Source = chaosDeriver{src}
	}
	w.sources[i] = src
	w.ids[i] = add(w.t, w.c, cfg)
}

// get asks as some caller would, and checks what it gets, and when.
func (w *chaosWorld) get(id *Identity) {
	req := Request{Tenant: []string{"", "a", "b"}[w.draw(3)]}
	for i := range w.draw(3) {
		req.Scopes = append(req.Scopes, fmt.Sprint(i, w.draw(6)))
	}
	patience := chaosTimeout
	ctx := context.Background()
	switch w.draw(5) {
	case 0:
		req.Hold = time.Duration(w.draw(30)) * time.Second
		patience += req.Hold
	case 1, 2:
		patience = time.Duration(w.draw(60)) * time.Second
		c, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		ctx = c
	case 3:
		patience = time.Duration(w.draw(5)) * time.Second
		c, cancel := context.WithCancel(ctx)
		defer time.AfterFunc(patience, cancel).Stop()
		defer cancel()
		ctx = c
	}
	switch w.draw(8) {
	case 0:
		req.MinTTL = 50 * time.Second
	case 1:
		req.Claims = "{}"
	case 2:
		if list := id.Entries(); len(list) > 0 && list[0].Credential != nil {
			req.Rejected = list[0].Credential.Fingerprint()
		}
	}
	began := time.Now()
	a, err := id.Get(ctx, req)
	if took := time.Since(began); took > patience+50*time.Millisecond {
		w.t.Errorf("%v of %s waited %v, and had until %v", req, id.Name(), took, patience)
	}
	if _, ok := errors.AsType[*Error](err); err != nil && !ok {
		w.t.Errorf("%v of %s: %T is no *Error", req, id.Name(), err)
	}
	if err == nil && req.Rejected != "" && a.Credential.Fingerprint() == req.Rejected {
		w.t.Errorf("%v of %s got what it rejected", req, id.Name())
	}
}

// wantQuiet checks a cache that has nothing to do at this moment.
func wantQuiet(t *testing.T, c *Cache) {
	t.Helper()
	audit(t, c)
	if st := c.Stats(); st.Flights != 0 || st.Workers != 0 || st.Waiting != 0 {
		t.Errorf("got %+v, want nothing under way", st)
	}
	g := &c.governor
	g.mu.Lock()
	if len(g.hosts) != 0 || len(g.tenants) != 0 || g.ready.len() != 0 {
		t.Errorf("%d hosts, %d targets, %d hosts in line, want none", len(g.hosts), len(g.tenants), g.ready.len())
	}
	for k, b := range g.gates {
		if b.probing {
			t.Errorf("%+v waits for a probe", k.Target)
		}
	}
	g.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := clock.Now()
	for _, id := range c.identities {
		l := &id.limit
		g.mu.Lock()
		if l.running != 0 || l.turns.waiting != 0 || l.parked.len() != 0 {
			t.Errorf("limit of %s: %d run, %d wait, %d queues are parked", id.name, l.running, l.turns.waiting, l.parked.len())
		}
		g.mu.Unlock()
		for _, s := range id.ring.slots {
			s.mu.Lock()
			if s.flight != nil || s.queued || s.flags.Load()&busy != 0 || s.past().late != 0 {
				t.Errorf("a key of %s: flight %v, queued %v, busy %v, %d late", id.name, s.flight != nil, s.queued, s.flags.Load()&busy != 0, s.past().late)
			}
			v := s.cur.Load()
			s.mu.Unlock()
			c.scheduler.mu.Lock()
			if s.heaped == 0 && !c.scheduler.closed && !(v != nil && v.due == clock.Never) {
				t.Errorf("a key of %s that nobody looks at again: valid %v, pinned %v", id.name, v != nil && v.at(now) != expired, s.pinned)
			}
			c.scheduler.mu.Unlock()
		}
	}
}
