package freshettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// Upstream is how the issuer behind a source under test behaves. Every answer but Good's and Hang's has the suite's secrets in
// it, as far as it has a body at all: that is what must not get out.
type Upstream string

// The upstreams that a source is tried against.
const (
	Good      Upstream = "good"      // gives a valid credential, the same to everybody
	Hang      Upstream = "hang"      // takes the request and never answers
	Garbage   Upstream = "garbage"   // succeeds with what is no credential
	Empty     Upstream = "empty"     // succeeds with nothing at all
	Huge      Upstream = "huge"      // succeeds with 100 MB; see WriteHuge
	Expired   Upstream = "expired"   // gives a credential whose expiry has passed
	Century   Upstream = "century"   // gives a credential that expires in 100 years
	Failing   Upstream = "failing"   // says that it cannot serve anybody now
	Throttled Upstream = "throttled" // says that too much is asked of it, and to come again after ThrottledFor
)

// ThrottledFor is the Retry-After of an upstream that is [Throttled].
const ThrottledFor = 7 * time.Second

var upstreams = []Upstream{Good, Hang, Garbage, Empty, Huge, Expired, Century, Failing, Throttled}

// kinds are the errors that upstreams lead to, unless SourceSuite.Kinds says otherwise.
var kinds = map[Upstream]freshet.Kind{
	Hang: freshet.Unavailable, Garbage: freshet.Malformed, Empty: freshet.Malformed, Huge: freshet.Malformed,
	Expired: freshet.Malformed, Century: freshet.Malformed, Failing: freshet.Unavailable, Throttled: freshet.Unavailable,
}

// SourceSuite describes a source to [Source].
type SourceSuite struct {
	// New makes the source over an upstream that behaves so, and returns it with its settings, or nil where it has none to
	// print. It is called once per test; what it starts ends with t.
	New func(t *testing.T, upstream Upstream) (src freshet.Source, config any)
	// Request is what the source is asked, with an Input for a source that is a Deriver.
	Request freshet.Request
	// Secrets are searched for in all that is printed: what authenticates the source, what it was given as its input, the
	// tokens its upstream answers with, and something of the upstream's other answers.
	Secrets []string
	// Kinds are the kinds of error that differ from the usual, which is Unavailable for Hang, Failing and Throttled, and
	// Malformed for the rest.
	Kinds map[Upstream]freshet.Kind
	// Absent says of upstreams that cannot be why not.
	Absent map[Upstream]string
}

const (
	promptly = time.Second      // how soon a source returns once its context has ended
	patience = 30 * time.Second // how long a source may take that has no reason to wait
	soon     = 50 * time.Millisecond
	callers  = 20
	hugeSize = 100 << 20
	// hugeAlloc is what a source may allocate while it refuses 100 MB. Ten of the usual caps of 1 MiB fit in, the body does
	// not.
	hugeAlloc = 32 << 20
)

// WriteHuge writes the body of an upstream that is [Huge]: prefix and then filler, until there are 100 MB or the reader has
// gone.
func WriteHuge(w io.Writer, prefix string) {
	if _, err := io.WriteString(w, prefix); err != nil {
		return
	}
	filler := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	for n := 0; n < hugeSize; n += len(filler) {
		if _, err := w.Write(filler); err != nil {
			return
		}
	}
}

// Source runs the conformance suite that every source passes: it answers from a good upstream, twenty callers at once alike;
// it returns promptly when its context ends; it fails with an *[freshet.Error] of the right kind, without the upstream's words,
// that tells the engine what it goes by; it says whom it asks, if it is a [freshet.Targeter]; it reads no more than it must; it
// prints no secret; and it leaves nothing running. Goroutines are counted, so the suite must
// not run in a parallel test.
func Source(t *testing.T, s SourceSuite) {
	t.Helper()
	before := goroutines()
	for _, u := range upstreams {
		t.Run(string(u), func(t *testing.T) {
			src, config := s.make(t, u)
			report(t, s.judge(t.Context(), u, src, config))
		})
	}
	t.Run("cancelled while waiting", func(t *testing.T) {
		src, _ := s.make(t, Hang)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		timer := time.AfterFunc(soon, cancel)
		defer timer.Stop()
		report(t, s.judgeEnd(ctx, src, context.Canceled))
	})
	t.Run("cancelled before", func(t *testing.T) {
		src, _ := s.make(t, Hang)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		report(t, s.judgeEnd(ctx, src, context.Canceled))
	})
	t.Run("twenty at once", func(t *testing.T) {
		src, _ := s.make(t, Good)
		report(t, s.judgeCrowd(t.Context(), src))
	})
	for _, stack := range leftRunning(before, 5*time.Second) {
		t.Errorf("left running:\n%s", stack)
	}
}

