package azureappservice

import (
	"context"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/bar"
	"freshet.dev/internal/guard"
)

// scoped is a source of tokens that differ by scope.
type scoped struct{}

func (scoped) Varies() freshet.Fields { return freshet.FieldScopes }

func (scoped) Retrieve(_ context.Context, req freshet.Request) (*freshet.Credential, error) {
	return freshet.NewBearer(strings.Repeat("token-", 200)+req.Scopes[0][:5], "", freshet.Validity{Lifetime: 100 * time.Minute}) // refresh_in keeps its four digits
}

// cached is a door to a cache, which is asked by strings: SDKs always name a resource.
type cached struct{ id *freshet.Identity }

func (d cached) Get(ctx context.Context, _ string, req freshet.Request) (freshet.Answer, error) {
	return d.id.Get(ctx, req)
}

const (
	ratioBar   = 0.9
	ratioSlack = 0.75 // what fails the test: the bar is for an idle machine
)

func TestRequestsPerSecondBar(t *testing.T) {
	bar.Skip(t)
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(context.Background())
	id, err := cache.Add(freshet.IdentityConfig{Name: "id", Source: scoped{}})
	if err != nil {
		t.Fatal(err)
	}
	const secret = "0123456789abcdef0123456789abcdef"
	server := guard.Server(guard.Handler(nil, Deny, New(Config{}, cached{id}, "id", guard.NewSecret(secret))), time.Minute)
	ratio := bar.Ratio(t, server, "GET /msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net HTTP/1.1\r\n"+
		"Host: 127.0.0.1:9912\r\nX-IDENTITY-HEADER: "+secret+"\r\n\r\n", ratioBar)
	t.Logf("azure-app-service answers %.2f × as many requests as a bare handler; the bar is %.2f", ratio, ratioBar)
	if ratio < ratioSlack {
		t.Errorf("%.2f ×, want at least %.2f", ratio, ratioSlack)
	}
}
