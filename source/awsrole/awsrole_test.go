package awsrole

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/awsapi/ststest"
	"freshet.dev/internal/field"
)

const (
	role          = "arn:aws:iam::123456789012:role/deploy"
	inputSecret   = "planted-secret-key-of-the-input-0123456789"
	sessionSecret = "planted-session-token-of-the-input-0123456"
)

var inputKeys = freshet.AWSKeys{AccessKeyID: "AKIAINPUT", SecretAccessKey: inputSecret, SessionToken: sessionSecret}

func newSource(t *testing.T, cfg Config) *Source {
	t.Helper()
	src, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func input(t *testing.T, keys freshet.AWSKeys, v freshet.Validity) freshet.Request {
	t.Helper()
	cred, err := freshet.NewAWS(keys, v)
	if err != nil {
		t.Fatal(err)
	}
	return freshet.Request{Input: cred}
}

func request(t *testing.T) freshet.Request {
	t.Helper()
	return input(t, inputKeys, freshet.Validity{Lifetime: time.Hour})
}

func TestExchangeIsSignedWithTheInput(t *testing.T) {
	// Whatever the SDK would find in its usual places has no say.
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "of-the-environment")
	t.Setenv("AWS_REGION", "eu-west-3")
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
	expires := freshet.Now().Wall().Add(20 * time.Second).Truncate(time.Second)
	s := ststest.New(t, []freshet.AWSKeys{inputKeys}, func(w http.ResponseWriter, _ *http.Request, _ ststest.Call) {
		_, _ = io.WriteString(w, ststest.Answer("AssumeRole", "ASIAX", expires))
	})
	src := newSource(t, Config{RoleARN: role, Region: "eu-central-1", Endpoint: s.URL})
	cred, err := src.Retrieve(t.Context(), request(t))
	if err != nil {
		t.Fatal(err)
	}
	want := freshet.AWSKeys{AccessKeyID: "ASIAX", SecretAccessKey: ststest.SecretKey, SessionToken: ststest.SessionToken, AccountID: "210987654321"}
	if got := cred.AWS(); got != want || !cred.Expires().Equal(expires) {
		t.Errorf("got %v, expiring %v, want it as given, at %v", got, cred.Expires(), expires)
	}
	const form = "Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdeploy&RoleSessionName=freshet&Version=2011-06-15"
	c := s.Calls()[0]
	if got := c.Form.Encode(); got != form {
		t.Errorf("form is\n%s, want\n%s", got, form)
	}
	if c.Signer != "AKIAINPUT" || c.Region != "eu-central-1" {
		t.Errorf("signed by %q for %q", c.Signer, c.Region)
	}
}

// TestOneSourceSignsEachCallWithItsOwnInput: the SDK's client is shared, and what it signs with is not.
func TestOneSourceSignsEachCallWithItsOwnInput(t *testing.T) {
	other := freshet.AWSKeys{AccessKeyID: "AKIAOTHER", SecretAccessKey: "planted-secret-of-another-0123456789"}
	s := ststest.New(t, []freshet.AWSKeys{inputKeys, other}, ststest.Give(time.Hour))
	src := newSource(t, Config{RoleARN: role, Endpoint: s.URL})
	for _, keys := range []freshet.AWSKeys{inputKeys, other, inputKeys} {
		if _, err := src.Retrieve(t.Context(), input(t, keys, freshet.Validity{Static: true})); err != nil {
			t.Fatal(err)
		}
		calls := s.Calls()
		if got := calls[len(calls)-1].Signer; got != keys.AccessKeyID {
			t.Errorf("signed by %q, want %q", got, keys.AccessKeyID)
		}
	}
	wrong := inputKeys
	wrong.SecretAccessKey = "planted-secret-that-is-wrong-0123456"
	_, err := src.Retrieve(t.Context(), input(t, wrong, freshet.Validity{Static: true}))
	if !errors.Is(err, freshet.Denied) || err.Error() != "sts: SignatureDoesNotMatch" {
		t.Errorf("a wrong secret: got %v", err)
	}
}

