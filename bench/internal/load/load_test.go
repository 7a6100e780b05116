package load

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"freshet.dev/bench/internal/measure"
)

// serve answers at an address of the network until the test ends.
func serve(t *testing.T, network string, h http.HandlerFunc) Target {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return Target{
		Network: network, Address: l.Addr().String(), Method: "POST", Path: "/p?q=1", Header: []string{"Host: localhost", "X-Secret: s"},
		Body: "a=b", Want: "token",
	}
}

type client struct {
	network string
	own     bool
}

var clients = []client{{"tcp", false}, {"tcp", true}, {"unix", true}}

func TestEveryRequestIsWhatWasAskedFor(t *testing.T) {
	for _, c := range clientsHere(t) {
		for _, fresh := range []bool{false, true} {
			var asked, odd atomic.Int64
			target := serve(t, c.network, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				body := make([]byte, 4)
				n, _ := r.Body.Read(body)
				if r.Method != "POST" || r.RequestURI != "/p?q=1" || r.Header.Get("X-Secret") != "s" || string(body[:n]) != "a=b" || r.Host != "localhost" || r.Close != fresh {
					odd.Add(1)
				}
				_, _ = w.Write([]byte(strings.Repeat("token", 300)))
			})
			r, err := Run(t.Context(), target, Shape{Connections: 3, Fresh: fresh, For: 50 * time.Millisecond, Own: c.own})
			if err != nil || r.Answers == 0 || r.PerSecond <= 0 || r.P50 <= 0 || r.P99 < r.P50 {
				t.Errorf("%v: %+v, %v", c, r, err)
			}
			// Those that nobody waits for any more at the end were asked too, and one to learn the answer's size.
			if n := int(asked.Load()); odd.Load() > 0 || n < r.Answers || n > r.Answers+8 {
				t.Errorf("%v: %d answers to %d requests, of which %d were not as wanted", c, r.Answers, n, odd.Load())
			}
		}
	}
}

func TestWrongAnswersAreNotCounted(t *testing.T) {
	for _, c := range clientsHere(t) {
		for name, wrong := range map[string]http.HandlerFunc{
			"an error":          func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "token", http.StatusServiceUnavailable) },
			"another text":      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("something of another length")) },
			"connection closed": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		} {
			var asked atomic.Int64
			target := serve(t, c.network, func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) == 1 { // it is right as long as one looks
					_, _ = w.Write([]byte("token"))
					return
				}
				wrong(w, r)
			})
			if r, err := Run(t.Context(), target, Shape{Connections: 2, For: 50 * time.Millisecond, Own: c.own}); err == nil {
				t.Errorf("%v: %s: %+v", c, name, r)
			}
		}
	}
}

// clientsHere are the clients that there are on this machine.
func clientsHere(t *testing.T) []client {
	t.Helper()
	here := slices.DeleteFunc(slices.Clone(clients), func(c client) bool { return c.own && !ownClient || !c.own && !haveWrk() })
	if len(here) == 0 {
		t.Skip("there is no client here: " + Missing("tcp"))
	}
	return here
}

func TestAskSaysWhatIsWrong(t *testing.T) {
	target := serve(t, "tcp", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("other")) })
	if _, err := target.Ask(t.Context(), true); !errors.Is(err, measure.ErrWrong) {
		t.Errorf("%v, want %v", err, measure.ErrWrong)
	}
}
