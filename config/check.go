package config

import (
	"slices"
	"strconv"
	"strings"

	"freshet.dev/internal/field"
)

// The Check methods look at one mapping; what concerns several is in crossCheck.

// Check bounds the cache from below.
func (c Cache) Check() error {
	if c.Entries < 1 {
		return &field.Error{Field: "entries", Why: "want 1 or more"}
	}
	if c.Bytes < 1<<20 {
		return &field.Error{Field: "bytes", Why: "want 1MiB or more"}
	}
	return nil
}

// Check wants an address to listen on.
func (m Metrics) Check() error {
	if m.Listen == "" {
		return nil
	}
	_, err := field.Listen("listen", m.Listen)
	return err
}

// Check wants a file for what is required.
func (a Audit) Check() error {
	if a.Required && a.File == "" {
		return &field.Error{Field: "required", Why: "there is no audit without file"}
	}
	return nil
}

// Check wants a share that leaves time on both sides.
func (r Refresh) Check() error {
	if r.At != 0 && (r.At < 1 || r.At > 99) {
		return &field.Error{Field: "at", Why: "want 1% to 99%"}
	}
	if r.Timeout <= 0 {
		return &field.Error{Field: "timeout", Why: "want more than 0s"}
	}
	return nil
}

// Check refuses a negative limit.
func (l Limit) Check() error {
	if l.Concurrency < 0 {
		return &field.Error{Field: "concurrency", Why: "want 0 or more", Help: "0 is no limit"}
	}
	return nil
}

// Check wants the defaults to be among what is allowed.
func (i *Identity) Check() error {
	if i.Tenant != "" && len(i.Tenants) > 0 && !slices.Contains(i.Tenants, i.Tenant) {
		return &field.Error{Field: "tenants", Why: "the default tenant is not among them", Help: "add it, or remove tenant"}
	}
	if i.Audience != "" && len(i.Audiences) > 0 && !slices.Contains(i.Audiences, i.Audience) {
		return &field.Error{Field: "audiences", Why: "the default audience is not among them", Help: "add it, or remove audience"}
	}
	return nil
}

// Check wants identities, written in one way, and an address that only this machine reaches.
func (e *Endpoint) Check() error {
	switch {
	case e.Identity == "" && len(e.Identities) == 0:
		return &field.Error{Why: "serves no identity", Help: "add identity: NAME, or identities: [NAME, NAME]"}
	case e.Identity != "" && e.Identities != nil:
		return &field.Error{Field: "identities", Why: "given beside identity", Help: "keep one of them"}
	}
	addr, err := field.Listen("listen", e.Listen)
	if err != nil {
		return err
	}
	if !e.Expose && !addr.Addr().IsLoopback() {
		return &field.Error{
			Field: "listen", Why: "other machines can reach this address", Help: "listen on 127.0.0.1, or add expose: true if they may",
		}
	}
	return nil
}

// crossCheck finds what is wrong between identities, endpoints, proxies and bridges. It bears with values that had errors of their own.
func crossCheck(name string, f *File) Errors {
	var errs Errors
	byName := map[string]*Identity{}
	var names []string
	for i := range f.Identities {
		id := &f.Identities[i]
		byName[id.Name] = id
		names = append(names, id.Name)
	}
	unknown := func(at *places, path, wanted string) {
		help := ""
		if len(names) > 0 && len(names) <= 20 {
			help = "identities are " + strings.Join(names, ", ")
		}
		errs = append(errs, at.problem(path, "unknown identity"+didYouMean(wanted, names), help))
	}
	for _, id := range f.Identities {
		if id.From != "" && byName[id.From] == nil {
			unknown(id.at, "from", id.From)
		}
	}
	errs = append(errs, cycles(f.Identities, byName)...)

	servers := map[string]Position{} // dialect and address → first entry
	for i := range f.Endpoints {
		e := &f.Endpoints[i]
		if e.Identity != "" && byName[e.Identity] == nil {
			unknown(e.at, "identity", e.Identity)
		}
		for j, one := range e.Identities {
			path := join("identities", index(j))
			if byName[one] == nil {
				if one != "" {
					unknown(e.at, path, one)
				}
			} else if slices.Index(e.Identities, one) < j {
				errs = append(errs, e.at.problem(path, "listed twice", ""))
			}
		}
		addr, err := field.Listen("listen", e.Listen)
		if err != nil || e.Kind == "" {
			continue
		}
		key := e.Kind + " " + addr.String()
		if first, taken := servers[key]; taken {
			errs = append(errs, e.at.problem("listen",
				"the entry of line "+strconv.Itoa(first.Line)+" has the same endpoint there", "give one of them another port"))
			continue
		}
		servers[key] = e.Pos
	}
	errs = append(errs, crossCheckProxies(f, byName, unknown)...)
	return append(errs, crossCheckMCP(f, byName, unknown)...)
}

// cycles finds identities that are their own input, each cycle once.
func cycles(ids []Identity, byName map[string]*Identity) Errors {
	var errs Errors
	done := map[string]bool{} // walked from
	for i := range ids {
		var way []string
		for id := &ids[i]; id != nil && !done[id.Name]; id = byName[id.From] {
			done[id.Name] = true
			way = append(way, id.Name)
			start := slices.Index(way, id.From)
			if start < 0 {
				continue
			}
			ring := append(slices.Clone(way[start:]), id.From)
			errs = append(errs, byName[id.From].at.problem("from", "a cycle: "+strings.Join(ring, " → "),
				"the first input of a chain has no from"))
		}
	}
	return errs
}
