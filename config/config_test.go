package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
)

// The leaves of these tests have a setting of every type.

type empty struct{}

type web struct {
	TokenURL     string            `yaml:"token_url" required:"true" doc:"where tokens come from"`
	ClientID     string            `yaml:"client_id" doc:"who asks"`
	Auth         string            `yaml:"auth" enum:"post|basic|private_key_jwt" default:"post" doc:"how it says who it is"`
	ClientSecret secret.Ref        `yaml:"client_secret" doc:"what proves it"`
	Params       map[string]string `yaml:"params" doc:"more parameters"`
	CAFile       string            `yaml:"ca_file" format:"path" doc:"who signs its certificate"`
	Lifetime     field.Duration    `yaml:"lifetime" default:"1h" doc:"how long its tokens live"`
	Proof        struct {
		Key   secret.Ref `yaml:"key" doc:"a private key"`
		Depth uint8      `yaml:"depth" doc:"of the chain"`
	} `yaml:"proof" doc:"by a key"`
	Ignored func()
}

func (w *web) Check() error {
	err := field.URL("token_url", w.TokenURL)
	if w.Proof.Depth > 3 {
		err = errors.Join(err, &field.Error{Field: "proof.depth", Why: "want 3 or less", Help: "ask for less"})
	}
	if w.ClientID == "bad" {
		err = errors.Join(err, fmt.Errorf("client: %w", errors.New("not a good one")))
	}
	return err
}

type base struct {
	Timeout field.Duration `yaml:"timeout" doc:"of the command"`
}

type process struct {
	base
	Command []string              `yaml:"command" required:"true" doc:"what to run"`
	Env     map[string]string     `yaml:"env" doc:"its environment"`
	Secrets map[string]secret.Ref `yaml:"secrets" doc:"more of it"`
	Codes   []int                 `yaml:"codes" doc:"that are fine"`
}

// tenanted requires a key that all identities have, and so is given it too.
type tenanted struct {
	Tenant string `yaml:"tenant" required:"true" doc:"the tenant, or the default one"`
}

type signature struct {
	Service string `yaml:"service" required:"true" doc:"what is signed for"`
	Payload string `yaml:"payload" enum:"hash|unsigned" default:"hash" doc:"what of the body is signed"`
}

type gateway struct {
	Hold field.Duration `yaml:"hold" default:"2s" doc:"how long it keeps callers"`
}

func kinds() Kinds {
	return Kinds{
		Sources: map[string]func() any{
			"azure-cli":   func() any { return new(empty) },
			"aws-profile": func() any { return new(empty) },
			"oauth2":      func() any { return new(web) },
			"process":     func() any { return new(process) },
			"entra":       func() any { return new(tenanted) },
		},
		Endpoints: map[string]func() any{
			"aws-container": func() any { return new(empty) },
			"oauth-token":   func() any { return new(gateway) },
		},
		Signers: map[string]func() any{
			"bearer": func() any { return new(empty) },
			"sigv4":  func() any { return new(signature) },
		},
	}
}

