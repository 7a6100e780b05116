package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

func TestFailuresSayWhatTheIssuerAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
		for name, test := range map[string]struct {
			status int
			header http.Header
			body   string
			kind   freshet.Kind
			wait   time.Duration
		}{
			"seconds":                {429, http.Header{"Retry-After": {"7"}}, "", freshet.Unavailable, 7 * time.Second},
			"milliseconds":           {429, http.Header{"Retry-After-Ms": {"1500"}, "Retry-After": {"7"}}, "", freshet.Unavailable, 1500 * time.Millisecond},
			"Azure's milliseconds":   {429, http.Header{"X-Ms-Retry-After-Ms": {"2500"}}, "", freshet.Unavailable, 2500 * time.Millisecond},
			"a date":                 {503, http.Header{"Retry-After": {at(90 * time.Second)}}, "", freshet.Unavailable, 90 * time.Second},
			"by its own clock":       {503, http.Header{"Retry-After": {at(time.Hour)}, "Date": {at(59 * time.Minute)}}, "", freshet.Unavailable, time.Minute},
			"a date that is by":      {503, http.Header{"Retry-After": {at(-time.Minute)}}, "", freshet.Unavailable, 0},
			"over an hour":           {429, http.Header{"Retry-After": {"7200"}}, "", freshet.Unavailable, time.Hour},
			"a date in a year":       {429, http.Header{"Retry-After": {at(365 * 24 * time.Hour)}}, "", freshet.Unavailable, time.Hour},
			"over all bounds":        {429, http.Header{"Retry-After": {"99999999999999999999"}}, "", freshet.Unavailable, time.Hour},
			"none":                   {429, nil, answerText, freshet.Unavailable, 0},
			"denied":                 {401, nil, `{"error":"invalid_client"}`, freshet.Denied, 0},
			"denied without a word":  {400, nil, "", freshet.Denied, 0},
			"a login":                {400, nil, `{"error":"invalid_grant","error_description":"hunter2-hunter2"}`, freshet.LoginNeeded, 0},
			"a second factor":        {400, nil, `{"error":"interaction_required","suberror":"hunter2-hunter2"}`, freshet.LoginNeeded, 0},
			"down, in the body":      {400, nil, `{"error":"temporarily_unavailable"}`, freshet.Unavailable, 0},
			"a word of its own":      {400, nil, `{"error":"hunter2-hunter2"}`, freshet.Denied, 0},
			"a body of another kind": {502, nil, "<html>hunter2-hunter2", freshet.Unavailable, 0},
		} {
			resp := &http.Response{StatusCode: test.status, Header: test.header, Body: io.NopCloser(strings.NewReader(test.body))}
			for _, err := range []error{&AuthenticationFailedError{resp}, &azcore.ResponseError{StatusCode: test.status, RawResponse: resp}} {
				got := failure(fmt.Errorf("wrapped: %w", err), &freshet.Request{})
				if got.Kind != test.kind || got.Status != test.status || got.RetryAfter != test.wait {
					t.Errorf("%s, %T: got kind %q, status %d, retry after %v; want %q, %d, %v", name, err, got.Kind, got.Status, got.RetryAfter,
						test.kind, test.status, test.wait)
				}
				freshettest.LeakedSecrets(t, got.Error()+got.Hint, "hunter2-hunter2")
			}
			if text, err := io.ReadAll(resp.Body); string(text) != test.body || err != nil {
				t.Errorf("%s: afterwards the answer's body reads %q, %v", name, text, err)
			}
		}
	})
}

func TestLoginsAreNamed(t *testing.T) {
	const claim = "hunter2-hunter2"
	for name, test := range map[string]struct {
		text string
		req  freshet.Request
		kind freshet.Kind
		hint string
	}{
		"az":                  {"AzureCLICredential: ERROR: Please run 'az login' to setup account.", freshet.Request{}, freshet.LoginNeeded, "run az login"},
		"az, of a tenant":     {"Please run: az login", freshet.Request{Tenant: "t"}, freshet.LoginNeeded, "run az login --tenant t"},
		"az, for claims":      {"az login --claims-challenge " + claim, freshet.Request{Claims: claim}, freshet.LoginNeeded, "run az login --claims-challenge CLAIMS, where CLAIMS is what the service sent, in base64"},
		"azd":                 {"not logged in, run `azd auth login`", freshet.Request{}, freshet.LoginNeeded, "run azd auth login"},
		"PowerShell":          {`Please run "Connect-AzAccount"`, freshet.Request{}, freshet.LoginNeeded, "run Connect-AzAccount"},
		"a chain":             {"Attempted credentials:\n\taz login\n\tazd auth login", freshet.Request{}, freshet.LoginNeeded, "run az login or azd auth login"},
		"Entra's own outage":  {"AADSTS90033: A transient error. To re-authenticate, please run:\naz login", freshet.Request{}, freshet.Unavailable, ""},
		"nothing of the sort": {"Max retries exceeded", freshet.Request{}, freshet.Unavailable, ""},
	} {
		got := failure(errors.New(test.text), &test.req)
		if got.Kind != test.kind || got.Hint != test.hint || !strings.Contains(got.Why, test.hint) {
			t.Errorf("%s: got kind %q, %q, with the hint %q; want %q, %q", name, got.Kind, got.Why, got.Hint, test.kind, test.hint)
		}
		freshettest.LeakedSecrets(t, got.Error()+got.Hint, claim)
	}
}

