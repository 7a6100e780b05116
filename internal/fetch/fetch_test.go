package fetch

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

const secret = "planted-secret-in-query"

func get(t *testing.T, ctx context.Context, c *Client, address string) (*Answer, *freshet.Error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", address+"?code="+secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Exchange(req)
	if err == nil {
		return answer, nil
	}
	e, ok := err.(*freshet.Error)
	if !ok {
		t.Fatalf("error is a %T", err)
	}
	freshettest.LeakedSecrets(t, e.Error()+e.Hint, secret)
	if !strings.Contains(e.Why, req.URL.Host) {
		t.Errorf("%q does not name the host %s", e.Why, req.URL.Host)
	}
	return nil, e
}

func client(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.http.Load().CloseIdleConnections)
	return c
}

func check(t *testing.T, got *freshet.Error, kind freshet.Kind, why string) {
	t.Helper()
	if got == nil {
		t.Fatalf("no error, want %q %q", kind, why)
	}
	if got.Kind != kind || !strings.HasSuffix(got.Why, ": "+why) {
		t.Errorf("got %q %q, want %q %q", got.Kind, got.Why, kind, why)
	}
}

func TestExchange(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" {
			t.Error("a cookie was kept")
		}
		if r.Header.Get("User-Agent") != "freshet" {
			t.Errorf("User-Agent is %q", r.Header.Get("User-Agent"))
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "x"})
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "body")
	}))
	defer server.Close()
	c := client(t, Config{})
	for range 2 {
		answer, err := get(t, t.Context(), c, server.URL)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status != http.StatusTeapot || string(answer.Body) != "body" {
			t.Errorf("got %d %q", answer.Status, answer.Body)
		}
	}
}

func TestRedirectIsRefused(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Errorf("%d was followed", status)
			}
			http.Redirect(w, r, "/elsewhere?x="+secret, status)
		}))
		_, err := get(t, t.Context(), client(t, Config{}), server.URL)
		check(t, err, freshet.Malformed, "redirect refused")
		if err.Status != status {
			t.Errorf("status is %d, want %d", err.Status, status)
		}
		server.Close()
	}
}

func TestBodyIsCapped(t *testing.T) {
	for _, test := range []struct {
		size int
		over bool
	}{{maxBody, false}, {maxBody + 1, true}} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(bytes.Repeat([]byte("x"), test.size))
		}))
		answer, err := get(t, t.Context(), client(t, Config{}), server.URL)
		switch {
		case test.over:
			check(t, err, freshet.Malformed, "answer over 1 MiB")
		case err != nil:
			t.Error(err)
		case len(answer.Body) != test.size:
			t.Errorf("got %d bytes, want %d", len(answer.Body), test.size)
		}
		server.Close()
	}
}

func TestContextEnds(t *testing.T) {
	for name, partly := range map[string]bool{"before the answer": false, "within the body": true} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if partly {
					_, _ = io.WriteString(w, "begun")
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
			}))
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := get(t, ctx, client(t, Config{}), server.URL)
			check(t, err, freshet.Unavailable, "timed out")
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error("it does not wrap the context's error")
			}
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			_, err = get(t, ctx, client(t, Config{}), server.URL)
			check(t, err, freshet.Unavailable, "cancelled")
		})
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	defer server.Close()
	_, err := get(t, t.Context(), client(t, Config{}), server.URL)
	check(t, err, freshet.Unavailable, "TLS certificate not trusted")
	if !strings.Contains(err.Hint, "ca_file") {
		t.Errorf("hint is %q", err.Hint)
	}

	trusting := client(t, Config{CAFile: writeCA(t, server.Certificate())})
	if answer, err := get(t, t.Context(), trusting, server.URL); err != nil || string(answer.Body) != "HTTP/1.1" {
		t.Errorf("with ca_file: got %v, %v", answer, err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	_, err = get(t, t.Context(), trusting, "https://localhost:"+port)
	check(t, err, freshet.Unavailable, "TLS certificate is for another host")

	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	_, err = get(t, t.Context(), trusting, strings.Replace(plain.URL, "http:", "https:", 1))
	check(t, err, freshet.Unavailable, "not a TLS server")
}

func TestHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	c := client(t, Config{CAFile: writeCA(t, server.Certificate())})
	if answer, err := get(t, t.Context(), c, server.URL); err != nil || string(answer.Body) != "HTTP/2.0" {
		t.Errorf("got %v, %v", answer, err)
	}
}

