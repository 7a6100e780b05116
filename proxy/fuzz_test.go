package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"
)

// FuzzRequest sends bytes to a route as they are. What reaches the upstream was sent by somebody who showed the secret, to an
// allowed path, and carries neither the secret nor what hops say; and every connection ends.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET /up/v1/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer SECRET\r\n\r\n",
		"POST /up/v1/x HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: SECRET\r\nContent-Length: 5\r\n\r\nhello",
		"POST /up/v1/x HTTP/1.1\r\nHost: localhost\r\nApi-Key: SECRET\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n\r\n",
		"GET http://elsewhere/up/v1/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer SECRET\r\n\r\n",
		"GET /up/v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: Authorization, X-Api-Key\r\nX-Api-Key: SECRET\r\nVia: 1.1 x\r\n\r\nGET /up/v1/../y HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /up/v1/x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nAuthorization: Basic Og==\r\n\r\n",
		"GET /up/v1/x?X-Amz-Signature=0&X-Amz-Credential=a HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST /up/v1/x HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: SECRET\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /up/w HTTP/1.1\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	var fault string
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		all := fmt.Sprint(r.RequestURI, r.Header, r.Trailer)
		switch {
		case r.Header.Get("Authorization") != "Bearer token-0":
			fault = "it is not signed: " + all
		case strings.Contains(all, localSecret):
			fault = "the local secret is in it: " + all
		case r.Header.Get("Via") != "" || r.Header.Get("Forwarded") != "" || r.Header.Get("Connection") != "":
			fault = "hops are in it: " + all
		case !strings.HasPrefix(path.Clean(r.URL.Path)+"/", "/base/v1/"):
			fault = "its path is not allowed: " + all
		}
	}))
	f.Cleanup(up.Close)
	u, err := url.Parse(up.URL + "/base")
	if err != nil {
		f.Fatal(err)
	}
	ended := make(chan Event, 1000)
	r, err := New(Config{
		Name: "test", Upstream: u, Prefix: "/up", Identity: "id", Signer: new(plain), Door: &vault{forgets: true}, Callers: Callers{Secret: localSecret},
		Paths: []string{"/v1/*"}, Observe: func(e Event) { ended <- e },
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(r.Close)
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(NewMux(nil, r))
	s.Start()
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Skip("no port is left")
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		_, _ = c.Write(bytes.ReplaceAll(text, []byte("SECRET"), []byte(localSecret)))
		_ = c.(*net.TCPConn).CloseWrite()
		answer, err := io.ReadAll(bufio.NewReader(c))
		if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Fatalf("the connection did not end; it said %q", answer)
		}
		if bytes.Contains(answer, []byte("token-0")) {
			t.Fatalf("the credential is in the answer: %q", answer)
		}
		for len(ended) > 0 {
			if e := <-ended; e.Caller == "" && e.Refused == "" {
				t.Fatalf("nobody was let in: %+v", e)
			}
		}
		if fault != "" {
			t.Fatal("the upstream was sent a request that it should not have been: " + fault)
		}
	})
}

// FuzzPath holds that whichever way a server reads a path that was let in, it stays below what the route forwards.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/up/v1/x", "/up/v1/../x", "/up/v1/%2e%2e/x", `/up/v1/..\x`, "/up/v1/..;/x", "/up/v1/%252e%252e/x", "/up/v1/a%2f..%2fx", "/up/v1//x", "/up//v1/x", "/upper", "/up/v1/%00", "/up/v1/%"} {
		f.Add(s)
	}
	r, err := New(Config{
		Name: "test", Upstream: &url.URL{Scheme: "http", Host: "127.0.0.1:1", Path: "/base"}, Prefix: "/up", Signer: new(plain), Door: new(vault), Paths: []string{"/v1/*"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(r.Close)
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.ParseRequestURI(text)
		if err != nil || !strings.HasPrefix(text, "/") {
			return
		}
		rest, err := r.rest(u)
		if err != nil || !matches(r.cfg.Paths[0], rest) {
			return
		}
		for name, read := range map[string]func(string) string{
			"as it is":               func(s string) string { return s },
			"unescaped":              unescaped,
			"unescaped twice":        func(s string) string { return unescaped(unescaped(s)) },
			"without parameters":     func(s string) string { return withoutParameters(unescaped(s)) },
			"with backslashes":       func(s string) string { return strings.ReplaceAll(unescaped(s), `\`, "/") },
			"up to a null":           func(s string) string { s, _, _ = strings.Cut(unescaped(s), "\x00"); return s },
			"with merged slashes":    func(s string) string { return strings.ReplaceAll(unescaped(s), "//", "/") },
			"parameters, then again": func(s string) string { return unescaped(withoutParameters(s)) },
		} {
			if got := path.Clean(read(r.base + rest)); got != "/base/v1" && !strings.HasPrefix(got, "/base/v1/") {
				t.Errorf("%q, %s, is %q", text, name, got)
			}
		}
	})
}

func unescaped(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

func withoutParameters(s string) string {
	var kept []string
	for segment := range strings.SplitSeq(s, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		kept = append(kept, segment)
	}
	return strings.Join(kept, "/")
}

// FuzzLocation holds that a redirect is changed only to lead through the route, and never to another host.
func FuzzLocation(f *testing.F) {
	for _, s := range []string{"/base/x", "https://up.example.com/base/x?y#z", "https://up.example.com//evil", "//evil", "http://up.example.com/base", "/base//evil", `/base\evil`, "https://up.example.com/base//evil", "x", "http://u:p@up.example.com/base/"} {
		f.Add(s)
	}
	var routes []*Route
	for _, base := range []string{"", "/base"} {
		for _, prefix := range []string{"", "/p"} {
			r, err := New(Config{Name: "test", Upstream: &url.URL{Scheme: "https", Host: "up.example.com", Path: base}, Prefix: prefix, Signer: new(plain), Door: new(vault)})
			if err != nil {
				f.Fatal(err)
			}
			f.Cleanup(r.Close)
			routes = append(routes, r)
		}
	}
	f.Fuzz(func(t *testing.T, where string) {
		for _, r := range routes {
			got := r.local(where)
			if got == where {
				continue
			}
			u, err := url.Parse(got)
			if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(u.Path+"/", r.cfg.Prefix+"/") || strings.HasPrefix(got, "//") || strings.HasPrefix(got, `/\`) {
				t.Errorf("prefix %q, base %q: %q became %q", r.cfg.Prefix, r.base, where, got)
			}
		}
	})
}
