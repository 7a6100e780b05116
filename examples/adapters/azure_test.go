package adapters

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"freshet.dev/freshet"
	freshetazure "freshet.dev/freshet/azure"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

var vault = policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}, EnableCAE: true}

// entra answers for Microsoft Entra ID in memory.
type entra struct {
	mu     sync.Mutex
	tokens int
	claims []string // that came with the requests for tokens
	refuse int      // status; 0: it gives tokens
	wait   string   // Retry-After
}

func (e *entra) Do(req *http.Request) (*http.Response, error) {
	status, body := http.StatusOK, `{"token_endpoint":"https://login.example/tenant/oauth2/v2.0/token",
		"authorization_endpoint":"https://login.example/tenant/authorize","issuer":"https://login.example/tenant/v2.0"}`
	if req.Method == http.MethodPost {
		e.mu.Lock()
		defer e.mu.Unlock()
		_ = req.ParseForm()
		e.tokens++
		e.claims = append(e.claims, req.PostForm.Get("claims"))
		body = fmt.Sprintf(`{"token_type":"Bearer","expires_in":3600,"access_token":"token-%d"}`, e.tokens)
		if e.refuse != 0 {
			status, body = e.refuse, `{"error":"invalid_client","error_description":"hunter2-hunter2"}`
		}
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if status != http.StatusOK && e.wait != "" {
		header.Set("Retry-After", e.wait)
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// credential is a service principal's, at that issuer. It makes no retries of its own: freshet does, and keeps to what the issuer
// says of them for all callers.
func (e *entra) credential() (azcore.TokenCredential, error) {
	return azidentity.NewClientSecretCredential("tenant", "client", "secret", &azidentity.ClientSecretCredentialOptions{
		DisableInstanceDiscovery: true,
		ClientOptions: policy.ClientOptions{
			Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: "https://login.example/"}, Transport: e,
			Retry: policy.RetryOptions{MaxRetries: -1},
		},
	})
}

// One line wraps what azidentity makes; every client of the SDK takes the result.
func Example_azure() {
	issuer := &entra{}
	cred, err := issuer.credential()
	if err != nil {
		fmt.Println(err)
		return
	}
	cred = freshetazure.Wrap(cred)

	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := cred.GetToken(context.Background(), vault); err != nil {
				fmt.Println(err)
			}
		})
	}
	wg.Wait()
	fmt.Println(issuer.tokens, "token")
	// Output: 1 token
}

func TestClaimsReachTheIssuerAndTheirTokenStays(t *testing.T) {
	issuer := &entra{}
	inner, err := issuer.credential()
	if err != nil {
		t.Fatal(err)
	}
	cred := freshetazure.Wrap(inner)
	challenged := vault
	challenged.Claims = `{"access_token":{"nbf":{"essential":true,"value":"1726077595"}}}`
	for i, test := range []struct {
		options policy.TokenRequestOptions
		want    string
	}{{vault, "token-1"}, {challenged, "token-2"}, {challenged, "token-2"}, {vault, "token-2"}} {
		if tk, err := cred.GetToken(t.Context(), test.options); err != nil || tk.Token != test.want {
			t.Errorf("call %d: got %s, %v; want %s", i, tk.Token, err, test.want)
		}
	}
	if len(issuer.claims) != 2 || !strings.Contains(issuer.claims[1], "1726077595") {
		t.Errorf("the issuer was asked with the claims %q, want those of the challenge in the second request", issuer.claims)
	}
}

func TestAzidentitysErrorsStayWhatTheyAre(t *testing.T) {
	issuer := &entra{refuse: http.StatusUnauthorized}
	inner, err := issuer.credential()
	if err != nil {
		t.Fatal(err)
	}
	_, err = freshetazure.Wrap(inner).GetToken(t.Context(), vault)
	var failed *azidentity.AuthenticationFailedError
	var final interface{ NonRetriable() }
	if !errors.As(err, &failed) || failed.RawResponse.StatusCode != http.StatusUnauthorized || !errors.As(err, &final) {
		t.Errorf("%v hides azidentity's error or that it is not to be retried", err)
	}
	if !errors.Is(err, freshet.Denied) || !strings.Contains(err.Error(), "AuthenticationFailedError: HTTP 401") {
		t.Errorf("%q is not of kind denied, with the status", err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%q quotes the answer", err)
	}
}

// Without Retry.MaxRetries: -1 azidentity would sleep and ask again, three times, while everybody waits.
func TestIssuerInTroubleIsAskedOnce(t *testing.T) {
	for status, wait := range map[int]string{http.StatusTooManyRequests: "37", http.StatusServiceUnavailable: "37", http.StatusRequestTimeout: "37"} {
		issuer := &entra{refuse: status, wait: wait}
		inner, err := issuer.credential()
		if err != nil {
			t.Fatal(err)
		}
		_, err = freshetazure.Wrap(inner).GetToken(t.Context(), vault)
		got := freshet.AsError(err)
		if got == nil || got.Kind != freshet.Unavailable || got.Status != status || got.RetryAfter <= 30*time.Second || got.RetryAfter > 38*time.Second {
			t.Errorf("%d: got %v, status %d, retry after %v; want what the issuer said", status, err, got.Status, got.RetryAfter)
		}
		if issuer.tokens != 1 {
			t.Errorf("%d: the issuer was asked %d times, want once", status, issuer.tokens)
		}
	}
}

// az cannot answer a challenge: a person has to.
func TestChallengeThatNeedsALoginNamesIt(t *testing.T) {
	inner, err := azidentity.NewAzureCLICredential(nil)
	if err != nil {
		t.Fatal(err)
	}
	challenged := vault
	challenged.Claims = `{"access_token":{"nbf":{"essential":true,"value":"1726077595"}}}`
	_, err = freshetazure.Wrap(inner).GetToken(t.Context(), challenged)
	if want := "run az login --claims-challenge CLAIMS"; !errors.Is(err, freshet.LoginNeeded) || !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("got %v, want an error of kind login needed that says to %s", err, want)
	}
	if encoded := base64.StdEncoding.EncodeToString([]byte(challenged.Claims)); strings.Contains(fmt.Sprint(err, freshet.AsError(err).Hint), encoded) {
		t.Error("the claims are shown")
	}
}

func TestUnavailableCredentialIsNotWaitedFor(t *testing.T) {
	if _, err := freshetazure.Wrap(absent{}).GetToken(t.Context(), vault); !errors.Is(err, freshet.Denied) {
		t.Errorf("got %v, want an error of kind denied", err)
	}
}

type absent struct{}

func (absent) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, azidentity.NewCredentialUnavailableError("not here")
}

func TestChainGoesOnAfterAWrappedCredentialThatIsUnavailable(t *testing.T) {
	inner, err := (&entra{}).credential()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := azidentity.NewChainedTokenCredential([]azcore.TokenCredential{freshetazure.Wrap(absent{}), freshetazure.Wrap(inner)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if tk, err := freshetazure.Wrap(chain).GetToken(t.Context(), vault); err != nil || tk.Token != "token-1" {
		t.Errorf("got %q, %v; want the second credential's token", tk.Token, err)
	}
}

// BenchmarkAzureHit compares a hit with one of azidentity's own cache.
func BenchmarkAzureHit(b *testing.B) {
	inner, err := (&entra{}).credential()
	if err != nil {
		b.Fatal(err)
	}
	for name, cred := range map[string]azcore.TokenCredential{"freshet": freshetazure.Wrap(inner), "peer=azidentity": inner} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			for b.Loop() {
				if _, err := cred.GetToken(ctx, vault); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
