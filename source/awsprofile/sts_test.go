package awsprofile

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/awsapi/ststest"
)

const middle = "arn:aws:iam::123456789012:role/middle"

func endpoint(url string) string { return "endpoint_url = " + url + "\n" }

func TestRoleOfASourceProfile(t *testing.T) {
	s := ststest.New(t, []freshet.AWSKeys{staticAWS}, ststest.Give(time.Hour))
	home(t, "[profile prod]\nrole_arn = "+role+"\nsource_profile = base\nregion = eu-central-1\nexternal_id = x:1\n"+endpoint(s.URL),
		"[base]\n"+staticKeys)
	src := newSource(t, Config{Profile: "prod"})
	cred, err := src.Retrieve(freshet.WithAncestry(t.Context(), "my-prod"), freshet.Request{})
	if err != nil {
		t.Fatal(err)
	}
	want := freshet.AWSKeys{AccessKeyID: "ASIAROLE", SecretAccessKey: ststest.SecretKey, SessionToken: ststest.SessionToken, AccountID: "210987654321"}
	if got := cred.AWS(); got != want {
		t.Errorf("got the keys %q of account %q", got.AccessKeyID, got.AccountID)
	}
	c := s.Calls()[0]
	if c.Signer != "AKIASTATIC" || c.Region != "eu-central-1" {
		t.Errorf("signed by %q for %q", c.Signer, c.Region)
	}
	const form = "Action=AssumeRole&ExternalId=x%3A1&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdeploy&RoleSessionName=freshet-my-prod&Version=2011-06-15"
	if got := c.Form.Encode(); got != form {
		t.Errorf("form is\n%s, want\n%s", got, form)
	}
}

