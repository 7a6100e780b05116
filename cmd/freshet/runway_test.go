package main

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"freshet.dev/broker"
	"freshet.dev/client"
	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
)

func ptr[T any](v T) *T { return &v }

// outage is a status in which much goes wrong.
func outage() *client.Status {
	at := ptr(time.Now().Add(time.Hour))
	return &client.Status{
		Running: wire.Running{Version: "1", Config: "/etc/freshet/freshet.yaml"},
		Status: broker.Status{
			Identities: []broker.IdentityStatus{
				{Name: "azure-dev", Source: "azure-cli", Host: "login.microsoftonline.com", Issuers: []string{"login.microsoftonline.com"}, Keys: []broker.KeyStatus{
					{Key: "0123456789abcdef", Fingerprint: "89abcdef89abcdef", ExpiresAt: at, Remaining: 2505, Lasts: 2495, RefreshAt: at, RefreshIn: 600, Wanted: true, Pinned: true},
					{Key: "1123456789abcdef", Fingerprint: "99abcdef89abcdef", ExpiresAt: at, Remaining: 100, Lasts: 98, RefreshAt: at},
				}},
				{Name: "prod", Source: "aws-role", From: "hub", Host: "sts.eu-central-1.amazonaws.com", Issuers: []string{"sts.eu-central-1.amazonaws.com"}, Keys: []broker.KeyStatus{
					{Key: "2123456789abcdef", Fingerprint: "a9abcdef89abcdef", ExpiresAt: at, Remaining: 760, Lasts: 750, RefreshAt: at, Wanted: true, Stale: true, RetryIn: 38},
				}},
			},
			Issuers: []broker.IssuerStatus{
				{Host: "sts.eu-central-1.amazonaws.com", Runway: ptr(750.0), First: "prod", Identities: []string{"prod"}, Blocked: true, RetryIn: 38,
					Why: "sts.eu-central-1.amazonaws.com: answered 429: Throttling", Hint: "once it is well: freshet unblock prod"},
				{Host: "login.microsoftonline.com", Runway: ptr(2495.0), First: "azure-dev", Identities: []string{"azure-dev"}, Blocks: []broker.BlockStatus{
					{TargetStatus: broker.TargetStatus{Host: "login.microsoftonline.com", Tenant: "contoso.example", Client: "04b07795"}, RetryIn: 61, Why: "login.microsoftonline.com: answered 503"},
				}},
				{Host: "probed", Runway: ptr(0.0), First: "x", Blocked: true, Why: "probed: answered 500"},
				{Host: "static", Runway: ptr(9e9), First: "y"},
				{Host: "idle"},
			},
		},
	}
}

func TestStatusSaysHowLongEachIssuerMayBeDown(t *testing.T) {
	var page strings.Builder
	if err := showStatus(&page, outage()); err != nil {
		t.Fatal(err)
	}
	_, runway, ok := strings.Cut(page.String(), "\nRUNWAY if an issuer goes down now\n")
	want := `sts.eu-central-1.amazonaws.com  blocked for 38s: answered 429: Throttling
        the first caller fails in 12m30s (prod)
    hint: once it is well: freshet unblock prod
login.microsoftonline.com       blocked in part  the first caller fails in 41m35s (azure-dev)
    tenant contoso.example, client 04b07795  blocked for 1m1s: answered 503
probed                          blocked, and being tried: answered 500  callers fail already (x)
static                          up  nothing of it expires
idle                            up  nobody uses it now
`
	if !ok || runway != want {
		t.Errorf("got\n%s\nwant\n%s", runway, want)
	}
	for line := range strings.Lines(page.String()) {
		if n := utf8.RuneCountInString(line); n > 1+pageWidth+10 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	for _, want := range []string{"fresh, pinned", "fresh, unused", "stale", "in 38s"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("status does not show %q:\n%s", want, page.String())
		}
	}
}

func TestStatusSaysWhenAFailureIsTriedAgain(t *testing.T) {
	for _, test := range []struct {
		in      float64
		partial bool
		want    string
	}{
		{38, false, "tried again in 38s; at once with: freshet unblock prod\n"},
		{38, true, "tried again in 38s\n"},
		{4.9, false, ""},
	} {
		s := outage()
		id := &s.Identities[1]
		id.LastError, id.Keys[0].RetryIn, s.Partial = "no", test.in, test.partial
		var page strings.Builder
		if err := showStatus(&page, s); err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(page.String(), "ago: no\n")
		if after != test.want {
			t.Errorf("%+v: got %q", test, after)
		}
	}
}

