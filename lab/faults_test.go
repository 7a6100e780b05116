package lab_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"freshet.dev/freshet/freshettest"
	"freshet.dev/lab"
)

// static are the keys in a container's answer.
func static(doc map[string]any) aws.CredentialsProvider {
	text := func(name string) string { s, _ := doc[name].(string); return s }
	return credentials.NewStaticCredentialsProvider(text("AccessKeyId"), text("SecretAccessKey"), text("Token"))
}

// pattern asks some times, and tells which of the requests a fault touched.
func (c *cloud) pattern(n int) string {
	c.t.Helper()
	var b strings.Builder
	for range n {
		switch c.status(c.wants(lab.OAuth)) {
		case 200:
			b.WriteByte('.')
		case 429:
			b.WriteByte('t')
		default:
			b.WriteByte('x')
		}
	}
	return b.String()
}

func TestTheSameSeedGivesTheSameOutcomes(t *testing.T) {
	const n = 200
	ask := func(faults ...lab.Fault) string {
		c := start(t, nil)
		for _, f := range faults {
			c.inject(lab.OAuth, f)
		}
		return c.pattern(n)
	}
	some := lab.Fault{Kind: lab.Outage, Probability: 0.3, Seed: 1}
	first := ask(some)
	if again := ask(some); again != first {
		t.Errorf("got\n%s, and then\n%s", first, again)
	}
	if k := strings.Count(first, "x"); k < n/10 || k > n/2 {
		t.Errorf("%d of %d requests fail, want about %d", k, n, n*3/10)
	}
	other := some
	other.Seed = 2
	if ask(other) == first {
		t.Error("another seed gives the same outcomes")
	}
	// A second fault has chances of its own, though its seed is the same.
	if alone := ask(lab.Fault{Kind: lab.Throttle, Probability: 0.3, Seed: 1}); strings.ReplaceAll(alone, "t", "x") == first {
		t.Error("two kinds of faults touch the same requests")
	}
	both := ask(some, lab.Fault{Kind: lab.Throttle, Probability: 0.3, Seed: 1})
	if alone := strings.ReplaceAll(both, "t", "."); alone != first {
		t.Errorf("the first fault's outcomes are\n%s with a second, want\n%s", alone, first)
	}
	if k := strings.Count(both, "t"); k < n/10 || k > n*4/10 {
		t.Errorf("the second touches %d of %d, want about %d", k, n, n*7/10*3/10)
	}
	if all := ask(lab.Fault{Kind: lab.Throttle}); all != strings.Repeat("t", n) {
		t.Errorf("a fault without a probability gives\n%s", all)
	}
}

func TestAFaultOfATenantIsItsAlone(t *testing.T) {
	const other = "contoso.example"
	c := start(t, nil)
	expect := func(when string, own, others int) {
		t.Helper()
		if a, b := c.status(c.wantsOf(lab.Tenant)), c.status(c.wantsOf(other)); a != own || b != others {
			t.Errorf("%s: got %d and %d, want %d and %d", when, a, b, own, others)
		}
	}
	c.inject(lab.Entra, lab.Fault{Kind: lab.Throttle, Tenant: strings.ToUpper(lab.Tenant)})
	expect("one tenant", 429, 200)
	c.inject(lab.Entra, lab.Fault{Kind: lab.Outage})
	expect("one tenant and all", 429, 503)
	c.inject(lab.Entra, lab.Fault{Kind: lab.Outage, Status: 500})
	expect("the same kind again", 429, 500)
	if err := c.Clear(lab.Entra, lab.Tenant); err != nil {
		t.Fatal(err)
	}
	expect("the tenant's is over", 500, 500)
	c.inject(lab.Entra, lab.Fault{Kind: lab.Throttle})
	expect("another kind comes second", 500, 500)
	if err := c.Clear(lab.Entra, ""); err != nil {
		t.Fatal(err)
	}
	expect("all are over", 200, 200)

	// At STS a tenant is the account of the role.
	c.inject(lab.STS, lab.Fault{Kind: lab.Outage, Tenant: lab.Account})
	if a := c.status(c.wants(lab.STS)); a != 503 {
		t.Errorf("STS in the account: got %d", a)
	}
	c.inject(lab.STS, lab.Fault{Kind: lab.Outage, Tenant: lab.Account, Probability: 1, Status: 500})
	if on := c.Faults()[lab.STS]; len(on) != 1 || on[0].Status != 500 || on[0].Requests != 0 {
		t.Errorf("got %+v", on)
	}
	if err := c.Clear(lab.STS, ""); err != nil {
		t.Fatal(err)
	}
	c.inject(lab.STS, lab.Fault{Kind: lab.Outage, Tenant: "210987654321"})
	if a := c.status(c.wants(lab.STS)); a != 200 {
		t.Errorf("STS in another account: got %d", a)
	}
	// az and the managed identity are in one tenant, unless az says otherwise.
	for _, issuer := range []string{lab.AzureCLI, lab.ManagedIdentity} {
		c.inject(issuer, lab.Fault{Kind: lab.Outage, Tenant: lab.Tenant})
		if a := c.status(c.wants(issuer)); a != 503 {
			t.Errorf("%s: got %d", issuer, a)
		}
	}
	elsewhere := c.form(c.AzureCLI, "resource", "x", "tenant", other)
	elsewhere.Header.Set("Authorization", "Bearer "+c.AzureCLISecret)
	if a := c.status(elsewhere); a != 200 {
		t.Errorf("az in another tenant: got %d", a)
	}
}

