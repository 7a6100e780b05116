package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEventsArriveOneByOne: the upstream sends its next event once the caller has read the one before.
func TestEventsArriveOneByOne(t *testing.T) {
	next := make(chan struct{})
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	req, _ := http.NewRequest("GET", g.url, nil)
	req.Header.Set("Authorization", "Bearer "+localSecret)
	resp, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for i := range 5 {
		line, err := in.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", i); err != nil || line != want {
			t.Fatalf("got %q, %v; want %q", line, err, want)
		}
		_, _ = in.ReadString('\n')
		next <- struct{}{}
	}
}

// TestBodyStreamsBothWays echoes each line before the next is sent, over HTTP/1.1 and HTTP/2.
func TestBodyStreamsBothWays(t *testing.T) {
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(200)
		_ = control.Flush()
		in, n := bufio.NewReader(r.Body), 0
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			n++
			_, _ = io.WriteString(w, strings.ToUpper(line))
			_ = control.Flush()
		}
		w.Header().Set("X-Sum", fmt.Sprint(n, " ", r.Proto, " ", r.Trailer.Get("X-From")+r.Trailer.Get("X-Forwarded-For")))
	}))
	up.Config.Protocols = new(http.Protocols)
	up.Config.Protocols.SetHTTP1(true)
	up.Config.Protocols.SetUnencryptedHTTP2(true)
	up.Start()
	defer up.Close()
	for _, two := range []bool{false, true} {
		g := startAt(t, up.URL, func(c *Config) { c.HTTP2 = two })
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!two)
		protocols.SetUnencryptedHTTP2(two)
		tr := &http.Transport{Protocols: protocols}
		defer tr.CloseIdleConnections()
		body, write := io.Pipe()
		req, _ := http.NewRequest("POST", g.url, body)
		req.Header.Set("Authorization", "Bearer "+localSecret)
		req.Trailer = http.Header{"X-From": {"caller"}, "X-Forwarded-For": {"planted"}}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(resp.Body)
		for i := range 20 {
			if _, err := fmt.Fprintf(write, "line %d\n", i); err != nil {
				t.Fatal(err)
			}
			if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintf("LINE %d\n", i) {
				t.Fatalf("HTTP/2 %v: got %q, %v", two, line, err)
			}
		}
		write.Close()
		if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
			t.Errorf("HTTP/2 %v: got %q, %v", two, rest, err)
		}
		resp.Body.Close()
		want := map[bool]string{false: "20 HTTP/1.1 caller", true: "20 HTTP/2.0 caller"}[two]
		if got := resp.Trailer.Get("X-Sum"); got != want {
			t.Errorf("HTTP/2 %v: trailer %q, want %q", two, got, want)
		}
	}
}

func TestCallerThatLeavesEndsTheUpstreamsWork(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", g.url, nil)
	req.Header.Set("Authorization", "Bearer "+localSecret)
	resp, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-began
	cancel()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the upstream was not told")
	}
}

// upgraded opens a tunnel through the proxy to an upstream that echoes.
func upgraded(t *testing.T, change ...func(*Config)) (*rig, net.Conn, *bufio.Reader) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Authorization") != "Bearer token-0" {
			w.WriteHeader(400)
			return
		}
		c, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, both)
	}, change...)
	c, in := g.raw("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + localSecret + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %+v, %v", resp, err)
	}
	return g, c, in
}

func TestWebSocketPasses(t *testing.T) {
	g, c, in := upgraded(t)
	for i := range 3 {
		fmt.Fprintf(c, "message %d\n", i)
		if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintf("message %d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	c.Close()
	if e := g.event(); e.Status != 101 {
		t.Errorf("event %+v", e)
	}
}

// TestTunnelsEndOneWayAtATime: who has said all still hears the answer.
func TestTunnelsEndOneWayAtATime(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		c, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
		b, err := io.ReadAll(both)
		fmt.Fprintf(c, "got %q %v", b, err)
	})
	c, in := g.raw("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + localSecret + "\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("got %+v, %v", resp, err)
	}
	_, _ = io.WriteString(c, "hello")
	_ = c.(*net.TCPConn).CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if b, err := io.ReadAll(in); err != nil || string(b) != `got "hello" <nil>` {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	g, c, in := upgraded(t)
	g.route.Close()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := in.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the tunnel is open: %v", err)
	}
	g.event()
	g = start(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	c, in = g.raw("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + localSecret + "\r\n\r\n")
	if _, err := http.ReadResponse(in, nil); err != nil {
		t.Fatal(err)
	}
	g.route.Close()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(in); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the answer is open")
	}
}

func TestInformationalAnswersPass(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})
	var codes []int
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { codes = append(codes, code); return nil }}
	resp, body := g.send("POST", "/", "asked for", func(r *http.Request) {
		r.Header.Set("Expect", "100-continue")
		*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
	})
	// 100 comes of the upstream's, and may come of net/http's own when the body is read.
	other := slices.ContainsFunc(codes, func(c int) bool { return c != 100 && c != 103 })
	if resp.StatusCode != 200 || body != "asked for" || other || !slices.Contains(codes, 100) || !slices.Contains(codes, 103) {
		t.Errorf("got %d %s after %v", resp.StatusCode, body, codes)
	}
}