func (s *SourceSuite) make(t *testing.T, u Upstream) (freshet.Source, any) {
	t.Helper()
	if why := s.Absent[u]; why != "" {
		t.Skip(why)
	}
	src, config := s.New(t, u)
	if src == nil {
		t.Fatal("New returned no source")
	}
	return src, config
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

// judge tries a source against one upstream and returns what is wrong with it.
func (s *SourceSuite) judge(ctx context.Context, u Upstream, src freshet.Source, config any) []string {
	problems := append(s.printed("before use: ", src, config), s.judgeTarget(src)...)
	switch u {
	case Good:
		problems = append(problems, s.judgeGood(ctx, src)...)
	case Hang:
		ctx, cancel := context.WithTimeout(ctx, soon)
		defer cancel()
		problems = append(problems, s.judgeEnd(ctx, src, context.DeadlineExceeded)...)
	default:
		problems = append(problems, s.judgeFailure(ctx, u, src)...)
	}
	return append(problems, s.printed("after use: ", src, config)...)
}

func (s *SourceSuite) judgeGood(ctx context.Context, src freshet.Source) []string {
	cred, err := s.ask(ctx, src, patience)
	switch {
	case err != nil:
		return []string{fmt.Sprintf("Retrieve: %v", err)}
	case cred == nil:
		return []string{"Retrieve returned neither a credential nor an error"}
	case cred.Remaining() <= 0:
		return []string{"the credential has no life left"}
	}
	return s.printed("", cred)
}

func (s *SourceSuite) judgeFailure(ctx context.Context, u Upstream, src freshet.Source) []string {
	want, ok := s.Kinds[u]
	if !ok {
		want = kinds[u]
	}
	before := allocated()
	cred, err := s.ask(ctx, src, patience)
	var problems []string
	if n := allocated() - before; u == Huge && n > hugeAlloc {
		problems = append(problems, fmt.Sprintf("it allocated %d MiB while refusing 100", n>>20))
	}
	if err == nil {
		return append(problems, fmt.Sprintf("Retrieve gave %v, want an error of kind %q", cred, want))
	}
	return append(append(problems, s.judgeError(err, want)...), judgeLimit(u, err)...)
}

// judgeEnd tries a source whose context ends, by itself or already has.
func (s *SourceSuite) judgeEnd(ctx context.Context, src freshet.Source, want error) []string {
	var began freshet.Instant
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { began = freshet.Now(); close(ended) })
	defer stop()
	_, err := s.ask(ctx, src, patience)
	if err == errStuck {
		return []string{err.Error()}
	}
	if ctx.Err() == nil {
		return []string{fmt.Sprintf("it returned (%v) although its context had not ended, and its upstream answers nothing", err)}
	}
	<-ended
	var problems []string
	if took := began.Elapsed(); took > promptly {
		problems = append(problems, fmt.Sprintf("it returned %v after its context had ended, want at most %v", took, promptly))
	}
	switch {
	case err == nil:
		return append(problems, "Retrieve gave a credential, want an error")
	case !errors.Is(err, want):
		problems = append(problems, fmt.Sprintf("error %q does not wrap %q", err, want))
	}
	return append(problems, s.judgeError(err, freshet.Unavailable)...)
}

// judgeCrowd has many callers ask at once; the race detector watches.
func (s *SourceSuite) judgeCrowd(ctx context.Context, src freshet.Source) []string {
	var wg sync.WaitGroup
	creds, errs := make([]*freshet.Credential, callers), make([]error, callers)
	for i := range callers {
		wg.Go(func() { creds[i], errs[i] = s.ask(ctx, src, patience) })
	}
	wg.Wait()
	for i, cred := range creds {
		switch {
		case errs[i] != nil:
			return []string{fmt.Sprintf("caller %d: %v", i, errs[i])}
		case cred.Fingerprint() != creds[0].Fingerprint() || cred.Type() != creds[0].Type():
			return []string{fmt.Sprintf("caller %d got %v, caller 0 got %v", i, cred, creds[0])}
		}
	}
	return nil
}

var errStuck = fmt.Errorf("call of Retrieve is still running %v after it should have returned", patience)

// ask calls a source, and gives it up where it would hang the test. It asks with a request of its own.
func (s *SourceSuite) ask(ctx context.Context, src freshet.Source, patience time.Duration) (*freshet.Credential, error) {
	type result struct {
		cred *freshet.Credential
		err  error
	}
	done := make(chan result, 1)
	req := s.Request
	req.Scopes = append([]string(nil), s.Request.Scopes...)
	go func() {
		cred, err := src.Retrieve(ctx, req)
		done <- result{cred, err}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.cred, r.err
	case <-timer.C:
		return nil, errStuck
	}
}

// allocated is how many bytes this process has allocated ever.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
