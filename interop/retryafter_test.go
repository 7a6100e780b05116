package interop

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2/clientcredentials"

	"freshet.dev/interop/internal/party"
)

// silence is what the provider asks for.
const silence = 10 * time.Second

// TestRetryAfter has a certified provider answer one client with Retry-After, in each of the forms of RFC 9110, section 10.2.3.
// Whatever identities that client has, and however many ask, none of them reaches the provider before the time; another client's do.
func TestRetryAfter(t *testing.T) {
	t.Run("seconds", func(t *testing.T) {
		t.Parallel()
		testRetryAfter(t, http.StatusTooManyRequests, func(time.Time) party.Fault {
			return party.Fault{For: silence, RetryAfter: silence}
		})
	})
	t.Run("date", func(t *testing.T) {
		t.Parallel()
		testRetryAfter(t, http.StatusServiceUnavailable, func(now time.Time) party.Fault {
			at := now.Add(silence).Truncate(time.Second).Add(time.Second)
			return party.Fault{For: at.Sub(now), RetryAt: at}
		})
	})
}

func testRetryAfter(t *testing.T, status int, fault func(now time.Time) party.Fault) {
	idp := party.OIDC(t, party.OIDCConfig{
		TTL: time.Minute, Clients: []party.OIDCClient{party.PostClient("one", "secret"), party.PostClient("two", "secret")},
	})
	dir := t.TempDir()
	secret, listen := rand.Text()+rand.Text(), party.FreeAddress(t)
	config := "identities:\n"
	for identity, client := range map[string]string{
		"warm": "one", "first": "one", "later": "one", "held": "one", "others-warm": "two", "others-cold": "two",
	} {
		config += fmt.Sprintf("  %s: {source: oauth2, token_url: %s, client_id: %s, auth: post, client_secret: {file: %q}, resource: 'urn:%s'}\n",
			identity, idp.TokenURL(), client, writeSecret(t, filepath.Join(dir, identity), "secret"), identity)
	}
	d := serve(t, config+fmt.Sprintf("endpoints:\n  - {endpoint: oauth-token, listen: %q, identities: [held], secret: {file: %q}}\n",
		listen, writeSecret(t, filepath.Join(dir, "endpoint-secret"), secret)))
	for _, identity := range []string{"warm", "others-warm"} {
		if r := d.ask(t, identity, "{}"); r.status != http.StatusOK {
			t.Fatalf("%s, before anything happens: got %d %s", identity, r.status, r.Detail)
		}
	}

	f := fault(time.Now())
	f.Client, f.Status = "one", status
	idp.Inject(f)
	d.wantSilenced(t, "first", status, silence+time.Second)
	until := time.Now().Add(silence)
	if !f.RetryAt.IsZero() {
		until = f.RetryAt
	}

	// Somebody whose SDK waits is held until the provider may be asked.
	held := make(chan error, 1)
	go func() {
		a := asker{config: clientcredentials.Config{ClientID: "held", ClientSecret: secret, TokenURL: "http://" + listen + "/token"}}
		held <- a.ask(context.WithoutCancel(t.Context()))
	}()
	// A script is told at once: exit status, cause and how long.
	cmd := exec.Command(d.binary, "token", "--config", d.config, "later")
	cmd.Env = callerEnv(d.home)
	out, _ := cmd.CombinedOutput()
	said := regexp.MustCompile(`\b([0-9]+) ?s\b`).FindStringSubmatch(string(out))
	if code := cmd.ProcessState.ExitCode(); code != 5 || !strings.Contains(string(out), strconv.Itoa(status)) || said == nil {
		t.Errorf("freshet token: got exit status %d and %q, want 5, the status %d and the seconds that remain", code, out, status)
	}
	if r := d.ask(t, "others-cold", "{}"); r.status != http.StatusOK {
		t.Errorf("another client's identity: got %d %s, want a credential", r.status, r.Detail)
	}
	if counts := idp.Counts(); counts["two"].Successes != 2 {
		t.Errorf("another client's token requests: got %+v, want 2", counts["two"])
	}
	var last float64
	asked := 0
	for tick := time.NewTicker(100 * time.Millisecond); time.Until(until) > 500*time.Millisecond; <-tick.C {
		asked++
		for _, identity := range []string{"warm", "others-warm", "others-cold"} {
			if r := d.ask(t, identity, "{}"); r.status != http.StatusOK || r.ServedFrom != "memory" {
				t.Fatalf("%s, which has a credential: got %d %s from %q, want one from memory", identity, r.status, r.Detail, r.ServedFrom)
			}
		}
		for _, identity := range []string{"first", "later"} {
			last = d.wantSilenced(t, identity, status, time.Until(until)+time.Second)
		}
		// Not even who would have another one reaches the provider.
		d.ask(t, "warm", `{"min_ttl": "59s"}`)
	}
	if last == 0 || last > 2 {
		t.Errorf("at the end of the silence callers were told to come again in %v s, want one or two", last)
	}
	if err := <-held; err != nil {
		t.Errorf("a caller that waits: %v", err)
	}
	err := party.Poll(5*time.Second, func() error {
		if r := d.ask(t, "later", "{}"); r.status != http.StatusOK {
			return fmt.Errorf("got %d %s, want a credential", r.status, r.Detail)
		}
		return nil
	})
	if err != nil {
		t.Errorf("after the silence: %v", err)
	}

	silenced, next := requestsAfter(idp, "one", status)
	allowed := f.RetryAt
	if allowed.IsZero() {
		allowed = silenced.Add(silence)
	}
	early := 0
	for _, at := range next {
		if at.Before(allowed) {
			early++
		}
	}
	if early > 0 {
		t.Errorf("%d token requests came in the silence, the first after %v", early, next[0].Sub(silenced))
	}
	if silenced.IsZero() || len(next) == 0 {
		t.Error("the provider was not asked, or not asked again")
	}
	t.Logf("%d rounds of callers; token requests of the client: %d in the silence, %d after it", asked, early, len(next)-early)
	d.stop(t)
}

// requestsAfter is when the provider first answered a client with the status, and when that client's later requests came.
func requestsAfter(idp *party.IdP, client string, status int) (first time.Time, next []time.Time) {
	for _, a := range idp.Arrivals() {
		switch {
		case a.Client != client:
		case !first.IsZero():
			next = append(next, a.At)
		case a.Status == status:
			first = a.At
		}
	}
	return first, next
}

// wantSilenced asks for a credential that there is not, and returns the seconds after which its caller may come again.
func (d *daemon) wantSilenced(t *testing.T, identity string, status int, atMost time.Duration) float64 {
	t.Helper()
	r := d.ask(t, identity, "{}")
	header, err := strconv.Atoi(r.header.Get("Retry-After"))
	switch {
	case r.status != http.StatusServiceUnavailable || r.Kind != "unavailable" || !strings.Contains(r.Detail, "answered "+strconv.Itoa(status)):
		t.Fatalf("%s: got %d %q, want 503 and what the provider said, %d", identity, r.status, r.Detail, status)
	case err != nil || header < 1 || float64(header) > atMost.Seconds()+1 || r.RetryAfter <= 0 || r.RetryAfter > atMost.Seconds():
		t.Fatalf("%s: got Retry-After %q and %v s, want at most %v", identity, r.header.Get("Retry-After"), r.RetryAfter, atMost)
	}
	return r.RetryAfter
}
