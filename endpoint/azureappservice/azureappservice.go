// Package azureappservice speaks the managed identity dialect of Azure App Service, version 2019-08-01, which every Azure SDK
// reads from IDENTITY_ENDPOINT and IDENTITY_HEADER.
//
// A request is GET with api-version=2019-08-01, resource (a scope without its /.default), and the secret in X-IDENTITY-HEADER.
// client_id, mi_res_id or object_id name a user-assigned identity. The answer is
//
//	{"access_token", "expires_on": "1767225600", "resource", "token_type": "Bearer", "client_id"?, "refresh_in"?: 1800}
//
// with expires_on in digits, the only form that every SDK reads: @azure/identity 4.13 takes RFC 3339 without milliseconds for
// expired, and msal-go 1.10 fails on an expires_in or refresh_in that is "" or has a fraction. Azure's SDKs keep a margin of five
// minutes themselves, so the expiry is the true one.
//
// Errors are {"statusCode", "message", "error": {"code", "message"}}: msal for Python reads the first two, msal-node message,
// and Go shows the whole body. azidentity retries 408, 429 and 5xx, and msal-node 404 and 410 too, up to 20 s long, so that what
// will not change is answered with 400 or 403.
package azureappservice

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/wire"
)

// Path is where tokens are.
const Path = "/msi/token"

// Config is the settings of one endpoint.
type Config struct {
	ClientID string `yaml:"client_id" doc:"client id of the identity: a caller that asks for one must ask for this; without it any is accepted"`
}

// Door hands out the identity's credential.
type Door interface {
	Get(ctx context.Context, identity string, req freshet.Request) (freshet.Answer, error)
}

// Handler serves one identity.
type Handler struct {
	cfg      Config
	door     Door
	identity string
	secret   guard.Secret
	recent   recent
}

// New makes a handler for one identity.
func New(cfg Config, door Door, identity string, secret guard.Secret) *Handler {
	return &Handler{cfg: cfg, door: door, identity: identity, secret: secret}
}

// Environment is what points an SDK at the handler, served at base, such as "http://127.0.0.1:9912". AZURE_TOKEN_CREDENTIALS
// keeps a DefaultAzureCredential from going on to the developer's own login where freshet refuses: @azure/identity takes every
// failure here for the absence of a managed identity.
func Environment(base, secret string) map[string]string {
	return map[string]string{
		"IDENTITY_ENDPOINT":       base + Path,
		"IDENTITY_HEADER":         secret,
		"AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
	}
}

// patience is how long to wait for another attempt at an issuer that fails. Clients give an answer longer than that (azidentity for
// Go a minute), but ask again three times and more by themselves: together that is half a minute, and then their user is told.
const patience = 6 * time.Second

// longestSleep bounds the Retry-After that clients are told: they sleep for it before each of three retries, azidentity for Node for
// as long as it says, when to ask again would have them held until there is an answer. The message tells the whole time.
const longestSleep = 5 * time.Second

// The header, as net/http spells it.
const secretHeader = "X-Identity-Header"

// ServeHTTP answers GET /msi/token.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != Path:
		Deny(w, http.StatusNotFound, "there is nothing at this path")
		return
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		Deny(w, http.StatusMethodNotAllowed, "only GET is answered")
		return
	case !h.secret.Equal(r.Header.Get(secretHeader)):
		Deny(w, http.StatusForbidden, "the X-IDENTITY-HEADER header is not this endpoint's secret")
		return
	}
	query := r.URL.RawQuery
	s := h.recent.find(query)
	if s == nil {
		q, why := readQuery(query)
		if why == "" {
			why = h.refuses(q)
		}
		if why != "" {
			fail(w, http.StatusBadRequest, freshet.Invalid, why)
			return
		}
		s = &seat{resource: q.resource, request: freshet.Request{Scopes: []string{scopeOf(q.resource)}, Hold: patience}}
	}
	a, err := h.door.Get(r.Context(), h.identity, s.request)
	if err == nil && a.Credential.Type() != freshet.Bearer {
		err = freshet.Errorf(freshet.Invalid, "identity %s: its credential is %s, which this dialect cannot carry", h.identity, a.Credential.Type())
	}
	if err != nil {
		h.refuse(w, freshet.AsError(err))
		return
	}
	h.recent.keep(query, s)
	header := w.Header()
	header["Content-Type"], header["Cache-Control"] = contentType, noStore
	if a.Stale {
		header.Set("Freshet-Stale", "true")
	}
	_, _ = w.Write(h.answer(s, a))
}

// scopeOf is the inverse of what SDKs make of a scope: they cut /.default off and nothing else, and Entra wants the slash that
// many resources end with (https://management.core.windows.net/) before that of /.default.
func scopeOf(resource string) string {
	const suffix = "/.default"
	if strings.HasSuffix(resource, suffix) {
		return resource
	}
	return resource + suffix
}

// refuses says why this endpoint does not answer a query; "" if it does.
func (h *Handler) refuses(q query) string {
	switch {
	case q.version != "2019-08-01":
		return "api-version is not 2019-08-01"
	case q.resource == "":
		return "resource is missing"
	case strings.ContainsFunc(q.resource, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return "resource has characters that no resource has" // a space would make two scopes of it
	case h.cfg.ClientID == "":
		return ""
	case q.named && q.clientID == "":
		return "this identity is known by its client_id alone"
	case q.clientID != "" && !strings.EqualFold(q.clientID, h.cfg.ClientID):
		return "client_id is not that of the identity served here"
	}
	return ""
}

// refuse translates a failure.
func (h *Handler) refuse(w http.ResponseWriter, e *freshet.Error) {
	why := wire.Message(e)
	brief := *e
	brief.RetryAfter = min(e.RetryAfter, longestSleep)
	wire.TellRetryAfter(w.Header(), &brief)
	fail(w, status(e.Kind), e.Kind, why)
}

// status maps a failure's kind.
func status(k freshet.Kind) int {
	if k == freshet.LoginNeeded {
		return http.StatusForbidden // 401 is a challenge to the clients' pipelines
	}
	return wire.Status(k)
}

// Deny answers in the dialect what the guard refuses.
func Deny(w http.ResponseWriter, status int, why string) { fail(w, status, freshet.Denied, why) }

var (
	contentType = []string{"application/json"}
	noStore     = []string{"no-store"}
)

func fail(w http.ResponseWriter, status int, code freshet.Kind, message string) {
	type object struct {
		Code    freshet.Kind `json:"code"`
		Message string       `json:"message"`
	}
	w.Header()["Content-Type"], w.Header()["Cache-Control"] = contentType, noStore
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		StatusCode int    `json:"statusCode"`
		Message    string `json:"message"`
		Error      object `json:"error"`
	}{status, message, object{code, message}})
}

// staticLife is what a credential that does not expire is said to live: clients come back for a rotated one.
const staticLife = time.Hour
