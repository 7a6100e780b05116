package broker

import (
	"fmt"
	"slices"

	"freshet.dev/freshet"
)

// Policy says who may use an identity, and what they may ask of it.
type Policy struct {
	UIDs     []uint32 // processes of these users; with GIDs empty too, the daemon's own user
	GIDs     []uint32 // processes with one of these groups
	Withheld bool     // never handed out (release: false): only doors that sign and chains use it

	Tenants   []string // what callers may ask for beside the default; empty leaves only the default, if there is one
	Scopes    []string
	Audiences []string
}

// Caller is who asks: through which door, and as whom.
type Caller struct {
	Door string // "socket", "session", "endpoint", "proxy", "route", "mcp", "bridge", "command", "chain"
	ID   string // tells callers of one door apart, such as an endpoint's address or a session's number

	Peer bool // the kernel named the caller: UID, GIDs and PID hold
	UID  uint32
	GIDs []uint32
	PID  int

	// Grants are the identities that the door itself hands to whoever passes it: an endpoint's callers know its secret, a
	// session's the session's. Policy by user does not apply to them.
	Grants []string
	// Signs tells that what the caller is given stays in this process, and leaves it on requests that it signs alone. What is
	// never handed out is given to it too.
	Signs bool
	// Ancestry are the retrievals this call comes from within; see [freshet.WithAncestry].
	Ancestry []string
}

// who names the caller in errors and the record.
func (c Caller) who() string {
	if c.Peer {
		return fmt.Sprintf("uid %d", c.UID)
	}
	return c.name()
}

// name tells callers apart in the record. A process id is left out: it would make every short-lived command another caller.
func (c Caller) name() string {
	switch {
	case c.Peer:
		return fmt.Sprintf("%s:uid:%d", c.Door, c.UID)
	case c.ID != "":
		return c.Door + ":" + c.ID
	}
	return c.Door
}

func (b *Broker) may(c Caller, e *entry) bool {
	if slices.Contains(c.Grants, e.Name()) {
		return true
	}
	if !c.Peer {
		return false
	}
	p := &e.policy
	if len(p.UIDs) == 0 && len(p.GIDs) == 0 {
		return c.UID == b.owner
	}
	return slices.Contains(p.UIDs, c.UID) || slices.ContainsFunc(c.GIDs, func(g uint32) bool { return slices.Contains(p.GIDs, g) })
}

// admits reports whether the credential may go where the caller's door leads.
func (p *Policy) admits(c Caller) bool { return !p.Withheld || c.Signs }

// equal reports whether two policies are the same.
func (p *Policy) equal(q *Policy) bool {
	return slices.Equal(p.UIDs, q.UIDs) && slices.Equal(p.GIDs, q.GIDs) && p.Withheld == q.Withheld &&
		slices.Equal(p.Tenants, q.Tenants) && slices.Equal(p.Scopes, q.Scopes) && slices.Equal(p.Audiences, q.Audiences)
}

// pins is the set of fields that accept their default alone: those that have one and no list of others.
func (p *Policy) pins(d freshet.Request) freshet.Fields {
	var f freshet.Fields
	if d.Tenant != "" && len(p.Tenants) == 0 {
		f |= freshet.FieldTenant
	}
	if len(d.Scopes) > 0 && len(p.Scopes) == 0 {
		f |= freshet.FieldScopes
	}
	if d.Audience != "" && len(p.Audiences) == 0 {
		f |= freshet.FieldAudience
	}
	return f
}

// allows refuses what a request asks beyond the identity's lists, and names the field. A field without a list is for the source
// and the issuer to judge.
func (p *Policy) allows(name string, d, req *freshet.Request) (field string, err error) {
	outside := func(field, value string) (string, error) {
		return field, freshet.Errorf(freshet.Denied, "identity %s: %s %q is not among those it may be asked for", name, field, value).
			WithHint("its %ss: in the configuration lists them", field)
	}
	listed := func(value, standard string, list []string) bool {
		return value == "" || value == standard || len(list) == 0 || slices.Contains(list, value)
	}
	if !listed(req.Tenant, d.Tenant, p.Tenants) {
		return outside("tenant", req.Tenant)
	}
	if !listed(req.Audience, d.Audience, p.Audiences) {
		return outside("audience", req.Audience)
	}
	for _, scope := range req.Scopes {
		// An empty scope is none of the list: an issuer that is asked for it grants its own default, which may be more.
		if len(p.Scopes) > 0 && !slices.Contains(p.Scopes, scope) && !slices.Contains(d.Scopes, scope) {
			return outside("scope", scope)
		}
	}
	return "", nil
}
