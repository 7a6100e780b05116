package lab

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// oauthToken is the OAuth issuer's token endpoint. What is asked for as audience, or as resource (RFC 8707), becomes the
// token's aud, and so the token may be a workload identity's.
func (c *Cloud) oauthToken(r *request, s Settings) reply {
	if refusal, ok := c.oauthClient(r); !ok {
		return refusal
	}
	switch r.form.Get("grant_type") {
	case "client_credentials":
	case "":
		return oauthError(400, "invalid_request", "grant_type is missing")
	default:
		return oauthError(400, "unsupported_grant_type", "only client_credentials is supported")
	}
	scope := r.form.Get("scope")
	id := c.credentials.ClientID
	body := claims{"iss": r.base(), "sub": id, "client_id": id}
	switch audience := slices.Concat(r.form["audience"], r.form["resource"]); len(audience) {
	case 0:
		body["aud"] = "lab"
	case 1:
		body["aud"] = audience[0]
	default:
		body["aud"] = audience
	}
	if scope != "" {
		body["scope"] = scope
	}
	token, err := c.oidc.token(body, r.now(), s.expires(r.now()))
	if err != nil {
		return broken
	}
	doc := map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int64(s.lifetime().Seconds())}
	if scope != "" {
		doc["scope"] = scope
	}
	if s.RefreshIn > 0 {
		doc["refresh_in"] = int64(s.RefreshIn.Seconds())
	}
	return object(200, doc)
}

// oauthClient authenticates the client: by Basic or in the form (RFC 6749 §2.3.1), or by an assertion (RFC 7523). Otherwise it
// says why not.
func (c *Cloud) oauthClient(r *request) (refusal reply, ok bool) {
	user, password, basic := r.BasicAuth()
	id, secret, assertion := r.form.Get("client_id"), r.form.Get("client_secret"), r.form.Get("client_assertion")
	if basic {
		if secret != "" || assertion != "" {
			return oauthError(400, "invalid_request", "the client authenticates itself in two ways"), false
		}
		var err1, err2 error
		if user, err1 = url.QueryUnescape(user); err1 == nil {
			password, err2 = url.QueryUnescape(password)
		}
		if err1 != nil || err2 != nil || id != "" && id != user {
			return invalidClient(), false
		}
		id, secret = user, password
	}
	if assertion != "" {
		got, signed := verify(assertion, c.keys()...)
		endpoint := r.base() + pathOAuth
		ok = signed && secret == "" && r.form.Get("client_assertion_type") == assertionType && alive(got, r.now()) == nil &&
			got.Issuer == c.credentials.ClientID && got.Subject == got.Issuer && (id == "" || id == got.Issuer) &&
			(got.Audience.Contains(endpoint) || got.Audience.Contains(r.base()))
	} else {
		ok = id == c.credentials.ClientID && same(secret, c.credentials.ClientSecret)
	}
	if !ok {
		return invalidClient(), false
	}
	return reply{}, true
}

// oauthError is an error in OAuth's shape: RFC 6749 §5.2.
func oauthError(status int, code, text string) reply {
	return object(status, map[string]string{"error": code, "error_description": text})
}

func invalidClient() reply {
	a := oauthError(401, "invalid_client", "the client is not known, or did not authenticate itself")
	a.header = http.Header{"Www-Authenticate": {`Basic realm="lab"`}}
	return a
}

// oauthMetadata is the OAuth issuer's: OpenID Connect Discovery §3.
func (c *Cloud) oauthMetadata(w http.ResponseWriter, r *http.Request) {
	e := c.Paths(base(r))
	object(200, map[string]any{
		"issuer":                                e.Issuer,
		"token_endpoint":                        e.OAuthToken,
		"jwks_uri":                              e.JWKS,
		"grant_types_supported":                 []string{"client_credentials"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "private_key_jwt"},
		"response_types_supported":              []string{"token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
	}).write(w)
}

// jwks are the keys of every token that the cloud signs.
func (c *Cloud) jwks(w http.ResponseWriter, _ *http.Request) {
	object(200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{c.oidc.public, c.entra.public}}).write(w)
}
