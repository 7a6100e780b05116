package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// echo answers what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s %q", r.Method, r.RequestURI, r.Header.Get("Authorization"), b)
}

func TestCredentialTakesTheSecretsPlace(t *testing.T) {
	g := start(t, echo)
	for name, with := range map[string]func(*http.Request){
		"bearer":         func(r *http.Request) {},
		"basic":          func(r *http.Request) { r.SetBasicAuth("anybody", localSecret) },
		"api-key":        func(r *http.Request) { r.Header = http.Header{"Api-Key": {localSecret}} },
		"x-api-key":      func(r *http.Request) { r.Header = http.Header{"X-Api-Key": {localSecret}} },
		"x-goog-api-key": func(r *http.Request) { r.Header = http.Header{"X-Goog-Api-Key": {localSecret}} },
	} {
		resp, body := g.send("POST", "/a/b?c=d", "hello", with)
		if want := `POST /a/b?c=d Bearer token-0 "hello"`; resp.StatusCode != 200 || body != want {
			t.Errorf("%s: got %d %s, want %s", name, resp.StatusCode, body, want)
		}
		if e := g.event(); e.Status != 200 || e.Caller != "secret" || e.Refused != "" || e.Route != "test" || e.Took <= 0 {
			t.Errorf("%s: event %+v", name, e)
		}
	}
}

// TestSecretGoesNoFurther: some clients send their key in two places.
func TestSecretGoesNoFurther(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header) })
	resp, body := g.send("GET", "/", "", func(r *http.Request) {
		r.Header.Set("X-Api-Key", localSecret)
		r.Header.Set("X-Other", "key="+localSecret)
		r.Header.Add("X-Kept", "yes")
	})
	if resp.StatusCode != 200 || strings.Contains(body, localSecret) || !strings.Contains(body, "X-Kept:[yes]") {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
}

func TestCredentialsDoNotTravelInTheClear(t *testing.T) {
	for upstream, ok := range map[string]bool{
		"http://api.example.com": false, "https://api.example.com": true, "http://127.0.0.1:9": true, "http://[::1]:9": true, "http://localhost:9": true,
		"http://10.0.0.1": false, "ftp://api.example.com": false, "https://u:p@api.example.com": false, "https://api.example.com/?q": false, "https://": false,
	} {
		u, err := url.Parse(upstream)
		if err != nil {
			t.Fatal(err)
		}
		r, err := New(Config{Upstream: u, Signer: new(plain), Door: new(vault)})
		if (err == nil) != ok || err != nil && freshet.AsError(err).Kind != freshet.Invalid {
			t.Errorf("%s: %v", upstream, err)
		}
		if r != nil {
			r.Close()
		}
	}
}

func TestNobodyIsLetInWithoutTheSecret(t *testing.T) {
	asked := false
	g := start(t, func(http.ResponseWriter, *http.Request) { asked = true })
	for name, with := range map[string]func(*http.Request){
		"nothing":            func(r *http.Request) { r.Header = http.Header{} },
		"another":            func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.ToUpper(localSecret)) },
		"the bare secret":    func(r *http.Request) { r.Header.Set("Authorization", localSecret) },
		"in the user's name": func(r *http.Request) { r.SetBasicAuth(localSecret, "") },
		"twice":              func(r *http.Request) { r.Header = http.Header{"X-Api-Key": {localSecret, localSecret}} },
	} {
		resp, body := g.send("GET", "/", "", with)
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Freshet-Error") != "MissingAuthenticationToken" || strings.Contains(body, localSecret) {
			t.Errorf("%s: got %d %v %s", name, resp.StatusCode, resp.Header, body)
		}
		if e := g.event(); e.Caller != "" || e.Refused != "MissingAuthenticationToken" || e.Status != http.StatusUnauthorized {
			t.Errorf("%s: event %+v", name, e)
		}
	}
	if asked || len(g.vault.wants) > 0 {
		t.Error("the upstream, or the broker, was asked")
	}
}

