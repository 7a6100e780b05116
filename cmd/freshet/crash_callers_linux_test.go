package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"freshet.dev/client"
	"freshet.dev/freshet"
)

var (
	crashTenants   = []string{"red", "green", "blue"}
	crashResources = []string{"vault", "graph"}
)

// caller asks over and over.
type caller struct {
	name   string
	ask    func(ctx context.Context) error
	pace   time.Duration // between two questions
	strict bool          // it is answered even while no daemon runs
	busy   *sync.RWMutex // held for reading while it asks; nil: none

	mu         sync.Mutex
	done       []asked // its answers, of the last daemon's life or so
	answers    int
	lost       int
	failed     error // its last failure
	recoveries []time.Duration
}

// asked is when a question was asked and answered.
type asked struct{ began, ended time.Time }

func (o *caller) String() string { return o.name }

// recovered is how long after an instant the first answer came to a question asked since then.
func (o *caller) recovered(ready time.Time) (time.Duration, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.done {
		if !a.began.Before(ready) {
			return a.ended.Sub(ready), true
		}
	}
	return 0, false
}

// last is when the last answer came.
func (o *caller) last() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.done) == 0 {
		return time.Time{}
	}
	return o.done[len(o.done)-1].ended
}

func (o *caller) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

// slowest is the longest that an answer took which was wanted in a time.
func (o *caller) slowest(from, to time.Time) (longest time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.done {
		if a.ended.After(from) && a.began.Before(to) {
			longest = max(longest, a.ended.Sub(a.began))
		}
	}
	return longest
}

func (o *caller) answered(a asked) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers++
	if len(o.done) == cap(o.done) && len(o.done) >= 4096 {
		o.done = append(o.done[:0:0], o.done[len(o.done)/2:]...)
	}
	o.done = append(o.done, a)
}

// errLost is why a question that a kill fell into had no answer.
var errLost = errors.New("lost to a kill")

// run asks until ctx ends. Who has been answered by a daemon is refused by it no more.
func (o *caller) run(ctx context.Context, c *crash) {
	served := time.Time{} // when it was last answered
	for ctx.Err() == nil {
		if o.busy != nil {
			o.busy.RLock()
		}
		began := time.Now()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		err := o.ask(bounded)
		cancel()
		ended := time.Now()
		if o.busy != nil {
			o.busy.RUnlock()
		}
		since, up := c.up.covers(began, ended)
		switch {
		case err == nil:
			o.answered(asked{began, ended})
			served = ended
		case errors.Is(err, errForeign), o.strict && !errors.Is(err, errLost), up && served.After(since):
			c.Errorf("%s: %v (up %v)", o, err, up)
		default:
			o.mu.Lock()
			o.failed = err
			o.lost++
			o.mu.Unlock()
		}
		select {
		case <-time.After(o.pace):
		case <-ctx.Done():
		}
	}
}

