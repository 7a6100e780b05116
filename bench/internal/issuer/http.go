package issuer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Host is whom clients of Entra ask. msal-go and azidentity know it, and so do not ask another host about it first.
const Host = "login.microsoftonline.com"

// Refusal is a failure that an issuer answers with, by RFC 6749 §5.2.
type Refusal struct {
	Status     int           // of HTTP
	Code       string        // such as "invalid_client"
	RetryAfter time.Duration // sent in whole seconds; 0: not sent
}

// Error names the status and the code.
func (r *Refusal) Error() string { return fmt.Sprintf("issuer: %d %s", r.Status, r.Code) }

// RoundTrip makes an Issuer an http.RoundTripper that speaks for Entra: discovery of the instance and of OpenID Connect, and client
// credentials at /{tenant}/oauth2/v2.0/token. A POST to any other path is one to a token endpoint without tenants (RFC 6749 §4.4).
func (i *Issuer) RoundTrip(req *http.Request) (*http.Response, error) {
	form, err := body(req)
	if err != nil {
		return nil, err
	}
	path := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	if req.Method != http.MethodPost {
		if err := wait(req.Context(), i.settings().discovery); err != nil {
			return nil, err
		}
		if strings.HasSuffix(req.URL.Path, "/discovery/instance") {
			return answer(req, http.StatusOK, nil, instance(path[0]))
		}
		return answer(req, http.StatusOK, nil, openID(path[0]))
	}
	w := Wanted{Scope: asked(form.Get("scope"))}
	if len(path) == 4 && path[1] == "oauth2" {
		w.Tenant = path[0]
	}
	if grant := form.Get("grant_type"); grant != "client_credentials" {
		return nil, fmt.Errorf("issuer: grant type %q", grant)
	}
	t, err := i.Token(req.Context(), w)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		h := make(http.Header)
		if refusal.RetryAfter > 0 {
			h.Set("Retry-After", strconv.Itoa(int(refusal.RetryAfter/time.Second)))
		}
		return answer(req, refusal.Status, h, map[string]any{"error": refusal.Code})
	}
	if err != nil {
		return nil, err
	}
	said := map[string]any{
		"token_type": "Bearer", "access_token": t.Secret, "expires_in": int(t.Expires.Sub(t.Issued) / time.Second),
	}
	if !t.RefreshAt.IsZero() {
		said["refresh_in"] = int(t.RefreshAt.Sub(t.Issued) / time.Second)
	}
	return answer(req, http.StatusOK, nil, said)
}

// body reads a form.
func body(req *http.Request) (url.Values, error) {
	if req.Body == nil {
		return nil, nil
	}
	defer req.Body.Close()
	text, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	return url.ParseQuery(string(text))
}

// asked is a scope parameter without those that msal-go adds to it.
func asked(scope string) string {
	return strings.TrimSuffix(scope, " openid offline_access profile")
}

func instance(tenant string) map[string]any {
	return map[string]any{
		"tenant_discovery_endpoint": "https://" + Host + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"metadata": []map[string]any{{
			"preferred_network": Host, "preferred_cache": "login.windows.net",
			"aliases": []string{Host, "login.windows.net", "login.microsoft.com", "sts.windows.net"},
		}},
	}
}

func openID(tenant string) map[string]any {
	at := "https://" + Host + "/" + tenant
	return map[string]any{
		"issuer": at + "/v2.0", "token_endpoint": at + "/oauth2/v2.0/token", "authorization_endpoint": at + "/oauth2/v2.0/authorize",
	}
}

func answer(req *http.Request, status int, h http.Header, said any) (*http.Response, error) {
	text, err := json.Marshal(said)
	if err != nil {
		return nil, err
	}
	if h == nil {
		h = make(http.Header)
	}
	h.Set("Content-Type", "application/json")
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h,
		Body: io.NopCloser(bytes.NewReader(text)), ContentLength: int64(len(text)), Request: req,
	}, nil
}