// TestBodyIsNotAskedForWhereTheUpstreamRefuses: 100-continue is the upstream's to say.
func TestBodyIsNotAskedForWhereTheUpstreamRefuses(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) })
	c, in := g.raw("POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + localSecret + "\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 403") {
		t.Errorf("got %q, %v", line, err)
	}
}

// TestBrokenUpstreamIsSeenAsSuch: an answer that ends early ends early for the caller too.
func TestBrokenUpstreamIsSeenAsSuch(t *testing.T) {
	for name, answer := range map[string]string{
		"short of its length": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
		"in mid-chunk":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhe",
	} {
		g := startAt(t, answering(t, answer))
		c, in := g.raw("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + localSecret + "\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		resp, err := http.ReadResponse(in, nil)
		var b []byte
		if err == nil { // else even the header was held back
			b, err = io.ReadAll(resp.Body)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: the caller took %q for the whole, %v", name, b, err)
		}
	}
	for name, answer := range map[string]string{
		"hints alone": "HTTP/1.1 103 Early Hints\r\nLink: </planted>\r\n\r\n",
		"nothing":     "", "no HTTP": "220 mail.example.com\r\n", "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi",
		"a huge header": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20) + "\r\n\r\n",
	} {
		g := startAt(t, answering(t, answer))
		if resp, body := g.send("POST", "/", ""); resp.StatusCode != 502 || !strings.Contains(body, "BadGateway") || resp.Header.Get("Link") != "" {
			t.Errorf("%s: got %d %s", name, resp.StatusCode, body)
		}
	}
}

// answering is an upstream that says one thing, whatever it is asked.
func answering(t *testing.T, answer string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, answer)
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// TestWhatNoServerShouldTake: requests that two servers could read as two different things, or that tie one up.
func TestWhatNoServerShouldTake(t *testing.T) {
	seen := make(chan string, 100)
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		seen <- fmt.Sprintf("%s %s %q %v %v", r.Method, r.RequestURI, b, err, r.TransferEncoding)
	})
	auth := "Authorization: Bearer " + localSecret + "\r\n"
	for name, c := range map[string]struct {
		text, status string
	}{
		"two lengths":            {"POST / HTTP/1.1\r\nHost: localhost\r\n" + auth + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "400"},
		"a signed length":        {"POST / HTTP/1.1\r\nHost: localhost\r\n" + auth + "Content-Length: +5\r\n\r\nhello", "400"},
		"two encodings":          {"POST / HTTP/1.1\r\nHost: localhost\r\n" + auth + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "501"},
		"an unknown encoding":    {"POST / HTTP/1.1\r\nHost: localhost\r\n" + auth + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501"},
		"another host, absolute": {"GET http://elsewhere.example.com/ HTTP/1.1\r\nHost: localhost\r\n" + auth + "\r\n", "403"},
		"no host":                {"GET / HTTP/1.1\r\n" + auth + "\r\n", "400"},
		"two hosts":              {"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n" + auth + "\r\n", "400"},
		"a space before a colon": {"GET / HTTP/1.1\r\nHost: localhost\r\n" + auth + "X-A : b\r\n\r\n", "400"},
		"a bare carriage return": {"GET / HTTP/1.1\r\nHost: localhost\r\n" + auth + "X-A: b\rX-B: c\r\n\r\n", "400"},
		"a null":                 {"GET / HTTP/1.1\r\nHost: localhost\r\n" + auth + "X-A: b\x00c\r\n\r\n", "400"},
		"CONNECT":                {"CONNECT elsewhere.example.com:443 HTTP/1.1\r\nHost: elsewhere.example.com:443\r\n" + auth + "\r\n", "403"},
		"a space in the path":    {"GET /a b HTTP/1.1\r\nHost: localhost\r\n" + auth + "\r\n", "400"},
		"too many headers":       {"GET / HTTP/1.1\r\nHost: localhost\r\n" + auth + strings.Repeat("X: y\r\n", 100_000) + "\r\n", "431"},
		"an unknown expectation": {"GET / HTTP/1.1\r\nHost: localhost\r\n" + auth + "Expect: tea\r\n\r\n", "417"},
	} {
		conn, in := g.raw("")
		go func() { _, _ = io.WriteString(conn, c.text) }()
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+c.status) {
			t.Errorf("%s: got %q, %v; want %s", name, line, err, c.status)
		}
		conn.Close()
	}
	select {
	case r := <-seen:
		t.Errorf("the upstream was sent %s", r)
	default:
	}
	// Both a length and chunks: the chunks count (RFC 9112 §6.3), and the upstream is told of nothing else.
	conn, in := g.raw("POST /one HTTP/1.1\r\nHost: localhost\r\n" + auth + "Content-Length: 48\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /two HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
		t.Errorf("both: got %q, %v", line, err)
	}
	if r := <-seen; !strings.HasPrefix(r, `POST /one "" <nil>`) {
		t.Errorf("both: the upstream was sent %s", r)
	}
	if _, err := io.ReadAll(in); err != nil {
		t.Error(err)
	}
	select {
	case r := <-seen:
		t.Errorf("the upstream was sent %s too, by somebody who showed no secret", r)
	default:
	}
}

