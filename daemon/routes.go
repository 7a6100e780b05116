package daemon

import (
	"net/http"

	"freshet.dev/builtin"
	"freshet.dev/internal/guard"
)

// routes are the dialects that share an address: each answers one path, exactly. A path that none has goes to the first, whose
// dialect refuses it. (http.ServeMux would answer it in words that no SDK reads, redirect what is not clean, and do both before
// the guard has looked.)
type routes struct {
	first http.Handler
	paths map[string]http.Handler
}

// add puts a dialect's handler behind the guard.
func (r *routes) add(row builtin.Endpoint, hosts []string, h http.Handler) {
	guarded := guard.Handler(hosts, row.Deny, h)
	if r.first == nil {
		r.first, r.paths = guarded, make(map[string]http.Handler)
	}
	r.paths[row.Path] = guarded
}

// ServeHTTP passes a request to its dialect.
func (r *routes) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch h := r.paths[req.URL.Path]; {
	case h != nil:
		h.ServeHTTP(w, req)
	case r.first != nil:
		r.first.ServeHTTP(w, req)
	default:
		http.NotFound(w, req) // a session whose identities no dialect carries
	}
}
