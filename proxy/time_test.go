package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in memory: a bubble's time does not pass while something waits for a real connection.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// bubble serves a route, whose upstream says answer to each request, and returns a connection to the route. A
// pipe's addresses are no network's, so the mux is left out.
func bubble(t *testing.T, answer string, change func(*Config)) (net.Conn, chan Event) {
	t.Helper()
	events := make(chan Event, 10)
	cfg := Config{
		Name: "test", Upstream: &url.URL{Scheme: "http", Host: "127.0.0.1:2"}, Identity: "id", Signer: new(plain), Door: new(vault),
		Callers: Callers{Secret: localSecret}, Idle: time.Minute, Observe: func(e Event) { events <- e },
	}
	change(&cfg)
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			in := bufio.NewReader(far)
			r, err := http.ReadRequest(in)
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
			if err == nil {
				_, _ = io.WriteString(far, answer)
				_, _ = io.Copy(io.Discard, in)
			}
		}()
		return near, nil
	}
	l := &pipes{make(chan net.Conn), make(chan struct{})}
	s := Server(r)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	near, far := net.Pipe()
	l.conns <- far
	t.Cleanup(func() { near.Close(); r.Close(); s.Close(); <-done })
	return near, events
}

const hello = "Host: localhost\r\nAuthorization: Bearer " + localSecret + "\r\n"

func TestSilenceEndsAnExchange(t *testing.T) {
	for name, c := range map[string]struct {
		request, upstream string
		took              time.Duration
		status            int // of the event; -1: there is none
	}{
		"an upstream that does not answer": {"GET / HTTP/1.1\r\n" + hello + "\r\n", "", time.Minute, 504},
		"an answer that stops":             {"GET / HTTP/1.1\r\n" + hello + "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", time.Minute, 200},
		"a body that stops":                {"POST / HTTP/1.1\r\n" + hello + "Content-Length: 10\r\n\r\nhello", "", time.Minute, 504},
		"a header that stops":              {"GET / HTTP/1.1\r\nHost: loc", "", headerTime, -1},
		"a stranger's body that stops":     {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello", "", unreadBody, 401},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, events := bubble(t, c.upstream, func(*Config) {})
			began := time.Now()
			go func() { _, _ = io.WriteString(conn, c.request) }()
			said, _ := io.ReadAll(conn) // until the proxy closes it
			if want := fmt.Sprintf("HTTP/1.1 %d ", c.status); c.status > 0 && c.status != 200 && !strings.HasPrefix(string(said), want) {
				t.Errorf("%s: the caller was told %q, want %s", name, said, want)
			}
			if took := time.Since(began); took < c.took-time.Second || took > c.took+10*time.Second {
				t.Errorf("%s: the connection was closed after %v, want %v", name, took, c.took)
			}
			synctest.Wait()
			if c.status < 0 {
				return
			}
			if e := <-events; e.Status != c.status {
				t.Errorf("%s: event %+v", name, e)
			}
		})
	}
}

// TestStrangersBodyHasItsTime: bytes that come seldom do not keep somebody unknown there.
func TestStrangersBodyHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, events := bubble(t, "", func(*Config) {})
		date := time.Now().UTC().Format("20060102T150405Z")
		began := time.Now()
		var caller sync.WaitGroup
		caller.Go(func() {
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\nX-Amz-Date: "+date+"\r\nAuthorization: AWS4-HMAC-SHA256 Credential=k/"+
				date[:8]+"/us-east-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("0", 64)+"\r\n\r\n")
			for {
				time.Sleep(time.Second)
				if _, err := io.WriteString(conn, "x"); err != nil {
					return
				}
			}
		})
		_, _ = io.ReadAll(conn)
		if took := time.Since(began); took < unknownTime || took > unknownTime+10*time.Second {
			t.Errorf("it was there for %v", took)
		}
		if e := <-events; e.Caller != "" || e.Refused == "" {
			t.Errorf("event %+v", e)
		}
		conn.Close()
		caller.Wait()
	})
}

// TestSlowIsNotSilent: bytes that come seldom, in either direction, keep an exchange alive for as long as they come.
func TestSlowIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, events := bubble(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", func(*Config) {})
		var caller sync.WaitGroup
		caller.Go(func() {
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\n"+hello+"Connection: close\r\nContent-Length: 10\r\n\r\n")
			for range 10 {
				time.Sleep(50 * time.Second)
				_, _ = io.WriteString(conn, "x")
			}
		})
		b, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(b), "200 OK") || !strings.HasSuffix(string(b), "ok") {
			t.Errorf("got %q, %v", b, err)
		}
		if e := <-events; e.Status != 200 {
			t.Errorf("event %+v", e)
		}
		caller.Wait()
	})
}

func TestRetryWaitsAsTheUpstreamSays(t *testing.T) {
	for after, want := range map[string]time.Duration{"5": 5 * time.Second, "0": firstPause, "": firstPause} {
		synctest.Test(t, func(t *testing.T) {
			answer := "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n"
			if after != "" {
				answer += "Retry-After: " + after + "\r\n"
			}
			conn, events := bubble(t, answer+"\r\n", func(c *Config) { c.Retries = 2 })
			began := time.Now()
			go func() { _, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n"+hello+"Connection: close\r\n\r\n") }()
			if _, err := io.ReadAll(conn); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				t.Error(err)
			}
			if took := time.Since(began); took != 2*want {
				t.Errorf("Retry-After %q: two retries took %v, want %v", after, took, 2*want)
			}
			if e := <-events; e.Status != 503 || e.Replays != 2 {
				t.Errorf("event %+v", e)
			}
		})
	}
}

// deadlines is a connection's answer, of which only the deadlines matter.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.set = append(d.set, t); return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.set = append(d.set, t); return nil }

// TestExchangeThatHasEndedHarmsNotTheNext: what net/http still reads of a body keeps the timer going, and the connection is another
// exchange's by then.
func TestExchangeThatHasEndedHarmsNotTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := New(Config{Upstream: &url.URL{Scheme: "https", Host: "x"}, Signer: new(plain), Door: new(vault)})
		if err != nil {
			t.Fatal(err)
		}
		d := new(deadlines)
		x := &exchange{Context: t.Context(), route: r, control: http.NewResponseController(d), cancel: func(error) {}}
		x.watch()
		x.close()
		x.passed()
		time.Sleep(2 * defaultIdle)
		r.Close()
		synctest.Wait()
		if len(d.set) > 0 {
			t.Errorf("deadlines were set: %v", d.set)
		}
	})
}
