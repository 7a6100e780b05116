package awsrole

import (
	"io"
	"net/http"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/awsapi/ststest"
)

// TestExpirationIsBySTSClock: this machine's is 10 minutes off, so the expiry that STS states is.
func TestExpirationIsBySTSClock(t *testing.T) {
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		for _, age := range []bool{false, true} {
			freshettest.SetWallClock(t, off)
			s := ststest.New(t, []freshet.AWSKeys{inputKeys}, func(w http.ResponseWriter, _ *http.Request, _ ststest.Call) {
				if age { // a cache on the way: the Date is not the issuer's now
					w.Header().Set("Age", "0")
				}
				_, _ = io.WriteString(w, ststest.Answer("AssumeRole", "ASIAX", time.Now().Add(time.Hour)))
			})
			cred, err := newSource(t, Config{RoleARN: role, Endpoint: s.URL}).Retrieve(t.Context(), request(t))
			if err != nil {
				t.Fatal(err)
			}
			want := time.Hour
			if age {
				want -= off
			}
			if d := (cred.Lifetime() - want).Abs(); d > 20*time.Second {
				t.Errorf("clock off by %v, Age %v: lives %v, want %v", off, age, cred.Lifetime(), want)
			}
		}
	}
}

func TestTarget(t *testing.T) {
	src := newSource(t, Config{RoleARN: role, Region: "eu-central-1"})
	want := freshet.Target{Host: "sts.eu-central-1.amazonaws.com", Client: "123456789012"}
	if got := src.Target(freshet.Request{}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
