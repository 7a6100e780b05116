package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/signing"
)

const localSecret = "local-secret-local-secret-local-secret"

// vault is a Door whose credential is replaced when it is rejected.
type vault struct {
	mu       sync.Mutex
	n        int // of the version
	stuck    bool
	forgets  bool // does not keep what it was asked
	fail     error
	gate     chan struct{} // if set, who rejects waits for it
	wants    []freshet.Request
	rejected []string
	cache    map[int]*freshet.Credential
}

func (v *vault) version(n int) *freshet.Credential {
	if v.cache == nil {
		v.cache = make(map[int]*freshet.Credential)
	}
	if v.cache[n] == nil {
		c, err := freshet.NewBearer(fmt.Sprintf("token-%d", n), "", freshet.Validity{Lifetime: time.Hour})
		if err != nil {
			panic(err)
		}
		v.cache[n] = c
	}
	return v.cache[n]
}

func (v *vault) Get(_ context.Context, _ string, req freshet.Request) (freshet.Answer, error) {
	if v.gate != nil && req.Rejected != "" {
		<-v.gate
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.forgets {
		v.wants = append(v.wants, req)
	}
	if v.fail != nil {
		return freshet.Answer{}, v.fail
	}
	if req.Rejected != "" {
		v.rejectLocked(req.Rejected)
	}
	return freshet.Answer{Credential: v.version(v.n)}, nil
}

func (v *vault) rejectLocked(fingerprint string) {
	v.rejected = append(v.rejected, fingerprint)
	if v.version(v.n).Fingerprint() == fingerprint && !v.stuck {
		v.n++
	}
}

func (v *vault) Reject(_, fingerprint string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rejectLocked(fingerprint)
	return nil
}

// plain is a Signer that puts a bearer token, and the hash where it asked for one, on requests.
type plain struct {
	hash bool
	skew bool // a 400 says that the clock was off
	end  bool // the body has something at its end
	bad  bool // which is wrong
}

func (s *plain) Prepare(r *http.Request) (signing.Plan, error) {
	delete(r.Header, "Authorization")
	delete(r.Trailer, "X-Forwarded-For")
	if r.URL.Query().Has("unsignable") {
		return signing.Plan{}, freshet.Errorf(freshet.Invalid, "this cannot be signed")
	}
	p := signing.Plan{Hash: s.hash}
	if s.end {
		p.Read = func(h http.Header) error {
			h.Set("X-End", "here")
			if s.bad {
				return freshet.Errorf(freshet.Invalid, "its end is wrong")
			}
			return nil
		}
	}
	return p, nil
}

func (s *plain) Sign(r *http.Request, c *freshet.Credential, hash string) error {
	r.Header["Authorization"] = []string{"Bearer " + string(c.Token())}
	if s.hash {
		r.Header["X-Hash"] = []string{hash}
	}
	return nil
}

func (s *plain) Judge(resp *http.Response, head []byte) signing.Verdict {
	return signing.Verdict{
		Rejected: resp.StatusCode == http.StatusUnauthorized || strings.Contains(string(head), "ExpiredToken"),
		Claims:   resp.Header.Get("X-Claims"), Resign: s.skew && resp.StatusCode == http.StatusBadRequest,
	}
}

func (s *plain) Explain(status int, code, message string) (string, []byte) {
	return "text/plain", fmt.Appendf(nil, "%d %s: %s", status, code, message)
}

// rig is an upstream, and a route to it that is served.
type rig struct {
	*testing.T
	vault  *vault
	route  *Route
	url    string // of the proxy
	events chan Event
}

func start(t *testing.T, upstream http.HandlerFunc, change ...func(*Config)) *rig {
	t.Helper()
	up := httptest.NewServer(upstream)
	t.Cleanup(up.Close)
	return startAt(t, up.URL, change...)
}

func startAt(t *testing.T, upstream string, change ...func(*Config)) *rig {
	t.Helper()
	u, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{T: t, vault: new(vault), events: make(chan Event, 10000)}
	cfg := Config{
		Name: "test", Upstream: u, Identity: "id", Signer: new(plain), Door: g.vault, Callers: Callers{Secret: localSecret}, Retries: 1,
		Observe: func(e Event) { g.events <- e },
	}
	for _, f := range change {
		f(&cfg)
	}
	if g.route, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Server(NewMux(nil, g.route))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { g.route.Close(); s.Close(); <-done })
	g.url = "http://" + l.Addr().String()
	return g
}

// client follows no redirects, and keeps no more than it needs.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: time.Minute}
}

// send makes a request with the local secret, and reads the answer.
func (g *rig) send(method, path, body string, change ...func(*http.Request)) (*http.Response, string) {
	g.Helper()
	req, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.Fatal(err)
	}
	if body == "" {
		req.Body, req.ContentLength = nil, 0
	}
	req.Header.Set("Authorization", "Bearer "+localSecret)
	for _, f := range change {
		f(req)
	}
	resp, err := client(g.T).Do(req)
	if err != nil {
		g.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.Fatal(err)
	}
	return resp, string(b)
}

// raw sends bytes, and returns the connection and a reader of what comes.
func (g *rig) raw(text string) (net.Conn, *bufio.Reader) {
	g.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		g.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// event is that of the request just made.
func (g *rig) event() Event {
	g.Helper()
	select {
	case e := <-g.events:
		return e
	case <-time.After(20 * time.Second):
		g.Fatal("no event was told")
		return Event{}
	}
}
