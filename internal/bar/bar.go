// Package bar measures how many requests a handler answers against a bare one that writes the same bytes. It is for tests.
package bar

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"freshet.dev/freshet"
)

const (
	rounds   = 12
	most     = 48   // rounds, where two take turns
	requests = 1500 // of each connection, a round
	conns    = 4
)

// Skip skips a measurement where it would mean nothing: under the race detector, and with -short.
func Skip(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("a measurement")
	}
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			t.Skip("a measurement")
		}
	}
}

// Ratio is the requests per second of a server over those of one whose handler reads the body, writes the same bytes and does
// nothing else, each at its best of several rounds that take turns: a neighbour's burst makes either slower, and neither faster.
// Where that is less than enough there are more rounds, as the neighbour may have been there all the time.
func Ratio(t testing.TB, server *http.Server, request string, enough float64) float64 {
	t.Helper()
	got := newTarget(t, server, request)
	bare := &http.Server{ReadTimeout: server.ReadTimeout, WriteTimeout: server.WriteTimeout, MaxHeaderBytes: server.MaxHeaderBytes}
	bare.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // net/http watches for the client's leaving once the body is read, which costs
		h := w.Header()
		h["Content-Type"], h["Cache-Control"] = got.header["Content-Type"], got.header["Cache-Control"]
		_, _ = w.Write(got.body)
	})
	base := newTarget(t, bare, request)
	best := turns([]*target{base, got}, func(best []time.Duration) bool { return best[0].Seconds()/best[1].Seconds() >= enough })
	perSecond := func(d time.Duration) float64 { return conns * requests / d.Seconds() }
	t.Logf("%.0f requests/s, a bare handler %.0f", perSecond(best[1]), perSecond(best[0]))
	return best[0].Seconds() / best[1].Seconds()
}

// Times are how long servers take for each request of as many callers as Ratio has, measured as there. enough says of such times
// that they will do; there are more rounds until then.
func Times(t testing.TB, request string, enough func([]time.Duration) bool, servers ...*http.Server) []time.Duration {
	t.Helper()
	var targets []*target
	for _, s := range servers {
		targets = append(targets, newTarget(t, s, request))
	}
	best := turns(targets, enough)
	for i := range best {
		best[i] /= conns * requests
	}
	return best
}

// turns has targets take turns, and returns the best round of each.
func turns(targets []*target, enough func([]time.Duration) bool) []time.Duration {
	best := make([]time.Duration, len(targets))
	for n := range most {
		if n >= rounds && (enough(best) || n*len(targets) >= 2*most) {
			break
		}
		for i, target := range targets {
			if took := target.round(); best[i] == 0 || took < best[i] {
				best[i] = took
			}
		}
	}
	return best
}

// target is a server with connections to it.
type target struct {
	t       testing.TB
	request []byte
	conns   []net.Conn
	header  http.Header
	body    []byte
	size    int // of an answer; every one has as many bytes
}

func newTarget(t testing.TB, server *http.Server, request string) *target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	g := &target{t: t, request: []byte(request)}
	for range conns {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		g.conns = append(g.conns, c)
	}
	g.learn()
	return g
}

// learn asks once, to know the answer.
func (g *target) learn() {
	g.t.Helper()
	if _, err := g.conns[0].Write(g.request); err != nil {
		g.t.Fatal(err)
	}
	counted := &counter{r: g.conns[0]}
	resp, err := http.ReadResponse(bufio.NewReader(counted), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		g.t.Fatalf("status %d, %v: %s", resp.StatusCode, err, body)
	}
	g.header, g.body, g.size = resp.Header, body, counted.n
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}

// round asks on every connection at once.
func (g *target) round() time.Duration {
	began := freshet.Now()
	var wg sync.WaitGroup
	for _, c := range g.conns {
		wg.Go(func() {
			answer := make([]byte, g.size)
			for range requests {
				if _, err := c.Write(g.request); err != nil {
					g.t.Error(err)
					return
				}
				if _, err := io.ReadFull(c, answer); err != nil {
					g.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return began.Elapsed()
}
