package fetch

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// FuzzExchange has an issuer answer with any bytes: what comes of them is an answer within bounds that is no redirect, or an error
// that names the host and shows none of them.
func FuzzExchange(f *testing.F) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\n{}", "HTTP/1.1 302 Found\r\nLocation: https://evil/?planted-secret\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 planted-secret\r\n\r\nplanted-secret", "HTTP/1.1 planted-secret\r\n\r\n", "HTTP/1.1 200 OK\r\nplanted-secret\r\n\r\n",
		"SSH-2.0-planted-secret\r\n", "", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 503 x\r\nTransfer-Encoding: planted-secret\r\n\r\n",
		"HTTP/1.1 307 x\r\nRetry-After: 99999999999999999999\r\nDate: x\r\nAge: 1\r\n\r\n",
	} {
		f.Add([]byte(raw))
	}
	const host = "issuer.example"
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := new(Client)
		base := newHTTP(nil)
		transport := base.Transport.(*http.Transport)
		transport.DisableKeepAlives, transport.Proxy = true, nil
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return &canned{rest: raw}, nil }
		c.http.Store(base)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/token?secret="+secret, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Exchange(req)
		if (answer == nil) == (err == nil) {
			t.Fatalf("got %v and %v", answer, err)
		}
		if err == nil {
			if s := answer.Status; len(answer.Body) > maxBody || len(answer.Body) > len(raw) || s == 301 || s == 302 || s == 303 || s == 307 || s == 308 {
				t.Errorf("%q: status %d with %d bytes", raw, s, len(answer.Body))
			}
			if wait := RetryAfter(answer.Header); wait < 0 || wait > time.Hour {
				t.Errorf("%q: wait %v", raw, wait)
			}
			return
		}
		e, ok := err.(*freshet.Error)
		if !ok || !strings.HasPrefix(e.Why, host+": ") || e.Kind != freshet.Unavailable && e.Kind != freshet.Malformed || e.RetryAfter < 0 || e.RetryAfter > time.Hour {
			t.Fatalf("%q: %#v, kind %v", raw, err, freshet.AsError(err).Kind)
		}
		if text := e.Error() + e.Hint; strings.Contains(text, "planted-secret") || len(text) > 200 || strings.ContainsAny(text, "\r\n\x1b") {
			t.Errorf("%q: the error is %q", raw, text)
		}
	})
}

// canned is a connection that swallows what it is sent and answers with bytes.
type canned struct {
	net.Conn
	rest []byte
}

func (c *canned) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

// FuzzHost holds that the name of an issuer is one whatever way its address is written.
func FuzzHost(f *testing.F) {
	for _, address := range []string{
		"https://Login.Example/x", "https://login.example:443", "http://login.example:443/", "http://127.0.0.1:80", "https://[2001:DB8::1]:8443/", "https://[::1]",
		"", "x", "https://", "//h", "https://h:", "https://user@h", "https://h%41",
	} {
		f.Add(address)
	}
	f.Fuzz(func(t *testing.T, address string) {
		host := Host(address)
		if host == "" {
			return
		}
		if host != strings.ToLower(host) {
			t.Errorf("%q is of %q", address, host)
		}
		if strings.HasPrefix(address, "https://") && !strings.ContainsAny(host, "% \"<>\\^`{|}/?#@") {
			if again := Host("https://" + host + "/path"); again != host {
				t.Errorf("%q is of %q, and that of %q", address, host, again)
			}
		}
	})
}