func TestErrorsSayWhenToComeAgain(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{&freshet.Error{Kind: freshet.Unavailable, Why: "h: answered 429", RetryAfter: 38*time.Second + time.Millisecond}, "hint: try again in 38s\n"},
		{&freshet.Error{Kind: freshet.Unavailable, Why: "w", Hint: "free its disk", RetryAfter: time.Minute}, "hint: free its disk; try again in 1m0s\n"},
		{&freshet.Error{Kind: freshet.Unavailable, Why: "w", RetryAfter: time.Second}, ""},
		{&freshet.Error{Kind: freshet.LoginNeeded, Why: "w", Hint: "run az login", RetryAfter: time.Minute}, "hint: run az login\n"},
		{errors.New("w"), ""},
	} {
		var told strings.Builder
		report(&told, test.err)
		if _, got, _ := strings.Cut(told.String(), "\n"); got != test.want {
			t.Errorf("%v: got %q, want %q", test.err, got, test.want)
		}
	}
}

func TestDrillLeadsWithItsVerdict(t *testing.T) {
	rehearse := func(identity string, down time.Duration) string {
		t.Helper()
		d, err := broker.Rehearse(outage().Status, identity, down)
		if err != nil {
			t.Fatal(err)
		}
		var page strings.Builder
		if err := showDrill(&page, &d); err != nil {
			t.Fatal(err)
		}
		return page.String()
	}
	for _, test := range []struct {
		identity string
		down     time.Duration
		want     string
	}{
		{"azure-dev", 40 * time.Minute, `nobody would fail: the shortest runway is 41m35s (azure-dev)
login.microsoftonline.com down for 40m from now on

IDENTITY   KEY       LASTS   OUTCOME            USED BY
azure-dev  01234567  41m35s  survives           –
azure-dev  11234567  1m38s   unused: it lapses  –
`},
		{"prod", 40 * time.Minute, `1 of 1 key would fail, the first in 12m30s (prod)
sts.eu-central-1.amazonaws.com down for 40m from now on

IDENTITY  KEY       LASTS   OUTCOME                                 USED BY
prod      21234567  12m30s  fails after 12m30s, for 28m30s at most  –
`},
	} {
		if got := rehearse(test.identity, test.down); got != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s", test.identity, got, test.want)
		}
	}
	for want, d := range map[string]*broker.Drill{
		"2 of 8 keys would fail, the first at once (a)": {Failing: 2, Wanted: 8, First: ptr(0.0), Shortest: "a"},
		"nobody would fail: no key is in use":           {},
	} {
		if got := verdict(d); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for want, o := range map[string]broker.Outcome{
		"fails at once, for 2m0s at most":    {Outcome: broker.Fails, From: ptr(0.0), Until: ptr(120.0)},
		"nothing held: who asks first fails": {Outcome: broker.Idle},
		"not served now either":              {Outcome: broker.Refused},
		"being retrieved":                    {Outcome: broker.Loading},
	} {
		if got := fate(&o); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestWhoWaitsAtATerminalIsToldForHowLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			answered time.Duration
			want     string
		}{
			{900 * time.Millisecond, ""},
			{2500 * time.Millisecond, "\r\x1b[Kfreshet: prod: waiting for its issuer, for at most 1s more" +
				"\r\x1b[Kfreshet: prod: waiting for its issuer, for at most 0s more\r\x1b[K"},
		} {
			var told buffer
			stop := tellWait(&told, "prod", 2*time.Second)
			time.Sleep(test.answered)
			stop()
			if got := told.String(); got != test.want {
				t.Errorf("answered after %v: told %q, want %q", test.answered, got, test.want)
			}
		}
		var page strings.Builder
		stop := showWait(&page, "prod", time.Minute)
		time.Sleep(10 * time.Second)
		stop()
		if page.String() != "" {
			t.Errorf("no terminal: told %q", page.String())
		}
	})
}
