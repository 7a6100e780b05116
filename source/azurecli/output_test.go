package azurecli

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata"

	"freshet.dev/freshet"
)

// within runs f in a bubble where it is this time, in this zone.
func within(t *testing.T, zone string, now time.Time, f func(t *testing.T)) {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Local
	time.Local = loc
	defer func() { time.Local = before }()
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(now))
		f(t)
	})
}

func TestExpiryOfEveryVersionOfAz(t *testing.T) {
	summer := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	autumn := time.Date(2026, 11, 1, 5, 0, 0, 0, time.UTC) // an hour before New York's summer time ends
	berlin := time.Date(2026, 10, 25, 0, 0, 0, 0, time.UTC)
	jwt := "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, summer.Add(time.Hour).Unix())) + ".c2ln"
	for name, test := range map[string]struct {
		now  time.Time
		out  string
		want time.Time
	}{
		"2.54":                     {summer, `{"accessToken":"t","expires_on":1782910800,"expiresOn":"2026-07-01 01:01:01.000000"}`, time.Unix(1782910800, 0)},
		"as string":                {summer, `{"accessToken":"t","expires_on":"1782910800"}`, time.Unix(1782910800, 0)},
		"2.45":                     {summer, `{"accessToken":"t","expiresOn":"2026-07-01 09:00:00.123456"}`, summer.Add(time.Hour + 123456*time.Microsecond)},
		"zero":                     {summer, `{"accessToken":"t","expires_on":0,"expiresOn":"2026-07-01 09:00:00"}`, summer.Add(time.Hour)},
		"null":                     {summer, `{"accessToken":"t","expires_on":null,"expiresOn":"2026-07-01 09:00:00"}`, summer.Add(time.Hour)},
		"twice":                    {autumn, `{"accessToken":"t","expiresOn":"2026-11-01 01:30:00.000000"}`, autumn.Add(30 * time.Minute)}, // or an hour later
		"twice, east of Greenwich": {berlin, `{"accessToken":"t","expiresOn":"2026-10-25 02:30:00.000000"}`, berlin.Add(30 * time.Minute)},
		"its own":                  {summer, `{"accessToken":"` + jwt + `"}`, summer.Add(time.Hour)},
		"with a BOM":               {summer, "\xef\xbb\xbf" + `{"accessToken":"t","expires_on":1782910800,"tokenType":"bearer"}` + "\r\n", time.Unix(1782910800, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			zone := "America/New_York"
			if test.now.Equal(berlin) {
				zone = "Europe/Berlin"
			}
			within(t, zone, test.now, func(t *testing.T) {
				c, err := parse([]byte(test.out), freshet.Now())
				if err != nil {
					t.Fatal(err)
				}
				if !c.Expires().Equal(test.want) || c.TokenType() != "Bearer" {
					t.Errorf("expires %v, want %v; type %q", c.Expires(), test.want.UTC(), c.TokenType())
				}
			})
		})
	}
}

// TestDueWhenAzAsksAgain holds that a token is due once az would give another, not before: each earlier run of az would bring the
// same.
func TestDueWhenAzAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for life, want := range map[time.Duration]time.Duration{
			time.Hour:        55*time.Minute + 5*time.Second,
			20 * time.Minute: 15*time.Minute + 5*time.Second,
			28 * time.Hour:   28*time.Hour - 5*time.Minute + 5*time.Second,
			5 * time.Minute:  0, // the engine's own schedule
			time.Minute:      0,
		} {
			c, err := parse(fmt.Appendf(nil, `{"accessToken":"t","expires_on":%d}`, time.Now().Add(life).Unix()), freshet.Now())
			if err != nil {
				t.Fatal(err)
			}
			at := freshet.Answer{Credential: c}.RefreshAt()
			if want == 0 && !at.IsZero() || want != 0 && !at.Equal(time.Now().Add(want)) {
				t.Errorf("%v left: due at %v, want in %v", life, at, want)
			}
		}
	})
}

func TestOutputThatIsNoToken(t *testing.T) {
	for name, out := range map[string]string{
		"nothing":         " \n",
		"text":            "planted",
		"broken":          `{"accessToken":"planted`,
		"a list":          `["planted"]`,
		"no token":        `{"expires_on":SOON}`,
		"no expiry":       `{"accessToken":"planted"}`,
		"another type":    `{"accessToken":"planted","tokenType":"pop","expires_on":SOON}`,
		"a word":          `{"accessToken":"planted","expires_on":"soon"}`,
		"no local time":   `{"accessToken":"planted","expiresOn":"2026-07-01T09:00:00Z"}`,
		"token with line": `{"accessToken":"plan\nted","expires_on":SOON}`,
	} {
		out = strings.ReplaceAll(out, "SOON", fmt.Sprint(time.Now().Add(time.Hour).Unix()))
		c, err := parse([]byte(out), freshet.Now())
		if !errors.Is(err, freshet.Malformed) || !strings.HasPrefix(err.Error(), "az: ") || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
	}
}
