package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"freshet.dev/freshet"
)

// source is an identity's source in one version of its configuration. It talks to its issuer, which does what the plan says.
//
// It returns at moments that no other event has: who waits for a context that ends for many at once would go on in any order.
type source struct {
	*world
	id      int
	version int
}

// deriver is a source whose credentials are made from another identity's.
type deriver struct{ *source }

func (d deriver) Needs(req freshet.Request) freshet.Need {
	s := &specs[d.id]
	n, _ := strconv.Atoi(req.Scopes[0][1:])
	need := freshet.Need{Request: freshet.Request{Tenant: req.Tenant, Scopes: []string{"r" + strconv.Itoa(n%specs[s.from].resources)}}, Fresh: s.fresh}
	if !s.fresh {
		need.Request.MinTTL = time.Minute
	}
	return need
}

func (s *source) Varies() freshet.Fields {
	f := freshet.FieldTenant | freshet.FieldScopes
	if specs[s.id].claims {
		f |= freshet.FieldClaims
	}
	return f
}

func (s *source) Target(req freshet.Request) freshet.Target {
	return freshet.Target{Host: host(specs[s.id].issuer), Tenant: req.Tenant, Client: specs[s.id].name}
}

func host(issuer int) string { return "issuer" + strconv.Itoa(issuer) + ".test" }

func (s *source) Retrieve(ctx context.Context, req freshet.Request) (*freshet.Credential, error) {
	sent := freshet.Now()
	w := s.world
	w.mu.Lock()
	k := w.keyOf(s.id, &req)
	c := w.starts(k, s.version, ctx, &req)
	r := w.dice(k, c.n)
	f := w.meets(k, r)
	w.mu.Unlock()

	met := trouble(-1)
	if f != nil {
		met = f.trouble
	}
	pause, odd := between(r, 20*time.Millisecond, 800*time.Millisecond), between(r, 0, 100*time.Millisecond)
	left := time.Until(c.deadline)
	switch met {
	case slow:
		pause += f.by
	case hang:
		pause = time.Hour
	case deaf:
		pause = left + between(r, 2*time.Second, 90*time.Second)
	}
	if pause > left && met != deaf {
		sleep(left + odd)
		err := &freshet.Error{Kind: freshet.Unavailable, Why: "no answer", Cause: &url.Error{Op: "Post", URL: "https://issuer.test", Err: context.DeadlineExceeded}}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ends(c, nil, err)
		return nil, err
	}
	sleep(pause)

	w.mu.Lock()
	defer w.mu.Unlock()
	if err := ctx.Err(); err != nil && met != deaf {
		w.ends(c, nil, err)
		return nil, err
	}
	if err := failure(met, f); err != nil {
		w.ends(c, nil, err)
		return nil, err
	}
	switch met {
	case panics:
		w.ends(c, nil, &freshet.Error{Kind: freshet.Bug})
		panic("a source that panics")
	case expiredReply:
		if g := k.latest(s.version); g != nil && !w.valid(g) {
			w.ends(c, nil, &freshet.Error{Kind: freshet.Malformed})
			return g.credential, nil // as one that answers from a cache of its own and looks at no clock
		}
		_, err := freshet.NewBearer("gone", "", freshet.Validity{Sent: sent, Lifetime: -time.Second})
		w.ends(c, nil, err)
		return nil, err
	case sameAgain:
		if g := k.latest(s.version); g != nil && w.remaining(g) > time.Minute {
			return w.grant(c, sent, g)
		}
	}
	return w.grant(c, sent, nil)
}

