package guard

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet/freshettest"
)

func deny(w http.ResponseWriter, status int, why string) { http.Error(w, why, status) }

func TestHostsOfAnothersNameAreRefused(t *testing.T) {
	h := Handler([]string{"", "freshet.internal", "*.corp.example", "192.0.2.7"}, deny, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for host, want := range map[string]int{
		"127.0.0.1": 200, "127.0.0.1:80": 200, "127.9.9.9:1": 200, "[::1]": 200, "[::1]:80": 200, "[::ffff:127.0.0.1]:80": 200, "localhost": 200,
		"LocalHost:80": 200, "freshet.internal:80": 200, "FRESHET.internal": 200, "192.0.2.7:80": 200,
		"gate.corp.example:80": 200, "Gate.Corp.Example": 200, "a.b.corp.example": 403, "corp.example": 403, ".corp.example": 403, "xcorp.example": 403,
		"": 403, ":80": 403, "example.com": 403, "localhost.example.com": 403, "127.0.0.1.example.com:80": 403, "192.0.2.8": 403, "0.0.0.0:80": 403,
		"[::]:80": 403, "127.0.0.1:80:80": 403, "user@localhost": 403, "2130706433": 403, "0x7f.1": 403, "[localhost]x": 403,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %q: status %d, want %d", host, w.Code, want)
		}
	}
}

// TestAddressOfTheConnectionIsAName is how an exposed server knows itself, whatever it was told to listen on.
func TestAddressOfTheConnectionIsAName(t *testing.T) {
	h := Handler([]string{"0.0.0.0"}, deny, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for local, hosts := range map[string]map[string]int{
		"192.0.2.7:9911":     {"192.0.2.7:9911": 200, "192.0.2.7": 200, "192.0.2.8:9911": 403, "example.com": 403, "": 403},
		"[2001:db8::7]:9911": {"[2001:db8::7]:9911": 200, "[2001:db8::8]:9911": 403},
	} {
		for host, want := range hosts {
			r := httptest.NewRequest("GET", "/", nil)
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))))
			r.Host = host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("at %s, Host %q: status %d, want %d", local, host, w.Code, want)
			}
		}
	}
}

func TestSecretsAreComparedWhole(t *testing.T) {
	s := NewSecret("0123456789abcdef0123456789abcdef")
	for presented, want := range map[string]bool{
		"0123456789abcdef0123456789abcdef": true, "": false, "0123456789abcdef0123456789abcdeF": false, "0123456789abcdef0123456789abcde": false,
		"0123456789abcdef0123456789abcdef\x00": false,
	} {
		if s.Equal(presented) != want {
			t.Errorf("%q: %v", presented, !want)
		}
	}
	if (Secret{}).Equal("") {
		t.Error("no secret is the empty one")
	}
	if text := fmt.Sprintf("%v %+v %x %s", s, s, s, s); strings.Contains(text, "0123456789abcdef0123456789abcdef") {
		t.Error("a secret prints itself")
	}
}

// TestServerBounds runs in virtual time, so the bounds are the real ones.
func TestServerBoundsTimeAndHeaderAndWaitsForASlowAnswer(t *testing.T) {
	exchange := func(t *testing.T, handler http.HandlerFunc, write func(io.Writer)) (status int, took time.Duration) {
		var n freshettest.Network
		l, err := n.Listen("h:80")
		if err != nil {
			t.Fatal(err)
		}
		server, done := Server(handler, 90*time.Second), make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(l)
		}()
		c, err := n.DialContext(t.Context(), "", "h:80")
		if err != nil {
			t.Fatal(err)
		}
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			write(c)
		}()
		began := time.Now()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		took = time.Since(began)
		if err == nil {
			status = resp.StatusCode
		}
		c.Close()
		<-wrote
		_ = server.Close()
		<-done
		time.Sleep(time.Second) // net/http lingers for half of one
		return status, took
	}
	ok := func(http.ResponseWriter, *http.Request) {}
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		request string
		status  int
		within  time.Duration
	}{
		{"half a header", ok, "GET / HTTP/1.1\r\nHost: h\r\n", 0, 5 * time.Second},
		{"half a body", func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		}, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf", 400, 10 * time.Second},
		{"huge header", ok, "GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 3*MaxHeader) + "\r\n\r\n", 431, 0},
		{"nothing", ok, "", 0, 5 * time.Second},
		{"a slow answer", func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			case <-time.After(80 * time.Second):
			}
		}, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200, 80 * time.Second},
		{"an answer that is too slow", func(http.ResponseWriter, *http.Request) { time.Sleep(100 * time.Second) }, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0, 100 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				status, took := exchange(t, test.handler, func(w io.Writer) { _, _ = io.WriteString(w, test.request) })
				if status != test.status || took > test.within {
					t.Errorf("status %d after %v, want %d within %v", status, took, test.status, test.within)
				}
			})
		})
	}
}
