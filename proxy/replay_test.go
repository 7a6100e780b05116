package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// picky takes one version's token, and refuses the others as status says.
func picky(version *atomic.Int64, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer token-%d", version.Load()) {
			w.WriteHeader(status)
			fmt.Fprint(w, "ExpiredToken")
			return
		}
		fmt.Fprintf(w, "ok %d %s", len(b), b[:min(len(b), 20)])
	}
}

func TestRejectedVersionIsReplacedAndTheRequestSentAgain(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest} {
		for _, hash := range []bool{false, true} {
			var version atomic.Int64
			version.Store(1)
			g := start(t, picky(&version, status), func(c *Config) { c.Signer = &plain{hash: hash} })
			resp, body := g.send("POST", "/", "the body")
			if resp.StatusCode != 200 || body != "ok 8 the body" {
				t.Errorf("%d: got %d %s", status, resp.StatusCode, body)
			}
			if e := g.event(); e.Rejections != 1 || e.Replays != 1 || e.Status != 200 {
				t.Errorf("%d: event %+v", status, e)
			}
			if len(g.vault.rejected) != 1 || g.vault.rejected[0] != g.vault.version(0).Fingerprint() {
				t.Errorf("%d: rejected %v", status, g.vault.rejected)
			}
		}
	}
}

func TestRequestIsSentAgainOnce(t *testing.T) {
	var n, version atomic.Int64
	version.Store(-1)
	refuse := picky(&version, 401)
	g := start(t, func(w http.ResponseWriter, r *http.Request) { n.Add(1); refuse(w, r) })
	resp, body := g.send("GET", "/", "")
	if resp.StatusCode != 401 || body != "ExpiredToken" || n.Load() != 2 {
		t.Errorf("got %d %s after %d attempts, want the upstream's own answer after 2", resp.StatusCode, body, n.Load())
	}
	if resp.Header.Get("Freshet-Error") != "" {
		t.Error("the upstream's answer is said to be freshet's")
	}
}

func TestPlainRefusalRejectsNothing(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		fmt.Fprint(w, "AccessDenied")
	})
	if resp, body := g.send("GET", "/", ""); resp.StatusCode != 403 || body != "AccessDenied" || len(g.vault.rejected) > 0 {
		t.Errorf("got %d %s, rejected %v", resp.StatusCode, body, g.vault.rejected)
	}
}

// TestUpstreamsAnswerStaysWhereThereIsNoOtherCredential holds for an issuer that is down, or gives the same again.
func TestUpstreamsAnswerStaysWhereThereIsNoOtherCredential(t *testing.T) {
	var n atomic.Int64
	var g *rig
	up := func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		if r.Header.Get("X-Break") != "" {
			g.vault.mu.Lock()
			g.vault.fail = freshet.Errorf(freshet.Unavailable, "down")
			g.vault.mu.Unlock()
		}
		w.Header().Set("WWW-Authenticate", "its own")
		w.WriteHeader(401)
		fmt.Fprint(w, "the upstream's words")
	}
	g = start(t, up)
	g.vault.stuck = true
	for _, change := range []func(*http.Request){func(r *http.Request) {}, func(r *http.Request) { r.Header.Set("X-Break", "1") }} {
		n.Store(0)
		resp, body := g.send("GET", "/", "", change)
		if resp.StatusCode != 401 || body != "the upstream's words" || resp.Header.Get("WWW-Authenticate") != "its own" || n.Load() != 1 {
			t.Errorf("got %d %s after %d attempts", resp.StatusCode, body, n.Load())
		}
	}
}

// TestLoginThatIsNeededSaysSo: the upstream's refusal would not tell what to do.
func TestLoginThatIsNeededSaysSo(t *testing.T) {
	var g *rig
	g = start(t, func(w http.ResponseWriter, r *http.Request) {
		g.vault.mu.Lock()
		defer g.vault.mu.Unlock()
		g.vault.fail = freshet.Errorf(freshet.LoginNeeded, "the session is over").WithHint("aws sso login")
		w.WriteHeader(401)
	})
	if resp, body := g.send("GET", "/", ""); resp.StatusCode != 401 || !strings.Contains(body, "LoginNeeded: the session is over; aws sso login") {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
}

// TestRejectionIsSaidOnce: a retry for another reason asks for what there is.
func TestRejectionIsSaidOnce(t *testing.T) {
	var n atomic.Int64
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		if n := n.Add(1); n < 3 {
			w.WriteHeader([]int{401, 503}[n-1])
		}
	})
	if resp, _ := g.send("GET", "/", ""); resp.StatusCode != 200 || len(g.vault.wants) != 3 {
		t.Fatalf("got %d after asking for %v", resp.StatusCode, g.vault.wants)
	}
	if g.vault.wants[1].Rejected == "" || g.vault.wants[2].Rejected != "" {
		t.Errorf("asked for %v", g.vault.wants)
	}
	if e := g.event(); e.Replays != 2 || e.Rejections != 1 {
		t.Errorf("event %+v", e)
	}
}

