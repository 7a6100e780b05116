package lab

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"

	"freshet.dev/internal/guard"
)

// Handler answers for all issuers, on one server. It refuses what a page in a browser sends, and what names another host.
func (c *Cloud) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /{tenant}/oauth2/v2.0/token", c.issuer(Entra, c.entraToken))
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", c.entraMetadata)
	mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", c.jwks)
	mux.HandleFunc("GET /common/discovery/instance", c.entraInstance)
	mux.Handle("POST "+pathOAuth, c.issuer(OAuth, c.oauthToken))
	mux.HandleFunc("GET "+pathMetadata, c.oauthMetadata)
	mux.HandleFunc("GET "+pathJWKS, c.jwks)
	mux.Handle("POST "+pathSTS+"{$}", c.sts())
	mux.Handle("GET "+pathMSI, c.issuer(ManagedIdentity, c.msiToken))
	mux.Handle("GET "+pathContainer, c.issuer(Container, c.containerKeys))
	mux.Handle("POST "+pathAzureCLI, c.issuer(AzureCLI, c.azToken))
	c.admin(mux)
	return guard.Handler(nil, deny, mux)
}

// deny answers what is refused before any issuer is asked.
func deny(w http.ResponseWriter, status int, why string) {
	object(status, map[string]string{"error": "forbidden", "error_description": why}).write(w)
}

// request is a request that was read whole.
type request struct {
	*http.Request
	body []byte
	form url.Values // of the body; empty where that is no form
}

// read reads a request's body. net/http only sees a client leave once there is nothing more to read of it.
func read(w http.ResponseWriter, r *http.Request) (*request, bool) {
	body, err := io.ReadAll(r.Body)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		deny(w, http.StatusRequestEntityTooLarge, "the body is too large")
	}
	if err != nil {
		return nil, false
	}
	req := &request{Request: r, body: body, form: url.Values{}}
	if typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && typ == "application/x-www-form-urlencoded" {
		if form, err := url.ParseQuery(string(body)); err == nil {
			req.form = form
		}
	}
	return req, true
}

// base is the address that a client knows this server by.
func (r *request) base() string { return base(r.Request) }

func base(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// reply is an answer in an issuer's dialect.
type reply struct {
	status      int
	contentType string
	header      http.Header // further ones; may be nil
	body        []byte
}

func (a reply) write(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// object is an answer in JSON.
func object(status int, v any) reply {
	body, err := json.Marshal(v)
	if err != nil {
		return broken
	}
	return reply{status: status, contentType: "application/json", body: body}
}

// broken is an answer where the lab itself is at fault.
var broken = reply{status: http.StatusInternalServerError, contentType: "application/json", body: []byte(`{"error":"server_error"}`)}

// issuer counts what an issuer is asked, lets its latency pass, and answers. The count is right before the client has the
// answer.
func (c *Cloud) issuer(name string, answer func(*request, Settings) reply) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if req, ok := read(w, r); ok {
			c.answer(w, req, name, answer)
		}
	})
}

func (c *Cloud) answer(w http.ResponseWriter, r *request, name string, answer func(*request, Settings) reply) {
	i := c.issuers[name]
	o := left
	end := i.begin()
	defer func() { end(o) }()
	s := i.now()
	if !wait(r.Context(), s.Latency) {
		// The client has left, or the server is ending.
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	a := answer(r, s)
	if o = refused; a.status == http.StatusOK {
		o = granted
	}
	end(o)
	end = func(outcome) {}
	c.log.Debug("lab: answered", "issuer", name, "status", a.status)
	a.write(w)
}