func TestOptionalParameters(t *testing.T) {
	s := ststest.New(t, []freshet.AWSKeys{inputKeys}, ststest.Give(time.Hour))
	cfg := Config{
		RoleARN: role, Endpoint: s.URL, Duration: field.Duration(12 * time.Hour), SessionName: "build@x", ExternalID: "tenant:7/a",
		Policy: `{"Version":"2012-10-17"}`, PolicyARNs: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
		Tags: map[string]string{"team": "a b", "cost": ""}, SourceIdentity: "ada",
	}
	if _, err := newSource(t, cfg).Retrieve(t.Context(), request(t)); err != nil {
		t.Fatal(err)
	}
	f := s.Calls()[0].Form
	for name, want := range map[string]string{
		"DurationSeconds": "43200", "RoleSessionName": "build@x", "ExternalId": cfg.ExternalID, "Policy": cfg.Policy,
		"PolicyArns.member.1.arn": cfg.PolicyARNs[0], "SourceIdentity": "ada",
		"Tags.member.1.Key": "cost", "Tags.member.1.Value": "", "Tags.member.2.Key": "team", "Tags.member.2.Value": "a b",
	} {
		if got := f.Get(name); got != want || !f.Has(name) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestSessionIsNamedAfterTheIdentity(t *testing.T) {
	s := ststest.New(t, []freshet.AWSKeys{inputKeys}, ststest.Give(time.Hour))
	src := newSource(t, Config{RoleARN: role, Endpoint: s.URL})
	for name, want := range map[string]string{
		"deployer":               "freshet-deployer",
		"dé ploy/er":             "freshet-d--ploy-er",
		strings.Repeat("x", 100): "freshet-" + strings.Repeat("x", 56),
	} {
		if _, err := src.Retrieve(freshet.WithAncestry(t.Context(), "outer", name), request(t)); err != nil {
			t.Fatal(err)
		}
		calls := s.Calls()
		if got := calls[len(calls)-1].Form.Get("RoleSessionName"); got != want {
			t.Errorf("%q: session is %q, want %q", name, got, want)
		}
	}
}

func TestInputThatIsNoKeys(t *testing.T) {
	src := newSource(t, Config{RoleARN: role, Endpoint: "http://127.0.0.1:1"})
	token, err := freshet.NewBearer("a-token", "", freshet.Validity{Static: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, input := range []*freshet.Credential{nil, token} {
		if _, err := src.Retrieve(t.Context(), freshet.Request{Input: input}); !errors.Is(err, freshet.Invalid) {
			t.Errorf("input %v: got %v, want it refused", input, err)
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
		{403, ststest.Failing("AccessDenied"), freshet.Denied, "sts: AccessDenied"},
		{403, ststest.Failing("InvalidClientTokenId"), freshet.Denied, "sts: InvalidClientTokenId"},
		{403, ststest.Failing("SignatureDoesNotMatch"), freshet.Denied, "sts: SignatureDoesNotMatch"},
		{400, ststest.Failing("ValidationError"), freshet.Denied, "sts: ValidationError"},
		{403, ststest.Failing("ExpiredToken"), freshet.Unavailable, "sts: ExpiredToken"},
		{400, ststest.Failing("Throttling"), freshet.Unavailable, "sts: Throttling"},
		{400, ststest.Failing("RequestLimitExceeded"), freshet.Unavailable, "sts: RequestLimitExceeded"},
		{503, ststest.Gossip, freshet.Unavailable, "sts: answered 503"},
		{429, "", freshet.Unavailable, "sts: answered 429"},
		{404, ststest.Gossip, freshet.Malformed, "sts: answered 404"},
		{200, "", freshet.Malformed, "sts: answer has no credentials"},
	} {
		n := 0
		s := ststest.New(t, []freshet.AWSKeys{inputKeys}, func(w http.ResponseWriter, _ *http.Request, _ ststest.Call) {
			n++
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
		freshettest.LeakedSecrets(t, e.Error()+e.Hint, ststest.Gossip, inputSecret, sessionSecret)
		passes := e.Kind == freshet.Unavailable && !strings.Contains(e.Why, "ExpiredToken")
		if want := map[bool]time.Duration{true: 7 * time.Second}[passes]; e.RetryAfter != want {
			t.Errorf("%d %s: retry after %v, want %v", test.status, test.body, e.RetryAfter, want)
		}
		if n != 1 {
			t.Errorf("%d %s: %d requests, want 1: the SDK retries", test.status, test.body, n)
		}
	}
}

// TestSessionInAFileThatIsOverNeedsALogin: keys that do not say when they expire, and have, cannot be renewed here.
func TestSessionInAFileThatIsOverNeedsALogin(t *testing.T) {
	s := ststest.New(t, []freshet.AWSKeys{inputKeys}, func(w http.ResponseWriter, _ *http.Request, _ ststest.Call) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, ststest.Failing("ExpiredToken"))
	})
	_, err := newSource(t, Config{RoleARN: role, Endpoint: s.URL}).Retrieve(t.Context(), input(t, inputKeys, freshet.Validity{Static: true}))
	if !errors.Is(err, freshet.LoginNeeded) {
		t.Errorf("got %v", err)
	}
}

func TestConformance(t *testing.T) {
	freshettest.Source(t, freshettest.SourceSuite{
		New: func(t *testing.T, u freshettest.Upstream) (freshet.Source, any) {
			s := ststest.New(t, []freshet.AWSKeys{inputKeys}, ststest.Behave(u))
			cfg := Config{RoleARN: role, Endpoint: s.URL}
			return newSource(t, cfg), cfg
		},
		Request: request(t),
		Secrets: []string{ststest.SecretKey, ststest.SessionToken, ststest.Gossip, inputSecret, sessionSecret},
	})
}

// TestFiftyRequestsAreUnderWayAtOnce: the STS answers nobody until all fifty have arrived, so a lock of the SDK's or of ours
// across one would hang it.
func TestFiftyRequestsAreUnderWayAtOnce(t *testing.T) {
	const n = 50
	arrived, all := make(chan struct{}, n), make(chan struct{})
	s := ststest.New(t, []freshet.AWSKeys{inputKeys}, func(w http.ResponseWriter, r *http.Request, c ststest.Call) {
		arrived <- struct{}{}
		select {
		case <-all:
			ststest.Give(time.Hour)(w, r, c)
		case <-r.Context().Done():
		}
	})
	src := newSource(t, Config{RoleARN: role, Endpoint: s.URL})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req := request(t)
	errs := make(chan error, n)
	for range n {
		go func() {
			_, err := src.Retrieve(ctx, req)
			errs <- err
		}()
	}
	for i := range n {
		select {
		case <-arrived:
		case <-ctx.Done():
			t.Fatalf("%d of %d requests arrived", i, n)
		}
	}
	close(all)
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestChainInTheEngine(t *testing.T) {
	s := ststest.New(t, []freshet.AWSKeys{inputKeys}, ststest.Give(20*time.Second))
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(t.Context())
	asked := 0
	from, err := cache.Add(freshet.IdentityConfig{Name: "prod", Source: freshet.SourceFunc(
		func(context.Context, freshet.Request) (*freshet.Credential, error) {
			asked++
			return freshet.NewAWS(inputKeys, freshet.Validity{Lifetime: time.Hour})
		})})
	if err != nil {
		t.Fatal(err)
	}
	id, err := cache.Add(freshet.IdentityConfig{Name: "deployer", Source: newSource(t, Config{RoleARN: role, Endpoint: s.URL}), From: from})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the role is asked for twice, its input is not
		if _, err := id.Get(t.Context(), freshet.Request{MinTTL: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	calls := s.Calls()
	if len(calls) == 0 || calls[0].Signer != "AKIAINPUT" || calls[0].Form.Get("RoleSessionName") != "freshet-deployer" || asked != 1 {
		t.Errorf("%d retrievals of the input, calls %v", asked, calls)
	}
}