const whole = `# everything there is
version: 1
socket: {path: /run/freshet/freshet.sock, mode: 0660, group: cloud}
identities:
  azure-dev: {source: azure-cli, tenants: [contoso, "fabrikam"], tenant: contoso, pin: true}
  internal:
    source: oauth2
    token_url: https://issuer.example/token
    client_id: 0123
    auth: basic
    client_secret: {env: S}
    scopes: [a, b]
    params: {resource: x}
    ca_file: ~/ca.pem
    lifetime: 30m
    proof:
      key: {command: [pass, show, key]}
      depth: 3
    from: azure-dev
    allow: {uids: [1000, 1001], groups: [cloud]}
    release: false
    refresh: {at: 50%, timeout: 10s}
    limit: {concurrency: 4, rate: 600/m}
  Helper.1: {source: process, command: [helper, --json], env: {A: b}, secrets: {B: {file: /b, shared: true}}, codes: [0, -1], timeout: 30s}
  ci: {source: entra, tenant: fabrikam, audience: api, audiences: [api, other]}
endpoints:
  - {endpoint: aws-container, listen: 127.0.0.1:9911, identity: internal, secret: {file: /s}}
  - endpoint: oauth-token
    listen: localhost:9911
    identities: [internal, azure-dev]
    secret: {env: S}
    hold: 5s
  - {endpoint: oauth-token, listen: 0.0.0.0:9911, identity: ci, secret: {env: S}, expose: true}
proxies:
  - {signer: bearer, listen: "unix:/run/freshet/openai.sock", upstream: https://api.example/v1, identity: internal, allow: {groups: [cloud]}}
  - signer: sigv4
    service: s3
    payload: unsigned
    name: s3
    listen: 0.0.0.0:9920
    path: /s3
    upstream: http://localhost:9000
    identity: azure-dev
    tenant: fabrikam
    scopes: [x]
    audience: y
    secret: {file: /p}
    tls: {cert_file: ~/cert.pem, key_file: /key.pem, client_ca_file: /clients.pem}
    expose: true
    methods: [GET, PUT]
    paths: [/bucket/*, /healthz]
    max_body: 5GiB
    max_spool: 1MiB
    timeouts: {connect: 1s, answer: 2m, idle: 1h}
    retries: 0
    connections: 7
    http2: true
  - {signer: bearer, listen: localhost:9921, upstream: https://api.example, identity: ci, secret: {env: S}, ca_file: /ca.pem}
store: {store: memory}
cache: {entries: 10, bytes: 1GiB}
metrics: {listen: 127.0.0.1:9464}
ready: {timeout: 0s}
log: {level: debug, format: json}
audit: {file: /var/log/freshet.json, required: true}
`

