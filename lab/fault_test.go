package lab_test

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"freshet.dev/freshet"
	"freshet.dev/lab"
)

// inject lets an issuer fail for an hour at most, unless the fault says for how long.
func (c *cloud) inject(issuer string, f lab.Fault) {
	c.t.Helper()
	if f.For == 0 {
		f.For = time.Hour
	}
	if err := c.Inject(issuer, f); err != nil {
		c.t.Fatal(err)
	}
}

// wants is a right request to an issuer.
func (c *cloud) wants(issuer string) *http.Request {
	c.t.Helper()
	switch issuer {
	case lab.Entra:
		return c.wantsOf(lab.Tenant)
	case lab.OAuth:
		return c.form(c.OAuthToken, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret)
	case lab.STS:
		token, err := c.WorkloadToken(c.base, "job", lab.AudienceSTS, time.Hour)
		if err != nil {
			c.t.Fatal(err)
		}
		return c.form(c.STS+"/", "Action", "AssumeRoleWithWebIdentity", "RoleArn", lab.Role, "RoleSessionName", "me", "WebIdentityToken", token)
	case lab.ManagedIdentity:
		req := c.request("GET", c.MSI+"?api-version=2019-08-01&resource=x", "")
		req.Header.Set("X-Identity-Header", c.MSIHeader)
		return req
	case lab.Container:
		req := c.request("GET", c.Container, "")
		req.Header.Set("Authorization", c.ContainerToken)
		return req
	case lab.OpenAI:
		return c.asks("/chat/completions", c.key(time.Hour), `{"model":"lab-1","messages":[{"role":"user","content":"hello"}]}`)
	}
	req := c.form(c.AzureCLI, "resource", "x")
	req.Header.Set("Authorization", "Bearer "+c.AzureCLISecret)
	return req
}

// givers are those that give credentials: all but the API.
func givers() []string {
	return slices.DeleteFunc(lab.Issuers(), func(name string) bool { return name == lab.OpenAI })
}

