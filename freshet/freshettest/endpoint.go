package freshettest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

// EndpointSuite describes an endpoint to [Endpoint].
type EndpointSuite struct {
	// New makes the endpoint's server, with all that stands before it, for a door to [EndpointIdentity]. Its timeouts count.
	New func(door *Door, secret string) *http.Server
	// Request is what a client of the dialect sends to a server at base, such as "http://127.0.0.1:9911", with this secret;
	// "" sends none.
	Request func(base, secret string) *http.Request
	// Type is what the dialect carries.
	Type freshet.Type
	// Unauthorized is the status for a secret that is missing or wrong.
	Unauthorized int
	// Statuses are those for the kinds of failure.
	Statuses map[freshet.Kind]int
}

// EndpointIdentity is the identity that endpoints under test serve.
const EndpointIdentity = "id"

const (
	endpointHost   = "127.0.0.1:9911"
	endpointSecret = "planted-endpoint-secret-0123456789abcdef"
	wrongSecret    = "planted-endpoint-secret-0123456789abcdeX"
	plantedCause   = "planted-cause-0123456789"
	plantedPart    = "planted-credential-" // begins every secret part of a credential
	hold           = 60 * time.Second      // a retrieval that takes its time
)

// Endpoint runs the conformance suite that every endpoint passes: it hands out what its door gives, marked while it is stale, and
// tells the door how long its client can wait; what lacks the secret, comes from a web page, through a proxy or to another host's
// name, is too large, too slow, or no request of the dialect, is refused before the door is asked; each kind of failure has the
// dialect's status; every answer is JSON that no cache keeps; and none but a credential's own holds a secret.
func Endpoint(t *testing.T, s EndpointSuite) {
	t.Helper()
	for _, c := range endpointCases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { report(t, s.judge(t, c.try)) })
		})
	}
}

// endpointCase is one thing to try, in a bubble of its own.
type endpointCase struct {
	name string
	try  func(e *endpointTrial) []string
}

// endpointTrial is an endpoint that is tried.
type endpointTrial struct {
	*EndpointSuite
	door   *Door
	writes time.Duration // how long the server takes over an answer; 0: as long as it takes
	dial   func() (net.Conn, error)
}

func (s *EndpointSuite) judge(t testing.TB, try func(*endpointTrial) []string) []string {
	t.Helper()
	var network Network
	l, err := network.Listen(endpointHost)
	if err != nil {
		t.Fatal(err)
	}
	c, err := credentialOf(s.Type)
	if err != nil {
		t.Fatal(err)
	}
	door := NewDoor(EndpointIdentity)
	door.Answer(freshet.Answer{Credential: c})
	server := s.New(door, endpointSecret)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	defer func() {
		_ = server.Close()
		<-done
		time.Sleep(time.Second) // net/http lingers for half of one where it has not read all that was sent
	}()
	return try(&endpointTrial{s, door, server.WriteTimeout, func() (net.Conn, error) {
		return network.DialContext(context.Background(), "tcp", endpointHost)
	}})
}

// credentialOf is a credential of a type, with planted secrets.
func credentialOf(typ freshet.Type) (*freshet.Credential, error) {
	v := freshet.Validity{Lifetime: time.Hour}
	switch typ {
	case freshet.Bearer:
		return freshet.NewBearer(plantedPart+"token", "", v)
	case freshet.IDToken:
		return freshet.NewIDToken(plantedPart+"token", v)
	case freshet.Basic:
		return freshet.NewBasic("user", plantedPart+"password", v)
	}
	return freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "AKIAPLANTED", SecretAccessKey: plantedPart + "key", SessionToken: plantedPart + "session"}, v)
}

// reply is what came back; status 0 if nothing did.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send makes the client's request, changed, on a connection of its own.
func (e *endpointTrial) send(secret string, change func(*http.Request)) reply {
	r := e.Request("http://"+endpointHost, secret)
	if change != nil {
		change(r)
	}
	return e.exchange(r.Method, func(w io.Writer) { _ = r.Write(w) })
}

// exchange writes a request, while it waits for the reply: a server need not read all of it.
func (e *endpointTrial) exchange(method string, write func(io.Writer)) reply {
	conn, err := e.dial()
	if err != nil {
		return reply{}
	}
	_ = conn.SetDeadline(time.Now().Add(2 * hold))
	written := make(chan struct{})
	go func() {
		defer close(written)
		write(conn)
	}()
	defer func() {
		conn.Close()
		<-written
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return reply{}
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, body}
}