// TestFaultsTouchRequestsForCredentialsAlone keeps what proves and verifies out of an outage.
func TestFaultsTouchRequestsForCredentialsAlone(t *testing.T) {
	c := start(t, nil)
	for _, issuer := range lab.Issuers() {
		c.inject(issuer, lab.Fault{Kind: lab.Outage})
	}
	if _, err := c.whoami(c.longTerm()); err != nil {
		t.Error(err)
	}
	for _, url := range []string{c.JWKS, c.Issuer + "/.well-known/openid-configuration", c.Issuer + "/" + lab.Tenant + "/v2.0/.well-known/openid-configuration"} {
		if a := c.get(url); a.status != 200 || a.header.Get(lab.FaultHeader) != "" {
			t.Errorf("%s: got %d %v", url, a.status, a.header)
		}
	}
}

// TestFaultsEndByThemselves is in virtual time, so the durations are the real ones.
func TestFaultsEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, lab.Config{}).at("http://lab:80")
		h := c.Handler()
		status := func() int {
			req := c.wants(lab.OAuth)
			req.Host = "127.0.0.1"
			w := newRecorder()
			h.ServeHTTP(w, req)
			return w.Code
		}
		expect := func(want int, on ...string) {
			t.Helper()
			var names []string
			for _, f := range c.Faults()[lab.OAuth] {
				names = append(names, f.String()+" "+f.Left.String())
			}
			if got := status(); got != want || !slices.Equal(names, on) {
				t.Errorf("got %d, with %q on, want %d with %q", got, names, want, on)
			}
		}
		if err := c.Inject(lab.OAuth, lab.Fault{Kind: lab.Outage}); err != nil {
			t.Fatal(err)
		}
		if err := c.Inject(lab.OAuth, lab.Fault{Kind: lab.Throttle, For: time.Hour}); err != nil {
			t.Fatal(err)
		}
		expect(503, "outage 5xx 10m0s", "throttle seconds 1h0m0s")
		time.Sleep(10*time.Minute - 1)
		expect(503, "outage 5xx 1ns", "throttle seconds 50m0.000000001s")
		time.Sleep(time.Nanosecond)
		expect(429, "throttle seconds 50m0s")
		time.Sleep(50 * time.Minute)
		expect(200)
		if got := c.Count(lab.OAuth); got.Faults != (lab.Faulted{Throttle: 1, Outage: 2}) || got.Granted != 1 || got.Requests != 4 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestWhatWaitsForAFaultGoesOnWhenThatEnds has requests arrive when most of a fault's time is over.
func TestWhatWaitsForAFaultGoesOnWhenThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, lab.Config{}).at("http://127.0.0.1")
		h := c.Handler()
		for _, f := range []lab.Fault{{Kind: lab.Outage, How: "hang"}, {Kind: lab.Slow, By: 5 * time.Minute}} {
			if err := c.Inject(lab.OAuth, f); err != nil {
				t.Fatal(err)
			}
			time.Sleep(6 * time.Minute)
			began, w := time.Now(), newRecorder()
			func() {
				defer func() {
					if got := recover(); (got == http.ErrAbortHandler) != (f.Kind == lab.Outage) {
						t.Errorf("%s: got %v", f, got)
					}
				}()
				h.ServeHTTP(w, c.wants(lab.OAuth))
			}()
			if took := time.Since(began); took != 4*time.Minute || f.Kind == lab.Slow && w.Code != 200 {
				t.Errorf("%s: got %d after %v, want it at the end, after 4m", f, w.Code, took)
			}
		}
	})
}

func TestSettingTheWallClockNeitherEndsNorProlongsAFault(t *testing.T) {
	c := start(t, nil)
	c.inject(lab.OAuth, lab.Fault{Kind: lab.Outage, For: time.Hour})
	freshettest.SetWallClock(t, 2*time.Hour)
	if got := c.status(c.wants(lab.OAuth)); got != 503 {
		t.Errorf("the clock was set forward: got %d", got)
	}
	freshettest.SetWallClock(t, -48*time.Hour)
	if left := c.Faults()[lab.OAuth][0].Left; left > time.Hour {
		t.Errorf("the clock was set back: %v are left", left)
	}
}