// failure is the error that an issuer's trouble comes to; nil if it comes to none, or to no error of its own.
func failure(t trouble, f *fault) error {
	unavailable := func(status int, after time.Duration, cause error) error {
		return &freshet.Error{Kind: freshet.Unavailable, Why: t.String(), Status: status, RetryAfter: after, Cause: cause}
	}
	switch t {
	case serverErrors:
		return unavailable(503, 0, nil)
	case refused:
		return unavailable(0, 0, &url.Error{Op: "Post", URL: "https://issuer.test", Err: syscall.ECONNREFUSED})
	case throttle:
		return unavailable(429, 0, nil)
	case retryAfter:
		return unavailable([]int{429, 503}[f.number%2], f.by, nil)
	case malformed:
		return &freshet.Error{Kind: freshet.Malformed, Why: "not JSON"}
	case loginNeeded:
		return &freshet.Error{Kind: freshet.LoginNeeded, Why: "log in"}
	case denied:
		return &freshet.Error{Kind: freshet.Denied, Why: "invalid_client", Status: 401}
	}
	return nil
}

// dice are what is left to chance in the nth retrieval of a key.
func (w *world) dice(k *key, n int) *rand.Rand {
	return rand.New(rand.NewPCG(w.plan.seed, uint64(k.number)<<32+uint64(n)))
}

// meets is the trouble that a retrieval of a key meets now: the first of the plan's, if several; nil if none.
func (w *world) meets(k *key, r *rand.Rand) *fault {
	lot := r.Float64()
	if w.over {
		return nil
	}
	now := w.now()
	s := &specs[k.id]
	for i := range w.plan.faults {
		f := &w.plan.faults[i]
		if f.trouble >= skewed || now < f.start || now >= f.end || lot >= f.share {
			continue
		}
		if (f.issuer < 0 || f.issuer == s.issuer) && (f.identity < 0 || f.identity == k.id) && (f.tenant < 0 || f.tenant == k.tenant) {
			return f
		}
	}
	return nil
}

// ahead is by how much an issuer's clock is wrong now.
func (w *world) ahead(issuer int) time.Duration {
	now, sum := w.now(), time.Duration(0)
	for i := range w.plan.faults {
		if f := &w.plan.faults[i]; f.trouble == skewed && f.issuer == issuer && now >= f.start && now < f.end && !w.over {
			sum += f.by
		}
	}
	return sum
}

// grant is a credential as the issuer of a retrieval gives it: a new one, or the one given last.
func (w *world) grant(c *retrieval, sent freshet.Instant, same *grant) (*freshet.Credential, error) {
	s := &specs[c.key.id]
	life := lifetime(c.key)
	token := fmt.Sprintf("%d#%d#%d", c.key.number, c.version, c.n)
	if same != nil {
		life, token = w.remaining(same), same.token
	}
	v := freshet.Validity{Sent: sent}
	truth := w.now() + w.suspended // the time by clocks that nobody stepped, and that do not stop
	if s.absolute {
		life = life.Truncate(time.Second)
		issuer := w.start.Add(truth + w.ahead(s.issuer))
		v.Expires, v.Date = issuer.Add(life).Truncate(time.Second), issuer.Truncate(time.Second)
	} else {
		v.Lifetime = life
	}
	if s.noneSooner > 0 && life > s.noneSooner {
		v.RefreshIn, v.NoneSooner = life-s.noneSooner, true
	}
	cred, err := freshet.NewBearer(token, "", v)
	if err != nil {
		if w.wall()-c.wall < life { // nobody stepped or slept meanwhile
			w.breaks("what an issuer grants can be used", c.key, "%v", err)
		}
		w.ends(c, nil, err)
		return nil, err
	}
	g := same
	if g == nil {
		g = &grant{token: token, version: c.version, waited: c.waited, fingerprint: cred.Fingerprint(), claims: c.key.claims, refused: new(refusal)}
	}
	g.used = 0
	g.credential, g.sent, g.delivered, g.life = cred, c.started, w.now(), life
	g.lives(c, s.absolute, life, w.now(), w.wall(), truth)
	w.ends(c, g, nil)
	return cred, nil
}

// lifetime is how long what an issuer gives for a key lives.
func lifetime(k *key) time.Duration {
	list, n := specs[k.id].lifetimes, 0
	for _, digit := range k.resource {
		n += int(digit)
	}
	return list[(max(0, k.tenant)+n)%len(list)]
}