func TestParse(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	got, err := Parse("freshet.yaml", []byte(whole), kinds())
	if err != nil {
		t.Fatal(err)
	}
	internal := &web{
		TokenURL: "https://issuer.example/token", ClientID: "0123", Auth: "basic", ClientSecret: secret.Ref{Env: "S"},
		Params: map[string]string{"resource": "x"}, CAFile: "/home/me/ca.pem", Lifetime: field.Duration(30 * time.Minute),
	}
	internal.Proof.Key = secret.Ref{Command: []string{"pass", "show", "key"}}
	internal.Proof.Depth = 3
	usual := Refresh{Timeout: field.Duration(time.Minute)}
	patience := ProxyTimeouts{Connect: field.Duration(10 * time.Second), Idle: field.Duration(10 * time.Minute)}
	want := &File{
		Version: 1, Path: "freshet.yaml",
		Socket: Socket{"/run/freshet/freshet.sock", 0o660, "cloud"},
		Identities: []Identity{
			{Name: "azure-dev", Pos: Position{5, 3}, Source: "azure-cli", Tenant: "contoso", Tenants: []string{"contoso", "fabrikam"},
				Release: true, Pin: true, Refresh: usual, Settings: &empty{}},
			{Name: "internal", Pos: Position{6, 3}, Source: "oauth2", Scopes: []string{"a", "b"}, From: "azure-dev",
				Allow:   Allow{UIDs: []uint32{1000, 1001}, Groups: []string{"cloud"}},
				Refresh: Refresh{At: 50, Timeout: field.Duration(10 * time.Second)}, Limit: Limit{Concurrency: 4, Rate: 10}, Settings: internal},
			{Name: "Helper.1", Pos: Position{24, 3}, Source: "process", Release: true, Refresh: usual, Settings: &process{
				base: base{field.Duration(30 * time.Second)}, Command: []string{"helper", "--json"}, Env: map[string]string{"A": "b"},
				Secrets: map[string]secret.Ref{"B": {File: "/b", Shared: true}}, Codes: []int{0, -1},
			}},
			{Name: "ci", Pos: Position{25, 3}, Source: "entra", Tenant: "fabrikam", Audience: "api", Audiences: []string{"api", "other"},
				Release: true, Refresh: usual, Settings: &tenanted{"fabrikam"}},
		},
		Endpoints: []Endpoint{
			{Kind: "aws-container", Listen: "127.0.0.1:9911", Identity: "internal", Secret: secret.Ref{File: "/s"}, Pos: Position{27, 5}, Settings: &empty{}},
			{Kind: "oauth-token", Listen: "localhost:9911", Identities: []string{"internal", "azure-dev"}, Secret: secret.Ref{Env: "S"},
				Pos: Position{28, 5}, Settings: &gateway{field.Duration(5 * time.Second)}},
			{Kind: "oauth-token", Listen: "0.0.0.0:9911", Identity: "ci", Secret: secret.Ref{Env: "S"}, Expose: true,
				Pos: Position{33, 5}, Settings: &gateway{field.Duration(2 * time.Second)}},
		},
		Proxies: []Proxy{
			{Signer: "bearer", Name: "internal@unix:/run/freshet/openai.sock", Listen: "unix:/run/freshet/openai.sock", Path: "/",
				Upstream: "https://api.example/v1", Identity: "internal", Allow: Allow{Groups: []string{"cloud"}}, MaxSpool: 1 << 30,
				Timeouts: patience, Retries: 1, Pos: Position{35, 5}, Settings: &empty{}},
			{Signer: "sigv4", Name: "s3", Listen: "0.0.0.0:9920", Path: "/s3", Upstream: "http://localhost:9000", Identity: "azure-dev",
				Tenant: "fabrikam", Scopes: []string{"x"}, Audience: "y", Secret: secret.Ref{File: "/p"}, Expose: true,
				TLS:     ProxyTLS{"/home/me/cert.pem", "/key.pem", "/clients.pem"},
				Methods: []string{"GET", "PUT"}, Paths: []string{"/bucket/*", "/healthz"}, MaxBody: 5 << 30, MaxSpool: 1 << 20,
				Timeouts:    ProxyTimeouts{field.Duration(time.Second), field.Duration(2 * time.Minute), field.Duration(time.Hour)},
				Connections: 7, HTTP2: true, Pos: Position{36, 5}, Settings: &signature{"s3", "unsigned"}},
			{Signer: "bearer", Name: "ci@127.0.0.1:9921", Listen: "localhost:9921", Path: "/", Upstream: "https://api.example", Identity: "ci",
				Secret: secret.Ref{Env: "S"}, MaxSpool: 1 << 30, Timeouts: patience, Retries: 1, CAFile: "/ca.pem", Pos: Position{58, 5},
				Settings: &empty{}},
		},
		Store: Store{"memory"}, Cache: Cache{10, 1 << 30}, Metrics: Metrics{"127.0.0.1:9464"},
		Log: Log{"debug", "json"}, Audit: Audit{"/var/log/freshet.json", true},
	}
	if len(got.Digest) != 64 {
		t.Errorf("got digest %q, want a SHA-256", got.Digest)
	}
	got.Digest, got.secrets = "", nil
	for i := range got.Identities {
		id := &got.Identities[i]
		if len(id.Version) != 64 {
			t.Errorf("%s: got version %q, want a SHA-256", id.Name, id.Version)
		}
		id.Version, id.at = "", nil
	}
	for i := range got.Endpoints {
		got.Endpoints[i].at = nil
	}
	for i := range got.Proxies {
		got.Proxies[i].at = nil
	}
	if !reflect.DeepEqual(got, want) {
		g, _ := json.MarshalIndent(got, "", " ")
		w, _ := json.MarshalIndent(want, "", " ")
		t.Errorf("got %s\nwant %s", g, w)
	}
}