func TestFaultsAreCounted(t *testing.T) {
	c := start(t, nil)
	c.inject(lab.OAuth, lab.Fault{Kind: lab.Outage, Probability: 0.5})
	touched := int64(strings.Count(c.pattern(40), "x"))
	on := c.Faults()[lab.OAuth]
	if len(on) != 1 || on[0].Requests != 40 || on[0].Touched != touched {
		t.Errorf("got %+v, want %d of 40", on, touched)
	}
	n := c.Count(lab.OAuth)
	if n.Faults.Total() != touched || n.Requests != 40 || n.Granted != 40-touched || n.Refused != 0 {
		t.Errorf("got %+v, want %d faults", n, touched)
	}
	// A wrong secret is refused by an issuer that is well, and counts as no fault.
	if err := c.Clear(lab.OAuth, ""); err != nil {
		t.Fatal(err)
	}
	c.Reset()
	c.post(c.OAuthToken, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", "x")
	if got, want := c.Count(lab.OAuth), (lab.Count{Requests: 1, Refused: 1, Peak: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTooManyFaultsAreRefused(t *testing.T) {
	c := newCloud(t, lab.Config{})
	n := 0
	for ; n < 1000; n++ {
		if c.Inject(lab.Entra, lab.Fault{Kind: lab.Outage, Tenant: strings.Repeat("x", n+1)[:min(n+1, 250)]}) != nil {
			break
		}
	}
	if n != 64 {
		t.Errorf("%d faults are taken", n)
	}
	if err := c.Inject(lab.Entra, lab.Fault{Kind: lab.Outage, Tenant: "x", Status: 500}); err != nil {
		t.Errorf("in place of another: %v", err)
	}
}

// hanging starts a request that hangs, and waits until it does. ended is closed when its client is told something.
func (c *cloud) hanging(ctx context.Context) (ended chan struct{}) {
	c.t.Helper()
	before := c.Count(lab.OAuth).Faults.Outage
	ended = make(chan struct{})
	req := c.wants(lab.OAuth).WithContext(ctx)
	go func() {
		defer close(ended)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			c.t.Errorf("a request that hangs was answered %d", resp.StatusCode)
			resp.Body.Close()
		}
	}()
	await(c.t, "it hangs", func() bool { return c.Count(lab.OAuth).Faults.Outage == before+1 })
	return ended
}

func (c *cloud) idle() {
	c.t.Helper()
	await(c.t, "nobody is left", func() bool { c.Reset(); return c.Count(lab.OAuth).Peak == 0 })
}

func TestWhatHangsIsReleased(t *testing.T) {
	c := newCloud(t, lab.Config{})
	ctx, end := context.WithCancel(t.Context())
	defer end()
	served := c.listen(ctx)
	hang := lab.Fault{Kind: lab.Outage, How: "hang"}

	c.inject(lab.OAuth, hang)
	client, leave := context.WithCancel(t.Context())
	ended := c.hanging(client)
	leave()
	closes(t, "its client left", ended)
	c.idle()

	ended = c.hanging(t.Context())
	if err := c.Clear(lab.OAuth, ""); err != nil {
		t.Fatal(err)
	}
	closes(t, "the fault was turned off", ended)
	c.idle()

	c.inject(lab.OAuth, hang)
	ended = c.hanging(t.Context())
	c.inject(lab.OAuth, hang)
	closes(t, "another took its place", ended)
	c.idle()

	c.inject(lab.OAuth, hang)
	ended = c.hanging(t.Context())
	end()
	closes(t, "the server ended", ended)
	closes(t, "the server", served)
	if n := c.Count(lab.OAuth); n.Peak > 1 {
		t.Errorf("got %+v", n)
	}
	c.idle()
}

// listen serves the cloud on a port of its own until ctx ends. What it returns is closed once it has ended.
func (c *cloud) listen(ctx context.Context) <-chan struct{} {
	c.t.Helper()
	l := listener(c.t)
	c.at("http://" + l.Addr().String())
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := c.Serve(ctx, l); err != nil {
			c.t.Error(err)
		}
	}()
	return served
}

// closes waits for a channel.
func closes(t *testing.T, why string, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatalf("%s: it goes on", why)
	}
}

// TestTurningASlowIssuerOffLetsItsRequestsGoOn has what waits answered, not cut.
func TestTurningASlowIssuerOffLetsItsRequestsGoOn(t *testing.T) {
	c := start(t, nil)
	c.inject(lab.OAuth, lab.Fault{Kind: lab.Slow, By: 5 * time.Minute})
	req, answered := c.wants(lab.OAuth), make(chan int, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	await(t, "it waits", func() bool { return c.Count(lab.OAuth).Faults.Slow == 1 })
	if err := c.Clear(lab.OAuth, ""); err != nil {
		t.Fatal(err)
	}
	select {
	case status := <-answered:
		if status != 200 {
			t.Errorf("got %d", status)
		}
	case <-time.After(patience):
		t.Fatal("it still waits")
	}
}
