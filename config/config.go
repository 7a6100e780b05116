// Package config reads freshet's one configuration file into checked values.
//
// It is strict: an unknown key, a wrong type or an inline secret is an error of one line with the file, line and column
// it is about. No error quotes the file or shows a value from it, since any value may be a secret in the wrong place;
// keys and the names of identities are shown. Everything found wrong is reported at once.
//
// A source's, endpoint's or signer's own settings are its folder's Config struct, which Kinds gives by name. Its fields are read
// by their tags:
//
//	yaml:"name"      the key; a field without one is not read
//	doc:"…"          one line for docs/config.md and the JSON schema
//	required:"true"  the key must be there, and not be empty
//	default:"60s"    the value of a key that is not there, in the file's own notation
//	enum:"a|b"       the only values of a string
//	format:"path"    a string that is an absolute path; ~/ is expanded
//
// Types are string, bool, integers, field.Scalar, secret.Ref, structs of these (an embedded one's keys are its
// holder's), lists and map[string]T. A leaf may declare a key that all identities, endpoints or proxies have: then it is given the
// value too, and may require it. A struct with a method Check() error is checked once it is read; field.Error names the
// key at fault. Check looks at the values alone: whether files and variables are there is File.CheckSecrets's question,
// as a client that only wants the socket's path reads this file too.
package config

import (
	"crypto/sha256"
	"encoding/hex"

	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
)

// Kinds are the sources, endpoints and signers there are.
type Kinds struct {
	Sources   map[string]func() any // kind → a pointer to a new zero Config
	Endpoints map[string]func() any // dialect → likewise
	Signers   map[string]func() any // way to sign → likewise
}

// File is a whole configuration. Its values are checked and its defaults filled in.
type File struct {
	Version    int        `yaml:"version" required:"true" doc:"version of this format: 1"`
	Socket     Socket     `yaml:"socket" doc:"the local API's Unix socket"`
	Identities []Identity `yaml:"identities" required:"true" doc:"what callers can ask for, by name"`
	Endpoints  []Endpoint `yaml:"endpoints" doc:"servers that speak dialects which SDKs know"`
	Proxies    []Proxy    `yaml:"proxies" doc:"servers that forward requests with a credential put on each, to callers who hold none"`
	MCP        []MCP      `yaml:"mcp" doc:"bridges by which agents use the tools of remote servers and hold no credentials"`
	Store      Store      `yaml:"store" doc:"second-level cache"`
	Cache      Cache      `yaml:"cache" doc:"bounds of the credentials held in memory"`
	Metrics    Metrics    `yaml:"metrics" doc:"Prometheus metrics over TCP; the socket serves them anyway"`
	Ready      Ready      `yaml:"ready" doc:"when /readyz says that the daemon is ready"`
	Log        Log        `yaml:"log" doc:"what is logged on stderr"`
	Audit      Audit      `yaml:"audit" doc:"JSON log of who was given what"`

	Path   string // as given to Load or Parse
	Digest string // of the file's bytes: hex SHA-256

	secrets []located[secret.Ref]
}

// Socket is where the local API listens.
type Socket struct {
	Path  string     `yaml:"path" format:"path" doc:"the socket's path; empty: the default of this user"`
	Mode  field.Mode `yaml:"mode" default:"0600" doc:"the socket's permissions; 0660 with group lets that group in"`
	Group string     `yaml:"group" doc:"group that owns the socket; empty: the daemon's own"`
}

// Store is the second-level cache. There is one of memory so far.
type Store struct {
	Store string `yaml:"store" enum:"memory" default:"memory" doc:"where it is"`
}

// Cache bounds the first level.
type Cache struct {
	Entries int        `yaml:"entries" default:"100000" doc:"credentials held at most"`
	Bytes   field.Size `yaml:"bytes" default:"256MiB" doc:"memory they take at most"`
}

// Metrics is an address for Prometheus. Without one nothing listens.
type Metrics struct {
	Listen string `yaml:"listen" doc:"address and port, as 127.0.0.1:9464"`
}

// Ready is when the daemon says that it is ready.
type Ready struct {
	Timeout field.Duration `yaml:"timeout" default:"30s" doc:"how long it waits for pinned identities; 0s: not at all"`
}

// Log is what goes to stderr.
type Log struct {
	Level  string `yaml:"level" enum:"debug|info|warn|error" default:"info" doc:"least severity logged"`
	Format string `yaml:"format" enum:"text|json" default:"text" doc:"form of a line"`
}

// Audit is the log of who was given what. Without a file there is none.
type Audit struct {
	File     string `yaml:"file" format:"path" doc:"file it is appended to"`
	Required bool   `yaml:"required" doc:"refuse service rather than lose records when the log cannot keep up"`
}

