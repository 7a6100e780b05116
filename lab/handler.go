package lab

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"freshet.dev/freshet"
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
	mux.Handle("POST "+pathOpenAI+"/chat/completions", c.issuer(OpenAI, c.openaiChat))
	mux.Handle("POST "+pathOpenAI+"/responses", c.issuer(OpenAI, c.openaiResponse))
	mux.Handle("GET "+pathOpenAI+"/models", c.issuer(OpenAI, c.openaiModels))
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
	form url.Values    // of the body; empty where that is no form
	skew time.Duration // how far the clock is ahead of whoever answers
}

// now is what the issuer takes for the time.
func (r *request) now() time.Time { return freshet.Now().Wall().Add(r.skew) }

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
	events      *events // what the body is made of; nil: it is no stream
	ending      ending
}

// with is the answer with another header.
func (a reply) with(name, value string) reply {
	header := a.header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	header.Set(name, value)
	a.header = header
	return a
}

func (a reply) write(w http.ResponseWriter) {
	if a.ending != whole {
		a.writeHalf(w)
		return
	}
	a.writeHeader(w)
	_, _ = w.Write(a.body)
}

func (a reply) writeHeader(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(a.status)
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

// FaultHeader is in every answer that a fault made or altered. It says which: "outage 5xx", "slow".
const FaultHeader = "Freshet-Lab-Fault"

func (c *Cloud) answer(w http.ResponseWriter, r *request, name string, answer func(*request, Settings) reply) {
	i := c.issuers[name]
	v := i.begin()
	defer v.leave()
	s, t := i.now(), i.faults.touch(tenantOf(name, r))
	switch {
	case t.is(Malformed, wayExpired), t.is(Malformed, wayAgain): // it is not known yet whether there is something to alter
	case t != nil:
		v.count(faulted(t.Kind))
	}
	if t.is(Outage, wayRefused) || t.is(Outage, wayHang) {
		c.log.Debug("lab: cut", "issuer", name, "fault", t.String())
		if t.is(Outage, wayHang) {
			_ = t.pass(r.Context(), t.For)
		}
		v.leave()
		sever(w) // however that ended: a handler that returns has answered 200
		return
	}
	if !wait(r.Context(), s.Latency) || t.is(Slow, "") && !t.pass(r.Context(), t.By+t.extra) {
		// The client has left, or the server is ending.
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	a, altered := i.reply(t, name, r, s, answer)
	switch {
	case altered:
		v.count(faulted(t.Kind))
		a = a.with(FaultHeader, t.String())
		c.log.Debug("lab: answered", "issuer", name, "status", a.status, "fault", t.String())
	case a.streams():
		c.log.Debug("lab: answers", "issuer", name, "status", a.status)
	default:
		v.count(outcomeOf(a))
		c.log.Debug("lab: answered", "issuer", name, "status", a.status)
	}
	if a.streams() {
		a.play(r.Context(), w, v)
		return
	}
	v.leave()
	a.write(w)
}

// streams reports whether it is sent event by event; what a fault breaks off is not.
func (a reply) streams() bool { return a.events != nil && a.ending == whole }

// reply is what an issuer answers, with a fault or without one, and whether that fault has a part in it.
func (i *issuer) reply(t *touch, name string, r *request, s Settings, answer func(*request, Settings) reply) (a reply, altered bool) {
	if t == nil {
		return answer(r, s), false
	}
	switch t.Kind {
	case Throttle:
		return t.retryAfter(throttled(name, r), r), true
	case Outage:
		if t.is(Outage, way5xx) {
			return t.retryAfter(failing(name, r, t.Status), r), true
		}
		a = answer(r, s)
		a.ending = reset
		return a, true
	case Malformed:
		if a, altered = i.malformed(t, name, r, s, answer); !altered {
			i.faults.spare(t.active)
		}
		return a, altered
	case Skew:
		r.skew = t.By
		return answer(r, s).with("Date", r.now().UTC().Format(http.TimeFormat)), true
	}
	return answer(r, s), true
}

// retryAfter adds for how long the issuer is to be left alone. A date counts from the answer's own.
func (t *touch) retryAfter(a reply, r *request) reply {
	switch {
	case t.RetryAfter == 0:
		return a
	case t.is(Throttle, wayDate):
		now := r.now().UTC()
		return a.with("Date", now.Format(http.TimeFormat)).with("Retry-After", now.Add(t.RetryAfter).Format(http.TimeFormat))
	}
	return a.with("Retry-After", strconv.FormatInt(int64(t.RetryAfter/time.Second), 10))
}
