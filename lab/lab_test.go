package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/lab"
)

// ask asks the OAuth issuer, rightly.
func (c *cloud) ask(ctx context.Context) (int, error) {
	resp, err := http.DefaultClient.Do(c.form(c.OAuthToken, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret).WithContext(ctx))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

func TestCountsTellHowManyAskedAtOnce(t *testing.T) {
	const callers = 20
	c := start(t, map[string]lab.Settings{lab.OAuth: {Latency: time.Minute}})
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer leave()
	for range callers {
		wg.Go(func() { _, _ = c.ask(ctx) })
	}
	await(t, "all ask", func() bool { return c.Count(lab.OAuth).Requests == callers })
	if got, want := c.Count(lab.OAuth), (lab.Count{Requests: callers, Peak: callers}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := c.Count(lab.Entra); got != (lab.Count{}) {
		t.Errorf("another issuer counted %+v", got)
	}

	// Who leaves is waited for no longer, and was given nothing.
	leave()
	wg.Wait()
	await(t, "nobody asks", func() bool { c.Reset(); return c.Count(lab.OAuth).Peak == 0 })
	if got := c.Counts()[lab.OAuth]; got != (lab.Count{}) {
		t.Errorf("after a reset: got %+v", got)
	}
}

func TestSettingsTakeEffectAtOnce(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.OAuth: {Latency: time.Minute}})
	if err := c.Set(lab.OAuth, lab.Settings{Lifetime: 2 * time.Minute, RefreshIn: time.Minute}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if status, err := c.ask(ctx); err != nil || status != 200 {
		t.Fatalf("got %d, %v", status, err)
	}
	a := c.post(c.OAuthToken, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret)
	if a.doc["expires_in"] != 120.0 || a.doc["refresh_in"] != 60.0 {
		t.Errorf("got %v and %v, want 120 and 60", a.doc["expires_in"], a.doc["refresh_in"])
	}
}

func TestAnIssuerTakesItsLatency(t *testing.T) {
	const latency = 50 * time.Millisecond
	c := start(t, map[string]lab.Settings{lab.OAuth: {Latency: latency}})
	began := time.Now()
	if status, err := c.ask(t.Context()); err != nil || status != 200 {
		t.Fatalf("got %d, %v", status, err)
	}
	if took := time.Since(began); took < latency {
		t.Errorf("took %v, want at least %v", took, latency)
	}
}

func TestBadSettingsAreRefused(t *testing.T) {
	c := newCloud(t, lab.Config{})
	for _, s := range []lab.Settings{
		{Latency: -1}, {Latency: time.Hour}, {Lifetime: -time.Second}, {Lifetime: 1500 * time.Millisecond}, {Lifetime: 11 * 365 * 24 * time.Hour},
		{RefreshIn: -time.Second}, {RefreshIn: time.Hour}, {Events: 1}, {Pause: time.Second}, {Lifetime: time.Minute, RefreshIn: 2 * time.Minute}, {RefreshIn: time.Millisecond},
	} {
		if err := c.Set(lab.Entra, s); !errors.Is(err, freshet.Invalid) {
			t.Errorf("%+v: got %v", s, err)
		}
		if _, err := lab.New(lab.Config{Issuers: map[string]lab.Settings{lab.Entra: s}}); !errors.Is(err, freshet.Invalid) {
			t.Errorf("New with %+v: got %v", s, err)
		}
	}
	for _, s := range []lab.Settings{{Events: -1}, {Events: 10_001}, {Pause: -1}, {Pause: 6 * time.Minute}} {
		if err := c.Set(lab.OpenAI, s); !errors.Is(err, freshet.Invalid) {
			t.Errorf("%+v: got %v", s, err)
		}
	}
	if err := c.Set("x", lab.Settings{}); !errors.Is(err, freshet.Invalid) {
		t.Errorf("unknown issuer: got %v", err)
	}
	if got := c.Count("x"); got != (lab.Count{}) {
		t.Errorf("unknown issuer: got %+v", got)
	}
	if _, err := lab.New(lab.Config{AdminToken: "short"}); !errors.Is(err, freshet.Invalid) {
		t.Errorf("short admin token: got %v", err)
	}
}

func TestSettingsAreTextInJSON(t *testing.T) {
	s := lab.Settings{Latency: 250 * time.Millisecond, Lifetime: time.Hour, RefreshIn: 30 * time.Minute, Events: 50, Pause: 20 * time.Millisecond}
	text, err := json.Marshal(s)
	if want := `{"events":50,"latency":"250ms","lifetime":"1h","pause":"20ms","refresh_in":"30m"}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v, want %s", text, err, want)
	}
	var back lab.Settings
	if err := json.Unmarshal(text, &back); err != nil || back != s {
		t.Errorf("got %+v, %v back", back, err)
	}
	for _, bad := range []string{`{"latency":250}`, `{"latency":"-1s"}`, `{"delay":"1s"}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s: got no error", bad)
		}
	}
}

