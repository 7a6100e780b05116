package azure

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// claims are those of a session that was revoked, at a time.
func claims(nbf int) string {
	return fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, nbf)
}

// challenged is graph with claims.
func challenged(nbf int) policy.TokenRequestOptions {
	o := graph
	o.Claims = claims(nbf)
	return o
}

// insufficient is the challenge that a service puts claims in.
func insufficient(nbf int) string {
	return fmt.Sprintf(`Bearer realm="", error="insufficient_claims", claims="%s"`, base64.StdEncoding.EncodeToString([]byte(claims(nbf))))
}

func TestClaimsChallengeIsAnsweredOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		c := wrap(t, f)
		other := graph
		other.TenantID = "other"
		mustGet(t, c, graph)
		mustGet(t, c, other)
		for _, got := range crowd(50, direct(c, challenged(1))) {
			if got.err != nil || got.token != "token-3" {
				t.Fatalf("a challenged caller got %s, %v; want token-3", got.token, got.err)
			}
		}
		time.Sleep(5 * time.Second)
		if got := mustGet(t, c, challenged(1)); got.Token != "token-3" {
			t.Errorf("one who was challenged for the old token too got %s, want token-3", got.Token)
		}
		if got := mustGet(t, c, graph); got.Token != "token-3" {
			t.Errorf("without claims: got %s, want what the challenge was answered with", got.Token)
		}
		if got := mustGet(t, c, other); got.Token != "token-2" {
			t.Errorf("another tenant's: got %s, want token-2", got.Token)
		}
		wantCalls(t, f, 3)
		if got, want := f.claims(), []string{"", "", claims(1)}; !slices.Equal(got, want) {
			t.Errorf("the credential was asked for the claims %q, want %q", got, want)
		}
	})
}

func TestLaterChallengeReplacesTheEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := wrap(t, f)
		mustGet(t, c, graph)
		for n := 1; n <= 3; n++ {
			time.Sleep(time.Second)
			mustGet(t, c, challenged(n))
			if got, want := mustGet(t, c, graph).Token, fmt.Sprintf("token-%d", n+1); got != want {
				t.Errorf("after challenge %d: got %s, want %s", n, got, want)
			}
		}
		if got := mustGet(t, c, challenged(1)); got.Token != "token-2" {
			t.Errorf("a late answer to the first challenge: got %s, want token-2", got.Token)
		}
		if got := mustGet(t, c, graph); got.Token != "token-4" {
			t.Errorf("then, without claims: got %s, want the newest token still", got.Token)
		}
		wantCalls(t, f, 4)
	})
}

func TestChallengeThatComesAgainIsPutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		c := wrap(t, f)
		mustGet(t, c, challenged(1))
		time.Sleep(5 * time.Minute)
		for _, got := range crowd(50, direct(c, challenged(1))) {
			if got.err != nil || got.token != "token-2" {
				t.Fatalf("the same challenge, of the token that had answered it: got %s, %v; want another", got.token, got.err)
			}
		}
		wantCalls(t, f, 2)
		if got := mustGet(t, c, graph); got.Token != "token-2" {
			t.Errorf("without claims: got %s", got.Token)
		}

		// A credential with nothing newer: what there is has to do.
		time.Sleep(5 * time.Minute)
		f.fail(errDown)
		if got := mustGet(t, c, challenged(1)); got.Token != "token-2" {
			t.Errorf("while the issuer is down: got %s", got.Token)
		}
	})
}

func TestTokenOfAChallengeIsRefreshedWithItsClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		c := wrap(t, f)
		mustGet(t, c, graph)
		mustGet(t, c, challenged(1))
		for range 50 {
			time.Sleep(time.Minute)
			began := time.Now()
			mustGet(t, c, graph)
			if took := time.Since(began); took > 0 {
				t.Fatalf("a caller waited %v", took)
			}
		}
		// The token before the challenge was asked for in its life: it is replaced once more itself, unless the challenge's next
		// answer comes first, which replaces both.
		n := make(map[string]int)
		for _, c := range f.claims() {
			n[c]++
		}
		if n[claims(1)] != 2 || n[""] < 1 || n[""] > 2 || len(n) != 2 {
			t.Errorf("the credential was asked for the claims %q, want those of the challenge twice", f.claims())
		}
	})
}

