package localapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"freshet.dev/broker"
	"freshet.dev/client"
	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
	"freshet.dev/localapi"
)

// asked is what a route was opened with.
type asked struct {
	caller broker.Caller
	spec   wire.Proxy
	hold   time.Duration
}

// routeServer answers requests for routes with one that says when it is closed, and asks fail first.
func routeServer(t *testing.T, fail func() error) (s *served, opened chan asked, closed chan struct{}) {
	opened, closed = make(chan asked, 10), make(chan struct{}, 10)
	s = serve(t, 0o600, func(c *localapi.Config) {
		c.OpenProxy = func(_ context.Context, c broker.Caller, spec wire.Proxy, hold time.Duration) (*localapi.Proxy, error) {
			if err := fail(); err != nil {
				return nil, err
			}
			opened <- asked{c, spec, hold}
			return &localapi.Proxy{
				Opened: wire.ProxyOpened{URL: "http://127.0.0.1:4711", Secret: "made", Signer: "bearer", Type: freshet.Bearer},
				Close:  func() { closed <- struct{}{} },
			}, nil
		}
	}, identity("id", new(issuer), broker.Policy{}))
	return s, opened, closed
}

// soon waits for something that a channel tells.
func soon[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for: %s", what)
	}
	return v
}

var spec = wire.Proxy{
	Upstream: "https://api.example.com/v1", Identity: "id", Signer: "sigv4", Settings: json.RawMessage(`{"service":"s3"}`), Listen: "unix:/run/a.sock",
	Secret: "local", Tenant: "t", Scopes: []string{"a"}, Audience: "b", Methods: []string{"GET"}, Paths: []string{"/v1/*"}, CAFile: "/ca.pem",
}

func TestRouteLastsUntilItsBodyIsClosed(t *testing.T) {
	s, opened, closed := routeServer(t, func() error { return nil })
	r, err := client.New(client.Config{Socket: s.path, Ancestry: []string{"outer"}}).OpenProxy(t.Context(), spec.WithHold(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if want := (wire.ProxyOpened{URL: "http://127.0.0.1:4711", Secret: "made", Signer: "bearer", Type: freshet.Bearer}); r.ProxyOpened != want {
		t.Errorf("got %+v, want %+v", r.ProxyOpened, want)
	}
	got := soon(t, "the route is opened", opened)
	if want := spec.WithHold(30 * time.Second); !reflect.DeepEqual(got.spec, want) || got.hold != 30*time.Second {
		t.Errorf("it was opened with %+v, held for %v, want %+v", got.spec, got.hold, want)
	}
	if c := got.caller; c.Door != "socket" || !c.Peer || c.UID != uint32(os.Getuid()) || c.PID != os.Getpid() || !reflect.DeepEqual(c.Ancestry, []string{"outer"}) {
		t.Errorf("it was opened for %+v", c)
	}
	select {
	case <-closed:
		t.Error("it is closed while its client lives")
	default:
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	soon(t, "its end", closed)
}

func TestRouteEndsWhenItsClientIsKilled(t *testing.T) {
	s, opened, closed := routeServer(t, func() error { return nil })
	out, cmd := s.another("proxy", nil, "id")
	if !out.Scan() || out.Text() != "http://127.0.0.1:4711" {
		t.Fatalf("the client says %q", out.Text())
	}
	soon(t, "the route is opened", opened)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	soon(t, "its end", closed)
}

func TestRouteEndsWithTheDaemon(t *testing.T) {
	s, _, closed := routeServer(t, func() error { return nil })
	r, err := client.New(client.Config{Socket: s.path}).OpenProxy(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	close(s.ending)
	soon(t, "its end", closed)
	r.Wait()
}

func TestRouteThatCannotBeOpenedIsAProblem(t *testing.T) {
	for kind, status := range map[freshet.Kind]int{
		freshet.Invalid: 400, freshet.LoginNeeded: 401, freshet.Denied: 403, freshet.Unavailable: 503, freshet.Malformed: 502, freshet.Bug: 500,
	} {
		want := &freshet.Error{Kind: kind, Identity: "id", Why: "no", Hint: "do this", RetryAfter: 3 * time.Second}
		s, _, closed := routeServer(t, func() error { return want })
		if a := s.send("POST", "/v1/proxies", "{}"); a.status != status || a.doc["kind"] != string(kind) || a.doc["hint"] != "do this" || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s, want %d", kind, a.status, a.text, status)
		}
		if _, err := client.New(client.Config{Socket: s.path}).OpenProxy(t.Context(), spec); !reflect.DeepEqual(freshet.AsError(err), want) {
			t.Errorf("%s: the client's error is %v", kind, err)
		}
		if len(closed) > 0 {
			t.Errorf("%s: what was not opened is closed", kind)
		}
	}
}

// TestWithoutRoutesThereIsNothingAtTheirPath: a server that has no signing proxy says so as of every other path.
func TestWithoutRoutesThereIsNothingAtTheirPath(t *testing.T) {
	s := serve(t, 0o600, nil)
	if a := s.send("POST", "/v1/proxies", "{}"); a.status != http.StatusNotFound || !strings.Contains(a.text, "there is nothing at this path") {
		t.Errorf("got %d %s", a.status, a.text)
	}
}
