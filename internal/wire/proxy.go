package wire

import (
	"encoding/json"
	"slices"
	"time"

	"freshet.dev/freshet"
)

// Proxy is the body of POST /v1/proxies: a route of a caller's own, to an upstream of its choice.
type Proxy struct {
	Upstream string          `json:"upstream"` // an https URL, or an http one of a loopback host
	Identity string          `json:"identity"`
	Signer   string          `json:"signer,omitempty"`   // what puts the credential on requests; "": by what the identity consists of
	Settings json.RawMessage `json:"settings,omitempty"` // of the signer: {"service":"s3"}
	Listen   string          `json:"listen,omitempty"`   // a loopback address with its port, or "unix:/PATH"; "" is 127.0.0.1:0
	Secret   string          `json:"secret,omitempty"`   // that callers must know; "": the daemon makes one, but for a Unix socket
	Tenant   string          `json:"tenant,omitempty"`   // what the identity is asked for, instead of its own
	Scopes   []string        `json:"scopes,omitempty"`
	Audience string          `json:"audience,omitempty"`
	Methods  []string        `json:"methods,omitempty"` // those allowed; none: all
	Paths    []string        `json:"paths,omitempty"`   // those allowed, with * at the end alone; none: all
	CAFile   string          `json:"ca_file,omitempty"` // of the upstream, by its absolute path
	Hold     string          `json:"hold,omitempty"`    // as in [Request]
}

// Request reads what the identity is to be asked for, and how long to wait for it at first. Errors are of kind [freshet.Invalid].
func (p Proxy) Request() (freshet.Request, error) {
	r := freshet.Request{Tenant: p.Tenant, Scopes: p.Scopes, Audience: p.Audience}
	if err := checkScopes(p.Scopes); err != nil {
		return r, err
	}
	var err error
	r.Hold, err = parseHold(p.Hold)
	return r, err
}

// WithHold is the same, to be waited for as long as hold.
func (p Proxy) WithHold(hold time.Duration) Proxy {
	p.Hold = holdOf(hold)
	return p
}

// ProxyOpened is the first line of the reply: the route answers as long as the reply's body stays open.
type ProxyOpened struct {
	URL    string       `json:"url"`              // "http://127.0.0.1:PORT", without a slash at its end, or "unix:/PATH"
	Secret string       `json:"secret,omitempty"` // where the daemon has made it
	Signer string       `json:"signer"`
	Type   freshet.Type `json:"type"` // what the identity consists of
}

func checkScopes(scopes []string) error {
	if slices.Contains(scopes, "") {
		return freshet.Errorf(freshet.Invalid, "scopes: one is empty").WithHint("leave scopes out to get the identity's own")
	}
	return nil
}
