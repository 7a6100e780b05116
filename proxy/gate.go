package proxy

import (
	"context"
	"net/http"

	"freshet.dev/freshet"
	"freshet.dev/internal/guard"
)

// Behind is something at one path of a gate, for callers that it knows.
type Behind struct {
	Path    string // the whole of it
	Callers Callers
	// Handler answers callers that were let in; what they have shown is taken away from their requests, and [CallerOf] names them.
	Handler http.Handler
	Refused func(code string) // hears of a request that was not let in, why in a word; nil: nobody does
}

// gate are those of one listener.
type gate struct {
	hosts  []string
	behind []place
	secret bool // some are known by one
}

type place struct {
	Behind
	secret guard.Secret
}

// NewGate shares a listener between handlers that callers are let in to as they are to routes, but for signatures. It keeps from
// them what [NewMux] keeps from routes. hosts are as there. Who is not let in is not told which paths there are.
func NewGate(hosts []string, behind ...Behind) http.Handler {
	g := &gate{hosts: hosts}
	for _, b := range behind {
		g.behind = append(g.behind, place{b, guard.NewSecret(string(b.Callers.Secret))})
		g.secret = g.secret || b.Callers.Secret != ""
	}
	return g
}

// maxAsked bounds a body of a caller that was let in.
const maxAsked = 32 << 20

// ServeHTTP lets a request in to what is at its path.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var at *place
	for i := range g.behind {
		if g.behind[i].Path == r.URL.Path {
			at = &g.behind[i]
		}
	}
	if code, why := stray(r, g.hosts); code != "" {
		at.refused(g, code)
		turnAway(w, r, http.StatusForbidden, code, why)
		return
	}
	if at == nil {
		g.nowhere(w, r)
		return
	}
	name, err := at.admit(r)
	if err != nil {
		at.refused(g, "AccessDenied")
		g.deny(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxAsked)
	at.Handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, name)))
}

// nowhere answers a request to a path at which there is nothing: who is known to any of the others is told so.
func (g *gate) nowhere(w http.ResponseWriter, r *http.Request) {
	for i := range g.behind {
		if _, err := g.behind[i].admit(r); err == nil {
			g.behind[i].refused(g, "NotFound")
			turnAway(w, r, http.StatusNotFound, "NotFound", "there is nothing at this path")
			return
		}
	}
	(*place)(nil).refused(g, "AccessDenied")
	g.deny(w, r)
}

// deny answers all who are not let in alike.
func (g *gate) deny(w http.ResponseWriter, r *http.Request) {
	if g.secret {
		w.Header().Set("WWW-Authenticate", `Bearer realm="freshet"`)
		turnAway(w, r, http.StatusUnauthorized, "AccessDenied", "nobody is let in who does not show the secret: as Bearer token, or as API key")
		return
	}
	turnAway(w, r, http.StatusForbidden, "AccessDenied", "you are not among those who are let in")
}

// admit finds out who sends a request, and takes away what they showed for it.
func (p *place) admit(r *http.Request) (string, error) {
	return p.Callers.known(r, func() error {
		if !p.Callers.shown(&p.secret, r) {
			return refusal(freshet.Denied, http.StatusUnauthorized, "AccessDenied", "the secret is not shown")
		}
		p.Callers.forget(r)
		return nil
	})
}

// refused tells of a request that was not let in. What is for none counts for the first.
func (p *place) refused(g *gate, code string) {
	if p == nil && len(g.behind) > 0 {
		p = &g.behind[0]
	}
	if p != nil && p.Refused != nil {
		p.Refused(code)
	}
}

type callerKey struct{}

// CallerOf names the caller whom a gate has let in: "secret", "uid:1000", "cert:NAME".
func CallerOf(r *http.Request) string {
	name, _ := r.Context().Value(callerKey{}).(string)
	return name
}
