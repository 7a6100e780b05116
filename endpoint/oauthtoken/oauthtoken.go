// Package oauthtoken is an OAuth 2.0 token endpoint: RFC 6749 §4.4, client credentials. Any OAuth client gets an identity's
// bearer token from it as it would from an authorization server.
//
// A request is POST with grant_type=client_credentials and an optional scope and audience (or RFC 8707 resource). client_id is
// the identity's name and client_secret the endpoint's secret, by HTTP Basic (both form-encoded, §2.3.1) or in the body.
// Answers and errors are those of §5.1 and §5.2, always as application/json: x/oauth2 reads text/plain as a form.
package oauthtoken

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/expiry"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/wire"
)

// Path is where tokens are.
const Path = "/token"

// patience is how long to wait for another attempt at an issuer that fails. OAuth clients give an answer no time (x/oauth2), or
// half a minute and more, and few try again.
const patience = 20 * time.Second

// Config has no settings of its own.
type Config struct{}

// Door hands out credentials of the identities granted to this endpoint.
type Door interface {
	Get(ctx context.Context, identity string, req freshet.Request) (freshet.Answer, error)
	Names() []string
}

// Handler serves the identities of its door.
type Handler struct {
	door       Door
	identities map[string]*identity
	secret     guard.Secret
}

// New makes a handler for a door's identities.
func New(door Door, secret guard.Secret) *Handler {
	h := &Handler{door: door, secret: secret, identities: make(map[string]*identity)}
	for _, name := range door.Names() {
		h.identities[name] = new(identity)
	}
	return h
}

// Environment is what tells a program of the handler, served at base, for one identity.
func Environment(base, secret, identity string) map[string]string {
	return map[string]string{
		"FRESHET_TOKEN_URL":     base + Path,
		"FRESHET_CLIENT_ID":     identity,
		"FRESHET_CLIENT_SECRET": secret,
	}
}

// ServeHTTP answers POST /token.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != Path:
		Deny(w, http.StatusNotFound, "there is nothing at this path")
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		Deny(w, http.StatusMethodNotAllowed, "only POST is answered")
		return
	}
	if !isForm(r.Header.Get("Content-Type")) {
		fail(w, http.StatusBadRequest, "invalid_request", "the body must be "+formType)
		return
	}
	f, why := readForm(r)
	if why != "" {
		fail(w, http.StatusBadRequest, "invalid_request", why)
		return
	}
	name, ok := h.authenticate(r, &f)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="freshet"`)
		fail(w, http.StatusUnauthorized, "invalid_client", "client_id is an identity's name, client_secret this endpoint's secret")
		return
	}
	if f.grantType != "client_credentials" {
		fail(w, http.StatusBadRequest, "unsupported_grant_type", "only client_credentials is answered")
		return
	}
	if f.audience != "" && f.resource != "" && f.audience != f.resource {
		fail(w, http.StatusBadRequest, "invalid_target", "audience and resource differ, and a token is for one")
		return
	}
	req := freshet.Request{Scopes: strings.Fields(f.scope), Audience: cmp.Or(f.audience, f.resource), Hold: patience}
	a, err := h.door.Get(r.Context(), name, req)
	if err == nil && a.Credential.Type() != freshet.Bearer {
		err = freshet.Errorf(freshet.Invalid, "identity %s: its credential is %s, which this dialect cannot carry", name, a.Credential.Type())
	}
	if err != nil {
		h.refuse(w, freshet.AsError(err))
		return
	}
	header := w.Header()
	if a.Stale {
		header.Set("Freshet-Stale", "true")
	}
	header["Content-Type"], header["Cache-Control"] = contentType, noStore
	_, _ = w.Write(h.identities[name].answer(a.Credential))
}

var (
	contentType = []string{"application/json"}
	noStore     = []string{"no-store"}
)

// identity is one that is served here, and the answer that was given last.
type identity struct{ last atomic.Pointer[rendered] }

// rendered is an answer. It holds for a second: how long a token lives is relative.
type rendered struct {
	credential *freshet.Credential
	expiresIn  int64
	body       []byte
}

// answer renders a version once a second.
func (i *identity) answer(c *freshet.Credential) []byte {
	in := expiry.Seconds(c)
	if r := i.last.Load(); r != nil && r.credential == c && r.expiresIn == in {
		return r.body
	}
	doc, _ := json.Marshal(struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
	}{c.Token(), c.TokenType()})
	body := strconv.AppendInt(append(doc[:len(doc)-1], `,"expires_in":`...), in, 10)
	body = append(body, "}\n"...)
	i.last.Store(&rendered{c, in, body})
	return body
}

// authenticate reads the client's id and secret: from one place, not both (RFC 6749 §2.3).
func (h *Handler) authenticate(r *http.Request, f *form) (identity string, ok bool) {
	id, secret := f.clientID, f.clientSecret
	if user, password, basic := r.BasicAuth(); basic {
		if f.hasSecret {
			return "", false
		}
		named := id
		var err1, err2 error
		id, err1 = url.QueryUnescape(user)
		secret, err2 = url.QueryUnescape(password)
		// A client that skips the form-encoding sends the secret as it is, and curl -u does; either is the right secret.
		if err1 != nil || err2 != nil || !h.secret.Equal(secret) {
			id, secret = user, password
		}
		if named != "" && named != id {
			return "", false
		}
	}
	// The secret is compared first, so that only who knows it learns which identities there are.
	if !h.secret.Equal(secret) || h.identities[id] == nil {
		return "", false
	}
	return id, true
}

// refuse translates a failure. invalid_client is kept for this endpoint's own secret: a client that gets it gives up.
func (h *Handler) refuse(w http.ResponseWriter, e *freshet.Error) {
	wire.TellRetryAfter(w.Header(), e)
	switch e.Kind {
	case freshet.Invalid:
		fail(w, http.StatusBadRequest, "invalid_scope", wire.Message(e))
	case freshet.Denied, freshet.LoginNeeded:
		fail(w, http.StatusBadRequest, "unauthorized_client", wire.Message(e))
	case freshet.Unavailable:
		fail(w, http.StatusServiceUnavailable, "temporarily_unavailable", wire.Message(e))
	case freshet.Malformed:
		fail(w, http.StatusBadGateway, "server_error", wire.Message(e))
	default:
		fail(w, http.StatusInternalServerError, "server_error", wire.Message(e))
	}
}

// Deny answers in the dialect what the guard refuses.
func Deny(w http.ResponseWriter, status int, why string) { fail(w, status, "invalid_request", why) }

func fail(w http.ResponseWriter, status int, code, description string) {
	w.Header()["Content-Type"], w.Header()["Cache-Control"] = contentType, noStore
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": printable(description)})
}

// printable keeps to the characters that §5.2 allows in error_description.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\\' || r < 0x20 || r > 0x7e:
			return '?'
		}
		return r
	}, s)
}