func writeCA(t *testing.T, certificate *x509.Certificate) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCAFile(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		empty:             "ca_file: no PEM certificate in it",
		empty + ".absent": "ca_file: cannot be read",
	} {
		if _, err := New(Config{CAFile: path}); !errors.Is(err, freshet.Invalid) || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestCAFileIsReadAgainOnceItHasChanged rotates an issuer's authority: httptest has one certificate, so a file of another comes
// first.
func TestCAFileIsReadAgainOnceItHasChanged(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	right, err := os.ReadFile(writeCA(t, server.Certificate()))
	if err != nil {
		t.Fatal(err)
	}
	path := writeCA(t, selfSigned(t))
	c := client(t, Config{CAFile: path})
	ask := func() *freshet.Error {
		c.http.Load().CloseIdleConnections() // a kept one was trusted already
		_, err := get(t, t.Context(), c, server.URL)
		return err
	}
	put := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(); !isUntrusted(err) {
		t.Fatalf("under another authority: got %v", err)
	}
	put(right)
	if err := ask(); isUntrusted(err) {
		t.Errorf("under the new file: got %v", err)
	}
	put([]byte("half wri"))
	if err := ask(); isUntrusted(err) {
		t.Errorf("under a file that cannot be used: got %v, want the one before to count", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := ask(); isUntrusted(err) {
		t.Errorf("without the file: got %v, want the one before to count", err)
	}
}

func isUntrusted(err *freshet.Error) bool {
	return err != nil && strings.Contains(err.Why, "not trusted")
}

func selfSigned(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// serve answers every connection with raw bytes.
func serve(t *testing.T, raw string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, raw)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

func TestBrokenAnswers(t *testing.T) {
	for raw, want := range map[string]struct {
		kind freshet.Kind
		why  string
	}{
		"": {freshet.Unavailable, "connection closed before the answer ended"},
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc":                    {freshet.Unavailable, "connection closed before the answer ended"},
		"SSH-2.0-" + secret + "\r\n\r\n":                                     {freshet.Malformed, "not an HTTP answer"},
		"HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n":                          {freshet.Malformed, "not an HTTP answer"},
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10) + "\r\n\r\n": {freshet.Malformed, "not an HTTP answer"},
	} {
		_, err := get(t, t.Context(), client(t, Config{}), serve(t, raw))
		check(t, err, want.kind, want.why)
	}
}

// TestRefusalThatBreaksOff: its header has said already what matters to who asks next.
func TestRefusalThatBreaksOff(t *testing.T) {
	for raw, want := range map[string]struct {
		why    string
		status int
		after  time.Duration
	}{
		"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\nabc":                 {"connection closed before the answer ended", 429, 7 * time.Second},
		"HTTP/1.1 503 No\r\nRetry-After: 7\r\n\r\n" + strings.Repeat("x", maxBody+1):        {"answer over 1 MiB", 503, 7 * time.Second},
		"HTTP/1.1 200 OK\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\nabc":                 {"connection closed before the answer ended", 0, 0},
		"HTTP/1.1 200 OK\r\nRetry-After: 7\r\n\r\n" + strings.Repeat("x", maxBody+1):        {"answer over 1 MiB", 0, 0},
		"HTTP/1.1 307 Go\r\nLocation: /x\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\nabc": {"redirect refused", 307, 0},
	} {
		_, err := get(t, t.Context(), client(t, Config{}), serve(t, raw))
		if err == nil || !strings.HasSuffix(err.Why, want.why) || err.Status != want.status || err.RetryAfter != want.after {
			t.Errorf("%.30q: got %v, status %d, retry after %v, want %+v", raw, err, err.Status, err.RetryAfter, want)
		}
	}
}

func TestConnectionRefused(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	_, err := get(t, t.Context(), client(t, Config{}), server.URL)
	check(t, err, freshet.Unavailable, "connection refused")
}

func TestClassesWithoutANetwork(t *testing.T) {
	req, _ := http.NewRequest("GET", "https://idp.example:8443/token?code="+secret, nil)
	lookup := &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "idp.example"}}
	proxy := &net.OpError{Op: "proxyconnect", Net: "tcp", Err: lookup}
	for _, test := range []struct {
		err  error
		want string
	}{
		{lookup, "idp.example:8443: DNS lookup failed"},
		{proxy, "idp.example:8443: proxy: DNS lookup failed"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, "idp.example:8443: TLS handshake refused by it"},
		{errors.New(secret), "idp.example:8443: request failed"},
	} {
		if got := Failure(req, test.err); got.Error() != test.want || got.Kind != freshet.Unavailable {
			t.Errorf("got %q %q, want %q", got.Kind, got, test.want)
		}
	}
	// A lookup that the context's end broke off is no failed lookup.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := Failure(req.WithContext(ctx), lookup); got.Error() != "idp.example:8443: cancelled" || !errors.Is(got, context.Canceled) {
		t.Errorf("got %q, want the context's end", got)
	}
}
