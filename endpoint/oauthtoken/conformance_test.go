package oauthtoken

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/guard"
)

func TestEndpointConformance(t *testing.T) {
	for name, basic := range map[string]bool{"basic": true, "post": false} {
		t.Run(name, func(t *testing.T) {
			freshettest.Endpoint(t, freshettest.EndpointSuite{
				New: func(d *freshettest.Door, secret string) *http.Server {
					return guard.Server(guard.Handler(nil, Deny, New(d, guard.NewSecret(secret))), 90*time.Second)
				},
				Request: func(base, secret string) *http.Request {
					form := url.Values{"grant_type": {"client_credentials"}}
					if !basic && secret != "" {
						form.Set("client_id", freshettest.EndpointIdentity)
						form.Set("client_secret", secret)
					}
					r, _ := http.NewRequest(http.MethodPost, base+Path, strings.NewReader(form.Encode()))
					r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					if basic && secret != "" {
						r.SetBasicAuth(freshettest.EndpointIdentity, secret)
					}
					return r
				},
				Type:         freshet.Bearer,
				Unauthorized: http.StatusUnauthorized,
				Statuses: map[freshet.Kind]int{
					freshet.Invalid: 400, freshet.LoginNeeded: 400, freshet.Denied: 400, freshet.Unavailable: 503, freshet.Malformed: 502, freshet.Bug: 500,
				},
			})
		})
	}
}
