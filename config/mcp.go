package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
)

// MCP is a bridge of the Model Context Protocol: one server towards agents, in front of one or several that want credentials.
type MCP struct {
	Name      string        `yaml:"name" required:"true" doc:"its name, as in freshet mcp NAME, in figures and in the record: lowercase letters, digits and hyphens"`
	Listen    string        `yaml:"listen" doc:"address and port, as 127.0.0.1:9930, or unix:/absolute/path, for streamable HTTP; entries of one address share a server; without it the bridge is for freshet mcp NAME alone"`
	Path      string        `yaml:"path" default:"/mcp" doc:"path of its URL"`
	Secret    secret.Ref    `yaml:"secret" doc:"what its callers must send: 32 random bytes or more; required over TCP but with tls.client_ca_file"`
	Allow     Allow         `yaml:"allow" doc:"who may use it over its Unix socket, and by freshet mcp NAME; default: the daemon's own user"`
	TLS       ProxyTLS      `yaml:"tls" doc:"TLS towards its callers; entries of one address have the same"`
	Expose    bool          `yaml:"expose" doc:"allow an address that other machines can reach; it needs tls too"`
	Upstreams []MCPUpstream `yaml:"upstreams" required:"true" doc:"the servers behind it; of several, an agent sees the tools of each with its name and _ before theirs"`
	Approvals MCPApprovals  `yaml:"approvals" doc:"of calls that wait for freshet approve"`

	Pos Position // of the entry

	at *places
}

// MCPUpstream is a server behind a bridge.
type MCPUpstream struct {
	Name           string            `yaml:"name" doc:"its name: lowercase letters, digits and underscores; required where there are several; default: the bridge's"`
	URL            string            `yaml:"url" required:"true" doc:"its URL, for streamable HTTP; https, but for this machine's own addresses"`
	Identity       string            `yaml:"identity" doc:"the identity whose credential signs; it may be one of release: false; required but with skip_auth"`
	Signer         string            `yaml:"signer" doc:"how a credential is put on requests; it decides which other keys there are; default: by what the identity yields"`
	Tenant         string            `yaml:"tenant" doc:"tenant that its identities are asked for, instead of their default"`
	Scopes         []string          `yaml:"scopes" doc:"scopes that they are asked for, instead of their default"`
	Audience       string            `yaml:"audience" doc:"audience that they are asked for, instead of their default"`
	DefaultProfile string            `yaml:"default_profile" doc:"the profile of calls that name none, which is the one of identity; default: the identity's name"`
	Profiles       []MCPProfile      `yaml:"profiles" doc:"further profiles that a call may name, and the identity of each"`
	Parameter      string            `yaml:"parameter" default:"profile" doc:"argument by which a call of any tool names a profile; it is taken away"`
	Meta           map[string]string `yaml:"meta" doc:"put into _meta of every request, but where the agent has set the same key"`
	ReadOnly       bool              `yaml:"read_only" doc:"true: tools that read alone, by tools.read and tools.write, else by the tool's own readOnlyHint"`
	Tools          MCPTools          `yaml:"tools" doc:"which tools an agent sees and may call; names as the upstream has them, with * at the end for all that begin so"`
	Approve        string            `yaml:"approve" enum:"never|writes|all" default:"never" doc:"which calls wait for an operator: writes are all of tools that are not known to read"`
	ApproveTools   []string          `yaml:"approve_tools" doc:"tools whose calls wait for an operator in any case"`
	Pin            string            `yaml:"pin" format:"path" doc:"file that freshet mcp pin wrote: tools that are not as in it are refused"`
	Timeouts       MCPTimeouts       `yaml:"timeouts" doc:"how long it waits for the upstream"`
	Retries        int               `yaml:"retries" default:"1" doc:"further attempts after 429, 502, 503 and 504 where a request may be repeated, 0 to 10"`
	Connections    int               `yaml:"connections" default:"0" doc:"connections to the upstream at once; 0: 4096"`
	Sessions       int               `yaml:"sessions" default:"1" doc:"the upstream's sessions at once for one session of an agent and one profile, 1 to 100"`
	SkipAuth       bool              `yaml:"skip_auth" doc:"true: requests go without a credential where none is to be had; without identity, always"`
	CAFile         string            `yaml:"ca_file" format:"path" doc:"PEM file of the certificate authorities to trust for the upstream in place of the system's"`

	Pos      Position // of the entry
	Settings any      // what Kinds.Signers made, filled in; nil without Signer

	at *places
}

// MCPProfile is an account by another name than its identity's.
type MCPProfile struct {
	Name, Identity string
}

// MCPTools is what an operator says of tools. Of Read and Write, which win over a tool's own hints, the longer word wins.
type MCPTools struct {
	Allow []string `yaml:"allow" doc:"the only ones; none if it is empty; default: all"`
	Deny  []string `yaml:"deny" doc:"never these, allowed or not"`
	Read  []string `yaml:"read" doc:"these read, whatever they say"`
	Write []string `yaml:"write" doc:"these do not; of read and write the entry with more letters wins"`
}

// MCPTimeouts are how long a bridge waits.
type MCPTimeouts struct {
	Connect field.Duration `yaml:"connect" default:"60s" doc:"for a connection, TLS included"`
	Write   field.Duration `yaml:"write" default:"180s" doc:"to send a request"`
	Read    field.Duration `yaml:"read" default:"120s" doc:"without a byte of an answer that is expected"`
	Request field.Duration `yaml:"request" default:"180s" doc:"for the answer to a request that is no tool's call"`
	Tool    field.Duration `yaml:"tool" default:"300s" doc:"for the answer to a tool's call"`
}

