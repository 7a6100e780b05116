package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

// own makes a request of freshet's own to the route's upstream.
func (g *rig) own(ctx context.Context, method, path, body string) (*http.Response, error) {
	g.Helper()
	u := *g.route.cfg.Upstream
	u.Path += path
	req, err := http.NewRequestWithContext(ctx, method, u.String(), strings.NewReader(body))
	if err != nil {
		g.Fatal(err)
	}
	if body == "" {
		req.Body, req.ContentLength = nil, 0
	}
	return g.route.RoundTrip(req)
}

// whole reads an answer to its end.
func (g *rig) whole(resp *http.Response, err error) (int, string) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (g *rig) noEvent() {
	g.Helper()
	select {
	case e := <-g.events:
		g.Errorf("told of %+v", e)
	default:
	}
}

func TestRequestOfItsOwnIsSignedReplayedAndToldOf(t *testing.T) {
	for _, hash := range []bool{false, true} {
		var version atomic.Int64
		version.Store(1)
		g := start(t, picky(&version, 401), func(c *Config) { c.Signer = &plain{hash: hash} })
		req, err := http.NewRequest("POST", g.route.cfg.Upstream.String()+"/mcp?a=b", strings.NewReader("the body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		req = req.WithContext(WithOutbound(t.Context(), Outbound{Caller: "uid:1000"}))
		resp, err := g.route.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		g.noEvent() // before its body has ended
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || string(body) != "ok 8 the body" {
			t.Errorf("got %d %s, %v", resp.StatusCode, body, err)
		}
		if e := g.event(); e.Rejections != 1 || e.Replays != 1 || e.Status != 200 || e.Caller != "uid:1000" || e.Refused != "" || e.Identity != "id" {
			t.Errorf("event %+v", e)
		}
		resp.Body.Close()
		g.noEvent() // of the body's closing, after that of its end
		if len(req.Header) != 1 || req.URL.Path != "/mcp" || resp.Request != req {
			t.Errorf("the caller's request was changed: %v %v", req.Header, req.URL)
		}
		if len(g.vault.rejected) != 1 || g.vault.rejected[0] != g.vault.version(0).Fingerprint() {
			t.Errorf("rejected %v", g.vault.rejected)
		}
		if hold := g.vault.wants[0].Hold; hold != OutboundPatience {
			t.Errorf("the credential was waited for for %v, want %v", hold, OutboundPatience)
		}
	}
}

func TestRequestOfItsOwnGoesOverHTTP2(t *testing.T) {
	var version atomic.Int64
	version.Store(1)
	check := picky(&version, 401)
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("came over %s", r.Proto)
		}
		check(w, r)
	}))
	up.EnableHTTP2 = true
	up.StartTLS()
	defer up.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(up.Certificate())
	g := startAt(t, up.URL, func(c *Config) { c.TLS = &tls.Config{RootCAs: trusted}; c.Write = time.Minute })
	for range 3 {
		if status, body := g.whole(g.own(t.Context(), "POST", "", "the body")); status != 200 || body != "ok 8 the body" {
			t.Errorf("got %d %s", status, body)
		}
	}
}

// TestAnswerStreams holds that nothing is kept back, and that the event is told at the stream's end alone.
func TestAnswerStreams(t *testing.T) {
	next := make(chan struct{})
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
		<-r.Context().Done() // until it is closed
	})
	resp, err := g.own(t.Context(), "GET", "", "")
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(resp.Body)
	for i := range 3 {
		if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
		_, _ = in.ReadString('\n')
		g.noEvent()
		next <- struct{}{}
	}
	resp.Body.Close()
	if e := g.event(); e.Status != 200 {
		t.Errorf("event %+v", e)
	}
}

func TestNothingIsSentElsewhereInAnIdentitysName(t *testing.T) {
	var n atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.Add(1) }))
	defer elsewhere.Close()
	g := start(t, func(http.ResponseWriter, *http.Request) { n.Add(1) }, func(c *Config) { c.Upstream.Path = "/team/mcp" })
	host := g.route.cfg.Upstream.Host
	for _, to := range []string{
		elsewhere.URL + "/team/mcp", "https://" + host + "/team/mcp", "http://" + host + "/team", "http://" + host + "/team/mcpx", "http://" + host,
		"http://" + host + "/team/mcp/../../x", "http://" + host + "/team/mcp/%2e%2e/x", "http://user@" + host + "/team/mcp", "http://localhost/team/mcp",
	} {
		req, err := http.NewRequest("POST", to+"?planted=secret", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := g.route.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s: was sent", to)
			continue
		}
		if e, ok := errors.AsType[*freshet.Error](err); !ok || e.Kind != freshet.Denied || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: got %v", to, err)
		}
		if e := g.event(); e.Refused != "AccessDenied" {
			t.Errorf("%s: event %+v", to, e)
		}
	}
	if n.Load() > 0 || len(g.vault.wants) > 0 {
		t.Errorf("%d requests arrived, the identity was asked for %v", n.Load(), g.vault.wants)
	}
	for _, path := range []string{"", "/", "/messages"} {
		if status, _ := g.whole(g.own(t.Context(), "POST", path, "body")); status != 200 {
			t.Errorf("%s: got %d", path, status)
		}
	}
}

