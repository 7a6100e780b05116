package awswebidentity

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/field"
)

const (
	role         = "arn:aws:iam::123456789012:role/deploy"
	secretKey    = "planted-secret-access-key-0123456789"
	sessionToken = "planted-session-token-0123456789"
	webIdentity  = "planted-web-identity-token.0123456789"
	gossip       = "gossip-of-the-sts-0123456789"
)

// answer is a successful one.
func answer(id, secret, session string, expires time.Time) string {
	return fmt.Sprintf(`<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>%s</SubjectFromWebIdentityToken>
    <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/deploy/freshet</Arn><AssumedRoleId>X:freshet</AssumedRoleId></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken>
      <Expiration>%s</Expiration>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>`, gossip, id, secret, session, expires.UTC().Format(time.RFC3339))
}

func failing(code string) string {
	return fmt.Sprintf(`<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`,
		code, gossip)
}

type server struct {
	*httptest.Server
	requests []*http.Request
	forms    []url.Values
}

func newServer(t *testing.T, reply http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		s.requests, s.forms = append(s.requests, r), append(s.forms, r.PostForm)
		reply(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func newSource(t *testing.T, cfg Config) *Source {
	t.Helper()
	src, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func request(t *testing.T) freshet.Request {
	t.Helper()
	input, err := freshet.NewIDToken(webIdentity, freshet.Validity{Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return freshet.Request{Input: input}
}

func TestExchange(t *testing.T) {
	expires := freshet.Now().Wall().Add(20 * time.Second).Truncate(time.Second)
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answer("ASIAX", secretKey, sessionToken, expires))
	})
	// Whatever the SDK would find in its usual places has no say.
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "of-the-environment")
	t.Setenv("AWS_REGION", "eu-west-3")
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
	cred, err := newSource(t, Config{RoleARN: role, Endpoint: s.URL}).Retrieve(freshet.WithAncestry(t.Context(), "outer", "my deploy"), request(t))
	if err != nil {
		t.Fatal(err)
	}
	want := freshet.AWSKeys{AccessKeyID: "ASIAX", SecretAccessKey: secretKey, SessionToken: sessionToken, AccountID: "123456789012"}
	if got := cred.AWS(); got != want || cred.Type() != freshet.AWS {
		t.Errorf("got %v of type %v", got, cred.Type())
	}
	if !cred.Expires().Equal(expires) {
		t.Errorf("expires %v, want %v as given", cred.Expires(), expires)
	}
	const form = "Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdeploy&RoleSessionName=freshet-my-deploy" +
		"&Version=2011-06-15&WebIdentityToken=planted-web-identity-token.0123456789"
	if got := s.forms[0].Encode(); got != form {
		t.Errorf("form is\n%s, want\n%s", got, form)
	}
	r := s.requests[0]
	if got := r.Method + " " + r.URL.String(); got != "POST /" {
		t.Errorf("request line is %q", got)
	}
	if got := r.Header.Get("Authorization"); got != "" {
		t.Error("the request is signed")
	}
}

func TestOptionalParameters(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answer("ASIAX", secretKey, sessionToken, freshet.Now().Wall().Add(time.Hour)))
	})
	cfg := Config{
		RoleARN: role, Region: "eu-central-1", Endpoint: s.URL + "/sts", Duration: field.Duration(time.Hour), SessionName: "build@x",
		Policy: `{"Version":"2012-10-17"}`,
	}
	if _, err := newSource(t, cfg).Retrieve(t.Context(), request(t)); err != nil {
		t.Fatal(err)
	}
	f := s.forms[0]
	if f.Get("DurationSeconds") != "3600" || f.Get("RoleSessionName") != "build@x" || f.Get("Policy") != cfg.Policy {
		t.Errorf("form is %v", f)
	}
	if p := s.requests[0].URL.Path; strings.TrimSuffix(p, "/") != "/sts" {
		t.Errorf("path is %q, want the endpoint's", p)
	}
}

