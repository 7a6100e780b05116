package azure

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// FuzzFailure has Entra refuse with any answer, or a command line fail with any words. It holds that the error is one that callers can
// act on, shows nothing of them but a word that is known, and leaves the answer to be read.
func FuzzFailure(f *testing.F) {
	f.Add(400, `{"error":"invalid_grant","error_description":"hunter2-hunter2"}`, "", "", "contoso.example")
	f.Add(401, `{"error":"hunter2-hunter2"}`, "7", "1500", "")
	f.Add(429, "<html>hunter2-hunter2", "Sun, 06 Nov 2094 08:49:37 GMT", "x", "t")
	f.Add(0, "AzureCLICredential: Please run 'az login' hunter2-hunter2", "", "", "")
	f.Add(0, "AADSTS90033: down; az login; azd auth login; Connect-AzAccount", "", "", "t")
	f.Fuzz(func(t *testing.T, status int, body, seconds, millis, tenant string) {
		req := &freshet.Request{Tenant: "contoso.example"}
		if len(tenant)%2 == 1 {
			req.Claims = "{}"
		}
		resp := &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)),
			Header: http.Header{"Retry-After": {seconds}, "Retry-After-Ms": {millis}, "Date": {body}}}
		for _, err := range []error{
			&AuthenticationFailedError{resp}, &azcore.ResponseError{StatusCode: status, RawResponse: resp}, fmt.Errorf("%s", body), &unavailableError{},
		} {
			e := failure(err, req)
			if !slices.Contains([]freshet.Kind{freshet.LoginNeeded, freshet.Denied, freshet.Unavailable}, e.Kind) || e.RetryAfter < 0 || e.RetryAfter > time.Hour {
				t.Errorf("%d %q: kind %q, retry after %v", status, body, e.Kind, e.RetryAfter)
			}
			if shown := e.Error() + e.Hint; strings.Contains(shown, "hunter2-hunter2") || len(shown) > 800 || strings.ContainsAny(shown, "\r\n\x1b") {
				t.Errorf("%d %q: the error is %q", status, body, shown)
			}
			if e.Kind == freshet.LoginNeeded && e.Status == 0 && !strings.HasPrefix(e.Hint, "run ") {
				t.Errorf("%q: the hint is %q", body, e.Hint)
			}
		}
		if text, err := io.ReadAll(resp.Body); string(text) != body || err != nil {
			t.Errorf("afterwards the answer's body reads %q, %v", text, err)
		}
	})
}

// FuzzToken has a credential give any token. It holds that those kept live, and that RefreshOn has a say within their life alone.
func FuzzToken(f *testing.F) {
	f.Add("token", int64(3600), int64(1800))
	f.Add("e30.eyJleHAiOjQwMDAwMDAwMDB9.x", int64(0), int64(0))
	f.Add("a b", int64(-1), int64(1<<40))
	f.Add("t", int64(1<<40), int64(-1<<40))
	f.Fuzz(func(t *testing.T, text string, expires, refresh int64) {
		now := time.Now()
		token := azcore.AccessToken{Token: text}
		if expires != 0 {
			token.ExpiresOn = now.Add(time.Duration(expires % (1 << 33) * int64(time.Second)))
		}
		if refresh != 0 {
			token.RefreshOn = now.Add(time.Duration(refresh % (1 << 33) * int64(time.Second)))
		}
		s := &source{inner: &fake{reply: func(int64, policy.TokenRequestOptions) (azcore.AccessToken, error) { return token, nil }}}
		cred, err := s.Retrieve(context.Background(), freshet.Request{})
		if (cred == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cred, err)
		}
		if err != nil {
			if freshet.AsError(err).Kind != freshet.Malformed {
				t.Errorf("got %v", err)
			}
			return
		}
		if cred.Remaining() <= 0 || cred.Static() || cred.Token() != text || expires != 0 && cred.Expires().Sub(token.ExpiresOn).Abs() > time.Second {
			t.Errorf("%+v: got %v", token.ExpiresOn, cred)
		}
	})
}
