package oauthtoken

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/bar"
	"freshet.dev/internal/guard"
)

// cached is a door to a cache, by handle.
type cached struct{ handle *freshet.Handle }

func (d cached) Get(ctx context.Context, _ string, _ freshet.Request) (freshet.Answer, error) {
	return d.handle.Get(ctx)
}

func (cached) Names() []string { return []string{"id"} }

const (
	ratioBar   = 0.9
	ratioSlack = 0.75 // what fails the test: the bar is for an idle machine
)

func TestRequestsPerSecondBar(t *testing.T) {
	bar.Skip(t)
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(context.Background())
	id, err := cache.Add(freshet.IdentityConfig{Name: "id", Source: freshet.SourceFunc(func(context.Context, freshet.Request) (*freshet.Credential, error) {
		return freshet.NewBearer(strings.Repeat("token-", 200), "", freshet.Validity{Lifetime: 100 * time.Minute}) // expires_in keeps its four digits
	})})
	if err != nil {
		t.Fatal(err)
	}
	h, err := id.Handle(freshet.Request{})
	if err != nil {
		t.Fatal(err)
	}
	const secret = "0123456789abcdef0123456789abcdef"
	server := guard.Server(guard.Handler(nil, Deny, New(cached{h}, guard.NewSecret(secret))), time.Minute)
	const form = "grant_type=client_credentials&client_id=id&client_secret=" + secret
	ratio := bar.Ratio(t, server, "POST /token HTTP/1.1\r\nHost: 127.0.0.1:9911\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
		"Content-Length: "+strconv.Itoa(len(form))+"\r\n\r\n"+form, ratioBar)
	t.Logf("oauth-token answers %.2f × as many requests as a bare handler; the bar is %.2f", ratio, ratioBar)
	if ratio < ratioSlack {
		t.Errorf("%.2f ×, want at least %.2f", ratio, ratioSlack)
	}
}
