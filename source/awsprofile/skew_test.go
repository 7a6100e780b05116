package awsprofile

import (
	"io"
	"net/http"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/awsapi/ststest"
)

// TestExpirationIsByTheIssuersClock: of the portal, and of the STS that a role or a token is taken to. This machine's is off.
func TestExpirationIsByTheIssuersClock(t *testing.T) {
	portal := newPortal(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, portalAnswer(time.Now().Add(time.Hour)))
	})
	s := ststest.New(t, []freshet.AWSKeys{staticAWS}, func(w http.ResponseWriter, _ *http.Request, c ststest.Call) {
		_, _ = io.WriteString(w, ststest.Answer(c.Form.Get("Action"), "ASIAROLE", time.Now().Add(time.Hour)))
	})
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		freshettest.SetWallClock(t, off)
		for name, write := range map[string]func(){
			"sso": func() { home(t, ssoProfile(portal.URL), "").login(t, freshet.Now().Wall().Add(time.Hour)) },
			"role": func() {
				home(t, "[profile prod]\nrole_arn = "+role+"\nsource_profile = base\n"+endpoint(s.URL), "[base]\n"+staticKeys)
			},
			"web identity": func() {
				dir := home(t, "", "")
				dir.write(t, "token", "a-token\n")
				dir.write(t, ".aws/config", "[profile prod]\nrole_arn = "+role+"\nweb_identity_token_file = "+dir.path("token")+"\n"+endpoint(s.URL))
			},
		} {
			write()
			cred, err := retrieve(t, "prod")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if d := (cred.Lifetime() - time.Hour).Abs(); d > 20*time.Second {
				t.Errorf("%s, clock off by %v: lives %v, want 1h", name, off, cred.Lifetime())
			}
		}
	}
}

func TestTarget(t *testing.T) {
	home(t, "", "")
	for _, profile := range []string{"prod", "other"} {
		want := freshet.Target{Host: "aws-profile", Client: profile}
		if got := newSource(t, Config{Profile: profile}).Target(freshet.Request{}); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// TestStatus: by which the engine holds a limit against the profile.
func TestStatus(t *testing.T) {
	for code, want := range map[string]int{"TooManyRequestsException": 429, "InternalServerException": 500, "ForbiddenException": 403} {
		portal := newPortal(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Amzn-Errortype", code)
			w.WriteHeader(want)
		})
		home(t, ssoProfile(portal.URL), "").login(t, freshet.Now().Wall().Add(time.Hour))
		_, err := retrieve(t, "prod")
		if e := freshet.AsError(err); e == nil || e.Status != want {
			t.Errorf("%s: got %v, want it with status %d", code, err, want)
		}
	}
}
