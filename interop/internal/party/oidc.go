package party

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"testing"
	"time"
)

// OIDCConfig is what an identity provider is started with.
type OIDCConfig struct {
	// TTL is how long an access token lives, in whole seconds; zero is 30 s.
	TTL time.Duration
	// Port to listen on; zero chooses a free one.
	Port int
	// Clients that may ask for tokens. Each gets the client_credentials grant and no other.
	Clients []OIDCClient
	// Audiences maps a resource a client may ask for to the aud of the token it gets. The aud of any other resource is
	// the resource, which has to be an absolute URI (RFC 8707, section 2).
	Audiences map[string]string
	// Claims are put in every token besides the registered ones.
	Claims map[string]any
}

// OIDCClient is a client's registration. See SecretClient and KeyClient.
type OIDCClient struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret,omitempty"`
	Auth   string `json:"token_endpoint_auth_method"`
	JWKS   any    `json:"jwks,omitempty"`
}

// SpecialSecret is a client secret that only arrives whole through Basic authentication if it was form-encoded first,
// as RFC 6749, section 2.3.1 has it: decoded twice or not at all, it is another one.
const SpecialSecret = "a+b %2B c:d/e=f&g?h%"

// PostClient authenticates with its secret in the request's body.
func PostClient(id, secret string) OIDCClient {
	return OIDCClient{ID: id, Secret: secret, Auth: "client_secret_post"}
}

// BasicClient authenticates with its secret in the Authorization header.
func BasicClient(id, secret string) OIDCClient {
	return OIDCClient{ID: id, Secret: secret, Auth: "client_secret_basic"}
}

// KeyClient authenticates with an assertion signed by the key (private_key_jwt).
func KeyClient(id string, key Key) OIDCClient {
	return OIDCClient{ID: id, Auth: "private_key_jwt", JWKS: key.JWKS()}
}

// IdP is a running identity provider.
type IdP struct {
	// Issuer is its name and base address.
	Issuer string `json:"issuer"`

	t testing.TB
}

// OIDC starts an oidc-provider, for the length of the test.
func OIDC(t testing.TB, cfg OIDCConfig) *IdP {
	t.Helper()
	argv := nodeProgram(t, "idp", "server.mjs")
	settings, err := json.Marshal(struct {
		TTL       int               `json:"ttl"`
		Port      int               `json:"port"`
		Clients   []OIDCClient      `json:"clients"`
		Audiences map[string]string `json:"audiences,omitempty"`
		Claims    map[string]any    `json:"claims,omitempty"`
	}{int(cmp.Or(cfg.TTL, 30*time.Second).Seconds()), cfg.Port, cfg.Clients, cfg.Audiences, cfg.Claims})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	// The provider leaves when its input ends: the pipe is held open and closes, at the latest, with this process.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	proc, err := Start(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write(append(settings, '\n')); err != nil {
		t.Fatal(err)
	}
	line, err := proc.ReadyLine("ready ", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	idp := &IdP{t: t}
	if err := json.Unmarshal([]byte(line), idp); err != nil {
		t.Fatal(err)
	}
	return idp
}

// TokenURL is the address of the token endpoint.
func (p *IdP) TokenURL() string { return p.Issuer + "/token" }

// ConfigURL is the address of the discovery document.
func (p *IdP) ConfigURL() string { return p.Issuer + "/.well-known/openid-configuration" }

// JWKSURL is the address of the keys that tokens are signed with.
func (p *IdP) JWKSURL() string { return p.Issuer + "/jwks" }

// Count is what the provider saw of one client.
type Count struct{ Requests, Successes int }

// Counts returns the token requests so far, by client. Requests that met an injected fault are not among them.
func (p *IdP) Counts() map[string]Count {
	p.t.Helper()
	return p.ledger().Clients
}

// Faulted is how many token requests met an injected fault.
func (p *IdP) Faulted() int {
	p.t.Helper()
	return p.ledger().Faulted
}

// Arrival is a token request as the provider saw it.
type Arrival struct {
	// Client who asked; empty if the request met a fault that was everybody's.
	Client string
	At     time.Time
	Status int
}

// Arrivals returns every token request so far in the order they came, those that met a fault included.
func (p *IdP) Arrivals() []Arrival {
	p.t.Helper()
	var raw []struct {
		Client string
		AtMS   int64 `json:"at_ms"`
		Status int
	}
	if err := getJSON(p.Issuer+"/_arrivals", &raw); err != nil {
		p.t.Fatal(err)
	}
	list := make([]Arrival, len(raw))
	for i, a := range raw {
		list[i] = Arrival{a.Client, time.UnixMilli(a.AtMS), a.Status}
	}
	return list
}

// ledger is the provider's own account.
type ledger struct {
	Clients map[string]Count
	Faulted int
}

func (p *IdP) ledger() (l ledger) {
	p.t.Helper()
	if err := getJSON(p.Issuer+"/_counts", &l); err != nil {
		p.t.Fatal(err)
	}
	return l
}

// Fault is how the token endpoint answers while it is out of order.
type Fault struct {
	// Status of the answer; zero is 503.
	Status int
	// For is how long the fault lasts from now.
	For time.Duration
	// RetryAfter is sent as such in whole seconds, unless it is zero.
	RetryAfter time.Duration
	// RetryAt is sent in its place in the other form, a date (RFC 9110, section 10.2.3), unless it is zero.
	RetryAt time.Time
	// Client is whose requests meet the fault; empty: everybody's.
	Client string
	// Delay before the answer.
	Delay time.Duration
}

// Inject puts the token endpoint out of order. A new fault replaces the one before it.
func (p *IdP) Inject(f Fault) {
	p.t.Helper()
	fault := map[string]any{"for_ms": f.For.Milliseconds(), "delay_ms": f.Delay.Milliseconds()}
	if f.Status != 0 {
		fault["status"] = f.Status
	}
	if f.RetryAfter != 0 {
		fault["retry_after"] = int(f.RetryAfter.Seconds())
	}
	if !f.RetryAt.IsZero() {
		fault["retry_after"] = f.RetryAt.UTC().Format(http.TimeFormat)
	}
	if f.Client != "" {
		fault["client"] = f.Client
	}
	body, err := json.Marshal(fault)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.Post(p.Issuer+"/_fault", "application/json", bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		p.t.Fatalf("inject fault: %s", resp.Status)
	}
}

func getJSON(url string, v any) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", url, resp.Status, body)
	}
	return json.Unmarshal(body, v)
}
