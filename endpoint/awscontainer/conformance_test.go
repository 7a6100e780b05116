package awscontainer

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
			h := New(d, freshettest.EndpointIdentity, guard.NewSecret(secret))
			return guard.Server(guard.Handler(nil, Deny, h), 90*time.Second)
		},
		Request: func(base, secret string) *http.Request {
			r, _ := http.NewRequest(http.MethodGet, base+Path, nil)
			if secret != "" {
				r.Header.Set("Authorization", secret)
			}
			return r
		},
		Type:         freshet.AWS,
		Unauthorized: http.StatusForbidden,
		Statuses: map[freshet.Kind]int{
			freshet.Invalid: 403, freshet.LoginNeeded: 401, freshet.Denied: 403, freshet.Unavailable: 503, freshet.Malformed: 502, freshet.Bug: 500,
		},
	})
}