// TestRefusalWaitsForNoBody: the mux refuses what is announced and does not come.
func TestRefusalWaitsForNoBody(t *testing.T) {
	g := start(t, echo)
	c, in := g.raw("POST / HTTP/1.1\r\nHost: rebound.example.com\r\nContent-Length: 100\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if text, err := io.ReadAll(in); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 403") {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestLengthThatLiesHarmsNobodyElse: the caller promises more than it sends.
func TestLengthThatLiesHarmsNobodyElse(t *testing.T) {
	got := make(chan error, 1)
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		got <- err
	})
	c, in := g.raw("POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + localSecret + "\r\nContent-Length: 100\r\n\r\nhello")
	_ = c.(*net.TCPConn).CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.ReadAll(in)
	if err := <-got; err == nil {
		t.Error("the upstream took it for the whole")
	}
	if e := g.event(); e.Refused == "" || e.Status == 200 {
		t.Errorf("event %+v", e)
	}
}

func TestSocketsCallersAreKnownByTheirUser(t *testing.T) {
	me := uint32(os.Getuid())
	for name, c := range map[string]struct {
		callers Callers
		secret  bool
		status  int
	}{
		"the owner":                 {Callers{Owner: me}, false, 200},
		"somebody else":             {Callers{Owner: me + 1}, false, 403},
		"listed":                    {Callers{Owner: me + 1, UIDs: []uint32{me}}, false, 200},
		"a group":                   {Callers{Owner: me + 1, GIDs: []uint32{uint32(os.Getgid())}}, false, 200},
		"not listed":                {Callers{Owner: me, UIDs: []uint32{me + 1}}, false, 403},
		"without the secret":        {Callers{Owner: me, Secret: localSecret}, false, 401},
		"with the secret":           {Callers{Owner: me, Secret: localSecret}, true, 200},
		"somebody else, the secret": {Callers{Owner: me + 1, Secret: localSecret}, true, 403},
	} {
		g := start(t, echo, func(cfg *Config) { cfg.Callers = c.callers })
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		s := Server(NewMux(nil, g.route))
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(l) }()
		tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
		req, _ := http.NewRequest("GET", "http://any.example.com/x", nil)
		if c.secret {
			req.Header.Set("Authorization", "Bearer "+localSecret)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s: got %d, want %d", name, resp.StatusCode, c.status)
		}
		if e := g.event(); c.status == 200 && e.Caller != fmt.Sprintf("uid:%d", me) {
			t.Errorf("%s: caller %q", name, e.Caller)
		}
		tr.CloseIdleConnections()
		s.Close()
		<-done
	}
	// What allows a socket's users lets nobody in by TCP.
	g := start(t, echo, func(cfg *Config) { cfg.Callers = Callers{Owner: me} })
	if resp, _ := g.send("GET", "/", ""); resp.StatusCode != 403 {
		t.Errorf("by TCP: got %d", resp.StatusCode)
	}
}

func TestCertificatesCallersAreKnownByIt(t *testing.T) {
	g := start(t, echo, func(cfg *Config) { cfg.Callers = Callers{Certificates: true} })
	if resp, _ := g.send("GET", "/", ""); resp.StatusCode != 403 {
		t.Errorf("without TLS: got %d", resp.StatusCode)
	}
	s := httptest.NewUnstartedServer(NewMux([]string{"example.com"}, g.route))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	defer s.Close()
	tr := s.Client().Transport.(*http.Transport).Clone()
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(httptest.NewRequest("GET", s.URL, nil))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("without a certificate: got %d", resp.StatusCode)
	}
}
