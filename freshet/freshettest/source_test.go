package freshettest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
)

const planted = "planted-secret-0123456789"

// model is a source that does everything right; its upstream is a word.
type model struct{ upstream Upstream }

func (m model) Retrieve(ctx context.Context, _ freshet.Request) (*freshet.Credential, error) {
	if err := ctx.Err(); err != nil {
		return nil, freshet.AsError(err)
	}
	v := freshet.Validity{Lifetime: time.Hour}
	switch m.upstream {
	case Hang:
		<-ctx.Done()
		return nil, freshet.AsError(ctx.Err())
	case Garbage, Empty, Huge:
		return nil, freshet.Errorf(freshet.Malformed, "answer is not JSON")
	case Failing:
		return nil, freshet.Errorf(freshet.Unavailable, "issuer: 503")
	case Expired:
		v = freshet.Validity{Expires: freshet.Now().Wall().Add(-time.Hour)}
	case Throttled:
		return nil, throttled(http.StatusTooManyRequests, ThrottledFor)
	case Century:
		v = freshet.Validity{Lifetime: 100 * 365 * 24 * time.Hour}
	}
	return freshet.NewBearer(planted, "", v)
}

func throttled(status int, after time.Duration) *freshet.Error {
	return &freshet.Error{Kind: freshet.Unavailable, Why: "issuer: too much is asked of it", Status: status, RetryAfter: after}
}

// Varies implements freshet.Varier.
func (m model) Varies() freshet.Fields { return freshet.FieldTenant }

// Target implements freshet.Targeter.
func (m model) Target(req freshet.Request) freshet.Target {
	return freshet.Target{Host: "issuer", Tenant: req.Tenant}
}

// aiming is a source that asks whom a function says.
type aiming struct {
	model
	at func(freshet.Request) freshet.Target
}

func (a aiming) Target(req freshet.Request) freshet.Target { return a.at(req) }

func TestSourceSuite(t *testing.T) {
	Source(t, SourceSuite{
		New:     func(_ *testing.T, u Upstream) (freshet.Source, any) { return model{u}, nil },
		Secrets: []string{planted},
	})
}

// leaky prints what it holds.
type leaky struct {
	freshet.Source
	Password string
}

func TestJudgeFindsFaults(t *testing.T) {
	s := SourceSuite{Secrets: []string{planted}, Request: freshet.Request{Scopes: []string{"a"}}}
	failing := func(err error) freshet.Source {
		return freshet.SourceFunc(func(context.Context, freshet.Request) (*freshet.Credential, error) { return nil, err })
	}
	unavailable := func(format string, args ...any) *freshet.Error {
		return freshet.Errorf(freshet.Unavailable, format, args...)
	}
	at := func(t freshet.Target) freshet.Source {
		return aiming{model{Good}, func(req freshet.Request) freshet.Target { t.Tenant = req.Tenant; return t }}
	}
	flips := 0
	for _, test := range []struct {
		name     string
		upstream Upstream
		source   freshet.Source
		want     string
	}{
		{"good fails", Good, model{Failing}, "issuer: 503"},
		{"good gives nothing", Good, failing(nil), "neither a credential nor an error"},
		{"failure accepted", Expired, model{Good}, "want an error"},
		{"wrong kind", Expired, model{Failing}, `of kind "unavailable", want "malformed answer"`},
		{"foreign error", Failing, failing(errors.New("EOF")), "want a *freshet.Error"},
		{"secret in the text", Failing, failing(unavailable("answered %s", planted)), "secret 0"},
		{"secret in the hint", Failing, failing(unavailable("no").WithHint("try %q", planted)), "secret 0"},
		{"secret in the source", Good, leaky{model{Good}, planted}, "secret 0"},
		{"lines", Failing, failing(unavailable("answered\nso")), "control characters"},
		{"no text", Failing, failing(unavailable("")), "no text"},
		{"long text", Failing, failing(unavailable("%s", strings.Repeat("x ", 400))), "800 bytes"},
		{"foreign end", Hang, failing(unavailable("gone")), "context had not ended"},
		{"end not wrapped", Hang, freshet.SourceFunc(func(ctx context.Context, _ freshet.Request) (*freshet.Credential, error) {
			<-ctx.Done()
			return nil, freshet.Errorf(freshet.Unavailable, "gone")
		}), "does not wrap"},
		{"slow end", Hang, freshet.SourceFunc(func(ctx context.Context, _ freshet.Request) (*freshet.Credential, error) {
			<-ctx.Done()
			<-time.After(promptly + 100*time.Millisecond)
			return nil, freshet.AsError(ctx.Err())
		}), "after its context had ended"},
		{"status of throttling", Throttled, failing(throttled(400, ThrottledFor)), "status 400, want 429"},
		{"Retry-After is lost", Throttled, failing(throttled(429, 0)), "retry after 0s, want 7s"},
		{"status of an outage", Failing, failing(throttled(429, 0)), "status 429, want what says"},
		{"no host", Good, at(freshet.Target{Client: "c"}), "no host"},
		{"secret in the target", Good, at(freshet.Target{Host: "h", Client: planted}), "secret 0"},
		{"lines in the target", Good, at(freshet.Target{Host: "h\n"}), "not fit"},
		{"tenants alike", Good, aiming{model{Good}, func(freshet.Request) freshet.Target { return freshet.Target{Host: "h"} }}, "of another tenant"},
		{"targets that change", Good, aiming{model{Good}, func(req freshet.Request) freshet.Target {
			flips++
			return freshet.Target{Host: "h", Tenant: req.Tenant, Client: fmt.Sprint(flips)}
		}}, "and then"},
		{"reads all", Huge, freshet.SourceFunc(func(context.Context, freshet.Request) (*freshet.Credential, error) {
			kept = make([]byte, hugeSize)
			return nil, freshet.Errorf(freshet.Malformed, "answer over 1 MiB")
		}), "allocated"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := strings.Join(s.judge(t.Context(), test.upstream, test.source, nil), "\n")
			if !strings.Contains(got, test.want) {
				t.Errorf("found %q, want something with %q", got, test.want)
			}
		})
	}
	kept = nil
}

var kept []byte // so that an allocation is made at all

func TestCrowdFindsDifferences(t *testing.T) {
	var s SourceSuite
	different := freshet.SourceFunc(func(context.Context, freshet.Request) (*freshet.Credential, error) {
		return freshet.NewBearer(rand.Text(), "", freshet.Validity{Lifetime: time.Hour})
	})
	if got := s.judgeCrowd(t.Context(), different); len(got) == 0 {
		t.Error("twenty different answers pass")
	}
	if got := s.judgeCrowd(t.Context(), model{Failing}); len(got) == 0 {
		t.Error("twenty failures pass")
	}
}

func TestStuckSourceIsGivenUp(t *testing.T) {
	var s SourceSuite
	release := make(chan struct{})
	defer close(release)
	stuck := freshet.SourceFunc(func(context.Context, freshet.Request) (*freshet.Credential, error) {
		<-release
		return nil, fmt.Errorf("late")
	})
	if _, err := s.ask(t.Context(), stuck, soon); err != errStuck {
		t.Errorf("got %v, want it given up", err)
	}
}

func TestLeftRunning(t *testing.T) {
	before := goroutines()
	release := make(chan struct{})
	go func() { <-release }()
	if got := leftRunning(before, soon); len(got) != 1 || !strings.Contains(got[0], "TestLeftRunning") {
		t.Errorf("found %q, want the one goroutine", got)
	}
	close(release)
	if got := leftRunning(before, patience); len(got) != 0 {
		t.Errorf("found %q, want none", got)
	}
}