// wantsOf is a right request to Entra, in a tenant.
func (c *cloud) wantsOf(tenant string) *http.Request {
	c.t.Helper()
	return c.form(c.Entra(tenant), "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret, "scope", graph)
}

// status is that of the answer to a request.
func (c *cloud) status(req *http.Request) int {
	c.t.Helper()
	return c.do(req).status
}

func TestThrottlesAndOutagesAreInEachIssuersWords(t *testing.T) {
	for issuer, test := range map[string]struct {
		throttle       int
		throttled, bad string // what is in the body
	}{
		lab.Entra:           {429, "AADSTS90055", `"error":"temporarily_unavailable"`},
		lab.OAuth:           {429, `"error":"temporarily_unavailable"`, `"error":"temporarily_unavailable"`},
		lab.STS:             {400, "<Code>Throttling</Code><Message>Rate exceeded</Message>", "<Type>Receiver</Type><Code>ServiceUnavailable</Code>"},
		lab.ManagedIdentity: {429, `"statusCode":429`, `"statusCode":503`},
		lab.Container:       {429, `"code":"ThrottlingException"`, `"code":"ServiceUnavailable"`},
		lab.AzureCLI:        {429, `"error":"temporarily_unavailable"`, `"error":"temporarily_unavailable"`},
		lab.OpenAI:          {429, `"code":"rate_limit_exceeded"`, `"type":"server_error"`},
	} {
		t.Run(issuer, func(t *testing.T) {
			c := start(t, nil)
			for _, one := range []struct {
				fault      lab.Fault
				status     int
				body, says string
				retryAfter string
			}{
				{lab.Fault{Kind: lab.Throttle}, test.throttle, test.throttled, "throttle seconds", ""},
				{lab.Fault{Kind: lab.Throttle, RetryAfter: 30 * time.Second}, test.throttle, test.throttled, "throttle seconds", "30"},
				{lab.Fault{Kind: lab.Outage}, 503, test.bad, "outage 5xx", ""},
				{lab.Fault{Kind: lab.Outage, Status: 502, RetryAfter: time.Minute}, 502, "", "outage 5xx", "60"},
			} {
				c.inject(issuer, one.fault)
				a := c.do(c.wants(issuer))
				if a.status != one.status || !strings.Contains(a.body, one.body) || a.header.Get(lab.FaultHeader) != one.says || a.header.Get("Retry-After") != one.retryAfter {
					t.Errorf("%s: got %d %v %s", one.fault, a.status, a.header, a.body)
				}
				if wrong := (issuer == lab.STS) != (a.header.Get("Content-Type") == "text/xml"); wrong {
					t.Errorf("%s: got a %s", one.fault, a.header.Get("Content-Type"))
				}
				if err := c.Clear(issuer, ""); err != nil {
					t.Fatal(err)
				}
			}
			if a := c.do(c.wants(issuer)); a.status != 200 || a.header.Get(lab.FaultHeader) != "" {
				t.Errorf("afterwards: got %d %v", a.status, a.header)
			}
			if got, want := c.Count(issuer), (lab.Count{Requests: 5, Granted: 1, Peak: 1, Faults: lab.Faulted{Throttle: 2, Outage: 2}}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestRetryAfterMayBeADateByTheAnswersOwnClock(t *testing.T) {
	c := start(t, nil)
	c.inject(lab.Entra, lab.Fault{Kind: lab.Throttle, How: "date", RetryAfter: 90 * time.Second})
	a := c.do(c.wants(lab.Entra))
	date, err1 := http.ParseTime(a.header.Get("Date"))
	until, err2 := http.ParseTime(a.header.Get("Retry-After"))
	if err1 != nil || err2 != nil || until.Sub(date) != 90*time.Second {
		t.Errorf("got %v", a.header)
	}
}

func TestASlowIssuerAnswersLater(t *testing.T) {
	const by = 50 * time.Millisecond
	c := start(t, nil)
	c.inject(lab.OAuth, lab.Fault{Kind: lab.Slow, By: by, Jitter: by})
	began := time.Now()
	a := c.do(c.wants(lab.OAuth))
	if took := time.Since(began); took < by || a.status != 200 || a.header.Get(lab.FaultHeader) != "slow" {
		t.Errorf("got %d %v after %v, want it after %v", a.status, a.header, took, by)
	}
	if got, want := c.Count(lab.OAuth), (lab.Count{Requests: 1, Peak: 1, Faults: lab.Faulted{Slow: 1}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestAClockThatIsOffShowsInDatesAlone looks at what is absolute, and at what is relative.
func TestAClockThatIsOffShowsInDatesAlone(t *testing.T) {
	const near = 10 * time.Second
	for _, by := range []time.Duration{5 * time.Minute, -5 * time.Minute} {
		c := start(t, nil)
		for _, issuer := range givers() {
			c.inject(issuer, lab.Fault{Kind: lab.Skew, By: by})
		}
		off := func(what string, at time.Time, by time.Duration) {
			t.Helper()
			if d := at.Sub(freshet.Now().Wall()) - by; d.Abs() > near {
				t.Errorf("%v: %s is %v from where it belongs", by, what, d)
			}
		}
		for _, issuer := range givers() {
			if issuer == lab.STS {
				continue // its input is by another's clock: see below
			}
			a := c.do(c.wants(issuer))
			date, err := http.ParseTime(a.header.Get("Date"))
			if err != nil || a.status != 200 {
				t.Fatalf("%s: got %d, %v", issuer, a.status, err)
			}
			off(issuer+": Date", date, by)
			if in, ok := a.doc["expires_in"]; ok && in != 3600.0 {
				t.Errorf("%s: expires_in is %v", issuer, in)
			}
			switch on := a.doc["expires_on"].(type) {
			case string:
				n, _ := strconv.ParseInt(on, 10, 64)
				off(issuer+": expires_on", time.Unix(n, 0), by+time.Hour)
			case float64:
				off(issuer+": expires_on", time.Unix(int64(on), 0), by+time.Hour)
			}
			if text, ok := a.doc["Expiration"].(string); ok {
				at, _ := time.Parse(time.RFC3339, text)
				off(issuer+": Expiration", at, by+time.Hour)
			}
			if token, ok := a.doc["access_token"].(string); ok {
				var got jwt.Claims
				parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
				if err != nil || parsed.UnsafeClaimsWithoutVerification(&got) != nil {
					t.Fatalf("%s: no JWT: %v", issuer, err)
				}
				off(issuer+": iat", got.IssuedAt.Time(), by)
				off(issuer+": nbf", got.NotBefore.Time(), by)
				off(issuer+": exp", got.Expiry.Time(), by+time.Hour)
			}
		}
		// To a clock that is behind, a token that was made now is not valid yet.
		a := c.do(c.wants(lab.STS))
		if by < 0 {
			if a.status != 400 || !strings.Contains(a.body, "Token is not valid yet") {
				t.Errorf("%v: STS answers %d %s", by, a.status, a.body)
			}
			continue
		}
		_, rest, _ := strings.Cut(a.body, "<Expiration>")
		text, _, _ := strings.Cut(rest, "<")
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatalf("STS answers %d %s", a.status, a.body)
		}
		off("STS: Expiration", at, by+time.Hour)
	}
}

// TestKeysOfAClockThatIsOffLiveAsLongAsOthers uses keys whose Expiration seems past.
func TestKeysOfAClockThatIsOffLiveAsLongAsOthers(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.Container: {Lifetime: time.Minute}})
	c.inject(lab.Container, lab.Fault{Kind: lab.Skew, By: -time.Hour})
	doc := c.do(c.wants(lab.Container)).doc
	if _, err := c.whoami(static(doc)); err != nil {
		t.Errorf("keys of a clock that is behind: %v", err)
	}
}

func TestBadFaultsAreRefused(t *testing.T) {
	c := newCloud(t, lab.Config{})
	for _, test := range []struct {
		issuer string
		fault  lab.Fault
		says   string
	}{
		{"x", lab.Fault{Kind: lab.Outage}, "unknown issuer"},
		{lab.Entra, lab.Fault{}, "there are throttle, malformed, outage, slow, skew"},
		{lab.Entra, lab.Fault{Kind: "fire"}, "unknown fault"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, How: "html"}, "there are 5xx, refused, hang, reset"},
		{lab.Entra, lab.Fault{Kind: lab.Slow, How: "5xx", By: time.Second}, "leave it out"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, Probability: -0.1}, "probability"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, Probability: 1.1}, "probability"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, Probability: math.NaN()}, "probability"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, For: -1}, "up to 24h"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, For: 25 * time.Hour}, "up to 24h"},
		{lab.Entra, lab.Fault{Kind: lab.Throttle, RetryAfter: 1500 * time.Millisecond}, "whole seconds"},
		{lab.Entra, lab.Fault{Kind: lab.Throttle, RetryAfter: -time.Second}, "whole seconds"},
		{lab.Entra, lab.Fault{Kind: lab.Throttle, How: "date"}, "retry_after"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, How: "hang", RetryAfter: time.Second}, "retry_after"},
		{lab.Entra, lab.Fault{Kind: lab.Malformed, RetryAfter: time.Second}, "retry_after"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, How: "hang", Status: 503}, "status"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, Status: 404}, "500 to 599"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, By: time.Second}, "by"},
		{lab.Entra, lab.Fault{Kind: lab.Slow}, "is missing"},
		{lab.Entra, lab.Fault{Kind: lab.Slow, By: time.Hour}, "up to 5m"},
		{lab.Entra, lab.Fault{Kind: lab.Slow, By: -time.Second}, "up to 5m"},
		{lab.Entra, lab.Fault{Kind: lab.Slow, By: 4 * time.Minute, Jitter: 2 * time.Minute}, "jitter"},
		{lab.Entra, lab.Fault{Kind: lab.Slow, By: time.Second, Jitter: math.MaxInt64}, "jitter"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, Jitter: time.Second}, "jitter"},
		{lab.Entra, lab.Fault{Kind: lab.Skew}, "is missing"},
		{lab.Entra, lab.Fault{Kind: lab.Skew, By: math.MinInt64}, "up to 24h"},
		{lab.Entra, lab.Fault{Kind: lab.Skew, By: -25 * time.Hour}, "up to 24h"},
		{lab.Entra, lab.Fault{Kind: lab.Outage, Tenant: "a b"}, "tenant"},
		{lab.OAuth, lab.Fault{Kind: lab.Outage, Tenant: lab.Tenant}, "leave it out"},
		{lab.Container, lab.Fault{Kind: lab.Outage, Tenant: lab.Account}, "leave it out"},
		{lab.STS, lab.Fault{Kind: lab.Outage, Tenant: lab.Tenant}, "12 digits"},
		{lab.ManagedIdentity, lab.Fault{Kind: lab.Outage, Tenant: "contoso.example"}, "leave it out"},
	} {
		if err := c.Inject(test.issuer, test.fault); !errors.Is(err, freshet.Invalid) || !strings.Contains(err.Error()+freshet.AsError(err).Hint, test.says) {
			t.Errorf("%s %+v: got %v, want %q", test.issuer, test.fault, err, test.says)
		}
	}
	if on := c.Faults(); len(on) > 0 {
		t.Errorf("got %v", on)
	}
	if err := c.Clear("x", ""); !errors.Is(err, freshet.Invalid) {
		t.Errorf("got %v", err)
	}
}

func TestFaultsAreTextInJSON(t *testing.T) {
	f := lab.Fault{Kind: lab.Skew, Tenant: "contoso.example", Probability: 0.25, Seed: 7, For: 20 * time.Minute, By: -90 * time.Second}
	text, err := json.Marshal(f)
	if want := `{"kind":"skew","tenant":"contoso.example","probability":0.25,"seed":7,"for":"20m","by":"-1m30s"}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v, want %s", text, err, want)
	}
	var back lab.Fault
	if err := json.Unmarshal(text, &back); err != nil || back != f {
		t.Errorf("got %+v, %v back", back, err)
	}
	on := lab.ActiveFault{Fault: f, Left: time.Second, Requests: 3, Touched: 2}
	text, err = json.Marshal(on)
	var again lab.ActiveFault
	if err != nil || json.Unmarshal(text, &again) != nil || again != on || !strings.HasSuffix(string(text), `,"left":"1s","requests":3,"touched":2}`) {
		t.Errorf("got %s, %v, and %+v back", text, err, again)
	}
	for _, bad := range []string{`{"kind":"slow","by":5}`, `{"kind":"outage","probability":0}`, `{"kind":"outage","until":"1h"}`, `{"for":"--1s"}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s: got no error", bad)
		}
	}
}