// TestAnswerThatAnotherFollowsIsLetGoOf: an upstream whose refusal is long does not go on with it.
func TestAnswerThatAnotherFollowsIsLetGoOf(t *testing.T) {
	ended := make(chan struct{})
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token-0" {
			return
		}
		defer close(ended)
		w.WriteHeader(401)
		for {
			if _, err := w.Write(make([]byte, maxHead)); err != nil {
				return
			}
		}
	})
	if resp, _ := g.send("GET", "/", ""); resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}

// TestSpoolIsGoneAfterwards looks for files of bodies that are still open.
func TestSpoolIsGoneAfterwards(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	g := start(t, echo, func(c *Config) { c.Signer = &plain{hash: true} })
	if resp, _ := g.send("POST", "/", strings.Repeat("x", spoolMemory+1)); resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
	g.event()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) > 0 {
		t.Errorf("left: %v, %v", files, err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not tell which files are open")
	}
	for _, f := range open {
		if to, _ := os.Readlink("/proc/self/fd/" + f.Name()); strings.HasPrefix(to, dir) {
			t.Errorf("%s is open", to)
		}
	}
}

func TestClaimsChallengeIsPassedToTheIssuer(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token-0" {
			w.Header().Set("X-Claims", `{"access_token":{}}`)
			w.WriteHeader(401)
		}
	})
	if resp, _ := g.send("GET", "/", ""); resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
	if last := g.vault.wants[len(g.vault.wants)-1]; last.Claims != `{"access_token":{}}` || last.Rejected != g.vault.version(0).Fingerprint() {
		t.Errorf("asked for %+v", last)
	}
}

// TestLargeBodyIsNotSentAgain: more than what is kept has gone; the version is rejected all the same.
func TestLargeBodyIsNotSentAgain(t *testing.T) {
	var n, version atomic.Int64
	version.Store(1)
	refuse := picky(&version, 401)
	g := start(t, func(w http.ResponseWriter, r *http.Request) { n.Add(1); refuse(w, r) })
	big := strings.Repeat("x", keptBody+1)
	if resp, _ := g.send("POST", "/", big); resp.StatusCode != 401 || n.Load() != 1 {
		t.Errorf("got %d after %d attempts", resp.StatusCode, n.Load())
	}
	if resp, body := g.send("POST", "/", big); resp.StatusCode != 200 || !strings.HasPrefix(body, fmt.Sprint("ok ", len(big))) {
		t.Errorf("the next request: got %d %s, though that version was rejected", resp.StatusCode, body)
	}
}

// TestAnswerBeforeTheBodyWasRead: the upstream refuses at once, and the body, of which some is on its way, is sent again whole.
func TestAnswerBeforeTheBodyWasRead(t *testing.T) {
	var version atomic.Int64
	version.Store(1)
	read := picky(&version, 401)
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token-1" {
			w.WriteHeader(401)
			return
		}
		read(w, r)
	})
	body := bytes.Repeat([]byte("0123456789"), keptBody/20)
	for range 50 {
		g.vault.mu.Lock()
		g.vault.n = 0
		g.vault.mu.Unlock()
		resp, got := g.send("POST", "/", "", func(r *http.Request) {
			in, out := io.Pipe()
			go func() {
				for part := body; len(part) > 0; {
					n := min(len(part), 1+rand.IntN(4000))
					if _, err := out.Write(part[:n]); err != nil {
						return
					}
					part = part[n:]
				}
				out.Close()
			}()
			r.Body, r.ContentLength = in, -1
		})
		if want := fmt.Sprintf("ok %d %s", len(body), body[:20]); resp.StatusCode != 200 || got != want {
			t.Fatalf("got %d %s, want %s", resp.StatusCode, got, want)
		}
	}
}