func TestWhatMayNotBeForwarded(t *testing.T) {
	asked := false
	g := start(t, func(http.ResponseWriter, *http.Request) { asked = true }, func(c *Config) {
		c.Prefix, c.Methods, c.Paths, c.MaxBody = "/up", []string{"GET", "POST", "TRACE"}, []string{"/v1/models", "/v1/chat/*"}, 10
	})
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/", "", 404}, {"GET", "/uploads", "", 404}, {"DELETE", "/up/v1/models", "", 405}, {"TRACE", "/up/v1/models", "", 405},
		{"GET", "/up/v1/models/x", "", 403}, {"GET", "/up/v1", "", 403}, {"GET", "/up/v1/chatter", "", 403}, {"GET", "/up", "", 403},
		{"GET", "/up/v1/chat/../models/x", "", 400}, {"GET", "/up/v1/chat/%2e%2e/x", "", 400}, {"GET", "/up/v1/chat/.%2E/x", "", 400},
		{"GET", "/up/v1/chat/..%2fx", "", 400}, {"GET", "/up/v1/chat/x%2fy", "", 400}, {"GET", "/up/v1/chat/..;/x", "", 400}, {"GET", "/up/v1/chat/%252e", "", 400},
		{"GET", `/up/v1/chat/..%5cx`, "", 400}, {"POST", "/up/v1/models", "01234567890", 413},
	} {
		resp, body := g.send(c.method, c.path, c.body)
		if allow := resp.Header.Get("Allow"); c.status == 405 && allow != "GET, POST, TRACE" {
			t.Errorf("%s %s: Allow is %q", c.method, c.path, allow)
		}
		if resp.StatusCode != c.status || resp.Header.Get("Freshet-Error") == "" {
			t.Errorf("%s %s: got %d %s, want %d", c.method, c.path, resp.StatusCode, body, c.status)
		}
	}
	if asked || len(g.vault.wants) > 0 {
		t.Error("the upstream, or the broker, was asked")
	}
	if resp, _ := g.send("POST", "/up/v1/chat/x", "0123456789"); resp.StatusCode != 200 || !asked {
		t.Errorf("what may be forwarded: got %d", resp.StatusCode)
	}
	// Its length is not said, so it is found out on the way.
	resp, _ := g.send("POST", "/up/v1/chat/x", "", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("01234567890")), -1 })
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of no stated length: got %d", resp.StatusCode)
	}
}

// TestPathsThatClimbAreRefused: only some of the upstream's paths are the route's, though all of those are.
func TestPathsThatClimbAreRefused(t *testing.T) {
	g := start(t, echo, func(c *Config) { c.Upstream = c.Upstream.JoinPath("/base") })
	for _, path := range []string{"/../x", "/a/%2e%2e/%2E./x", `/a/..%5c..%5cx`, "/..;a=b/x", "/%2e", "/a/..", "/a/..%2f../x", "/..%5Cy", "/x%5C../y", "/%5C../y"} {
		resp, body := g.send("GET", "", "", func(r *http.Request) { r.URL.Opaque = "//" + r.URL.Host + path })
		if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Freshet-Error") != "InvalidURI" {
			t.Errorf("%s: got %d %s", path, resp.StatusCode, body)
		}
	}
	for _, path := range []string{"/a..b", "/...", "/a%2Fb", "/.well-known/x", "/a;..", "/%252e%252e/x"} {
		if resp, body := g.send("GET", "", "", func(r *http.Request) { r.URL.Opaque = "//" + r.URL.Host + path }); resp.StatusCode != 200 {
			t.Errorf("%s: got %d %s", path, resp.StatusCode, body)
		}
	}
	g.route.cfg.Prefix = "/up"
	if rest, err := g.route.rest(&url.URL{Path: "/upper/x"}); err == nil {
		t.Errorf("another prefix: %q", rest)
	}
}

// TestNamesOfMetadataAreSpeltAsS3Does: boto3 shows them as they are spelt.
func TestNamesOfMetadataAreSpeltAsS3Does(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) { w.Header()["x-amz-meta-sign"] = []string{"yes"} })
	c, in := g.raw("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer " + localSecret + "\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if text, err := io.ReadAll(in); err != nil || !strings.Contains(string(text), "\r\nx-amz-meta-sign: yes\r\n") {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestTargetIsAPath: an upstream would take a target of another form for another host's.
func TestTargetIsAPath(t *testing.T) {
	g := start(t, echo)
	for _, target := range []string{"x:http://elsewhere.example/outside", "x:elsewhere", "*"} {
		c, in := g.raw("GET " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer " + localSecret + "\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 40") {
			t.Errorf("%s: got %q, %v", target, line, err)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.URL.Opaque = "//elsewhere.example/x"
	if rest, err := g.route.rest(r.URL); err == nil {
		t.Errorf("without the mux: %q", rest)
	}
	if len(g.vault.wants) > 0 {
		t.Error("the broker was asked")
	}
}

// TestOverridesDoNotPassLimits: some servers take these headers for the request's method or path.
func TestOverridesDoNotPassLimits(t *testing.T) {
	for _, limited := range []bool{false, true} {
		g := start(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header) }, func(c *Config) {
			if limited {
				c.Methods = []string{"POST"}
			}
		})
		_, body := g.send("POST", "/", "", func(r *http.Request) {
			for _, name := range overrides {
				r.Header.Set(name, "planted")
			}
		})
		if strings.Contains(body, "planted") == limited {
			t.Errorf("limited %v: %s", limited, body)
		}
	}
}

func TestWhatAnAnswerDoesNotSay(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", `h3=":443"`)
		w.Header().Set("Freshet-Error", "planted")
		w.Header().Set("X-Kept", "yes")
	})
	resp, _ := g.send("GET", "/", "")
	if resp.Header.Get("Alt-Svc") != "" || resp.Header.Get("Freshet-Error") != "" || resp.Header.Get("X-Kept") != "yes" {
		t.Errorf("got %v", resp.Header)
	}
	if hold := g.vault.wants[0].Hold; hold != patience {
		t.Errorf("the credential was waited for for %v, want %v", hold, patience)
	}
}

