package config

import (
	"slices"

	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
)

// Proxy is a route of the signing proxy: requests that come to it go to its upstream with a credential on them.
type Proxy struct {
	Signer      string        `yaml:"signer" required:"true" doc:"how a credential is put on requests; it decides which other keys there are"`
	Name        string        `yaml:"name" doc:"its name in figures and in the record; default: the identity, the address and the path"`
	Listen      string        `yaml:"listen" required:"true" doc:"address and port, as 127.0.0.1:9920, or unix:/absolute/path; entries of one address share a server"`
	Path        string        `yaml:"path" default:"/" doc:"path that its requests begin with, as /openai; it is taken away"`
	Upstream    string        `yaml:"upstream" required:"true" doc:"URL that requests go to; https, but for this machine's own addresses"`
	Identity    string        `yaml:"identity" required:"true" doc:"the identity whose credential signs; it may be one of release: false"`
	Tenant      string        `yaml:"tenant" doc:"tenant that the identity is asked for, instead of its default"`
	Scopes      []string      `yaml:"scopes" doc:"scopes that it is asked for, instead of its default"`
	Audience    string        `yaml:"audience" doc:"audience that it is asked for, instead of its default"`
	Secret      secret.Ref    `yaml:"secret" doc:"what its callers must send: 32 random bytes or more; required but on a Unix socket and with tls.client_ca_file"`
	Allow       Allow         `yaml:"allow" doc:"who may use it over a Unix socket; default: the daemon's own user"`
	TLS         ProxyTLS      `yaml:"tls" doc:"TLS towards its callers; entries of one address have the same"`
	Expose      bool          `yaml:"expose" doc:"allow an address that other machines can reach; it needs tls too"`
	Methods     []string      `yaml:"methods" doc:"HTTP methods it lets pass, as GET; default: all but CONNECT and TRACE"`
	Paths       []string      `yaml:"paths" doc:"paths it lets pass, below path, as /v1/models, or /v1/chat/* for all that begin so; default: all"`
	MaxBody     field.Size    `yaml:"max_body" default:"0B" doc:"largest body of a request; 0B: no bound"`
	MaxSpool    field.Size    `yaml:"max_spool" default:"1GiB" doc:"largest body that is read whole before it is sent, where the signature needs that"`
	Timeouts    ProxyTimeouts `yaml:"timeouts" doc:"how long it waits for its upstream"`
	Retries     int           `yaml:"retries" default:"1" doc:"further attempts after 429, 502, 503 and 504 where a request may be repeated, 0 to 5"`
	Connections int           `yaml:"connections" default:"0" doc:"connections to the upstream at once; 0: no bound"`
	CAFile      string        `yaml:"ca_file" format:"path" doc:"PEM file of the certificate authorities to trust for the upstream in place of the system's"`
	HTTP2       bool          `yaml:"http2" doc:"the upstream is an http URL that speaks HTTP/2 alone, as gRPC servers do; over https it is agreed on"`

	Pos      Position // of the entry
	Settings any      // what Kinds.Signers made, filled in

	at *places
}

// ProxyTLS is what a proxy shows its callers, and asks of them.
type ProxyTLS struct {
	CertFile     string `yaml:"cert_file" format:"path" doc:"PEM file of its certificate, and those between it and its authority"`
	KeyFile      string `yaml:"key_file" format:"path" doc:"PEM file of the certificate's private key"`
	ClientCAFile string `yaml:"client_ca_file" format:"path" doc:"PEM file of the authorities of which callers must show a certificate"`
}

// ProxyTimeouts are how long a proxy waits.
type ProxyTimeouts struct {
	Connect field.Duration `yaml:"connect" default:"10s" doc:"for a connection, TLS included"`
	Answer  field.Duration `yaml:"answer" default:"0s" doc:"from the end of a request to the head of its answer; 0s: for as long as it takes"`
	Idle    field.Duration `yaml:"idle" default:"10m" doc:"without a byte in either direction"`
}

// Explain puts the place in the file before what is said of a proxy's settings later: by its signer's constructor, or of its files.
func (p *Proxy) Explain(err error) error { return p.at.explain(err) }

// ProxyFiles lists the files of certificates and keys that proxies name, each once.
func (f *File) ProxyFiles() []string {
	var files []string
	for _, p := range f.Proxies {
		for _, file := range []string{p.TLS.CertFile, p.TLS.KeyFile, p.TLS.ClientCAFile, p.CAFile} {
			if file != "" && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files
}