// sound is what is wrong with an answer of the dialect.
func (r reply) sound(want int) []string {
	var problems []string
	if r.status != want {
		problems = append(problems, fmt.Sprintf("status %d, want %d: %s", r.status, want, r.body))
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		problems = append(problems, fmt.Sprintf("Content-Type %q: some SDKs read errors under application/json alone", got))
	}
	if len(r.body) > 0 && !json.Valid(r.body) {
		problems = append(problems, fmt.Sprintf("body is no JSON: %s", r.body))
	}
	if got := r.header.Get("Cache-Control"); got != "no-store" {
		problems = append(problems, fmt.Sprintf("Cache-Control %q, want no-store", got))
	}
	return problems
}

// silent is what of a refusal gives away what it must not.
func (r reply) silent() []string {
	return leaks(fmt.Sprint(r.status, r.header, string(r.body)), []string{endpointSecret, wrongSecret, plantedCause, plantedPart})
}

// refused is what is wrong where a request was to be refused before the door.
func (e *endpointTrial) refused(what string, r reply, want int) []string {
	problems := append(r.sound(want), r.silent()...)
	if e.door.Asked() != 0 {
		problems = append(problems, "the door was asked")
	}
	for i := range problems {
		problems[i] = what + ": " + problems[i]
	}
	return problems
}

var endpointCases = []endpointCase{
	{"hands out", judgeHandOut}, {"stale", judgeStale}, {"holds", judgeHold}, {"twenty at once", judgeMany}, {"slow door", judgeSlowDoor}, {"client that leaves", judgeLeaving},
	{"failures", judgeFailures}, {"another type", judgeOtherTypes},
	{"without the secret", judgeSecret}, {"foreign host", judgeHost}, {"web page or proxy", judgePage}, {"wrong method", judgeMethod},
	{"wrong path", judgePath}, {"huge", judgeHuge}, {"slow", judgeSlow},
}

func judgeHandOut(e *endpointTrial) []string {
	r := e.send(endpointSecret, nil)
	problems := r.sound(http.StatusOK)
	if !bytes.Contains(r.body, []byte(plantedPart)) || e.door.Asked() != 1 {
		problems = append(problems, fmt.Sprintf("the door was asked %d times, and the answer has the credential: %v", e.door.Asked(), bytes.Contains(r.body, []byte(plantedPart))))
	}
	if name, _ := e.door.Last(); name != EndpointIdentity {
		problems = append(problems, fmt.Sprintf("the door was asked for %q", name))
	}
	return problems
}

// judgeStale has one version grow stale and be well again, as it is when a later attempt brings it once more, and then fail.
func judgeStale(e *endpointTrial) []string {
	var problems []string
	a, _ := e.door.answer(context.Background())
	for i, stale := range []bool{false, true, true, false} {
		a.Stale = stale
		e.door.Answer(a)
		r := e.send(endpointSecret, nil)
		if got, marked := r.header["Freshet-Stale"]; r.status != http.StatusOK || marked != stale || marked && got[0] != "true" {
			problems = append(problems, fmt.Sprintf("answer %d: status %d with Freshet-Stale %q for a credential that is stale: %v", i, r.status, got, stale))
		}
	}
	e.door.Fail(freshet.Errorf(freshet.Unavailable, "down"))
	if _, marked := e.send(endpointSecret, nil).header["Freshet-Stale"]; marked {
		problems = append(problems, "a refusal is marked stale")
	}
	return problems
}

// judgeHold looks whether the endpoint says how long its client waits, and would still be there to answer: a retrieval that takes
// its time may come first.
func judgeHold(e *endpointTrial) []string {
	e.send(endpointSecret, nil)
	_, req := e.door.Last()
	switch {
	case req.Hold <= 0:
		return []string{"the door is not told how long the client can wait"}
	case e.writes > 0 && e.writes < hold+req.Hold:
		return []string{fmt.Sprintf("the server cuts an answer after %v, and the door may hold it for %v beside the retrieval", e.writes, req.Hold)}
	}
	return nil
}

