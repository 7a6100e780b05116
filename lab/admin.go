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
//	GET  /admin/issuers         {"entra":{"settings":{"latency":"250ms"},"count":{"requests":3,"granted":3,"refused":0,"peak":2}},…}
//	PUT  /admin/issuers/{name}  {"latency":"1s","lifetime":"20m","refresh_in":"5m"}: all its settings; what is left out is default
//	POST /admin/reset           all counts to zero
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
		req, ok := read(w, r)
		if !ok {
			return
		}
		name := r.PathValue("name")
		if _, known := c.issuers[name]; !known {
			oauthError(404, "invalid_request", "there is no such issuer").write(w)
			return
		}
		var s Settings
		if json.Unmarshal(bytes.TrimSpace(req.body), &s) != nil {
			oauthError(400, "invalid_request", `the body is not settings, as {"latency":"250ms","lifetime":"1h","refresh_in":"30m"}`).write(w)
			return
		}
		if err := c.Set(name, s); err != nil {
			oauthError(400, "invalid_request", err.Error()).write(w)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	handle("POST "+pathAdmin+"/reset", func(w http.ResponseWriter, _ *http.Request) {
		c.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
}

// issuerStatus is one issuer's.
type issuerStatus struct {
	Settings Settings `json:"settings"`
	Count    Count    `json:"count"`
}

func (c *Cloud) status() map[string]issuerStatus {
	all := make(map[string]issuerStatus, len(c.issuers))
	for name, i := range c.issuers {
		all[name] = issuerStatus{i.now(), i.count()}
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