func TestDefaults(t *testing.T) {
	f, err := Parse("x", []byte("version: 1\nidentities: {a: {source: oauth2, token_url: https://h/}}\n"), kinds())
	if err != nil {
		t.Fatal(err)
	}
	if f.Socket.Mode != 0o600 || f.Cache.Entries != 100000 || f.Cache.Bytes != 256<<20 || f.Log.Level != "info" || f.Log.Format != "text" || f.Store.Store != "memory" ||
		f.Ready.Timeout != field.Duration(30*time.Second) {
		t.Errorf("got %+v", f)
	}
	id := f.Identities[0]
	if !id.Release || id.Refresh.Timeout != field.Duration(time.Minute) || id.Settings.(*web).Auth != "post" || id.Settings.(*web).Lifetime != field.Duration(time.Hour) {
		t.Errorf("got %+v with %+v", id, id.Settings)
	}
}

func TestNames(t *testing.T) {
	if got := (&Endpoint{Identity: "a"}).Names(); !reflect.DeepEqual(got, []string{"a"}) {
		t.Errorf("got %v", got)
	}
	if got := (&Endpoint{Identities: []string{"a", "b"}}).Names(); !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
}

// TestExplain is a constructor that refuses, later, what Check let pass.
func TestExplain(t *testing.T) {
	f, err := Parse("freshet.yaml", []byte(whole), kinds())
	if err != nil {
		t.Fatal(err)
	}
	err = fmt.Errorf("new: %w", &field.Error{Field: "proof.key", Why: "not a key", Help: "make one"})
	got := f.Identities[1].Explain(err)
	if want := "freshet.yaml:17:7: identities.internal.proof.key: not a key"; got == nil || got.Error() != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if !errors.Is(got, err) {
		t.Errorf("%v does not wrap what it explains", got)
	}
	got = f.Endpoints[1].Explain(&field.Error{Field: "listen", Why: "in use"})
	if want := "freshet.yaml:29:5: endpoints[1].listen: in use"; got == nil || got.Error() != want {
		t.Errorf("got %v, want %s", got, want)
	}
	got = f.Proxies[1].Explain(&field.Error{Field: "tls.key_file", Why: "no key in it"})
	if want := "freshet.yaml:48:34: proxies[1].tls.key_file: no key in it"; got == nil || got.Error() != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if err := f.Identities[0].Explain(nil); err != nil {
		t.Errorf("got %v for no error", err)
	}
	if err := (&Identity{}).Explain(os.ErrClosed); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v for an identity of no file", err)
	}
}

func TestCheckSecrets(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FRESHET_TEST_HERE", "x")
	text := `version: 1
identities:
  a:
    source: oauth2
    token_url: https://h/
    client_secret: {env: FRESHET_TEST_GONE}
    proof:
      key:
        file: ` + dir + `/none
  b: {source: process, command: [x], secrets: {C: {env: FRESHET_TEST_HERE}, D: {command: [/none]}, E: {file: ` + dir + `/s}}}
endpoints:
  - {endpoint: aws-container, listen: 127.0.0.1:1, identity: a, secret: {env: FRESHET_TEST_GONE}}
proxies:
  - {signer: bearer, listen: 127.0.0.1:2, upstream: https://h, identity: a, secret: {env: FRESHET_TEST_GONE}}
  - {signer: bearer, listen: 127.0.0.1:3, upstream: https://h, identity: a, secret: {file: ` + dir + `/s}}
`
	f, err := Parse("x", []byte(text), kinds())
	if err != nil {
		t.Fatal(err) // a client need not have the daemon's secrets
	}
	want := "x:6:21: identities.a.client_secret.env: FRESHET_TEST_GONE is not set or empty\n" +
		"x:9:9: identities.a.proof.key.file: " + dir + "/none does not exist\n" +
		"x:12:74: endpoints[0].secret.env: FRESHET_TEST_GONE is not set or empty\n" +
		"x:14:86: proxies[0].secret.env: FRESHET_TEST_GONE is not set or empty"
	if got := f.CheckSecrets(); got == nil || got.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", got, want)
	}
	t.Setenv("FRESHET_TEST_GONE", "y")
	if err := os.WriteFile(filepath.Join(dir, "none"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.CheckSecrets(); err != nil {
		t.Errorf("got %v with all there", err)
	}
}
