package lab

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"strings"

	"freshet.dev/internal/guard"
)

// admin is the API that changes a running cloud. Durations are text, as in Settings.
//
//	GET    /admin/issuers         {"entra":{"settings":{"latency":"250ms"},"count":{"requests":3,"granted":3,"refused":0,"peak":2}},…}
//	PUT    /admin/issuers/{name}  {"latency":"1s","lifetime":"20m","refresh_in":"5m"}: all its settings; what is left out is default
//	PUT    /admin/issuers/{name}/faults              {"kind":"outage","how":"hang","for":"20m"}: one more, or in place of its like
//	DELETE /admin/issuers/{name}/faults[?tenant=T]   all of them, or those for a tenant
//	POST   /admin/reset           all counts to zero
//
// An issuer that has faults also has "faults":[{"kind":"outage","how":"5xx","probability":1,"for":"20m","status":503,"left":"19m",
// "requests":12,"touched":12}], and one that had some, in its count, "faults":{"outage":12}. An API has the tokens that it was shown,
// by hash: "tokens":{"9f86d081884c7d659a2feaa0c55ad015":3}; its settings may also have "events":50 and "pause":"100ms".
//
// It takes the admin token as a Bearer token, from this machine alone.
func (c *Cloud) admin(mux *http.ServeMux) {
	secret := guard.NewSecret(c.credentials.AdminToken)
	handle := func(pattern string, answer http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !local(r.RemoteAddr):
				deny(w, http.StatusForbidden, "the admin API is for this machine")
			case !bearer(r, secret):
				w.Header().Set("WWW-Authenticate", "Bearer")
				deny(w, http.StatusUnauthorized, "the admin token is missing or wrong")
			default:
				answer(w, r)
			}
		})
	}
	handle("GET "+pathAdmin+"/issuers", func(w http.ResponseWriter, _ *http.Request) {
		object(200, c.status()).write(w)
	})
	handle("PUT "+pathAdmin+"/issuers/{name}", func(w http.ResponseWriter, r *http.Request) {
		req, ok := c.named(w, r)
		if !ok {
			return
		}
		var s Settings
		if json.Unmarshal(bytes.TrimSpace(req.body), &s) != nil {
			oauthError(400, "invalid_request", `the body is not settings, as {"latency":"250ms","lifetime":"1h","refresh_in":"30m"}`).write(w)
			return
		}
		done(w, c.Set(r.PathValue("name"), s))
	})
	handle("PUT "+pathAdmin+"/issuers/{name}/faults", func(w http.ResponseWriter, r *http.Request) {
		req, ok := c.named(w, r)
		if !ok {
			return
		}
		var f Fault
		if json.Unmarshal(bytes.TrimSpace(req.body), &f) != nil {
			oauthError(400, "invalid_request", `the body is not a fault, as {"kind":"outage","how":"5xx","for":"20m","probability":0.5}`).write(w)
			return
		}
		done(w, c.Inject(r.PathValue("name"), f))
	})
	handle("DELETE "+pathAdmin+"/issuers/{name}/faults", func(w http.ResponseWriter, r *http.Request) {
		if _, ok := c.named(w, r); ok {
			done(w, c.Clear(r.PathValue("name"), r.URL.Query().Get("tenant")))
		}
	})
	handle("POST "+pathAdmin+"/reset", func(w http.ResponseWriter, _ *http.Request) {
		c.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
}

// named reads a request about an issuer that there is.
func (c *Cloud) named(w http.ResponseWriter, r *http.Request) (*request, bool) {
	req, ok := read(w, r)
	if _, known := c.issuers[r.PathValue("name")]; ok && !known {
		oauthError(404, "invalid_request", "there is no such issuer").write(w)
		return nil, false
	}
	return req, ok
}

// done answers that something was done, or why not.
func done(w http.ResponseWriter, err error) {
	if err != nil {
		oauthError(400, "invalid_request", err.Error()).write(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// IssuerStatus is an issuer's, as the admin API tells it.
type IssuerStatus struct {
	Settings Settings      `json:"settings"`
	Count    Count         `json:"count"`
	Faults   []ActiveFault `json:"faults,omitempty"`
	// Tokens are those of [Cloud.Tokens].
	Tokens map[string]int64 `json:"tokens,omitempty"`
}

func (c *Cloud) status() map[string]IssuerStatus {
	all := make(map[string]IssuerStatus, len(c.issuers))
	for name, i := range c.issuers {
		all[name] = IssuerStatus{i.now(), i.count(), i.faults.status(), i.seen()}
	}
	return all
}

// bearer reports whether a request has a secret as its Bearer token.
func bearer(r *http.Request, secret guard.Secret) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Bearer") && secret.Equal(token)
}

// local reports whether an address is this machine's. A listener in memory has no address, and nobody else can reach it.
func local(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
