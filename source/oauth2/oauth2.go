// Package oauth2 is a source of access tokens by OAuth 2.0 client credentials (RFC 6749 §4.4), from any issuer that speaks it.
//
//	POST TOKEN_URL
//	Content-Type: application/x-www-form-urlencoded
//	Accept: application/json
//
//	grant_type=client_credentials&scope=A+B&audience=…&resource=…&<params>
//
// scope is the request's scopes, joined by spaces; audience is the request's audience, a parameter that issuers have invented
// alike; resource is RFC 8707's. The client authenticates itself in one of three ways:
//
//	basic            Authorization: Basic base64(form-encode(client_id) ":" form-encode(client_secret))   RFC 6749 §2.3.1
//	post             client_id=…&client_secret=… in the body                                              RFC 6749 §2.3.1
//	private_key_jwt  client_assertion=JWT and client_assertion_type in the body                           RFC 7523 §2.2
//
// The answer is RFC 6749 §5.1's, with what is found in practice: expires_in as a number of any sort or as a string of one, and
// refresh_in, which Entra and others send beside it.
//
//	{"access_token": "…", "token_type": "Bearer", "expires_in": 3600, "refresh_in": 1800}
//
// An error is RFC 6749 §5.2's {"error": "invalid_client", …}, honoured at any status, 200 included. Its code becomes public,
// its description never does.
package oauth2

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/fetch"
)

// Source retrieves access tokens. It is safe for concurrent use.
type Source struct {
	cfg    Config
	client *fetch.Client
	runner *child.Runner
	target freshet.Target
	keys   keys
}

// New returns a source. Secrets that a command prints are obtained through runner; it may be nil if there are none. Errors
// are of kind Invalid.
func New(cfg Config, runner *child.Runner) (*Source, error) {
	if err := cfg.Check(); err != nil {
		return nil, invalid(err)
	}
	client, err := fetch.New(fetch.Config{CAFile: cfg.CAFile})
	if err != nil {
		return nil, err
	}
	if runner == nil {
		runner = new(child.Runner)
	}
	cfg.Auth = cfg.auth()
	if cfg.AssertionAudience == "" {
		cfg.AssertionAudience = cfg.TokenURL
	}
	target := freshet.Target{Host: fetch.Host(cfg.TokenURL), Client: cfg.ClientID}
	return &Source{cfg: cfg, client: client, runner: runner, target: target}, nil
}

// Format implements fmt.Formatter, for every verb alike: a field of the settings may hold what was meant for a secret's place.
func (s *Source) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "oauth2(%s)", s.cfg.ClientID) }

// Varies implements freshet.Varier.
func (s *Source) Varies() freshet.Fields { return freshet.FieldScopes | freshet.FieldAudience }

// Target implements freshet.Targeter: the token endpoint's host, and the client.
func (s *Source) Target(freshet.Request) freshet.Target { return s.target }

// Retrieve implements freshet.Source: one request, never repeated. An assertion is used once, and a secret is read anew, so
// that a rotated one is in use at the next retrieval.
func (s *Source) Retrieve(ctx context.Context, req freshet.Request) (*freshet.Credential, error) {
	form, err := s.form(req)
	if err != nil {
		return nil, err
	}
	header := http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"},
		"Accept":       {"application/json"},
	}
	if err := s.authenticate(ctx, form, header); err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, freshet.Errorf(freshet.Invalid, "token_url: not a URL")
	}
	post.Header = header
	sent := freshet.Now()
	answer, err := s.client.Exchange(post)
	if err != nil {
		return nil, err
	}
	if err := s.refusal(post.URL.Host, answer); err != nil {
		return nil, err
	}
	said := freshet.Validity{Sent: sent, Date: fetch.Date(answer.Header), Lifetime: time.Duration(s.cfg.Lifetime)}
	return credential(post.URL.Host, answer.Body, said)
}

// form is the request's body but for what authenticates the client.
func (s *Source) form(req freshet.Request) (url.Values, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	for name, value := range s.cfg.Params {
		form.Set(name, value)
	}
	for _, scope := range req.Scopes {
		if !isScope(scope) {
			return nil, freshet.Errorf(freshet.Invalid, "a scope has characters that no scope has").
				WithHint("give several scopes one by one")
		}
	}
	if len(req.Scopes) > 0 {
		form.Set("scope", strings.Join(req.Scopes, " "))
	}
	if req.Audience != "" {
		form.Set("audience", req.Audience)
	}
	if s.cfg.Resource != "" {
		form.Set("resource", s.cfg.Resource)
	}
	return form, nil
}

// isScope reports whether s is one scope-token of RFC 6749 §3.3. With a space in it, it would be two.
func isScope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' })
}

// authenticate adds to a request what proves who the client is.
func (s *Source) authenticate(ctx context.Context, form url.Values, header http.Header) error {
	if s.cfg.Auth == authPrivateKeyJWT {
		pem, err := s.cfg.PrivateKey.Read(ctx, s.runner)
		if err != nil {
			return unread(ctx, "private_key", err)
		}
		assertion, err := s.keys.assertion(pem, &s.cfg)
		if err != nil {
			return err
		}
		form.Set("client_id", s.cfg.ClientID)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
		return nil
	}
	secret, err := s.cfg.ClientSecret.Read(ctx, s.runner)
	if err != nil {
		return unread(ctx, "client_secret", err)
	}
	if s.cfg.Auth == authPost {
		form.Set("client_id", s.cfg.ClientID)
		form.Set("client_secret", secret)
		return nil
	}
	// Both parts are form-encoded first: a colon in the id, or a percent sign in the secret, would be read as another otherwise.
	pair := url.QueryEscape(s.cfg.ClientID) + ":" + url.QueryEscape(secret)
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	return nil
}
