package awswebidentity

import (
	"io"
	"net/http"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

// TestExpirationIsBySTSClock: this machine's is 10 minutes off, so the expiry that STS states is.
func TestExpirationIsBySTSClock(t *testing.T) {
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		freshettest.SetWallClock(t, off)
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, answer("ASIAX", secretKey, sessionToken, time.Now().Add(time.Hour)))
		})
		cred, err := newSource(t, Config{RoleARN: role, Endpoint: s.URL}).Retrieve(t.Context(), request(t))
		if err != nil {
			t.Fatal(err)
		}
		if d := (cred.Lifetime() - time.Hour).Abs(); d > 20*time.Second {
			t.Errorf("clock off by %v: lives %v, want 1h", off, cred.Lifetime())
		}
	}
}

func TestTarget(t *testing.T) {
	for _, cfg := range []Config{{RoleARN: role, Region: "eu-central-1"}, {RoleARN: role, Endpoint: "https://STS.eu-central-1.amazonaws.com:443/"}} {
		want := freshet.Target{Host: "sts.eu-central-1.amazonaws.com", Client: "123456789012"}
		if got := newSource(t, cfg).Target(freshet.Request{}); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}