func TestConnectionsToTheUpstreamAreBounded(t *testing.T) {
	var now, most atomic.Int64
	up := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	up.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			most.Store(max(most.Load(), now.Add(1)))
		case http.StateClosed:
			now.Add(-1)
		}
	}
	up.Start()
	t.Cleanup(up.Close)
	g := startAt(t, up.URL, func(c *Config) { c.Connections = 2 })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if resp, _ := g.send("GET", "/", ""); resp.StatusCode != 200 {
				t.Errorf("got %d", resp.StatusCode)
			}
		})
	}
	wg.Wait()
	if most.Load() > 2 {
		t.Errorf("%d connections at once, want 2", most.Load())
	}
}

func TestUpstreamsHostHasNoNeedlessPort(t *testing.T) {
	for upstream, want := range map[string]string{
		"https://api.example.com:443": "api.example.com", "https://api.example.com:80": "api.example.com:80", "http://127.0.0.1:80": "127.0.0.1",
		"https://[2001:db8::1]:443": "[2001:db8::1]",
	} {
		u, err := url.Parse(upstream)
		if err != nil {
			t.Fatal(err)
		}
		r, err := New(Config{Upstream: u, Signer: new(plain), Door: new(vault)})
		if err != nil {
			t.Fatal(err)
		}
		if r.cfg.Upstream.Host != want {
			t.Errorf("%s: got %s, want %s", upstream, r.cfg.Upstream.Host, want)
		}
		r.Close()
	}
}

// TestPathsArriveAsTheyCame holds for what S3 has as keys, and for what a base path and a prefix do to them.
func TestPathsArriveAsTheyCame(t *testing.T) {
	paths := []string{"/", "/bucket//key", "//bucket/key", "/a%20b", "/a+b", "/a;b", "/a%3Bb", "/a%2Fb", "/%C3%A9", "/a=b@c$d", "/a/./b/../c", "/a/", "/a?x=1&y=a+b&z=%2F", "/a?list-type=2&uploads", "/a?", "/a?x;y=%zz&z"}
	for _, c := range []struct{ prefix, base string }{{"", ""}, {"/p", ""}, {"", "/base"}, {"/p", "/base/two"}} {
		g := start(t, echo, func(cfg *Config) { cfg.Prefix, cfg.Upstream = c.prefix, cfg.Upstream.JoinPath(c.base) })
		for _, path := range paths {
			if strings.Contains(path, "..") && c.prefix+c.base != "" {
				continue
			}
			_, body := g.send("GET", "", "", func(r *http.Request) {
				u, err := url.Parse(g.url)
				if err != nil {
					t.Fatal(err)
				}
				name, query, asked := strings.Cut(path, "?")
				r.URL = u
				r.URL.Opaque = "//" + u.Host + c.prefix + name
				r.URL.RawQuery, r.URL.ForceQuery = query, asked
			})
			if want := fmt.Sprintf("GET %s%s Bearer", c.base, path); !strings.HasPrefix(body, want) {
				t.Errorf("prefix %q, base %q, %s: arrived as %s", c.prefix, c.base, path, body)
			}
		}
	}
}

func TestWhatAnUpstreamIsNotTold(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host, r.Header) })
	resp, body := g.send("GET", "/", "", func(r *http.Request) {
		for _, name := range append(hops[1:], "Proxy-Authorization", "Keep-Alive", "Te", "X-Named", "Sec-Fetch-Mode") {
			if !strings.HasPrefix(name, "X-Forwarded-For") {
				r.Header.Set(name, "planted")
			}
		}
		r.Header.Set("Connection", "X-Named, Authorization, Close")
	})
	if resp.StatusCode != 200 || strings.Contains(body, "planted") || strings.Contains(body, localSecret) {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	if !strings.Contains(body, "Authorization:[Bearer token-0]") {
		t.Errorf("a Connection header took the credential away: %s", body)
	}
	if strings.Contains(body, "Accept-Encoding") || strings.Contains(body, strings.TrimPrefix(g.url, "http://")) || strings.Contains(body, "User-Agent:[]") {
		t.Errorf("the upstream was told of the proxy: %s", body)
	}
}