// TestLongAnswers has answers that do not fit into one read of the connection: see awsapi.HTTP.
func TestLongAnswers(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<!--"+strings.Repeat("x", 256<<10)+"-->"+answer("ASIAX", secretKey, sessionToken, freshet.Now().Wall().Add(time.Hour)))
	})
	src := newSource(t, Config{RoleARN: role, Endpoint: s.URL})
	for i := range 30 {
		if _, err := src.Retrieve(t.Context(), request(t)); err != nil {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
}

func TestInputThatIsNoToken(t *testing.T) {
	src := newSource(t, Config{RoleARN: role, Endpoint: "http://127.0.0.1:1"})
	keys, err := freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "AKIAX", SecretAccessKey: secretKey}, freshet.Validity{Static: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, input := range []*freshet.Credential{nil, keys} {
		if _, err := src.Retrieve(t.Context(), freshet.Request{Input: input}); !errors.Is(err, freshet.Invalid) {
			t.Errorf("input %v: got %v, want it refused", input, err)
		}
	}
}

func TestAnswersRefused(t *testing.T) {
	soon := freshet.Now().Wall().Add(time.Hour)
	whole := answer("ASIAX", secretKey, sessionToken, soon)
	cut := func(element string) string {
		before, rest, _ := strings.Cut(whole, "<"+element+">")
		_, after, _ := strings.Cut(rest, "</"+element+">")
		return before + after
	}
	for name, test := range map[string]struct{ body, want string }{
		"nothing":       {"", "sts: answer has no credentials"},
		"not XML":       {gossip, "sts: answer has no credentials"},
		"cut short":     {whole[:strings.Index(whole, "<Expiration")], "sts: answer is not one of STS"},
		"another":       {"<x>" + gossip + "</x>", "sts: answer is not one of STS"},
		"none":          {cut("Credentials"), "sts: answer has no credentials"},
		"no id":         {cut("AccessKeyId"), "sts: answer has only a part"},
		"no secret":     {cut("SecretAccessKey"), "sts: answer has only a part"},
		"no session":    {cut("SessionToken"), "sts: answer has only a part"},
		"empty session": {answer("ASIAX", secretKey, "", soon), "sts: answer has only a part"},
		"no expiry":     {cut("Expiration"), "does not say when"},
		"odd expiry":    {strings.Replace(whole, "<Expiration>", "<Expiration>x", 1), "sts: answer is not one of STS"},
	} {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, test.body) })
		_, err := newSource(t, Config{RoleARN: role, Endpoint: s.URL}).Retrieve(t.Context(), request(t))
		if !errors.Is(err, freshet.Malformed) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		kind   freshet.Kind
		why    string
	}{
		{403, failing("AccessDenied"), freshet.Denied, "sts: AccessDenied"},
		{400, failing("InvalidIdentityToken"), freshet.Denied, "sts: InvalidIdentityToken"},
		{403, failing("IDPRejectedClaim"), freshet.Denied, "sts: IDPRejectedClaim"},
		{403, failing("RegionDisabledException"), freshet.Denied, "sts: RegionDisabledException"},
		{400, failing("PackedPolicyTooLarge"), freshet.Denied, "sts: PackedPolicyTooLarge"},
		{400, failing("MalformedPolicyDocument"), freshet.Denied, "sts: MalformedPolicyDocument"},
		{400, failing("ValidationError"), freshet.Denied, "sts: ValidationError"},
		{400, failing("InvalidParameterValue"), freshet.Denied, "sts: InvalidParameterValue"},
		{400, failing("ExpiredTokenException"), freshet.Unavailable, "sts: ExpiredTokenException"},
		{400, failing("ExpiredToken"), freshet.Unavailable, "sts: ExpiredToken"},
		{400, failing("Throttling"), freshet.Unavailable, "sts: Throttling"},
		{400, failing("ThrottlingException"), freshet.Unavailable, "sts: ThrottlingException"},
		{400, failing("RequestLimitExceeded"), freshet.Unavailable, "sts: RequestLimitExceeded"},
		{400, failing("TooManyRequestsException"), freshet.Unavailable, "sts: TooManyRequestsException"},
		{400, failing("SlowDown"), freshet.Unavailable, "sts: SlowDown"},
		{400, failing("RequestTimeout"), freshet.Unavailable, "sts: RequestTimeout"},
		{400, failing("IDPCommunicationError"), freshet.Unavailable, "sts: IDPCommunicationError"},
		{500, failing("AccessDenied"), freshet.Unavailable, "sts: AccessDenied"},
		{503, gossip, freshet.Unavailable, "sts: answered 503"},
		{429, "", freshet.Unavailable, "sts: answered 429"},
		{403, gossip, freshet.Denied, "sts: answered 403"},
		{403, "", freshet.Denied, "sts: answered 403"},
		{400, failing("<![CDATA[" + gossip + "]]>"), freshet.Malformed, "sts: answered 400"},
		{400, failing(""), freshet.Malformed, "sts: answered 400"},
		{404, gossip, freshet.Malformed, "sts: answered 404"},
		{304, "", freshet.Malformed, "sts: answered 304"},
	} {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		})
		_, err := newSource(t, Config{RoleARN: role, Endpoint: s.URL}).Retrieve(t.Context(), request(t))
		e, ok := err.(*freshet.Error)
		if !ok || e.Kind != test.kind || e.Why != test.why {
			t.Errorf("%d %s: got %v, want %q %q", test.status, test.body, err, test.kind, test.why)
			continue
		}
		freshettest.LeakedSecrets(t, e.Error()+e.Hint, gossip, webIdentity)
		passes := e.Kind == freshet.Unavailable && !strings.Contains(e.Why, "ExpiredToken")
		if want := map[bool]time.Duration{true: 7 * time.Second}[passes]; e.RetryAfter != want {
			t.Errorf("%d %s: retry after %v, want %v", test.status, test.body, e.RetryAfter, want)
		}
		if len(s.requests) != 1 {
			t.Errorf("%d %s: %d requests, want 1: the SDK retries", test.status, test.body, len(s.requests))
		}
	}
}