func TestEndOfTheServerEndsWaits(t *testing.T) {
	c := newCloud(t, lab.Config{Issuers: map[string]lab.Settings{lab.OAuth: {Latency: 5 * time.Minute}}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.at("http://" + l.Addr().String())
	ctx, end := context.WithCancel(t.Context())
	defer end()
	served, asked := make(chan error, 1), make(chan struct{})
	go func() { served <- c.Serve(ctx, l) }()
	go func() { defer close(asked); _, _ = c.ask(t.Context()) }()
	await(t, "it is asked", func() bool { return c.Count(lab.OAuth).Requests == 1 })
	end()
	for _, ended := range []<-chan struct{}{closedBy(t, served), asked} {
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatalf("not ended after %v", patience)
		}
	}
	if got, want := c.Count(lab.OAuth), (lab.Count{Requests: 1, Peak: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}

func closedBy(t *testing.T, served <-chan error) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	return done
}

func TestServeSaysWhyItCannot(t *testing.T) {
	c := newCloud(t, lab.Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := c.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestWebPagesReachNoIssuer(t *testing.T) {
	c := start(t, nil)
	for _, change := range []func(*http.Request){
		func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		func(r *http.Request) { r.Host = "evil.example" },
		func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.1") },
	} {
		req := c.form(c.OAuthToken, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret)
		change(req)
		if a := c.do(req); a.status != 403 || a.doc["error"] != "forbidden" {
			t.Errorf("got %d %s", a.status, a.body)
		}
	}
	if got := c.Count(lab.OAuth); got != (lab.Count{}) {
		t.Errorf("counted %+v", got)
	}
	if a := c.post(c.OAuthToken, "x", strings.Repeat("x", 100<<10)); a.status != 413 {
		t.Errorf("a body of 100 KiB: got %d", a.status)
	}
}

func TestCredentialsPrintRedacted(t *testing.T) {
	c := newCloud(t, lab.Config{})
	k := c.Credentials
	secrets := []string{k.ClientSecret, k.SecretAccessKey, k.MSIHeader, k.ContainerToken, k.AzureCLISecret, k.AdminToken}
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "k", k)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "k", k)
	all := log.String() + string(text)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		all += fmt.Sprintf(verb, k) + fmt.Sprintf(verb, &k) + fmt.Sprintf(verb, struct{ K any }{k})
	}
	freshettest.LeakedSecrets(t, all, secrets...)
}

func TestCloudsShareNoSecret(t *testing.T) {
	a, b := newCloud(t, lab.Config{}).Credentials, newCloud(t, lab.Config{}).Credentials
	if a.ClientSecret == b.ClientSecret || a.SecretAccessKey == b.SecretAccessKey || a.MSIHeader == b.MSIHeader ||
		a.ContainerToken == b.ContainerToken || a.AzureCLISecret == b.AzureCLISecret || a.AdminToken == b.AdminToken {
		t.Error("two clouds have a secret in common")
	}
}

func TestLogHasNoSecret(t *testing.T) {
	var mu sync.Mutex
	var log strings.Builder
	c := newCloud(t, lab.Config{Log: slog.New(slog.NewTextHandler(locked{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.at("http://" + l.Addr().String())
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx, l) }()
	token := c.post(c.OAuthToken, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret).doc["access_token"].(string)
	c.post(c.STS, "Action", "AssumeRoleWithWebIdentity", "RoleArn", lab.Role, "RoleSessionName", "me", "WebIdentityToken", token)
	c.inject(lab.Entra, lab.Fault{Kind: lab.Outage})
	c.do(c.wants(lab.Entra))
	c.inject(lab.Entra, lab.Fault{Kind: lab.Outage, How: "refused"})
	c.try(c.wants(lab.Entra))
	c.inject(lab.OAuth, lab.Fault{Kind: lab.Malformed, How: "again"})
	c.do(c.wants(lab.OAuth))
	again := c.do(c.wants(lab.OAuth)).doc["access_token"].(string)
	end()
	if err := <-served; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := log.String(); !strings.Contains(got, "issuer=oauth status=200") || !strings.Contains(got, "issuer=sts status=400") {
		t.Errorf("got log:\n%s", got)
	}
	for _, line := range []string{
		`issuer=entra status=503 fault="outage 5xx"`, `issuer=entra fault="outage refused"`, `issuer=oauth status=200 fault="malformed again"`,
	} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("no %s in the log:\n%s", line, log.String())
		}
	}
	freshettest.LeakedSecrets(t, log.String(), c.ClientSecret, token, again)
}

type locked struct {
	mu *sync.Mutex
	b  *strings.Builder
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// witness looks on when an answer begins.
type witness struct {
	*httptest.ResponseRecorder
	look func()
}

func (w witness) WriteHeader(status int) { w.look(); w.ResponseRecorder.WriteHeader(status) }

// TestCountsAreRightBeforeTheClientHasItsAnswer lets a client that was answered read its own count.
func TestCountsAreRightBeforeTheClientHasItsAnswer(t *testing.T) {
	c := newCloud(t, lab.Config{}).at("http://127.0.0.1")
	var got lab.Count
	w := witness{httptest.NewRecorder(), func() { got = c.Count(lab.OAuth) }}
	c.Handler().ServeHTTP(w, c.form(c.OAuthToken, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret))
	if want := (lab.Count{Requests: 1, Granted: 1, Peak: 1}); w.Code != 200 || got != want {
		t.Errorf("got %d and %+v, want %+v", w.Code, got, want)
	}
}