// Identity is a name callers ask for: a source, its settings, and who may use it how.
type Identity struct {
	Source    string   `yaml:"source" required:"true" doc:"kind of issuer; it decides which other keys there are"`
	From      string   `yaml:"from" doc:"identity whose credential is this one's input"`
	Tenant    string   `yaml:"tenant" doc:"tenant of callers that ask for none"`
	Tenants   []string `yaml:"tenants" doc:"tenants callers may ask for"`
	Scopes    []string `yaml:"scopes" doc:"scopes of callers that ask for none, and those they may ask for"`
	Audience  string   `yaml:"audience" doc:"audience of callers that ask for none"`
	Audiences []string `yaml:"audiences" doc:"audiences callers may ask for"`
	Allow     Allow    `yaml:"allow" doc:"who may use it over the socket; default: the daemon's own user"`
	Release   bool     `yaml:"release" default:"true" doc:"false: never handed out; it serves as an input, and signs requests in proxies"`
	Refresh   Refresh  `yaml:"refresh" doc:"when it is refreshed"`
	Limit     Limit    `yaml:"limit" doc:"bounds towards its issuer"`
	Pin       bool     `yaml:"pin" doc:"true: the daemon keeps what callers get who ask for nothing loaded, whether or not anybody does"`

	Name     string
	Pos      Position // of the name
	Settings any      // what Kinds.Sources made, filled in
	// Version names these settings but Allow, Release and Pin, those of From and the secrets they name: it differs once any of them
	// does. A command's secret counts by its words alone. It must not be shown, as it is partly made of secrets.
	Version string

	at *places
}

// Allow is who may use an identity over the socket.
type Allow struct {
	UIDs   []uint32 `yaml:"uids" doc:"users by number"`
	Groups []string `yaml:"groups" doc:"groups by name"`
}

// Refresh is when an identity's credentials are replaced.
type Refresh struct {
	At      field.Percent  `yaml:"at" doc:"share of the lifetime after which it is due; default: by issuer and lifetime"`
	Timeout field.Duration `yaml:"timeout" default:"60s" doc:"longest that one retrieval may take"`
}

// Limit bounds what an identity asks of its issuer.
type Limit struct {
	Concurrency int        `yaml:"concurrency" doc:"retrievals at a time; default: no limit, but for a process the number of CPUs"`
	Rate        field.Rate `yaml:"rate" doc:"retrievals that begin in a time; default: no limit"`
}

// Endpoint is a server that speaks a dialect.
type Endpoint struct {
	Kind       string     `yaml:"endpoint" required:"true" doc:"dialect; it decides which other keys there are"`
	Listen     string     `yaml:"listen" required:"true" doc:"address and port, as 127.0.0.1:9911; entries of one address share a server"`
	Identity   string     `yaml:"identity" doc:"the identity its callers are given"`
	Identities []string   `yaml:"identities" doc:"the identities its callers may ask for, instead of identity"`
	Secret     secret.Ref `yaml:"secret" required:"true" doc:"what its callers must send: 32 random bytes or more"`
	Expose     bool       `yaml:"expose" doc:"allow an address that other machines can reach; they name it by number"`

	Pos      Position // of the entry
	Settings any      // what Kinds.Endpoints made, filled in

	at *places
}

// Names are the identities an endpoint serves, however they were written.
func (e *Endpoint) Names() []string {
	if e.Identity != "" {
		return []string{e.Identity}
	}
	return e.Identities
}

// Explain puts the place in the file before what a source's constructor says of the settings it was given.
func (i *Identity) Explain(err error) error { return i.at.explain(err) }

// Explain puts the place in the file before what an endpoint's constructor says of the settings it was given.
func (e *Endpoint) Explain(err error) error { return e.at.explain(err) }

// CheckSecrets reports every secret the file names that is not there to be read, or that others can read. It runs no
// command. Whoever is about to use the secrets calls it, Load does not.
func (f *File) CheckSecrets() error {
	var all Errors
	for _, s := range f.secrets {
		all = append(all, s.at.problems(s.path, s.value.Check())...)
	}
	return all.sorted()
}

// SecretFiles lists the files that hold the secrets it names.
func (f *File) SecretFiles() []string {
	var files []string
	for _, s := range f.secrets {
		if s.value.File != "" {
			files = append(files, s.value.File)
		}
	}
	return files
}

// Parse reads a configuration. Its error is an Errors; name stands for the file in it.
func Parse(name string, data []byte, kinds Kinds) (*File, error) {
	body, errs := parse(name, data)
	if len(errs) > 0 {
		return nil, errs.sorted()
	}
	f := &File{Path: name}
	d := &decoder{name: name, kinds: kinds, home: home()}
	d.file(body, f)
	d.errs = append(d.errs, crossCheck(name, f)...)
	if err := d.errs.sorted(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	f.Digest = hex.EncodeToString(sum[:])
	f.secrets = d.secrets
	setVersions(f)
	return f, nil
}
