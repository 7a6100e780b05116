package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"freshet.dev/internal/field"
)

const (
	bridgeForm    = "names are 1 to 64 lowercase letters, digits and hyphens, and start with a letter or digit"
	upstreamForm  = "names are 1 to 32 lowercase letters, digits and underscores, and start with a letter or digit"
	parameterForm = "it is an argument's name: 1 to 64 letters, digits and underscores"
)

// reservedBridges are words that freshet mcp takes for something else, and what bridges are called together that are in no file.
var reservedBridges = []string{"pin", "help", reservedName}

// Check looks at all that one entry can get wrong alone, but its upstreams.
func (m *MCP) Check() error {
	var errs []error
	switch {
	case !isWord(m.Name, '-', 64):
		errs = append(errs, &field.Error{Field: "name", Why: "not a name for a bridge", Help: bridgeForm})
	case slices.Contains(reservedBridges, m.Name):
		errs = append(errs, &field.Error{Field: "name", Why: "not a name for a bridge", Help: "these have another meaning: " + strings.Join(reservedBridges, ", ")})
	}
	if m.Listen != "" {
		errs = append(errs, checkServer(m.Listen, m.Secret, m.TLS, m.Expose))
	}
	return errors.Join(append(errs, field.Prefix("path", m.Path))...)
}

// Check looks at all that one upstream can get wrong alone.
func (u *MCPUpstream) Check() error {
	var errs []error
	refuse := func(key, why, help string) { errs = append(errs, &field.Error{Field: key, Why: why, Help: help}) }
	if u.Name != "" && !isWord(u.Name, '_', 32) {
		refuse("name", "not a name for an upstream", upstreamForm)
	}
	bare, _, _ := strings.Cut(u.URL, "?") // some servers want a query, where a proxy's callers send their own
	if err := field.URL("url", u.URL); err != nil {
		errs = append(errs, err)
	} else if to, err := field.Upstream("url", bare); err != nil {
		errs = append(errs, err)
	} else if to.Scheme == "http" && u.CAFile != "" {
		refuse("ca_file", "an http upstream shows no certificate", "remove it")
	}
	switch {
	case u.Identity == "" && !u.SkipAuth:
		refuse("", "the key identity is missing", "add it, or skip_auth: true if the server wants no credential")
	case u.Identity == "" && len(u.Profiles) > 0:
		refuse("profiles", "given without identity", "name that of calls without a profile by identity")
	}
	if u.DefaultProfile != "" && !isName(u.DefaultProfile) {
		refuse("default_profile", "not a name for a profile", nameForm)
	}
	if !IsParameter(u.Parameter) {
		refuse("parameter", "not a name for an argument", parameterForm)
	}
	errs = append(errs, field.Meta("meta", u.Meta), checkTools("approve_tools", u.ApproveTools))
	if u.Retries < 0 || u.Retries > 10 {
		refuse("retries", "want 0 to 10", "")
	}
	if u.Connections < 0 {
		refuse("connections", "want 0 or more", "0 is no limit")
	}
	if u.Sessions < 1 || u.Sessions > 100 {
		refuse("sessions", "want 1 to 100", "")
	}
	return errors.Join(errs...)
}

// Check wants entries that are names of tools, and no two words on one of them.
func (t MCPTools) Check() error {
	errs := []error{checkTools("allow", t.Allow), checkTools("deny", t.Deny), checkTools("read", t.Read), checkTools("write", t.Write)}
	for i, name := range t.Write {
		if slices.Contains(t.Read, name) {
			errs = append(errs, &field.Error{Field: join("write", index(i)), Why: "is in read too", Help: "keep one of them"})
		}
	}
	return errors.Join(errs...)
}

// Check wants times in which something can happen.
func (t MCPTimeouts) Check() error {
	return positive([]duration{{"connect", t.Connect}, {"write", t.Write}, {"read", t.Read}, {"request", t.Request}, {"tool", t.Tool}})
}

// Check likewise, and a call that can be approved while it waits.
func (a MCPApprovals) Check() error {
	if err := positive([]duration{{"wait", a.Wait}, {"expire", a.Expire}}); err != nil {
		return err
	}
	if a.Wait > a.Expire {
		return &field.Error{Field: "wait", Why: "longer than expire", Help: "a call is approved before it expires, or not at all"}
	}
	return nil
}

// duration is a key and its value.
type duration struct {
	key   string
	value field.Duration
}

func positive(all []duration) error {
	var errs []error
	for _, d := range all {
		if d.value <= 0 {
			errs = append(errs, &field.Error{Field: d.key, Why: "want more than 0s"})
		}
	}
	return errors.Join(errs...)
}

func checkTools(key string, entries []string) error {
	var errs []error
	for i, entry := range entries {
		at := join(key, index(i))
		if slices.Index(entries, entry) < i {
			errs = append(errs, &field.Error{Field: at, Why: "listed twice"})
			continue
		}
		errs = append(errs, field.Tool(at, entry))
	}
	return errors.Join(errs...)
}