func TestWhoComesFromAPageIsRefused(t *testing.T) {
	g := start(t, echo)
	for name, change := range map[string]func(*http.Request){
		"origin":      func(r *http.Request) { r.Header.Set("Origin", "null") },
		"fetch":       func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"forwarded":   func(r *http.Request) { r.Header.Set("Forwarded", "for=10.0.0.1") },
		"x-forwarded": func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.1") },
		"host":        func(r *http.Request) { r.Host = "rebound.example.com" },
	} {
		resp, _ := g.send("GET", "/", "", change)
		if resp.StatusCode != http.StatusForbidden || resp.Header.Get("Freshet-Error") == "" {
			t.Errorf("%s: got %d", name, resp.StatusCode)
		}
		if e := g.event(); e.Refused != resp.Header.Get("Freshet-Error") || e.Status != resp.StatusCode || e.Route != "test" {
			t.Errorf("%s: event %+v", name, e)
		}
	}
	if resp, _ := g.send("GET", "/", "", func(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "cors") }); resp.StatusCode != 200 {
		t.Errorf("Node's fetch: got %d", resp.StatusCode)
	}
}

func TestRedirectsAreTheCallersToFollow(t *testing.T) {
	var at string
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader(307)
	}, func(c *Config) { c.Prefix, c.Upstream, at = "/p", c.Upstream.JoinPath("/base"), c.Upstream.String() })
	for to, want := range map[string]string{
		"https://elsewhere.example.com/x": "https://elsewhere.example.com/x", at + "/base/x?y=z#f": "/p/x?y=z#f", "/base/x": "/p/x", "/other": "/other",
		at + "/other": at + "/other", "x": "x", "//elsewhere.example.com/base/x": "//elsewhere.example.com/base/x",
	} {
		resp, _ := g.send("GET", "/p/?to="+url.QueryEscape(to), "")
		if got := resp.Header.Get("Location"); resp.StatusCode != 307 || got != want {
			t.Errorf("%s: got %d to %s, want %s", to, resp.StatusCode, got, want)
		}
	}
}

func TestFailuresAreExplained(t *testing.T) {
	g := startAt(t, "http://127.0.0.1:1")
	for _, c := range []struct {
		fail   error
		path   string
		status int
		code   string
	}{
		{nil, "/", 502, "BadGateway"},
		{nil, "/?unsignable", 400, "InvalidRequest"},
		{freshet.Errorf(freshet.LoginNeeded, "log in").WithHint("freshet login id"), "/", 401, "LoginNeeded"},
		{freshet.Errorf(freshet.Denied, "no"), "/", 403, "AccessDenied"},
		{freshet.Errorf(freshet.Invalid, "no"), "/", 403, "InvalidRequest"},
		{&freshet.Error{Kind: freshet.Unavailable, Why: "down", RetryAfter: 7e9}, "/", 503, "ServiceUnavailable"},
	} {
		g.vault.fail = c.fail
		resp, body := g.send("GET", c.path, "")
		if resp.StatusCode != c.status || !strings.Contains(body, c.code) || resp.Header.Get("Freshet-Error") != c.code {
			t.Errorf("%v: got %d %s", c.fail, resp.StatusCode, body)
		}
		if retry := resp.Header.Get("Retry-After"); c.status == 503 && retry != "7" {
			t.Errorf("retry after %q", retry)
		}
		if e := g.event(); e.Refused != c.code {
			t.Errorf("event %+v", e)
		}
	}
}

func TestRoutesShareAListener(t *testing.T) {
	g := start(t, echo)
	var routes []*Route
	for _, prefix := range []string{"/a", "/a/b", "/"} {
		cfg := g.route.cfg
		cfg.Prefix, cfg.Name = prefix, prefix
		r, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		routes = append(routes, r)
	}
	h := NewMux(nil, routes...)
	for path, want := range map[string]string{"/a/x": "/a", "/a/b/x": "/a/b", "/ab": "/", "/a": "/a", "/": "/"} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "http://127.0.0.1"+path, nil)
		r.Header.Set("Authorization", "Bearer "+localSecret)
		h.ServeHTTP(w, r)
		if e := g.event(); e.Route != want {
			t.Errorf("%s: event of %s", path, e.Route)
		}
	}
}