// TestRolesInARow: a profile over a profile over keys, whose links have settings of their own, while region and endpoint are
// the outermost's.
func TestRolesInARow(t *testing.T) {
	between := freshet.AWSKeys{AccessKeyID: "ASIAMIDDLE", SecretAccessKey: ststest.SecretKey, SessionToken: ststest.SessionToken}
	s := ststest.New(t, []freshet.AWSKeys{staticAWS, between}, func(w http.ResponseWriter, _ *http.Request, c ststest.Call) {
		id := "ASIAOUTER"
		if c.Form.Get("RoleArn") == middle {
			id = "ASIAMIDDLE"
		}
		_, _ = io.WriteString(w, ststest.Answer("AssumeRole", id, freshet.Now().Wall().Add(time.Hour)))
	})
	home(t, "[profile prod]\nrole_arn = "+role+"\nsource_profile = m\nduration_seconds = 1800\nrole_session_name = outer\nservices = local\n"+
		"[profile m]\nrole_arn = "+middle+"\nsource_profile = base\nregion = us-west-2\nrole_session_name = inner\n"+
		"[profile base]\n"+staticKeys+
		"[services local]\nsts =\n  endpoint_url = "+s.URL+"\n", "")
	src := newSource(t, Config{Profile: "prod", Region: "eu-west-1"})
	cred, err := src.Retrieve(t.Context(), freshet.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if got := cred.AWS().AccessKeyID; got != "ASIAOUTER" {
		t.Errorf("got %q", got)
	}
	calls := s.Calls()
	if len(calls) != 2 {
		t.Fatalf("%d calls", len(calls))
	}
	for i, want := range []struct{ signer, session, duration string }{{"AKIASTATIC", "inner", ""}, {"ASIAMIDDLE", "outer", "1800"}} {
		c := calls[i]
		if c.Signer != want.signer || c.Form.Get("RoleSessionName") != want.session || c.Form.Get("DurationSeconds") != want.duration || c.Region != "eu-west-1" {
			t.Errorf("call %d: signed by %q for %q: %v", i, c.Signer, c.Region, c.Form)
		}
	}
}

// TestCorrectedSecretIsUsedAtOnce: a client of the SDK that is kept goes on with the wrong one until the day ends.
func TestCorrectedSecretIsUsedAtOnce(t *testing.T) {
	s := ststest.New(t, []freshet.AWSKeys{staticAWS}, ststest.Give(time.Hour))
	config := "[profile prod]\nrole_arn = " + role + "\nsource_profile = base\n" + endpoint(s.URL)
	dir := home(t, config, "[base]\naws_access_key_id = AKIASTATIC\naws_secret_access_key = mistyped\n")
	src := newSource(t, Config{Profile: "prod"})
	_, err := src.Retrieve(t.Context(), freshet.Request{})
	wantFailure(t, err, freshet.Denied, "profile prod: sts: SignatureDoesNotMatch", "the secret access key is not this access key's")
	dir.write(t, ".aws/credentials", "[base]\n"+staticKeys)
	if _, err := src.Retrieve(t.Context(), freshet.Request{}); err != nil {
		t.Error(err)
	}
}

func TestKeysOfTheEnvironmentWhereTheProfileSaysSo(t *testing.T) {
	keys := freshet.AWSKeys{AccessKeyID: "AKIAENVIRONMENT", SecretAccessKey: staticSecret, SessionToken: staticSession}
	s := ststest.New(t, []freshet.AWSKeys{keys}, ststest.Give(time.Hour))
	home(t, "[profile prod]\nrole_arn = "+role+"\ncredential_source = Environment\n"+endpoint(s.URL), "")
	t.Setenv("AWS_ACCESS_KEY_ID", keys.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", staticSecret)
	t.Setenv("AWS_SESSION_TOKEN", staticSession)
	if _, err := retrieve(t, "prod"); err != nil {
		t.Fatal(err)
	}
	if got := s.Calls()[0].Signer; got != keys.AccessKeyID {
		t.Errorf("signed by %q", got)
	}
}

func TestWebIdentityProfile(t *testing.T) {
	s := ststest.New(t, nil, ststest.Give(time.Hour))
	dir := home(t, "", "")
	dir.write(t, "token", "planted-token-one-0123456789\n")
	dir.write(t, ".aws/config", "[profile prod]\nrole_arn = "+role+"\nweb_identity_token_file = "+dir.path("token")+"\nrole_session_name = pod\n"+endpoint(s.URL))
	src := newSource(t, Config{Profile: "prod"})
	for _, token := range []string{"planted-token-one-0123456789", "planted-token-two-0123456789"} {
		dir.write(t, "token", token+"\n")
		if _, err := src.Retrieve(t.Context(), freshet.Request{}); err != nil {
			t.Fatal(err)
		}
		calls := s.Calls()
		c := calls[len(calls)-1]
		if c.Form.Get("WebIdentityToken") != token || c.Form.Get("Action") != "AssumeRoleWithWebIdentity" || c.Form.Get("RoleSessionName") != "pod" || c.Signer != "" {
			t.Errorf("signed by %q: %s", c.Signer, c.Form.Get("Action"))
		}
	}
	if n := len(s.Calls()); n != 2 {
		t.Errorf("%d calls, want 2: the role is not assumed again with its own keys", n)
	}
	dir.write(t, "token", "")
	_, err := src.Retrieve(t.Context(), freshet.Request{})
	wantFailure(t, err, freshet.Unavailable, "profile prod: web_identity_token_file: "+dir.path("token")+" cannot be read", "")
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		keys   string
		status int
		body   string
		kind   freshet.Kind
		text   string
		after  time.Duration
	}{
		{"", 403, ststest.Failing("AccessDenied"), freshet.Denied, "profile prod: sts: AccessDenied", 0},
		{"", 400, ststest.Failing("Throttling"), freshet.Unavailable, "profile prod: sts: Throttling", 7 * time.Second},
		{"", 503, ststest.Gossip, freshet.Unavailable, "profile prod: sts: answered 503", 7 * time.Second},
		{"aws_session_token = " + staticSession + "\n", 403, ststest.Failing("ExpiredToken"), freshet.LoginNeeded, "profile prod: sts: ExpiredToken", 0},
		{"", 404, ststest.Gossip, freshet.Malformed, "profile prod: sts: answered 404", 0},
	} {
		keys := staticAWS
		if test.keys != "" {
			keys.SessionToken = staticSession
		}
		n := 0
		s := ststest.New(t, []freshet.AWSKeys{keys}, func(w http.ResponseWriter, _ *http.Request, _ ststest.Call) {
			n++
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		})
		home(t, "[profile prod]\nrole_arn = "+role+"\nsource_profile = base\nmax_attempts = 5\nretry_mode = adaptive\n"+endpoint(s.URL), "[base]\n"+staticKeys+test.keys)
		_, err := retrieve(t, "prod")
		if e := wantFailure(t, err, test.kind, test.text, ""); e.RetryAfter != test.after {
			t.Errorf("%s: retry after %v, want %v", test.text, e.RetryAfter, test.after)
		}
		if n != 1 {
			t.Errorf("%s: %d requests, want 1: the SDK retries", test.text, n)
		}
	}
}

func TestConformanceOfARole(t *testing.T) {
	freshettest.Source(t, freshettest.SourceSuite{
		New: func(t *testing.T, u freshettest.Upstream) (freshet.Source, any) {
			s := ststest.New(t, []freshet.AWSKeys{staticAWS}, ststest.Behave(u))
			home(t, "[profile prod]\nrole_arn = "+role+"\nsource_profile = base\n"+endpoint(s.URL), "[base]\n"+staticKeys)
			cfg := Config{Profile: "prod"}
			return newSource(t, cfg), cfg
		},
		Secrets: []string{ststest.SecretKey, ststest.SessionToken, ststest.Gossip, staticSecret},
	})
}

// TestFiftyRetrievalsAreUnderWayAtOnce: the STS answers nobody until all fifty have arrived, so a lock of the SDK's or of ours
// across one would hang it.
func TestFiftyRetrievalsAreUnderWayAtOnce(t *testing.T) {
	const n = 50
	arrived := make(chan struct{}, n)
	all := make(chan struct{})
	s := ststest.New(t, []freshet.AWSKeys{staticAWS}, func(w http.ResponseWriter, r *http.Request, c ststest.Call) {
		arrived <- struct{}{}
		select {
		case <-all:
			ststest.Give(time.Hour)(w, r, c)
		case <-r.Context().Done():
		}
	})
	home(t, "[profile prod]\nrole_arn = "+role+"\nsource_profile = base\n"+endpoint(s.URL), "[base]\n"+staticKeys)
	src := newSource(t, Config{Profile: "prod"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	errs := make(chan error, n)
	for range n {
		go func() {
			_, err := src.Retrieve(ctx, freshet.Request{})
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