func TestClaimsThatFailLaterDoNotFailThoseWithoutThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		var stepUp atomic.Bool
		f.reply = func(n int64, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
			if o.Claims != "" && stepUp.Load() {
				return azcore.AccessToken{}, &AuthenticationFailedError{&http.Response{StatusCode: 400}} // somebody has to prove a second factor
			}
			return f.token(n), nil
		}
		c := wrap(t, f)
		for i := range maxRecent + 1 { // a request that is not among the recent ones fares the same
			o := graph
			o.TenantID = fmt.Sprint(i)
			mustGet(t, c, o)
			o.Claims = claims(1)
			mustGet(t, c, o)
		}
		stepUp.Store(true)
		time.Sleep(2 * time.Hour)
		for i := range maxRecent + 1 {
			o := graph
			o.TenantID = fmt.Sprint(i)
			mustGet(t, c, o)
			n := f.calls.Load()
			mustGet(t, c, o)
			wantCalls(t, f, n)
		}
	})
}

// A challenge that only a person can answer keeps nobody from what needs none, and those whom it came to are told each time.
func TestChallengeThatNeedsALoginIsOfItsRequestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.reply = func(n int64, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
			if o.Claims != "" {
				body := io.NopCloser(strings.NewReader(`{"error":"interaction_required"}`))
				return azcore.AccessToken{}, &AuthenticationFailedError{&http.Response{StatusCode: 400, Body: body}}
			}
			return f.token(n), nil
		}
		c := wrap(t, f)
		mustGet(t, c, graph)
		for range 3 {
			if _, err := c.GetToken(t.Context(), challenged(1)); !errors.Is(err, freshet.LoginNeeded) {
				t.Errorf("the challenge got %v, want an error of kind login needed", err)
			}
			time.Sleep(time.Second)
		}
		wantCalls(t, f, 2)
		other := graph
		other.Scopes = []string{"https://vault.example/.default"}
		mustGet(t, c, other)
		time.Sleep(59 * time.Minute) // graph's was due meanwhile
		if got := mustGet(t, c, graph); got.Token == "token-1" {
			t.Error("the token without claims was not replaced")
		}
	})
}

func TestIssuerThatDoesNotAnswerAClaimIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c, err := New(f, Config{Cache: newCache(t), Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		mustGet(t, c, graph)
		mustGet(t, c, challenged(1))
		time.Sleep(2 * time.Hour)
		f.slow(time.Hour)
		before := len(f.claims())
		began := time.Now()
		if _, err := c.GetToken(t.Context(), graph); !errors.Is(err, freshet.Unavailable) || time.Since(began) > 20*time.Second {
			t.Errorf("got %v after %v, want an error of kind unavailable after the 20s of its Timeout", err, time.Since(began))
		}
		f.slow(0)
		time.Sleep(5 * time.Second)
		mustGet(t, c, graph)
		if got, want := f.claims()[before:], []string{claims(1), claims(1)}; !slices.Equal(got, want) {
			t.Errorf("the credential was asked for the claims %q, want %q", got, want)
		}
	})
}

func TestChallengeIsAnsweredFromMemoryAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		c := wrap(t, f)
		mustGet(t, c, challenged(1))
		time.Sleep(5 * time.Minute)
		f.fail(errDown)
		for range 20 { // the first of which makes a retrieval, which fails
			if got := mustGet(t, c, challenged(1)); got.Token != "token-1" {
				t.Fatalf("got %s, want what there is", got.Token)
			}
			mustGet(t, c, graph)
			time.Sleep(100 * time.Millisecond)
		}
		wantCalls(t, f, 2)
	})
}

func TestFailedChallengeLeavesTheTokenInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		c := wrap(t, f)
		mustGet(t, c, graph)
		f.fail(errDown)
		for _, got := range crowd(20, direct(c, challenged(1))) {
			if got.err == nil {
				t.Fatal("a challenge was answered from memory")
			}
		}
		wantCalls(t, f, 2)
		if got := mustGet(t, c, graph); got.Token != "token-1" {
			t.Errorf("without claims: got %s, want token-1", got.Token)
		}
	})
}

