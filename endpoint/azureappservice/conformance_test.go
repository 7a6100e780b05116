package azureappservice

import (
	"net/http"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/guard"
)

func TestEndpointConformance(t *testing.T) {
	freshettest.Endpoint(t, freshettest.EndpointSuite{
		New: func(d *freshettest.Door, secret string) *http.Server {
			h := New(Config{}, d, freshettest.EndpointIdentity, guard.NewSecret(secret))
			return guard.Server(guard.Handler(nil, Deny, h), 90*time.Second)
		},
		Request: func(base, secret string) *http.Request {
			r, _ := http.NewRequest(http.MethodGet, base+Path+"?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net", nil)
			if secret != "" {
				r.Header.Set("X-IDENTITY-HEADER", secret)
			}
			return r
		},
		Type:         freshet.Bearer,
		Unauthorized: http.StatusForbidden,
		Statuses: map[freshet.Kind]int{
			freshet.Invalid: 400, freshet.LoginNeeded: 403, freshet.Denied: 403, freshet.Unavailable: 503, freshet.Malformed: 502, freshet.Bug: 500,
		},
	})
}
