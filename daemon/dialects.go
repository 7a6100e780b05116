package daemon

import (
	"net/http"

	"freshet.dev/builtin"
	"freshet.dev/internal/guard"
)

// dialects are those that share an address: each answers one path, exactly. A path that none has goes to the first, whose
// dialect refuses it. (http.ServeMux would answer it in words that no SDK reads, redirect what is not clean, and do both before
// the guard has looked.)
type dialects struct {
	first http.Handler
	paths map[string]http.Handler
}

// add puts a dialect's handler behind the guard.
func (d *dialects) add(row builtin.Endpoint, hosts []string, h http.Handler) {
	guarded := guard.Handler(hosts, row.Deny, h)
	if d.first == nil {
		d.first, d.paths = guarded, make(map[string]http.Handler)
	}
	d.paths[row.Path] = guarded
}

// ServeHTTP passes a request to its dialect.
func (d *dialects) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch h := d.paths[req.URL.Path]; {
	case h != nil:
		h.ServeHTTP(w, req)
	case d.first != nil:
		d.first.ServeHTTP(w, req)
	default:
		http.NotFound(w, req) // a session whose identities no dialect carries
	}
}