// crossCheckMCP finds what is wrong between bridges and the rest, and between the keys of one. unknown notes an identity that is not there.
func crossCheckMCP(f *File, byName map[string]*Identity, unknown func(at *places, path, wanted string)) Errors {
	var errs Errors
	others := listeners(f)
	for i := range f.Proxies {
		others[f.Proxies[i].address()] = "a proxy"
	}
	named, routes, servers := map[string]*MCP{}, map[string]*MCP{}, map[string]*MCP{} // name, address and path, address → first entry
	line := func(m *MCP) string { return "the entry of line " + strconv.Itoa(m.Pos.Line) }
	for i := range f.MCP {
		m := &f.MCP[i]
		if first := named[m.Name]; first != nil && m.Name != "" {
			errs = append(errs, m.at.problem("name", line(first)+" has the same name", ""))
		} else {
			named[m.Name] = m
		}
		errs = append(errs, m.crossCheckUpstreams(byName, unknown)...)
		if m.Listen == "" {
			errs = append(errs, m.unheard()...)
			continue
		}
		address := addressOf(m.Listen)
		switch first := routes[address+" "+m.Path]; {
		case address == "":
		case others[address] != "":
			errs = append(errs, m.at.problem("listen", others[address]+" listens there", "give the bridge another address"))
		case first != nil:
			errs = append(errs, m.at.problem("path", line(first)+" has the same path there", "give one of them another path, or another address"))
		default:
			routes[address+" "+m.Path] = m
			if first := servers[address]; first == nil {
				servers[address] = m
			} else if first.TLS != m.TLS {
				errs = append(errs, m.at.problem("tls", line(first)+" has other TLS settings at this address", "make them the same"))
			}
		}
	}
	return errs
}

// unheard finds keys that say how it listens where it does not.
func (m *MCP) unheard() Errors {
	var errs Errors
	if _, given := m.at.keys["listen"]; given {
		return Errors{m.at.problem("listen", "is empty", "remove the key if the bridge is for freshet mcp NAME alone")}
	}
	for _, key := range []string{"path", "secret", "tls", "expose"} {
		if _, given := m.at.keys[key]; given {
			errs = append(errs, m.at.problem(key, "given without listen", "add listen:, or remove it"))
		}
	}
	return errs
}

// crossCheckUpstreams wants names by which the tools of several are told apart, and identities that there are.
func (m *MCP) crossCheckUpstreams(byName map[string]*Identity, unknown func(at *places, path, wanted string)) Errors {
	var errs Errors
	for i := range m.Upstreams {
		u := &m.Upstreams[i]
		if len(m.Upstreams) > 1 && u.Name == "" {
			errs = append(errs, u.at.problem("", "the key name is missing", "of several upstreams each has one"))
		}
		for j := range m.Upstreams {
			other := &m.Upstreams[j]
			switch {
			case i == j || u.Name == "" || other.Name == "":
			case j < i && u.Name == other.Name:
				errs = append(errs, u.at.problem("name", "the entry of line "+strconv.Itoa(other.Pos.Line)+" has the same name", ""))
			case strings.HasPrefix(u.Name, other.Name+"_"):
				// a_b_c would be a's b_c and a_b's c.
				errs = append(errs, u.at.problem("name", "begins as the tools of the entry of line "+strconv.Itoa(other.Pos.Line)+" do",
					"give it a name that does not begin with that one's and an underscore"))
			}
		}
		var asked Errors
		ask := func(path, name string) {
			switch id := byName[name]; {
			case id == nil && name != "":
				unknown(u.at, path, name)
			case id != nil && len(asked) == 0: // several would say the same of one key
				asked = asks(u.at, u.Tenant, u.Audience, u.Scopes, id)
			}
		}
		ask("identity", u.Identity)
		for _, p := range u.Profiles {
			ask(join("profiles", p.Name), p.Identity)
			if p.Name == u.DefaultProfile {
				errs = append(errs, u.at.problem(join("profiles", p.Name), "is the name of the default profile", "give that another name by default_profile"))
			}
		}
		errs = append(errs, asked...)
		for _, key := range []string{"default_profile", "parameter"} {
			if _, given := u.at.keys[key]; given && len(u.Profiles) == 0 {
				errs = append(errs, u.at.problem(key, "there are no profiles", "add profiles: {NAME: IDENTITY}, or remove it"))
			}
		}
	}
	return errs
}

// isWord reports a name of lowercase letters, digits, and one sign between or after them.
func isWord(s string, sign byte, most int) bool {
	return s != "" && len(s) <= most && s[0] != sign && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789"+string(sign)) == ""
}

// IsParameter reports a name that every model takes for an argument's.
func IsParameter(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
