package lab_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/smithy-go"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"freshet.dev/broker"
	"freshet.dev/config"
	"freshet.dev/daemon"
	"freshet.dev/freshet"
	"freshet.dev/lab"
)

// TestFreshetTellsFaultsApart retrieves with freshet's own sources, by the configuration that a lab writes.
func TestFreshetTellsFaultsApart(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.OAuth: {Lifetime: 10 * time.Minute}})
	dir := filepath.Join(t.TempDir(), "lab")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	remove, err := c.WriteConfig(dir, self, c.base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	text, err := os.ReadFile(filepath.Join(dir, lab.ConfigName))
	if err != nil {
		t.Fatal(err)
	}
	file, err := config.Parse(filepath.Join(dir, lab.ConfigName), text, daemon.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	issuers := map[string]string{"entra": lab.Entra, "oauth": lab.OAuth, "aws": lab.STS, "az": lab.AzureCLI}
	for _, test := range []struct {
		fault  lab.Fault
		kind   freshet.Kind            // "": it gets a credential all the same
		but    map[string]freshet.Kind // for some identities
		az     bool                    // az's too
		status int                     // at an HTTP issuer; 0: whatever it is
		after  time.Duration           // what of Retry-After arrives, where the source sees it
	}{
		{fault: lab.Fault{Kind: lab.Throttle}, kind: freshet.Unavailable, status: 429, az: true},
		{fault: lab.Fault{Kind: lab.Throttle, RetryAfter: 7 * time.Second}, kind: freshet.Unavailable, status: 429, after: 7 * time.Second},
		{fault: lab.Fault{Kind: lab.Throttle, How: "date", RetryAfter: 8 * time.Second}, kind: freshet.Unavailable, status: 429, after: 8 * time.Second},
		{fault: lab.Fault{Kind: lab.Outage}, kind: freshet.Unavailable, status: 503},
		{fault: lab.Fault{Kind: lab.Outage, Status: 500}, kind: freshet.Unavailable, status: 500},
		{fault: lab.Fault{Kind: lab.Outage, How: "refused"}, kind: freshet.Unavailable},
		{fault: lab.Fault{Kind: lab.Outage, How: "reset"}, kind: freshet.Unavailable},
		{fault: lab.Fault{Kind: lab.Malformed, How: "truncated"}, kind: freshet.Malformed, but: map[string]freshet.Kind{"az": freshet.Unavailable}, az: true},
		{fault: lab.Fault{Kind: lab.Malformed, How: "short"}, kind: freshet.Unavailable},
		{fault: lab.Fault{Kind: lab.Malformed, How: "types"}, kind: freshet.Malformed},
		{fault: lab.Fault{Kind: lab.Malformed, How: "html"}, kind: freshet.Malformed},
		// An error that says it will pass is taken at its word, whatever the status.
		{fault: lab.Fault{Kind: lab.Malformed, How: "error"}, kind: freshet.Unavailable, but: map[string]freshet.Kind{"aws": freshet.Malformed}},
		{fault: lab.Fault{Kind: lab.Malformed, How: "expired"}, kind: freshet.Malformed, az: true},
		{fault: lab.Fault{Kind: lab.Slow, By: time.Millisecond}},
		{fault: lab.Fault{Kind: lab.Skew, By: 5 * time.Minute}},
		{fault: lab.Fault{Kind: lab.Skew, By: -90 * time.Second}, but: map[string]freshet.Kind{"aws": freshet.Denied}}, // its input is not valid yet
	} {
		check := func(identity string) {
			err := c.retrieve(file, identity, issuers[identity], test.fault)
			want := test.kind
			if other, ok := test.but[identity]; ok {
				want = other
			}
			if want == "" && err == nil {
				return
			}
			e := (*freshet.Error)(nil)
			if !errors.As(err, &e) || e.Kind != want {
				t.Errorf("%s, %s: got %v (%+v), want %q", identity, test.fault, err, e, want)
				return
			}
			if identity == "az" { // which tells neither
				return
			}
			if test.status != 0 && e.Status != test.status || e.RetryAfter > test.after && test.after != 0 || e.RetryAfter < test.after-2*time.Second {
				t.Errorf("%s, %s: got status %d and %v, want %d and %v", identity, test.fault, e.Status, e.RetryAfter, test.status, test.after)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { check("entra") })
		if test.az { // the lab's az tells few failures apart, and takes its time
			wg.Go(func() { check("az") })
		}
		check("oauth")
		check("aws") // after oauth, whose issuer gives it its input
		wg.Wait()
	}
}

// retrieve asks a new broker for an identity while its issuer has a fault. An old one would leave alone what failed before.
func (c *cloud) retrieve(file *config.File, identity, issuer string, f lab.Fault) error {
	b, err := daemon.Broker(file, daemon.Options{})
	if err != nil {
		c.t.Error(err)
		return err
	}
	f.For = time.Hour
	if err := c.Inject(issuer, f); err != nil {
		c.t.Error(err)
	}
	caller := broker.Caller{Door: "command", Peer: true, UID: uint32(os.Getuid()), PID: os.Getpid()}
	_, err = b.Credential(c.t.Context(), caller, identity, freshet.Request{})
	if err := errors.Join(c.Clear(issuer, ""), b.Close(c.t.Context())); err != nil {
		c.t.Error(err)
	}
	return err
}

func TestOAuth2ClientSeesFaults(t *testing.T) {
	c := start(t, nil)
	cfg := clientcredentials.Config{ClientID: c.ClientID, ClientSecret: c.ClientSecret, TokenURL: c.OAuthToken, AuthStyle: oauth2.AuthStyleInHeader}
	for _, test := range []struct {
		fault  lab.Fault
		status int // 0: no answer that it takes for one
	}{
		{lab.Fault{Kind: lab.Throttle, RetryAfter: time.Second}, 429},
		{lab.Fault{Kind: lab.Outage}, 503},
		{lab.Fault{Kind: lab.Outage, How: "refused"}, 0},
		{lab.Fault{Kind: lab.Outage, How: "reset"}, 0},
		{lab.Fault{Kind: lab.Malformed, How: "truncated"}, 0},
		{lab.Fault{Kind: lab.Malformed, How: "short"}, 0},
		{lab.Fault{Kind: lab.Malformed, How: "types"}, 0},
		{lab.Fault{Kind: lab.Malformed, How: "html"}, 0},
		{lab.Fault{Kind: lab.Malformed, How: "error"}, 200},
	} {
		c.inject(lab.OAuth, test.fault)
		token, err := cfg.Token(t.Context())
		if err == nil && (test.status != 0 || token.AccessToken != "") {
			t.Errorf("%s: it has a token", test.fault)
			continue
		}
		got := 0
		if e := (*oauth2.RetrieveError)(nil); errors.As(err, &e) {
			got = e.Response.StatusCode
		}
		if got != test.status {
			t.Errorf("%s: got %d, %v, want %d", test.fault, got, err, test.status)
		}
		if err := c.Clear(lab.OAuth, ""); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAzureClientSeesFaults(t *testing.T) {
	c, o := azure(t, nil)
	cred, err := azidentity.NewClientSecretCredential(lab.Tenant, c.ClientID, c.ClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		fault  lab.Fault
		status int
	}{
		{lab.Fault{Kind: lab.Throttle}, 429},
		{lab.Fault{Kind: lab.Outage}, 503},
		{lab.Fault{Kind: lab.Outage, How: "refused"}, 0},
		{lab.Fault{Kind: lab.Malformed, How: "truncated"}, 0},
		{lab.Fault{Kind: lab.Malformed, How: "html"}, 0},
	} {
		c.inject(lab.Entra, test.fault)
		_, err := askAzure(t, cred, newResource())
		if err == nil {
			t.Errorf("%s: it has a token", test.fault)
			continue
		}
		got := 0
		if e := (*azidentity.AuthenticationFailedError)(nil); errors.As(err, &e) && e.RawResponse != nil && e.RawResponse.StatusCode != http.StatusOK {
			got = e.RawResponse.StatusCode
		}
		if got != test.status {
			t.Errorf("%s: got %d, %v, want %d", test.fault, got, err, test.status)
		}
		if err := c.Clear(lab.Entra, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := askAzure(t, cred, newResource()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestAWSClientsSeeFaults(t *testing.T) {
	c := start(t, nil)
	role := stscreds.NewAssumeRoleProvider(c.stsClient(c.longTerm()), lab.Role, func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "me" })
	container := endpointcreds.New(c.Container, func(o *endpointcreds.Options) { o.AuthorizationToken, o.Retryer = c.ContainerToken, aws.NopRetryer{} })
	throttles := retry.IsErrorThrottles(retry.DefaultThrottles)
	retries := retry.IsErrorRetryables(retry.DefaultRetryables)
	for name, provider := range map[string]aws.CredentialsProvider{lab.STS: role, lab.Container: container} {
		for _, test := range []struct {
			fault           lab.Fault
			throttle, retry bool
			code            string // at STS
		}{
			{lab.Fault{Kind: lab.Throttle}, true, false, "Throttling"},
			{lab.Fault{Kind: lab.Outage}, false, true, "ServiceUnavailable"},
			{lab.Fault{Kind: lab.Outage, Status: 500}, false, true, "InternalFailure"},
			{lab.Fault{Kind: lab.Malformed, How: "truncated"}, false, false, ""},
			{lab.Fault{Kind: lab.Malformed, How: "html"}, false, false, ""},
		} {
			c.inject(name, test.fault)
			_, err := provider.Retrieve(t.Context())
			if err == nil {
				t.Errorf("%s, %s: it has keys", name, test.fault)
				continue
			}
			if got := throttles.IsErrorThrottle(err) == aws.TrueTernary; name == lab.STS && got != test.throttle {
				t.Errorf("%s, %s: the SDK takes it for throttling: %v (%v)", name, test.fault, got, err)
			}
			if got := retries.IsErrorRetryable(err) == aws.TrueTernary; name == lab.STS && test.retry && !got {
				t.Errorf("%s, %s: the SDK does not retry it (%v)", name, test.fault, err)
			}
			if api := (smithy.APIError)(nil); name == lab.STS && test.code != "" && (!errors.As(err, &api) || api.ErrorCode() != test.code) {
				t.Errorf("%s: got %v, want %s", test.fault, err, test.code)
			}
			if err := c.Clear(name, ""); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := provider.Retrieve(t.Context()); err != nil {
			t.Errorf("%s: afterwards: %v", name, err)
		}
	}
	// A signature is refused by a clock that is more than 15 minutes off.
	c.inject(lab.STS, lab.Fault{Kind: lab.Skew, By: 20 * time.Minute})
	_, err := role.Retrieve(t.Context())
	if api := (smithy.APIError)(nil); !errors.As(err, &api) || api.ErrorCode() != "SignatureDoesNotMatch" {
		t.Errorf("a clock that is 20 minutes off: got %v", err)
	}
}