func judgeMany(e *endpointTrial) []string {
	var wg sync.WaitGroup
	replies := make([]reply, callers)
	for i := range replies {
		wg.Go(func() { replies[i] = e.send(endpointSecret, nil) })
	}
	wg.Wait()
	for i, r := range replies {
		if r.status != http.StatusOK || !bytes.Equal(r.body, replies[0].body) {
			return []string{fmt.Sprintf("caller %d got %d, and another answer than caller 0: %v", i, r.status, !bytes.Equal(r.body, replies[0].body))}
		}
	}
	return nil
}

// judgeSlowDoor has a retrieval take longer than the request may.
func judgeSlowDoor(e *endpointTrial) []string {
	answer := e.door.answer
	e.door.set(func(ctx context.Context) (freshet.Answer, error) {
		select {
		case <-ctx.Done():
			return freshet.Answer{}, ctx.Err()
		case <-time.After(hold):
			return answer(ctx)
		}
	})
	return e.send(endpointSecret, nil).sound(http.StatusOK)
}

func judgeLeaving(e *endpointTrial) []string {
	asked, left := make(chan struct{}), make(chan struct{})
	e.door.set(func(ctx context.Context) (freshet.Answer, error) {
		close(asked)
		select {
		case <-ctx.Done():
			close(left)
		case <-time.After(hold):
		}
		return freshet.Answer{}, freshet.AsError(context.Canceled)
	})
	conn, err := e.dial()
	if err != nil {
		return []string{err.Error()}
	}
	if err := e.Request("http://"+endpointHost, endpointSecret).Write(conn); err != nil {
		return []string{err.Error()}
	}
	<-asked
	conn.Close()
	select {
	case <-left:
		return nil
	case <-time.After(hold):
		return []string{"the door is not told that the client has left"}
	}
}

func judgeFailures(e *endpointTrial) []string {
	var problems []string
	for _, kind := range []freshet.Kind{freshet.Invalid, freshet.LoginNeeded, freshet.Denied, freshet.Unavailable, freshet.Malformed, freshet.Bug} {
		e.door.Fail(&freshet.Error{Kind: kind, Identity: EndpointIdentity, Source: "test", Why: "the reason", RetryAfter: 1500 * time.Millisecond,
			Cause: errors.New(plantedCause)})
		r := e.send(endpointSecret, nil)
		for _, p := range append(r.sound(e.Statuses[kind]), r.silent()...) {
			problems = append(problems, fmt.Sprintf("%s: %s", kind, p))
		}
		if !bytes.Contains(r.body, []byte("the reason")) {
			problems = append(problems, fmt.Sprintf("%s: the answer does not say why: %s", kind, r.body))
		}
		want := "" // who is told when to come again does, though nothing will have changed
		if kind == freshet.Unavailable {
			want = "2"
		}
		if got := r.header.Get("Retry-After"); got != want {
			problems = append(problems, fmt.Sprintf("%s: Retry-After %q of an error that has 1.5 s, want %q", kind, got, want))
		}
	}
	e.door.Fail(errors.New(plantedCause))
	r := e.send(endpointSecret, nil)
	return append(problems, append(r.sound(e.Statuses[freshet.Unavailable]), r.silent()...)...)
}

func judgeOtherTypes(e *endpointTrial) []string {
	var problems []string
	for _, typ := range []freshet.Type{freshet.Bearer, freshet.IDToken, freshet.Basic, freshet.AWS} {
		if typ == e.Type {
			continue
		}
		c, err := credentialOf(typ)
		if err != nil {
			return []string{err.Error()}
		}
		e.door.Answer(freshet.Answer{Credential: c})
		r := e.send(endpointSecret, nil)
		for _, p := range append(r.sound(e.Statuses[freshet.Invalid]), r.silent()...) {
			problems = append(problems, fmt.Sprintf("%s: %s", c.Type(), p))
		}
	}
	return problems
}

func judgeSecret(e *endpointTrial) []string {
	problems := e.refused("no secret", e.send("", nil), e.Unauthorized)
	for _, secret := range []string{wrongSecret, endpointSecret[:len(endpointSecret)-1], endpointSecret + "x", strings.ToUpper(endpointSecret)} {
		problems = append(problems, e.refused("wrong secret", e.send(secret, nil), e.Unauthorized)...)
	}
	return append(problems, e.refused("secret in the URL", e.send("", func(r *http.Request) {
		r.URL.RawQuery = "client_id=" + EndpointIdentity + "&client_secret=" + endpointSecret + "&authorization=" + endpointSecret
	}), e.Unauthorized)...)
}