func TestUpstreamsTroubleIsRetriedWhereARequestMayBeRepeated(t *testing.T) {
	for _, c := range []struct {
		method, retryAfter, key string
		status, attempts        int
	}{
		{"GET", "", "", 503, 2}, {"GET", "0", "", 502, 2}, {"GET", "", "", 504, 2}, {"GET", "", "", 429, 2}, {"GET", "", "", 500, 1}, {"GET", "6", "", 503, 1},
		{"GET", "Fri, 01 Jan 2100 00:00:00 GMT", "", 503, 1}, {"POST", "", "", 503, 1}, {"POST", "0", "", 503, 1}, {"POST", "", "k", 503, 2}, {"POST", "0", "", 429, 2},
		{"POST", "", "", 429, 1}, {"PUT", "", "", 503, 2}, {"DELETE", "", "", 503, 2}, {"PATCH", "", "", 503, 1},
	} {
		var n atomic.Int64
		g := start(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if n.Add(1) > 1 {
				w.Write(b)
				return
			}
			if c.retryAfter != "" {
				w.Header().Set("Retry-After", c.retryAfter)
			}
			w.WriteHeader(c.status)
		})
		resp, body := g.send(c.method, "/", "again", func(r *http.Request) {
			if c.key != "" {
				r.Header.Set("Idempotency-Key", c.key)
			}
		})
		want, text := 200, "again"
		if c.attempts == 1 {
			want, text = c.status, ""
		}
		if int(n.Load()) != c.attempts || resp.StatusCode != want || body != text {
			t.Errorf("%+v: got %d %q after %d attempts", c, resp.StatusCode, body, n.Load())
		}
		if resp.StatusCode != 200 && resp.Header.Get("Retry-After") != c.retryAfter {
			t.Errorf("%+v: Retry-After is %q", c, resp.Header.Get("Retry-After"))
		}
	}
}

// TestBodyThatIsGoneIsNotRetried: what the upstream would be sent again has its end alone.
func TestBodyThatIsGoneIsNotRetried(t *testing.T) {
	var n atomic.Int64
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(503)
	})
	if resp, _ := g.send("PUT", "/", strings.Repeat("x", keptBody+1)); resp.StatusCode != 503 || n.Load() != 1 {
		t.Errorf("got %d after %d attempts", resp.StatusCode, n.Load())
	}
}

func TestSignatureIsMadeAgainWithTheClockMended(t *testing.T) {
	var n atomic.Int64
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.WriteHeader(400)
		}
	}, func(c *Config) { c.Signer = &plain{skew: true} })
	if resp, _ := g.send("GET", "/", ""); resp.StatusCode != 200 || n.Load() != 2 || len(g.vault.rejected) > 0 {
		t.Errorf("got %d after %d attempts, rejected %v", resp.StatusCode, n.Load(), g.vault.rejected)
	}
	up := 0
	g = start(t, func(w http.ResponseWriter, r *http.Request) { up++; w.WriteHeader(400) }, func(c *Config) { c.Signer = &plain{skew: true} })
	if resp, _ := g.send("GET", "/", ""); resp.StatusCode != 400 || up != 2 {
		t.Errorf("got %d after %d attempts, want 2", resp.StatusCode, up)
	}
}

// TestParallelCallsAcrossRotations: every version is refused after some uses, and no caller sees it.
func TestParallelCallsAcrossRotations(t *testing.T) {
	var version, used atomic.Int64
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		token := r.Header.Get("Authorization")
		if err != nil || token != fmt.Sprintf("Bearer token-%d", version.Load()) || r.Header.Get("X-Hash") == "" {
			w.WriteHeader(401)
			return
		}
		if used.Add(1)%40 == 0 {
			g := version.Load()
			version.CompareAndSwap(g, g+1)
		}
		w.Write(b)
	}, func(c *Config) { c.Signer = &plain{hash: true} })
	var wg sync.WaitGroup
	var refused atomic.Int64
	for i := range 25 {
		wg.Go(func() {
			for j := range 20 {
				want := fmt.Sprintf("caller %d call %d", i, j)
				resp, body := g.send("POST", "/", want)
				if resp.StatusCode == 401 { // a second rotation between its two attempts
					refused.Add(1)
				} else if resp.StatusCode != 200 || body != want {
					t.Errorf("got %d %s", resp.StatusCode, body)
				}
			}
		})
	}
	wg.Wait()
	if refused.Load() > 25 {
		t.Errorf("%d of 500 calls were refused", refused.Load())
	}
}