// MCPApprovals are how long a call waits for an operator.
type MCPApprovals struct {
	Wait   field.Duration `yaml:"wait" default:"45s" doc:"how long a call waits until its agent is told to call again once it is approved"`
	Expire field.Duration `yaml:"expire" default:"15m" doc:"how long a call can be approved, and how long a decision holds"`
}

// Explain puts the place in the file before what is said of a bridge's settings later.
func (m *MCP) Explain(err error) error { return m.at.explain(err) }

// Explain puts the place in the file before what is said of an upstream's settings later: by its signer's constructor, or of its files.
func (u *MCPUpstream) Explain(err error) error { return u.at.explain(err) }

// Names are the identities of an upstream, that of calls that name no profile first.
func (u *MCPUpstream) Names() []string {
	var names []string
	if u.Identity != "" {
		names = append(names, u.Identity)
	}
	for _, p := range u.Profiles {
		names = append(names, p.Identity)
	}
	return names
}

// MCPFiles lists the files of certificates, keys and pinned tools that bridges name, each once.
func (f *File) MCPFiles() []string {
	var files []string
	add := func(names ...string) {
		for _, name := range names {
			if name != "" && !slices.Contains(files, name) {
				files = append(files, name)
			}
		}
	}
	for _, m := range f.MCP {
		add(m.TLS.CertFile, m.TLS.KeyFile, m.TLS.ClientCAFile)
		for _, u := range m.Upstreams {
			add(u.CAFile, u.Pin)
		}
	}
	return files
}

// bridges reads the list of bridges.
func (d *decoder) bridges(n ast.Node, s spot, into *[]MCP) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(position(n), s.what(), "want a list, found "+kindOf(n), "write each as - {name: …, upstreams: […]}")
		return
	}
	for i, e := range seq.Values {
		m := MCP{Pos: position(e), at: d.newPlaces(join(s.what(), index(i)), position(e))}
		d.mapping(e, spot{at: m.at}, reading{}, reflect.ValueOf(&m).Elem())
		if len(m.Upstreams) == 1 && m.Upstreams[0].Name == "" {
			m.Upstreams[0].Name = strings.ReplaceAll(m.Name, "-", "_")
		}
		*into = append(*into, m)
	}
}

// upstreams reads the list of a bridge's upstreams.
func (d *decoder) upstreams(n ast.Node, s spot, into *[]MCPUpstream) {
	seq, ok := n.(*ast.SequenceNode)
	switch {
	case !ok:
		d.fail(position(n), s.what(), "want a list, found "+kindOf(n), "write each as - {url: …, identity: …}")
		return
	case len(seq.Values) == 0:
		d.fail(position(n), s.what(), "is empty", "")
	}
	for i, e := range seq.Values {
		u := MCPUpstream{Pos: position(e), at: d.newPlaces(join(s.what(), index(i)), position(e))}
		common, before := reflect.ValueOf(&u).Elem(), len(d.errs)
		if entries, _ := entriesOf(e); slices.ContainsFunc(entries, func(e entry) bool { return e.key == "signer" }) {
			u.Settings = d.kind(e, spot{at: u.at}, "signer", d.kinds.Signers, common)
		} else {
			d.mapping(e, spot{at: u.at}, reading{}, common)
			d.explainSigners(d.errs[before:], u.at.path)
		}
		if _, given := u.at.keys["pin"]; given && u.Pin == "" && len(d.errs) == before { // who writes the key wants tools pinned
			d.errs = append(d.errs, u.at.problem("pin", "is empty", "name the file that freshet mcp pin wrote, or remove the key"))
		}
		if u.DefaultProfile == "" {
			u.DefaultProfile = u.Identity
		}
		*into = append(*into, u)
	}
}

// explainSigners says of unknown keys of the mapping at path whose they are.
func (d *decoder) explainSigners(errs Errors, path string) {
	for _, kind := range slices.Sorted(maps.Keys(d.kinds.Signers)) {
		for _, s := range settingsOf(reflect.TypeOf(d.kinds.Signers[kind]()).Elem()) {
			for _, e := range errs {
				if e.What == join(path, s.name) && strings.HasPrefix(e.Why, "unknown key") {
					e.Why, e.Help = "unknown key where there is no signer", "add signer: "+kind
				}
			}
		}
	}
}

// profiles reads the mapping from profiles' names to identities, whose order is kept.
func (d *decoder) profiles(n ast.Node, s spot, into *[]MCPProfile) {
	entries, ok := entriesOf(n)
	if !ok {
		d.fail(position(n), s.what(), "want a mapping from names, found "+kindOf(n), "write each as NAME: IDENTITY")
		return
	}
	for _, e := range d.unique(entries, s, reading{quiet: true}) {
		if !isName(e.key) {
			d.fail(e.pos, s.what(), "not a name for a profile", nameForm)
			continue
		}
		p := MCPProfile{Name: e.key}
		d.value(e.value, s.inner(e.key, e.pos), setting{required: true}, reflect.ValueOf(&p.Identity).Elem())
		*into = append(*into, p)
	}
}
