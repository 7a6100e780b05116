package interop

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// recorder is an upstream over a socket of its own: it keeps what it is sent, to the byte, and answers what a path says.
type recorder struct {
	address string
	answers map[string]func(conn net.Conn) // path → what to answer, in place of 200

	mu   sync.Mutex
	seen []received
}

// received is a request as it came.
type received struct {
	raw, method, path, body string
	header, trailer         http.Header
	host                    string
}

func newRecorder(t *testing.T, answers map[string]func(net.Conn)) *recorder {
	r := &recorder{answers: answers}
	r.address = accept(t, r.serve)
	return r
}

// taped keeps what is read.
type taped struct {
	io.Reader
	tape bytes.Buffer
}

func (t *taped) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.tape.Write(p[:n])
	return n, err
}

func (r *recorder) serve(conn net.Conn) {
	tape := &taped{Reader: conn}
	in := bufio.NewReader(tape)
	for {
		begins := tape.tape.Len() - in.Buffered()
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if req.Header.Get("Expect") != "" {
			_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // what is not whole is not a request
		}
		raw := tape.tape.String()[begins : tape.tape.Len()-in.Buffered()]
		r.mu.Lock()
		r.seen = append(r.seen, received{raw, req.Method, req.URL.RequestURI(), string(body), req.Header, req.Trailer, req.Host})
		r.mu.Unlock()
		if answer := r.answers[req.URL.Path]; answer != nil {
			answer(conn)
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

// take is what has come since it was last asked.
func (r *recorder) take() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

// says is an answer that ends with its connection.
func says(text string) func(net.Conn) {
	return func(conn net.Conn) { _, _ = io.WriteString(conn, text) }
}

// badWorld is a daemon whose proxy puts a token on requests to a recorder.
type badWorld struct {
	*recorder
	daemon           *daemon
	proxy, elsewhere string // addresses
	secret, token    string
	mu               sync.Mutex
	strangers        int // connections to elsewhere
	everything       strings.Builder
}

func newBadWorld(t *testing.T) *badWorld {
	t.Helper()
	w := &badWorld{secret: rand.Text() + rand.Text(), token: "real-" + rand.Text() + rand.Text(), proxy: party.FreeAddress(t)}
	w.elsewhere = accept(t, func(net.Conn) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.strangers++
	})
	w.recorder = newRecorder(t, map[string]func(net.Conn){
		"/redirect": says("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://" + w.elsewhere + "/steal\r\nContent-Length: 0\r\n\r\n"),
		"/cut":      says("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbeginning"),
		"/cutchunk": says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nbeginning\r\n"),
		"/hints":    says("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
		"/trailer":  says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n"),
		"/silent":   func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"/nonsense": says("HTTP/1.1 200 OK\r\nX-A: b\rc\r\nno colon\r\n\r\n"),
		"/flood":    says("HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Flood: "+strings.Repeat("x", 100)+"\r\n", 100_000) + "\r\n"),
		"/both":     says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nthree"),
	})
	dir := t.TempDir()
	w.daemon = serve(t, fmt.Sprintf(`
identities:
  token: {source: process, command: [echo, %q], lifetime: 1h}
proxies:
  - {signer: bearer, listen: %q, upstream: "http://%s", identity: token, secret: {file: %q}, timeouts: {idle: 3s}}
`, w.token, w.proxy, w.recorder.address, writeSecret(t, filepath.Join(dir, "secret"), w.secret)))
	return w
}

// send writes to a new connection to the proxy, closes that side of it if half is set, and reads what comes until the proxy ends the
// connection or has nothing to say for some time.
func (w *badWorld) send(t *testing.T, text string, half bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", w.proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(conn, text)
		if half {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	}()
	var got bytes.Buffer
	for buffer, quiet := make([]byte, 32<<10), 20*time.Second; ; quiet = 200 * time.Millisecond {
		_ = conn.SetReadDeadline(time.Now().Add(quiet))
		n, err := conn.Read(buffer)
		got.Write(buffer[:n])
		if err != nil {
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.everything.Write(got.Bytes())
	return got.String()
}

// request is a request as a caller sends it who knows the secret; head are further lines, each with its end.
func (w *badWorld) request(line, head, body string) string {
	return line + " HTTP/1.1\r\nHost: " + w.proxy + "\r\nAuthorization: Bearer " + w.secret + "\r\n" + head + "\r\n" + body
}

// statuses are those of the answers in what was read.
func statuses(text string) []string {
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^HTTP/1\.[01] (\d+) `).FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

// TestProxyAgainstBadCallers has a running daemon deal with what careless and hostile callers write to its socket: it is refused, or passed
// on as one reading of it, the proxy's own.
func TestProxyAgainstBadCallers(t *testing.T) {
	t.Parallel()
	w := newBadWorld(t)
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	const chunked = "Transfer-Encoding: chunked\r\n"
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: " + w.proxy + "\r\n\r\n"
	for _, test := range []struct {
		name, text string
		half       bool   // the caller says that it is done
		first      string // status of the first answer; "" for none
		paths      string // that the upstream sees, in their order
	}{
		{"nothing wrong", w.request("POST /good", length(2), "hi"), false, "200", "/good"},
		{"both framings", w.request("POST /one", length(4)+chunked, "0\r\n\r\n"+smuggled), false, "*", "/one?"},
		{"both framings, the other way", w.request("POST /one", chunked+length(len(smuggled)+5), "0\r\n\r\n"+smuggled), false, "*", "/one?"},
		{"two lengths", w.request("POST /one", length(2)+length(40), "hi"+smuggled), false, "400", ""},
		{"a length with a sign", w.request("POST /one", "Content-Length: +2\r\n", "hi"), false, "400", ""},
		{"an unknown coding", w.request("POST /one", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), false, "501", ""},
		{"two codings", w.request("POST /one", "Transfer-Encoding: identity\r\n"+chunked, "0\r\n\r\n"), false, "501", ""},
		{"a coding behind a tab", w.request("POST /one", "Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n"), false, "400", ""},
		{"a chunk that is no number", w.request("POST /one", chunked, "zz\r\nhi\r\n0\r\n\r\n"), false, "400", ""},
		{"a body longer than its length", w.request("POST /one", length(2), "hi"+smuggled), false, "200", "/one"},
		{"a body shorter than its length", w.request("POST /one", length(1000), "hi"), true, "*", ""},
		{"chunks without an end", w.request("POST /one", chunked, "2\r\nhi\r\n"), true, "*", ""},
		{"a body that stops", w.request("POST /one", length(1000), "hi"), false, "*", ""},
		{"another server's name", strings.Replace(w.request("GET /one", "", ""), "Host: "+w.proxy, "Host: evil.example", 1), false, "403", ""},
		{"this machine by a name of the attacker's", strings.Replace(w.request("GET /one", "", ""), "Host: "+w.proxy, "Host: rebound.example:9920", 1), false, "403", ""},
		{"two hosts", w.request("GET /one", "Host: evil.example\r\n", ""), false, "400", ""},
		{"absolute form, elsewhere", w.request("GET http://evil.example/one", "", ""), false, "403", ""},
		{"absolute form, on this machine", w.request("GET http://"+w.elsewhere+"/one", "", ""), false, "*", "/one?"},
		{"a tunnel", w.request("CONNECT "+w.elsewhere, "", ""), false, "*", ""},
		{"TRACE", w.request("TRACE /one", "", ""), false, "405", ""},
		{"a page", w.request("GET /one", "Origin: http://evil.example\r\n", ""), false, "403", ""},
		{"a carriage return in a value", w.request("GET /one", "X-A: b\rX-Injected: c\r\n", ""), false, "400", ""},
		{"a zero in a value", w.request("GET /one", "X-A: b\x00c\r\n", ""), false, "400", ""},
		{"a space before the colon", w.request("POST /one", "Content-Length : 40\r\n", smuggled), false, "400", ""},
		{"no colon", w.request("GET /one", "X-Nothing\r\n", ""), false, "400", ""},
		{"a line break in the path", w.request("GET /one\r\nX-Injected: c", "", ""), false, "400", ""},
		{"a percent sign alone", w.request("GET /one%zz", "", ""), false, "400", ""},
		{"100,000 headers", w.request("GET /one", strings.Repeat("X-A: b\r\n", 100_000), ""), false, "431", ""},
		{"a header of a megabyte", w.request("GET /one", "X-A: "+strings.Repeat("x", 1<<20)+"\r\n", ""), false, "431", ""},
		{"no secret", strings.Replace(w.request("GET /one", "", ""), w.secret, "x", 1), false, "401", ""},
		{"an expectation that there is none of", w.request("GET /one", "Expect: the-unexpected\r\n", ""), false, "417", ""},
		{"HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false, "", ""},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00", true, "*", ""},
		{"nothing wrong, at the end", w.request("GET /good", "", ""), false, "200", "/good"},
	} {
		got := w.send(t, test.text, test.half)
		var first string
		if list := statuses(got); len(list) > 0 {
			first = list[0]
		}
		if test.first != "*" && first != test.first {
			t.Errorf("%s: got %.200q, want status %q", test.name, got, test.first)
		}
		want, optional := strings.CutSuffix(test.paths, "?")
		var paths []string
		for _, r := range w.take() {
			paths = append(paths, r.path)
			w.faithful(t, test.name, r)
		}
		if all := strings.Join(paths, " "); all != want && (!optional || all != "") {
			t.Errorf("%s: the upstream saw %q, want %q", test.name, all, test.paths)
		}
	}
	w.end(t)
}

// faithful holds a request to what the upstream may be sent: one framing, clean lines, the token, and nothing that is the proxy's.
func (w *badWorld) faithful(t *testing.T, name string, r received) {
	t.Helper()
	head, _, _ := strings.Cut(r.raw, "\r\n\r\n")
	if got := strings.ReplaceAll(head, "\r\n", ""); strings.ContainsAny(got, "\r\n\x00") {
		t.Errorf("%s: a line is broken: %q", name, head)
	}
	lower := strings.ToLower(head)
	if n := strings.Count(lower, "\r\ncontent-length:") + strings.Count(lower, "\r\ntransfer-encoding:"); n > 1 {
		t.Errorf("%s: %d framings: %q", name, n, head)
	}
	if got := r.header["Authorization"]; len(got) != 1 || got[0] != "Bearer "+w.token {
		t.Errorf("%s: Authorization is not the token: %q", name, head)
	}
	if r.host != w.recorder.address || strings.Contains(r.raw, w.secret) || strings.Contains(lower, "x-injected") {
		t.Errorf("%s: got %q", name, r.raw)
	}
}

// end holds all of a run to it that nobody but the upstream was told the token, and that the daemon is well.
func (w *badWorld) end(t *testing.T) {
	t.Helper()
	w.daemon.stop(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.strangers > 0 {
		t.Errorf("%d connections went elsewhere", w.strangers)
	}
	for where, text := range map[string]string{"an answer": w.everything.String(), "the log": w.daemon.proc.Log()} {
		if strings.Contains(text, w.token) || strings.Contains(text, w.secret) || strings.Contains(text, "panic") {
			t.Errorf("%s has the token, the secret, or a panic: %q", where, text)
		}
	}
}

// TestProxyKeepsItsSignature has callers name headers of the signature's, and of the framing, as theirs to drop (RFC 9110 §7.6.1).
func TestProxyKeepsItsSignature(t *testing.T) {
	t.Parallel()
	w := newBadWorld(t)
	for _, name := range []string{"authorization", "Authorization, host", "content-length", "transfer-encoding", "close, authorization", "keep-alive, x-api-key"} {
		got := w.send(t, w.request("POST /hop", "Connection: "+name+"\r\nContent-Length: 2\r\nX-Api-Key: mine\r\nTE: trailers\r\nProxy-Authorization: Basic eDp5\r\nUpgrade: nonsense\r\n", "hi"), false)
		seen := w.take()
		if len(seen) != 1 || seen[0].body != "hi" || statuses(got)[0] != "200" {
			t.Errorf("Connection: %s: got %q, and the upstream %+v", name, got, seen)
			continue
		}
		w.faithful(t, name, seen[0])
		if h := seen[0].header; h.Get("Proxy-Authorization") != "" || h.Get("Keep-Alive") != "" || strings.Contains(strings.ToLower(h.Get("Connection")), "author") {
			t.Errorf("Connection: %s: the upstream saw %v", name, h)
		}
	}
	w.end(t)
}

// TestProxyDropsSlowCallers has callers that send a byte a second: first of a header, then of nothing at all.
func TestProxyDropsSlowCallers(t *testing.T) {
	t.Parallel()
	w := newBadWorld(t)
	slow := func(begin string) (took time.Duration, said string) {
		conn, err := net.Dial("tcp", w.proxy)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer conn.Close()
		began, done := time.Now(), make(chan struct{})
		defer close(done)
		_, _ = io.WriteString(conn, begin)
		go func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					_, _ = io.WriteString(conn, "X")
				case <-done:
					return
				}
			}
		}()
		_ = conn.SetReadDeadline(began.Add(40 * time.Second))
		text, err := io.ReadAll(conn)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%.20q: held for %v", begin, time.Since(began))
		}
		return time.Since(began), string(text)
	}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() { slow("GET /loris HTTP/1.1\r\nHost: " + w.proxy + "\r\nX-") })
	}
	all.Go(func() {
		took, said := slow(strings.Replace(w.request("POST /stops", "Content-Length: 100000\r\n", ""), w.secret, "wrong", 1))
		if list := statuses(said); len(list) != 1 || list[0] != "401" || took > 30*time.Second {
			t.Errorf("a slow body of nobody known: got %q after %v", said, took)
		}
	})
	all.Wait()
	if seen := w.take(); len(seen) > 0 {
		t.Errorf("the upstream saw %+v", seen)
	}
	w.end(t)
}

// TestProxyAgainstBadUpstreams has the upstream of a running daemon break off, say nothing, lie, and lead elsewhere.
func TestProxyAgainstBadUpstreams(t *testing.T) {
	t.Parallel()
	w := newBadWorld(t)
	for _, test := range []struct{ path, status, has, hasNot string }{
		{"/redirect", "307", "Location: http://" + w.elsewhere + "/steal", ""},
		{"/cutchunk", "200", "beginning", "\r\n0\r\n\r\n"},
		{"/silent", "504", "", ""},
		{"/nonsense", "502", "", "X-A"},
		{"/flood", "502", "", "X-Flood"},
		{"/both", "502", "", "three"},
	} {
		began := time.Now()
		got := w.send(t, w.request("GET "+test.path, "", ""), false)
		list := statuses(got)
		if len(list) != 1 || list[0] != test.status || !strings.Contains(got, test.has) || test.hasNot != "" && strings.Contains(got, test.hasNot) {
			t.Errorf("%s: got %.300q, want %s with %q and without %q", test.path, got, test.status, test.has, test.hasNot)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("%s: took %v", test.path, took)
		}
		for _, r := range w.take() {
			w.faithful(t, test.path, r)
		}
	}
	// A client is told that what it got is not all.
	for _, path := range []string{"/cut", "/cutchunk"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.proxy+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.secret)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			continue // it broke off before what there was had been flushed
		}
		if body, err := io.ReadAll(resp.Body); err == nil || !strings.HasPrefix("beginning", string(body)) {
			t.Errorf("%s: got %q, %v, want an error", path, body, err)
		}
		resp.Body.Close()
	}
	w.end(t)
}

// TestProxyPassesOnWhatStandsAroundBodies has what comes before and after a body arrive: trailers both ways, a question before the body,
// and hints before the answer.
func TestProxyPassesOnWhatStandsAroundBodies(t *testing.T) {
	t.Parallel()
	w := newBadWorld(t)
	if got := w.send(t, w.request("GET /hints", "", ""), false); strings.Join(statuses(got), " ") != "103 200" || !strings.Contains(got, "Link: </style.css>; rel=preload") {
		t.Errorf("hints: got %q", got)
	}
	if got := w.send(t, w.request("GET /trailer", "TE: trailers\r\n", ""), false); !strings.Contains(got, "Trailer: X-Sum\r\n") || !strings.HasSuffix(got, "0\r\nX-Sum: 42\r\n\r\n") {
		t.Errorf("an answer's trailer: got %q", got)
	}
	w.take()
	w.send(t, w.request("POST /sum", "Transfer-Encoding: chunked\r\nTrailer: X-Sum, Authorization, X-Forwarded-For\r\n", "2\r\nhi\r\n0\r\nX-Sum: 43\r\nAuthorization: Bearer other\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"), false)
	if seen := w.take(); len(seen) != 1 || seen[0].body != "hi" || seen[0].trailer.Get("X-Sum") != "43" || len(seen[0].trailer) != 1 {
		t.Errorf("a request's trailer: the upstream saw %+v", seen)
	}
	// Who asks before it sends is asked for the body, if it is let in.
	for secret, want := range map[string]string{w.secret: "100 200", "wrong": "401"} {
		conn, err := net.Dial("tcp", w.proxy)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, strings.Replace(w.request("POST /asked", "Content-Length: 2\r\nExpect: 100-continue\r\n", ""), w.secret, secret, 1))
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		in := bufio.NewReader(conn)
		got := ""
		for range 2 {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			got = strings.TrimSpace(fmt.Sprint(got, " ", resp.StatusCode))
			if resp.StatusCode != http.StatusContinue {
				break
			}
			_, _ = io.WriteString(conn, "hi")
		}
		conn.Close()
		if got != want {
			t.Errorf("a caller that asks first: got %q, want %q", got, want)
		}
	}
	if seen := w.take(); len(seen) != 1 || seen[0].body != "hi" {
		t.Errorf("the upstream saw %+v", seen)
	}
	w.end(t)
}