// TestRedirectIsNotFollowed holds for an http.Client that would, within the upstream too.
func TestRedirectIsNotFollowed(t *testing.T) {
	var n atomic.Int64
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1); r.URL.Path != "/there" {
			http.Redirect(w, r, "/there?planted=secret", http.StatusTemporaryRedirect)
		}
	})
	c := &http.Client{Transport: g.route}
	resp, err := c.Post(g.route.cfg.Upstream.String(), "application/json", strings.NewReader("{}"))
	if err == nil {
		resp.Body.Close()
	}
	if e, ok := errors.AsType[*freshet.Error](err); !ok || e.Kind != freshet.Denied || !strings.Contains(e.Why, "/there") || strings.Contains(e.Why, "planted") || n.Load() != 1 {
		t.Errorf("got %v after %d requests", err, n.Load())
	}
}

func TestPostIsRepeatedWhereItMayBe(t *testing.T) {
	for _, repeatable := range []bool{false, true} {
		var n atomic.Int64
		g := start(t, func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) == 1 {
				w.WriteHeader(503)
			}
			_, _ = io.Copy(w, r.Body)
		})
		status, body := g.whole(g.own(WithOutbound(t.Context(), Outbound{Repeatable: repeatable}), "POST", "", "the body"))
		if want := map[bool]int{false: 503, true: 200}[repeatable]; status != want || body != "the body" {
			t.Errorf("%v: got %d %s", repeatable, status, body)
		}
		if e := g.event(); e.Replays != int(n.Load())-1 || e.Status != status {
			t.Errorf("%v: event %+v after %d", repeatable, e, n.Load())
		}
	}
}

func TestRequestOfItsOwnEndsWithItsContext(t *testing.T) {
	gone := make(chan struct{}, 2)
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := g.own(ctx, "GET", "", "")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err = io.ReadAll(resp.Body); !errors.Is(err, context.Canceled) {
		t.Errorf("its answer ended with %v", err)
	}
	resp.Body.Close()
	if e := g.event(); e.Status != 200 {
		t.Errorf("event %+v", e)
	}
	<-gone
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := g.own(ctx, "DELETE", "", ""); !errors.Is(err, context.DeadlineExceeded) { //nolint:bodyclose
		t.Errorf("got %v", err)
	}
	if e := g.event(); e.Status != 0 || e.Refused != "left" {
		t.Errorf("event %+v", e)
	}
	<-gone
}

func TestUnreachedUpstreamIsUnavailable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	g := startAt(t, "http://"+l.Addr().String())
	_, err = g.own(t.Context(), "POST", "", "body")
	if e, ok := errors.AsType[*freshet.Error](err); !ok || e.Kind != freshet.Unavailable || !strings.Contains(e.Why, "refused") {
		t.Errorf("got %v", err)
	}
	if e := g.event(); e.Status != 502 || e.Refused != "BadGateway" {
		t.Errorf("event %+v", e)
	}
	g.vault.fail = freshet.Errorf(freshet.LoginNeeded, "nobody is logged in").WithHint("az login")
	_, err = g.own(t.Context(), "POST", "", "body")
	if e, ok := errors.AsType[*freshet.Error](err); !ok || e.Kind != freshet.LoginNeeded || e.Hint != "az login" {
		t.Errorf("got %v", err)
	}
	if e := g.event(); e.Status != 401 || e.Refused != "LoginNeeded" {
		t.Errorf("event %+v", e)
	}
}

func TestRoutesEndEndsRequestsOfItsOwn(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	resp, err := g.own(t.Context(), "GET", "", "")
	if err != nil {
		t.Fatal(err)
	}
	g.route.Close()
	_, err = io.ReadAll(resp.Body)
	if e, ok := errors.AsType[*freshet.Error](err); !ok || e.Kind != freshet.Unavailable || !strings.Contains(e.Why, "ended") {
		t.Errorf("got %v", err)
	}
	g.event()
}