func judgeHost(e *endpointTrial) []string {
	var problems []string
	for _, host := range []string{"attacker.example", "attacker.example:9911", "127.0.0.1.attacker.example", "localhost.attacker.example:9911", "192.0.2.1:9911"} {
		r := e.send(endpointSecret, func(r *http.Request) { r.Host = host })
		problems = append(problems, e.refused(host, r, http.StatusForbidden)...)
	}
	for _, host := range []string{"localhost:9911", "LOCALHOST", "127.0.0.1", "[::1]:9911"} {
		if r := e.send(endpointSecret, func(r *http.Request) { r.Host = host }); r.status != http.StatusOK {
			problems = append(problems, fmt.Sprintf("status %d for host %s", r.status, host))
		}
	}
	return problems
}

func judgePage(e *endpointTrial) []string {
	var problems []string
	for _, header := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User", "X-Forwarded-For", "Forwarded"} {
		for _, value := range []string{"null", "http://localhost:9911", ""} {
			r := e.send(endpointSecret, func(r *http.Request) { r.Header.Set(header, value) })
			problems = append(problems, e.refused(header, r, http.StatusForbidden)...)
		}
	}
	return problems
}

func judgeMethod(e *endpointTrial) []string {
	var problems []string
	usual := e.Request("http://"+endpointHost, endpointSecret).Method
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "BREW"} {
		if method == usual {
			continue
		}
		r := e.send(endpointSecret, func(r *http.Request) { r.Method = method })
		problems = append(problems, e.refused(method, r, http.StatusMethodNotAllowed)...)
		if got := r.header.Get("Allow"); got != usual {
			problems = append(problems, fmt.Sprintf("%s: Allow %q, want %s (RFC 9110 §15.5.6)", method, got, usual))
		}
	}
	return problems
}

func judgePath(e *endpointTrial) []string {
	var problems []string
	usual := e.Request("http://"+endpointHost, endpointSecret).URL.Path
	for _, path := range []string{"/", usual + "/", usual + "x", "/x" + usual, strings.ToUpper(usual)} {
		r := e.send(endpointSecret, func(r *http.Request) { r.URL.Path = path })
		problems = append(problems, e.refused(path, r, http.StatusNotFound)...)
	}
	return problems
}

func judgeHuge(e *endpointTrial) []string {
	var problems []string
	r := e.send(endpointSecret, func(r *http.Request) { r.Header.Set("X-Filler", strings.Repeat("x", 64<<10)) })
	if r.status != http.StatusRequestHeaderFieldsTooLarge || e.door.Asked() != 0 {
		problems = append(problems, fmt.Sprintf("header of 64 KiB: status %d, the door was asked %d times, want 431 and none", r.status, e.door.Asked()))
	}
	huge := strings.Repeat("x", 1<<20)
	r = e.send(endpointSecret, func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(huge)), int64(len(huge))
	})
	problems = append(problems, e.refused("body of 1 MiB", r, http.StatusRequestEntityTooLarge)...)
	if e.Request("http://"+endpointHost, endpointSecret).Body == nil {
		return problems // a body of unknown length is not read
	}
	r = e.send(endpointSecret, func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(io.MultiReader(r.Body, strings.NewReader("&x="+huge))), -1
	})
	if r.status/100 != 4 || e.door.Asked() != 0 {
		problems = append(problems, fmt.Sprintf("chunked body of 1 MiB: status %d, the door was asked %d times", r.status, e.door.Asked()))
	}
	return append(problems, r.silent()...)
}

// judgeSlow sends all of a request but its last byte.
func judgeSlow(e *endpointTrial) []string {
	var whole bytes.Buffer
	if err := e.Request("http://"+endpointHost, endpointSecret).Write(&whole); err != nil {
		return []string{err.Error()}
	}
	began := time.Now()
	r := e.exchange(http.MethodGet, func(w io.Writer) { _, _ = w.Write(whole.Bytes()[:whole.Len()-1]) })
	var problems []string
	if took := time.Since(began); took > hold {
		problems = append(problems, fmt.Sprintf("the server waited %v for a request that never ended", took))
	}
	if r.status/100 == 2 || e.door.Asked() != 0 {
		problems = append(problems, fmt.Sprintf("half a request: status %d, the door was asked %d times", r.status, e.door.Asked()))
	}
	return append(problems, r.silent()...)
}
