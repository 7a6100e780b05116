package lab

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"freshet.dev/internal/guard"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 §2.2

// entraToken is Entra's token endpoint, version 2.0, of any tenant.
func (c *Cloud) entraToken(r *request, s Settings) reply {
	tenant := r.PathValue("tenant")
	switch grant := r.form.Get("grant_type"); {
	case !isTenant(tenant):
		return aadsts(r, 400, "invalid_request", 900023, "Specified tenant identifier is neither a valid DNS name, nor a valid external domain.")
	case slices.Contains([]string{"common", "organizations", "consumers"}, tenant):
		return aadsts(r, 400, "invalid_request", 50059, "No tenant-identifying information found in either the request or implied by any provided credentials.")
	case grant == "":
		return aadsts(r, 400, "invalid_request", 900144, "The request body must contain the following parameter: 'grant_type'.")
	case grant != "client_credentials":
		return aadsts(r, 400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
	case r.form.Get("client_id") != c.credentials.ClientID:
		return aadsts(r, 400, "unauthorized_client", 700016, "Application with this identifier was not found in the directory.")
	}
	if refusal, ok := c.entraClient(r, tenant); !ok {
		return refusal
	}
	resource, ok := resourceOf(r.form.Get("scope"))
	switch {
	case r.form.Get("scope") == "":
		return aadsts(r, 400, "invalid_request", 900144, "The request body must contain the following parameter: 'scope'.")
	case !ok:
		return aadsts(r, 400, "invalid_scope", 1002012, "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier.")
	}
	token, err := c.azureToken(r, tenant, resource, s.expires(r.now()))
	if err != nil {
		return broken
	}
	seconds := int64(s.lifetime().Seconds())
	doc := map[string]any{"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}
	if s.RefreshIn > 0 {
		doc["refresh_in"] = int64(s.RefreshIn.Seconds())
	}
	return object(200, doc)
}

// entraClient authenticates the client, by secret or by assertion. Otherwise it says why not.
func (c *Cloud) entraClient(r *request, tenant string) (refusal reply, ok bool) {
	refuse := func(code int, text string) (reply, bool) { return aadsts(r, 401, "invalid_client", code, text), false }
	secret, assertion := r.form.Get("client_secret"), r.form.Get("client_assertion")
	switch {
	case assertion != "" && r.form.Get("client_assertion_type") != assertionType:
		return aadsts(r, 400, "invalid_request", 900144, "The request body must contain the following parameter: 'client_assertion_type'."), false
	case assertion == "" && secret == "":
		return refuse(7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	case assertion == "" && !same(secret, c.credentials.ClientSecret):
		return refuse(7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID.")
	case assertion == "":
		return reply{}, true
	}
	var bad error
	if got, federated := verify(assertion, c.oidc.public.Key); federated {
		// A workload's token: its issuer's, for Entra.
		switch bad = alive(got, r.now()); {
		case got.Issuer != r.base():
			return refuse(700211, "No matching federated identity record found for presented assertion issuer.")
		case !got.Audience.Contains(AudienceEntra):
			return refuse(700212, "No matching federated identity record found for presented assertion audience.")
		}
	} else if got, own := verify(assertion, c.keys()...); own {
		// The client's own: RFC 7523 §3.
		endpoint := c.Paths(r.base()).Entra(tenant)
		switch bad = alive(got, r.now()); {
		case got.Issuer != c.credentials.ClientID || got.Subject != c.credentials.ClientID:
			return refuse(700021, "Client assertion's issuer or subject is not the client.")
		case !got.Audience.Contains(endpoint) && !got.Audience.Contains(entraIssuer(r.base(), tenant)):
			return refuse(700023, "Client assertion audience claim does not match Realm issuer.")
		}
	} else {
		return refuse(700027, "Client assertion failed signature validation.")
	}
	if bad != nil {
		return refuse(700024, "Client assertion is not within its valid time range.")
	}
	return reply{}, true
}

func entraIssuer(base, tenant string) string { return base + "/" + tenant + "/v2.0" }

// azureToken is an access token of Azure's, whichever of its issuers gives it.
func (c *Cloud) azureToken(r *request, tenant, resource string, expires time.Time) (string, error) {
	return c.entra.token(claims{
		"iss": entraIssuer(r.base(), tenant), "aud": resource, "tid": tenant, "sub": c.credentials.ClientID, "oid": c.credentials.ClientID,
		"azp": c.credentials.ClientID, "ver": "2.0",
	}, r.now(), expires)
}

// resourceOf is what a client credentials scope asks a token for: one resource, with /.default. msal adds OpenID Connect's
// scopes, which mean nothing here.
func resourceOf(scope string) (string, bool) {
	var resource string
	for _, one := range strings.Fields(scope) {
		if slices.Contains([]string{"openid", "offline_access", "profile"}, one) {
			continue
		}
		name, ok := strings.CutSuffix(one, "/.default")
		if !ok || name == "" || resource != "" {
			return "", false
		}
		resource = name
	}
	return resource, resource != ""
}

// isTenant reports whether a tenant's name is a GUID or a domain.
func isTenant(s string) bool {
	return len(s) <= 253 && s != "" && s[0] != '.' && s[0] != '-' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == ""
}

// same compares secrets, in a time that tells nothing of them.
func same(presented, want string) bool { return guard.NewSecret(want).Equal(presented) }

// aadsts is an error in Entra's shape.
func aadsts(r *request, status int, code string, number int, text string) reply {
	trace, correlation := uuid(), r.Header.Get("Client-Request-Id")
	if !isUUID(correlation) {
		correlation = uuid()
	}
	at := r.now().Format("2006-01-02 15:04:05Z")
	return object(status, map[string]any{
		"error":             code,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", number, text, trace, correlation, at),
		"error_codes":       []int{number},
		"timestamp":         at, "trace_id": trace, "correlation_id": correlation,
	})
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func isUUID(s string) bool {
	return len(s) == 36 && strings.Count(s, "-") == 4 && strings.Trim(s, "0123456789abcdefABCDEF-") == ""
}

// entraMetadata is a tenant's OpenID configuration. msal wants its issuer to be of the authority's own host.
func (c *Cloud) entraMetadata(w http.ResponseWriter, r *http.Request) {
	tenant := r.PathValue("tenant")
	if !isTenant(tenant) {
		http.NotFound(w, r)
		return
	}
	e := c.Paths(base(r))
	object(200, map[string]any{
		"issuer":                                entraIssuer(base(r), tenant),
		"authorization_endpoint":                base(r) + "/" + tenant + "/oauth2/v2.0/authorize",
		"token_endpoint":                        e.Entra(tenant),
		"jwks_uri":                              base(r) + "/" + tenant + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
	}).write(w)
}

// entraInstance says that this host is an authority of its own, under one name.
func (c *Cloud) entraInstance(w http.ResponseWriter, r *http.Request) {
	object(200, map[string]any{
		"tenant_discovery_endpoint": base(r) + "/common/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []any{map[string]any{"preferred_network": r.Host, "preferred_cache": r.Host, "aliases": []string{r.Host}}},
	}).write(w)
}