func TestNestedFailureKeepsWhatItSays(t *testing.T) {
	nested := &freshet.Error{Kind: freshet.Unavailable, Why: "throttled", Hint: "wait", RetryAfter: time.Minute, Status: 429}
	got := failure(fmt.Errorf("wrapped: %w", nested), &freshet.Request{})
	if got.Status != 429 || got.RetryAfter != time.Minute || got.Hint != "wait" || got.Why != "throttled" {
		t.Errorf("got %q, %q, status %d, %v", got.Why, got.Hint, got.Status, got.RetryAfter)
	}
}

func TestTargets(t *testing.T) {
	const public, sovereign = "login.microsoftonline.com", "login.example.us:8443"
	for name, test := range map[string]struct {
		kind, env string
		given     freshet.Target
		tenant    string // of the request
		want      freshet.Target
	}{
		"service principal":            {"azidentity.ClientSecretCredential", "", freshet.Target{}, "t", freshet.Target{Host: public, Tenant: "t", Client: "name"}},
		"of another cloud":             {"azidentity.WorkloadIdentityCredential", "https://Login.Example.US:8443/", freshet.Target{}, "", freshet.Target{Host: sovereign, Client: "name"}},
		"command line":                 {"azidentity.AzureCLICredential", "", freshet.Target{}, "t", freshet.Target{Host: public, Tenant: "t", Client: "azidentity.AzureCLICredential"}},
		"client that was named":        {"azidentity.ClientSecretCredential", "", freshet.Target{Client: "c"}, "", freshet.Target{Host: public, Client: "c"}},
		"tenant of its own":            {"azidentity.ClientSecretCredential", "", freshet.Target{Client: "c", Tenant: "own"}, "", freshet.Target{Host: public, Tenant: "own", Client: "c"}},
		"tenant of the request":        {"azidentity.ClientSecretCredential", "", freshet.Target{Client: "c", Tenant: "own"}, "t", freshet.Target{Host: public, Tenant: "t", Client: "c"}},
		"chain":                        {"azidentity.DefaultAzureCredential", "", freshet.Target{}, "t", freshet.Target{Host: "name", Tenant: "t"}},
		"managed identity":             {"azidentity.ManagedIdentityCredential", "", freshet.Target{}, "", freshet.Target{Host: "name"}},
		"one's own":                    {"azure.fake", "https://login.example.us", freshet.Target{}, "", freshet.Target{Host: "name"}},
		"all given":                    {"azidentity.AzureCLICredential", "", freshet.Target{Host: "h", Client: "c"}, "t", freshet.Target{Host: "h", Tenant: "t", Client: "c"}},
		"an authority that is no URL":  {"azidentity.AzureCLICredential", ":", freshet.Target{Client: "c"}, "", freshet.Target{Host: public, Client: "c"}},
		"an authority without a host":  {"azidentity.AzureCLICredential", "login", freshet.Target{Client: "c"}, "", freshet.Target{Host: public, Client: "c"}},
		"an authority with a password": {"azidentity.AzureCLICredential", "https://u:p@h", freshet.Target{Client: "c"}, "", freshet.Target{Host: "h", Client: "c"}},
	} {
		t.Setenv("AZURE_AUTHORITY_HOST", test.env)
		var of freshet.Targeter = &source{target: target(&Config{Name: "name", Target: test.given}, test.kind)}
		if got := of.Target(freshet.Request{Tenant: test.tenant}); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

// A challenge that comes again is about a token that there is: whoever brings it is answered with that at once where the issuer
// gives no other, however long it could wait.
func TestChallengeThatComesAgainDuringAnOutageHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := wrap(t, f)
		mustGet(t, c, challenged(1))
		time.Sleep(5 * time.Minute)
		f.fail(&AuthenticationFailedError{&http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"20"}}}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range 3 {
			began := time.Now()
			tk, err := c.GetToken(ctx, challenged(1))
			if err != nil || tk.Token != "token-1" || time.Since(began) > 2*time.Second {
				t.Errorf("got %q, %v after %v; want what there is, at once", tk.Token, err, time.Since(began))
			}
		}
	})
}