// TestBodyThatGoesOnWhileItIsAnswered: the upstream answers when the body could be sent again, and most of it comes afterwards. What
// is answered well was sent whole.
func TestBodyThatGoesOnWhileItIsAnswered(t *testing.T) {
	const parts, part = 10, 40 << 10
	for _, length := range []int64{-1, parts * part} {
		for _, status := range []int{401, 429} {
			var n atomic.Int64
			pour := make(chan struct{})
			g := start(t, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) > 1 {
					b, err := io.ReadAll(r.Body)
					if err != nil || len(b) != parts*part || !bytes.HasPrefix(b, []byte("0xxx")) {
						t.Errorf("length %d, %d: sent again were %d bytes, %v", length, status, len(b), err)
					}
					return
				}
				_, _ = io.ReadFull(r.Body, make([]byte, part/2))
				control := http.NewResponseController(w)
				_ = control.EnableFullDuplex()
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(status)
				_ = control.Flush()
				close(pour)
				_, _ = io.Copy(io.Discard, r.Body)
			})
			in, out := io.Pipe()
			go func() {
				defer out.Close()
				for i := range parts {
					if _, err := fmt.Fprintf(out, "%d%s", i, strings.Repeat("x", part-1)); err != nil {
						return
					}
					if i == 0 {
						<-pour
						<-time.After(50 * time.Millisecond)
					}
				}
			}()
			resp, _ := g.send("POST", "/", "", func(r *http.Request) { r.Body, r.ContentLength = in, length })
			if want := map[bool]int{false: status, true: 200}[n.Load() > 1]; resp.StatusCode != want {
				t.Errorf("length %d, %d: got %d after %d attempts", length, status, resp.StatusCode, n.Load())
			}
		}
	}
}

// TestBodyThatWentWhileACredentialWasWaitedFor: it could be sent again when the upstream refused it, and cannot any more.
func TestBodyThatWentWhileACredentialWasWaitedFor(t *testing.T) {
	const size = 10 * keptBody
	var n atomic.Int64
	gate, pour := make(chan struct{}), make(chan struct{})
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > 1 {
			b, err := io.ReadAll(r.Body)
			t.Errorf("sent again were %d bytes, %v", len(b), err)
			return
		}
		_, _ = io.ReadFull(r.Body, make([]byte, keptBody/4))
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		w.Header().Set("Content-Length", strconv.Itoa(2*maxHead)) // net/http goes on with the body until all of it was read
		w.WriteHeader(401)
		_, _ = w.Write(make([]byte, 2*maxHead))
		_ = control.Flush()
		close(pour)
		_, _ = io.Copy(io.Discard, r.Body)
		close(gate)
	})
	g.vault.gate = gate
	in, out := io.Pipe()
	go func() {
		defer out.Close()
		_, _ = out.Write(make([]byte, keptBody/2))
		<-pour
		<-time.After(50 * time.Millisecond) // for the proxy to have judged the answer
		_, _ = out.Write(make([]byte, size-keptBody/2))
	}()
	resp, body := g.send("POST", "/", "", func(r *http.Request) { r.Body, r.ContentLength = in, -1 })
	if resp.StatusCode != 401 || len(body) != 2*maxHead || n.Load() != 1 {
		t.Errorf("got %d and %d bytes after %d attempts", resp.StatusCode, len(body), n.Load())
	}
}

// TestKeptBodyIsLetGoOf: an answer may last for hours.
func TestKeptBodyIsLetGoOf(t *testing.T) {
	p := &payload{size: -1, source: io.NopCloser(strings.NewReader("hello")), in: new(http.Request)}
	p.idle.L = &p.mu
	var first, second http.Request
	p.attach(&first)
	_, _ = io.ReadAll(first.Body)
	if !p.claim() {
		t.Fatal("it cannot be read again")
	}
	p.attach(&second)
	p.settle()
	if got, err := io.ReadAll(second.Body); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	if p.kept != nil || p.claim() {
		t.Errorf("%d bytes are kept", len(p.kept))
	}
}

// TestPayloadSurvivesItsAttempts reads a body by attempts that overlap and end at any point.
func TestPayloadSurvivesItsAttempts(t *testing.T) {
	for range 300 {
		text := strings.Repeat("abcdefghij", rand.IntN(3000))
		in, out := io.Pipe()
		go func() {
			for i := 0; i < len(text); {
				n := min(len(text)-i, 1+rand.IntN(3000))
				if _, err := io.WriteString(out, text[i:i+n]); err != nil {
					return
				}
				i += n
			}
			out.Close()
		}()
		p := &payload{size: -1, source: in, in: new(http.Request)}
		p.idle.L = &p.mu
		var old sync.WaitGroup
		for range 3 {
			var r http.Request
			p.attach(&r)
			old.Go(func() { _, _ = io.CopyN(io.Discard, r.Body, int64(rand.IntN(len(text)+1))) })
			if rand.IntN(2) == 0 {
				old.Wait()
			}
			if rand.IntN(2) == 0 {
				r.Body.Close()
			} else if !p.claim() {
				t.Fatal("it cannot be claimed")
			}
		}
		var r http.Request
		p.attach(&r)
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != text {
			t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(text))
		}
		old.Wait()
		if !p.replayable() {
			t.Fatal("it is not replayable")
		}
	}
}