// TestWithoutACredentialNothingIsSignedWhereThatIsWanted: and where there is one, or might be soon, it is used.
func TestWithoutACredentialNothingIsSignedWhereThatIsWanted(t *testing.T) {
	login := freshet.Errorf(freshet.LoginNeeded, "nobody is logged in").WithHint("aws sso login")
	for name, c := range map[string]struct {
		anonymous bool
		fail      *freshet.Error
		answer    int
		got       string // what came: its Authorization, and the status; or the kind of error
	}{
		"no credential":                          {true, login, 200, " 200"},
		"no credential, and a bad request":       {true, login, 400, " 400"},
		"no credential, where one is wanted":     {true, login, 401, string(freshet.LoginNeeded)},
		"no credential, where one is wanted (2)": {true, login, 403, string(freshet.LoginNeeded)},
		"a credential":                           {true, nil, 200, "Bearer token-0 200"},
		"an issuer that is down":                 {true, freshet.Errorf(freshet.Unavailable, "down"), 200, "unavailable"},
		"a policy that refuses":                  {true, freshet.Errorf(freshet.Denied, "no"), 200, "denied"},
		"no credential, and it must":             {false, login, 200, string(freshet.LoginNeeded)},
	} {
		g := start(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(c.answer)
			fmt.Fprint(w, r.Header.Get("Authorization"))
		}, func(cfg *Config) { cfg.Anonymous = c.anonymous })
		if c.fail != nil {
			g.vault.fail = c.fail
		}
		resp, err := g.own(t.Context(), "POST", "", "body")
		got := ""
		if err != nil {
			got = string(freshet.AsError(err).Kind)
		} else {
			status, body := g.whole(resp, nil)
			got = fmt.Sprint(body, " ", status)
		}
		if got != c.got {
			t.Errorf("%s: got %q, want %q", name, got, c.got)
		}
	}
}

// TestOwnTimesEndARequest has an upstream that takes nothing, answers nothing, or stops.
func TestOwnTimesEndARequest(t *testing.T) {
	for name, c := range map[string]struct {
		takes, answers bool
		took           time.Duration
		why            string
	}{
		"takes nothing":    {false, false, 10 * time.Second, "could not be sent within 10s"},
		"answers nothing":  {true, false, time.Minute, "no byte passed for 1m0s"},
		"stops in between": {true, true, time.Minute, "no byte passed for 1m0s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			events := make(chan Event, 10)
			r, err := New(Config{
				Name: "test", Upstream: &url.URL{Scheme: "http", Host: "127.0.0.1:2"}, Identity: "id", Signer: new(plain), Door: new(vault),
				Idle: time.Minute, Write: 10 * time.Second, Observe: func(e Event) { events <- e },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			r.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
				near, far := net.Pipe()
				go func() {
					defer far.Close()
					if c.takes {
						in := bufio.NewReader(far)
						if r, err := http.ReadRequest(in); err == nil {
							_, _ = io.Copy(io.Discard, r.Body)
						}
						if c.answers {
							_, _ = io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
						}
					}
					_, _ = far.Read(make([]byte, 0))
					<-t.Context().Done()
				}()
				return near, nil
			}
			began := time.Now()
			req, err := http.NewRequest("POST", "http://127.0.0.1:2/", strings.NewReader(strings.Repeat("x", 1<<20)))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := r.RoundTrip(req)
			if c.answers {
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if e, ok := errors.AsType[*freshet.Error](err); !ok || e.Kind != freshet.Unavailable || !strings.Contains(e.Why, c.why) {
				t.Errorf("%s: got %v", name, err)
			}
			if took := time.Since(began); took < c.took || took > c.took+time.Second {
				t.Errorf("%s: it took %v, want %v", name, took, c.took)
			}
			if e := <-events; e.Refused == "GatewayTimeout" == c.answers {
				t.Errorf("%s: event %+v", name, e)
			}
		})
	}
}

// TestTimeToSendBeginsWithAConnection: however short it is, one that is made for long, or not at all, is not told of as a slow request.
func TestTimeToSendBeginsWithAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := New(Config{
			Name: "test", Upstream: &url.URL{Scheme: "http", Host: "127.0.0.1:2"}, Identity: "id", Signer: new(plain), Door: new(vault),
			Idle: time.Hour, Write: time.Nanosecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		r.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(time.Minute)
			return nil, syscall.ECONNREFUSED
		}
		req, err := http.NewRequest("POST", "http://127.0.0.1:2/", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.RoundTrip(req); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("got %v", err)
		}
	})
}

// TestTimeToSendEndsWithTheAttempt: net/http's goroutines may tell of a connection when nobody waits for it any more.
func TestTimeToSendEndsWithTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o overdue
		var fired atomic.Int32
		do := func() { fired.Add(1) }
		o.stop()
		o.begin(time.Second, do)
		time.Sleep(time.Second / 2)
		o.begin(time.Second, do) // another connection, for the whole time
		time.Sleep(time.Second - 1)
		o.stop()
		time.Sleep(time.Minute)
		if fired.Load() != 0 {
			t.Error("it was overdue, though it was in time")
		}
		o.begin(time.Second, do)
		time.Sleep(time.Minute)
		if fired.Load() != 1 {
			t.Errorf("it was overdue %d times", fired.Load())
		}
		o.end()
		o.begin(time.Second, do)
		time.Sleep(time.Minute)
		if fired.Load() != 1 {
			t.Error("it was overdue when all was over")
		}
	})
}