func TestChallengesOfManyTenantsStayAnswered(t *testing.T) {
	f := &fake{}
	c := wrap(t, f)
	tenant := func(i int) policy.TokenRequestOptions {
		o := graph
		o.TenantID = fmt.Sprint(i)
		return o
	}
	const tenants = 3 * maxRecent
	for i := range tenants {
		mustGet(t, c, tenant(i))
	}
	answers := make(map[int]string)
	for i := range tenants {
		o := tenant(i)
		o.Claims = claims(1)
		answers[i] = mustGet(t, c, o).Token
	}
	for range 20 {
		for i := range tenants {
			if got := mustGet(t, c, tenant(i)).Token; got != answers[i] {
				t.Fatalf("tenant %d: got %s, want %s, which answered its challenge", i, got, answers[i])
			}
		}
	}
	wantCalls(t, f, 2*tenants)
}

func TestRequestIsAmongTheRecentOnesOnce(t *testing.T) {
	c := wrap(t, &fake{})
	for range 2 { // as by two callers at once
		c.s.ways.add(c.s.identity, &graph)
	}
	if n := len(*c.s.ways.latest.Load()); n != 1 {
		t.Errorf("it is there %d times", n)
	}
}

func TestChallengesAreBounded(t *testing.T) {
	c := wrap(t, &fake{})
	for i := range maxDetours + 50 {
		o := challenged(1)
		o.TenantID = fmt.Sprint(i)
		mustGet(t, c, o)
	}
	if n := len(*c.s.ways.detours.Load()); n != maxDetours {
		t.Errorf("%d challenges are remembered, want %d", n, maxDetours)
	}
	for i := range maxDetours + 50 { // those that were forgotten too have a token of their own
		mustGet(t, c, policy.TokenRequestOptions{TenantID: fmt.Sprint(i), Scopes: graph.Scopes, EnableCAE: true})
	}
	if n := len(*c.s.ways.latest.Load()); n > maxRecent {
		t.Errorf("%d requests are remembered, want at most %d", n, maxRecent)
	}
}

// The whole way: a service revokes the session, clients of azcore's pipeline are challenged, and go on with a new token. Each has
// one request under way: with more, BearerTokenPolicy may let one without claims fetch the old token for one with.
func TestPipelinesMeetARevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		c := wrap(t, f)
		good := "Bearer token-1"
		serve := service(func(token string) string {
			if token == good {
				return ""
			}
			return insufficient(1)
		})
		var clients []func() (string, error)
		for range 50 {
			clients = append(clients, client(c, serve))
		}
		all := func(want string) {
			t.Helper()
			got := make(chan error)
			for _, ask := range clients {
				go func() {
					token, err := ask()
					if err == nil && token != want {
						err = fmt.Errorf("sent %s, want %s", token, want)
					}
					got <- err
				}()
			}
			for range clients {
				if err := <-got; err != nil {
					t.Error(err)
				}
			}
		}
		all("Bearer token-1")
		wantCalls(t, f, 1)
		good = "Bearer token-2"
		all("Bearer token-2")
		wantCalls(t, f, 2)
		all("Bearer token-2")
		clients = append(clients, client(c, serve)) // one that never met the challenge
		all("Bearer token-2")
		wantCalls(t, f, 2)
		if got, want := f.claims(), []string{"", claims(1)}; !slices.Equal(got, want) {
			t.Errorf("the credential was asked for the claims %q, want %q", got, want)
		}
	})
}

func TestChallengedCallerLeavesAtItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := wrap(t, f)
		mustGet(t, c, challenged(1))
		time.Sleep(5 * time.Minute)
		f.slow(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := c.GetToken(ctx, challenged(1)); err == nil || time.Since(began) != 30*time.Millisecond {
			t.Errorf("got %v after %v, want its deadline's error after 30ms", err, time.Since(began))
		}
	})
}