// TestReadUnderWayIsNotLost: the attempt that was reading has ended, and what it still gets is more than is kept.
func TestReadUnderWayIsNotLost(t *testing.T) {
	in, out := io.Pipe()
	p := &payload{size: -1, source: in, in: new(http.Request)}
	p.idle.L = &p.mu
	var first, second http.Request
	p.attach(&first)
	begin, end := strings.Repeat("a", keptBody-10), strings.Repeat("b", 100)
	go func() { _, _ = io.WriteString(out, begin) }()
	if _, err := io.ReadFull(first.Body, make([]byte, len(begin))); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { _, err := first.Body.Read(make([]byte, 1000)); ended <- err }()
	for reading := false; !reading; {
		p.mu.Lock()
		reading = p.reading
		p.mu.Unlock()
	}
	first.Body.Close()
	p.attach(&second)
	go func() { _, _ = io.WriteString(out, end); out.Close() }()
	if got, err := io.ReadAll(second.Body); err != nil || string(got) != begin+end {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, keptBody+90)
	}
	if err := <-ended; !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("the first attempt's read: %v", err)
	}
	in, out = io.Pipe()
	p = &payload{size: -1, source: in, in: new(http.Request)}
	p.idle.L = &p.mu
	p.attach(&first)
	go out.CloseWithError(io.ErrUnexpectedEOF)
	if _, err := io.ReadAll(first.Body); !errors.Is(err, io.ErrUnexpectedEOF) || p.replayable() {
		t.Errorf("a body that was cut: %v, and it can be read again: %v", err, p.replayable())
	}
	if err := p.blame(errors.New("what net/http makes of it")); !errors.Is(err, errBody) {
		t.Errorf("the caller's fault: %v", err)
	}
}

// TestWhatStandsAtTheEndOfABodyIsSent: checksums come after the bytes, and the signer wants them in the header.
func TestWhatStandsAtTheEndOfABodyIsSent(t *testing.T) {
	for _, fail := range []bool{false, true} {
		g := start(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Header.Get("X-End"), r.Header.Get("X-Hash")[:8])
		},
			func(c *Config) { c.Signer = &plain{hash: true, end: true, bad: fail} })
		resp, body := g.send("POST", "/", "hello")
		if !fail && (resp.StatusCode != 200 || body != "here2cf24dba") || fail && resp.StatusCode != 400 {
			t.Errorf("got %d %s", resp.StatusCode, body)
		}
	}
}

func TestSpoolKeepsWhatItRead(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, size := range []int{0, 1, spoolMemory - 1, spoolMemory, spoolMemory + 1, 3 * spoolMemory} {
		want := bytes.Repeat([]byte{'x', 'y', 'z'}, size/3+1)[:size]
		s, err := newSpool(bytes.NewReader(want), int64(size))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := io.ReadAll(s.open()); err != nil || !bytes.Equal(got, want) || s.size != int64(size) {
				t.Errorf("size %d: got %d bytes, %v", size, len(got), err)
			}
		}
		s.close()
		if _, err := newSpool(bytes.NewReader(want), int64(size)-1); size > 0 && !errors.Is(err, errSpool) {
			t.Errorf("size %d, and room for one less: %v", size, err)
		}
	}
	t.Setenv("TMPDIR", "/nowhere/at/all")
	_, err := newSpool(bytes.NewReader(make([]byte, spoolMemory+1)), 1<<30)
	if e := freshet.AsError(err); e.Kind != freshet.Unavailable || !strings.Contains(e.Hint, "/nowhere/at/all") {
		t.Errorf("no room: %v, hint %q", err, e.Hint)
	}
}

func TestCallerLeavesWhileItWaitsForARetry(t *testing.T) {
	asked := make(chan struct{}, 2)
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(503)
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", g.url, nil)
	req.Header.Set("Authorization", "Bearer "+localSecret)
	done := make(chan error)
	go func() { _, err := client(t).Do(req); done <- err }()
	<-asked
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if e := g.event(); e.Status != 0 || e.Refused != "left" || e.Took.Seconds() > 4 {
		t.Errorf("event %+v", e)
	}
}