func TestConformance(t *testing.T) {
	freshettest.Source(t, freshettest.SourceSuite{
		New: func(t *testing.T, u freshettest.Upstream) (freshet.Source, any) {
			cfg := Config{RoleARN: role, Endpoint: upstream(t, u)}
			return newSource(t, cfg), cfg
		},
		Request: request(t),
		Secrets: []string{secretKey, sessionToken, webIdentity, gossip},
	})
}

// upstream is the address of an STS that behaves so.
func upstream(t *testing.T, u freshettest.Upstream) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		give := func(life time.Duration) {
			_, _ = io.WriteString(w, answer("ASIAX", secretKey, sessionToken, freshet.Now().Wall().Add(life)))
		}
		switch u {
		case freshettest.Good:
			give(time.Hour)
		case freshettest.Hang:
			<-r.Context().Done()
		case freshettest.Garbage:
			_, _ = io.WriteString(w, `{"token":"`+gossip+`"}`)
		case freshettest.Huge:
			freshettest.WriteHuge(w, "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>"+gossip)
		case freshettest.Expired:
			give(-time.Minute)
		case freshettest.Century:
			give(100 * 365 * 24 * time.Hour)
		case freshettest.Failing:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, failing("ServiceUnavailable"))
		case freshettest.Throttled: // STS says so with status 400
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, failing("Throttling"))
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestChainInTheEngine(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answer("ASIAX", secretKey, sessionToken, freshet.Now().Wall().Add(time.Hour)))
	})
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(t.Context())
	input, err := freshet.NewBearer(webIdentity, "", freshet.Validity{Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	from, err := cache.Add(freshet.IdentityConfig{Name: "github", Source: fixed{input}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := cache.Add(freshet.IdentityConfig{Name: "ci", Source: newSource(t, Config{RoleARN: role, Endpoint: s.URL}), From: from})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := id.Get(t.Context(), freshet.Request{}); err != nil {
		t.Fatal(err)
	}
	if got := s.forms[0].Get("WebIdentityToken"); got != webIdentity {
		t.Errorf("sent %q", got)
	}
}
