package oauth2

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

// TestClockThatIsOff: a token lives as long as its issuer says, by expires_in or by its exp, though this machine's clock is 10
// minutes off. Without a Date to go by the exp is taken as given, and expires_in is right all the same.
func TestClockThatIsOff(t *testing.T) {
	for _, test := range []struct {
		name      string
		exp       time.Duration // of the token; 0: it is no JWT
		expiresIn int
		cached    bool // the Date is a cache's
		off, want time.Duration
	}{
		{"exp alone", time.Hour, 0, false, 10 * time.Minute, time.Hour},
		{"exp alone, slow", time.Hour, 0, false, -10 * time.Minute, time.Hour},
		{"exp and expires_in", time.Hour, 3600, false, 10 * time.Minute, time.Hour},
		{"exp and expires_in, slow", time.Hour, 3600, false, -10 * time.Minute, time.Hour},
		{"exp sooner", 55 * time.Minute, 3600, false, 10 * time.Minute, 55 * time.Minute},
		{"exp sooner, slow", 55 * time.Minute, 3600, false, -10 * time.Minute, 55 * time.Minute},
		{"expires_in sooner, slow", time.Hour, 3300, false, -10 * time.Minute, 55 * time.Minute},
		{"short", 5 * time.Minute, 300, false, 10 * time.Minute, 5 * time.Minute},
		{"expires_in alone", 0, 3600, false, 10 * time.Minute, time.Hour},
		{"expires_in alone, slow", 0, 3600, true, -10 * time.Minute, time.Hour},
		{"exp alone, no Date", time.Hour, 0, true, 10 * time.Minute, 50 * time.Minute},
		{"exp and expires_in, no Date, slow", time.Hour, 3600, true, -10 * time.Minute, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			freshettest.SetWallClock(t, test.off)
			i := newIssuer(t, func(w http.ResponseWriter, _ *http.Request) {
				text, rest := token, ""
				if test.exp != 0 {
					text = bearerJWT(time.Now().Add(test.exp))
				}
				if test.expiresIn != 0 {
					rest = fmt.Sprintf(`,"expires_in":%d`, test.expiresIn)
				}
				if test.cached {
					w.Header().Set("Age", "0")
				}
				_, _ = fmt.Fprintf(w, `{"access_token":%q%s}`, text, rest)
			})
			cred := retrieve(t, Config{TokenURL: i.URL, ClientID: "me", ClientSecret: secretRef(t, "SECRET", clientSecret)}, freshet.Request{})
			if d := (cred.Lifetime() - test.want).Abs(); d > 20*time.Second {
				t.Errorf("lives %v, want %v", cred.Lifetime(), test.want)
			}
			if want := time.Now().Add(test.off + test.want); cred.Expires().Sub(want).Abs() > 20*time.Second {
				t.Errorf("expires %v by this machine's clock, want %v", cred.Expires(), want)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	for url, host := range map[string]string{
		"https://IdP.example/token": "idp.example", "https://idp.example:8443/token": "idp.example:8443", "https://idp.example:443/x": "idp.example",
	} {
		src := newSource(t, Config{TokenURL: url, ClientID: "me", ClientSecret: secretRef(t, "SECRET", clientSecret)})
		want := freshet.Target{Host: host, Client: "me"}
		if got := src.Target(freshet.Request{Scopes: []string{"a"}}); got != want {
			t.Errorf("%s: got %v, want %v", url, got, want)
		}
	}
}