// load runs the callers meanwhile.
func (c *crash) load(meanwhile func()) {
	ctx, stop := context.WithCancel(c.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for _, one := range append(slices.Clip(c.noise), c.callers...) {
		all.Go(func() { one.run(ctx, c) })
	}
	all.Go(func() { // somebody always waits for the source that hangs
		lasting := client.New(client.Config{Socket: c.socket()})
		defer lasting.Close()
		for ctx.Err() == nil {
			_, _ = lasting.Credential(ctx, "hanging", freshet.Request{})
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	meanwhile()
}

func (c *crash) socket() string { return filepath.Join(c.run, "freshet", "freshet.sock") }

// interval is the time in which a daemon has been ready.
type interval struct {
	mu    sync.Mutex
	since time.Time // zero: none is
}

func (i *interval) begin(at time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.since = at
}

func (i *interval) end() { i.begin(time.Time{}) }

// covers reports whether one daemon has been ready from an instant until now, and since when.
func (i *interval) covers(began, _ time.Time) (since time.Time, up bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.since, !i.since.IsZero() && i.since.Before(began)
}

// newCallers makes one of every kind.
func (c *crash) newCallers(door string) []*caller {
	kept := client.New(client.Config{Socket: c.socket()})
	c.Cleanup(kept.Close)
	cache := freshet.NewCache(freshet.CacheConfig{})
	c.Cleanup(func() { _ = cache.Close(context.Background()) })
	over, err := cache.Add(freshet.IdentityConfig{Name: "brief", Source: kept.Source("brief")})
	if err != nil {
		c.Fatal(err)
	}
	if c.handle, err = over.Handle(freshet.Request{}); err != nil {
		c.Fatal(err)
	}
	api := func(name string, ask func(ctx context.Context) (owner, identity string, req freshet.Request)) *caller {
		return &caller{name: "client, " + name, pace: 5 * time.Millisecond, ask: func(ctx context.Context) error {
			owner, identity, req := ask(ctx)
			a, err := kept.Credential(ctx, identity, req)
			if err != nil {
				return err
			}
			return c.ledger.want(owner, secretsOf(a.Credential)...)
		}}
	}
	fixed := func(identity string) *caller {
		return api(identity, func(context.Context) (string, string, freshet.Request) { return identity, identity, freshet.Request{} })
	}
	one := &sync.RWMutex{}
	c.commands = one
	return []*caller{
		fixed("plain"), fixed("role"), fixed("text"),
		api("tenant", func(context.Context) (string, string, freshet.Request) {
			tenant := pick(crashTenants)
			return "tenant " + tenant, "tenant", freshet.Request{Tenant: tenant}
		}),
		api("scoped", func(context.Context) (string, string, freshet.Request) {
			scope := pick([]string{"a", "b", "c"})
			return "scoped " + scope, "scoped", freshet.Request{Scopes: []string{scope}}
		}),
		{name: "handle", pace: 5 * time.Millisecond, strict: true, ask: func(ctx context.Context) error {
			a, err := c.handle.Get(ctx)
			if err != nil {
				return err
			}
			return c.ledger.want("brief", a.Credential.Token())
		}},
		{name: "status", pace: 20 * time.Millisecond, ask: func(ctx context.Context) error {
			s, err := kept.Status(ctx)
			if err == nil && len(s.Identities) < 9 {
				err = fmt.Errorf("a status of %d identities: %w", len(s.Identities), errForeign)
			}
			return err
		}},
		{name: "reject", pace: 300 * time.Millisecond, ask: func(ctx context.Context) error {
			a, err := kept.Credential(ctx, "scoped", freshet.Request{Scopes: []string{"refused"}})
			if e := freshet.AsError(err); e != nil && strings.Contains(e.Why, "this version was rejected, and it is too soon") {
				return nil // which is an answer
			}
			if err != nil {
				return err
			}
			if err := c.ledger.want("scoped refused", a.Credential.Token()); err != nil {
				return err
			}
			return kept.Reject(ctx, "scoped", a.Credential.Fingerprint())
		}},
		c.endpoint("oauth-token", func() *http.Request {
			req := c.request("POST", "oauth-token", "/token", url.Values{"grant_type": {"client_credentials"}}.Encode())
			req.SetBasicAuth("plain", door)
			return req
		}, func(body []byte) (string, []string, error) {
			var doc struct {
				AccessToken string `json:"access_token"`
			}
			err := json.Unmarshal(body, &doc)
			return "plain", []string{doc.AccessToken}, err
		}),
		c.endpoint("aws-container", func() *http.Request {
			req := c.request("GET", "aws-container", "/creds", "")
			req.Header.Set("Authorization", door)
			return req
		}, func(body []byte) (string, []string, error) {
			var doc struct{ SecretAccessKey, Token string }
			err := json.Unmarshal(body, &doc)
			return "role", []string{doc.SecretAccessKey, doc.Token}, err
		}),
		c.endpoint("azure-app-service", func() *http.Request {
			req := c.request("GET", "azure-app-service", "/msi/token?api-version=2019-08-01&resource=https://"+pick(crashResources)+".example", "")
			req.Header.Set("X-IDENTITY-HEADER", door)
			return req
		}, func(body []byte) (string, []string, error) {
			var doc struct {
				AccessToken string `json:"access_token"`
				Resource    string `json:"resource"`
			}
			err := json.Unmarshal(body, &doc)
			name, _, _ := strings.Cut(strings.TrimPrefix(doc.Resource, "https://"), ".")
			return "azure " + name, []string{doc.AccessToken}, err
		}),
		{name: "freshet token", pace: 100 * time.Millisecond, strict: true, busy: one, ask: c.token},
	}
}

func pick(list []string) string { return list[mathrand.IntN(len(list))] }

func secretsOf(cred *freshet.Credential) []string {
	if cred.Type() == freshet.AWS {
		return []string{string(cred.AWS().SecretAccessKey), string(cred.AWS().SessionToken)}
	}
	return []string{cred.Token()}
}

// endpoint asks a dialect's server as an SDK does, by connections that are kept.
func (c *crash) endpoint(name string, request func() *http.Request, parse func([]byte) (owner string, secrets []string, err error)) *caller {
	transport := &http.Transport{}
	c.Cleanup(transport.CloseIdleConnections)
	return &caller{name: "endpoint " + name, pace: 5 * time.Millisecond, ask: func(ctx context.Context) error {
		resp, err := transport.RoundTrip(request().WithContext(ctx))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%d: %s", resp.StatusCode, body)
		}
		owner, secrets, err := parse(body)
		if err != nil { // it was taken for whole
			return fmt.Errorf("%w: %w", errForeign, err)
		}
		return c.ledger.want(owner, secrets...)
	}}
}

func (c *crash) request(method, endpoint, path, body string) *http.Request {
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", c.ports[endpoint], path), strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req
}

// newNoise measures what the machine takes for nothing: a request and a command that do nothing, over and over.
func (c *crash) newNoise(issuer string) []*caller {
	transport := &http.Transport{}
	c.Cleanup(transport.CloseIdleConnections)
	return []*caller{
		{name: "noise, request", pace: 5 * time.Millisecond, strict: true, ask: func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, "GET", issuer+"/ping", nil)
			if err != nil {
				return err
			}
			resp, err := transport.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			return err
		}},
		{name: "noise, command", pace: 200 * time.Millisecond, strict: true, ask: func(context.Context) error {
			return c.command("freshet", "--help").Run()
		}},
	}
}

// allowance is what is added to a bound on a time: twice what the machine took for nothing in that time, on one of its two ways.
func (c *crash) allowance(from, to time.Time) (longest time.Duration) {
	c.Helper()
	for _, one := range c.noise {
		c.await(one.name, func() bool { return one.last().After(to) })
		longest = max(longest, 2*one.slowest(from, to))
	}
	return longest
}

// token runs the command freshet token, which is a broker of its own while nothing listens. The one failure that a kill may cause
// says so.
func (c *crash) token(ctx context.Context) error {
	var owner string
	var args []string
	switch mathrand.IntN(5) {
	case 0:
		owner, args = "plain", []string{"plain"}
	case 1:
		owner, args = "role", []string{"role"}
	case 2:
		owner, args = "text", []string{"text"}
	case 3:
		tenant := pick(crashTenants)
		owner, args = "tenant "+tenant, []string{"tenant", "--tenant", tenant}
	case 4:
		scope := pick([]string{"a", "b"})
		owner, args = "scoped "+scope, []string{"scoped", "--scope", scope}
	}
	began := time.Now()
	cmd := c.command("freshet", append([]string{"token"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Start()
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
		err = cmd.Wait()
		stop()
	}
	c.ledger.wantNone(c.T, "standard error of freshet token", stderr.String())
	if err != nil {
		if _, up := c.up.covers(began, time.Now()); !up && cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 5 && stdout.Len() == 0 &&
			(strings.HasPrefix(stderr.String(), "freshet: the daemon ended before it answered\n") || strings.HasPrefix(stderr.String(), "freshet: no daemon listens at ")) {
			return fmt.Errorf("%w: %s", errLost, stderr.String())
		}
		return fmt.Errorf("freshet token %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	got := []string{strings.TrimSuffix(stdout.String(), "\n")}
	if owner == "role" {
		var keys struct{ SecretAccessKey, SessionToken string }
		if err := json.Unmarshal(stdout.Bytes(), &keys); err != nil {
			return fmt.Errorf("%w: %w", errForeign, err)
		}
		got = []string{keys.SecretAccessKey, keys.SessionToken}
	}
	return c.ledger.want(owner, got...)
}
