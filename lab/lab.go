// Package lab is a cloud in one process: issuers that real SDKs and command lines take for their own, on a port of this
// machine. Tests, benchmarks, the demo and people who try freshet share it. Nothing in it is a real account, and what it gives
// opens nothing but itself.
//
//	POST /{tenant}/oauth2/v2.0/token                      Entra ID: client_credentials by secret or assertion
//	GET  /{tenant}/v2.0/.well-known/openid-configuration  Entra's metadata, as msal reads it
//	POST /oauth/token                                     OAuth 2.0 client_credentials (RFC 6749 §4.4); its tokens are also
//	                                                      workload identity tokens, for the audience that was asked for
//	GET  /.well-known/openid-configuration, /jwks         the OAuth issuer's metadata, and the keys of all tokens
//	POST /                                                AWS STS: AssumeRole, AssumeRoleWithWebIdentity, GetCallerIdentity
//	GET  /msi/token                                       managed identity, as App Service has it
//	GET  /container/creds                                 AWS container credentials
//	POST /az/token                                        what the lab's own az asks
//	POST /openai/v1/chat/completions, /responses          an API like OpenAI's, for those who have a token of the OAuth issuer
//	GET  /openai/v1/models
//	GET  /admin/issuers, PUT /admin/issuers/{name}, PUT and DELETE /admin/issuers/{name}/faults, POST /admin/reset
//
// Tokens are signed JWTs, assertions and web identities are verified against published keys, and AWS signatures are computed
// anew: what is accepted here was made rightly. Each issuer takes as long as it is told, gives what lives as long as it is told,
// and counts what it was asked. It fails as it is told, too: see [Fault].
//
// A cloud keeps nothing of what it gave, but for a fault that repeats it, which keeps a bounded number of answers and ends by
// itself: memory does not grow with use.
package lab

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/guard"
)

// The issuers of a cloud.
const (
	Entra           = "entra"     // Entra ID's token endpoint, in any tenant
	OAuth           = "oauth"     // an OAuth 2.0 authorization server and OpenID Connect issuer
	STS             = "sts"       // AWS STS
	ManagedIdentity = "msi"       // App Service's managed identity endpoint
	Container       = "container" // the endpoint that gives AWS containers their keys
	AzureCLI        = "az"        // what the lab's az asks
	OpenAI          = "openai"    // an API, which issues nothing: it is as slow, as counted and as faulty as those that do
)

// Issuers are the names of all issuers, in their order, the API among them.
func Issuers() []string {
	return []string{AzureCLI, Container, Entra, ManagedIdentity, OAuth, OpenAI, STS}
}

// Config is what a cloud is made of.
type Config struct {
	// Issuers are settings of issuers that differ from the defaults: name → settings.
	Issuers map[string]Settings
	// Log gets a line per request at level debug, without anything secret; nil: none.
	Log *slog.Logger
	// AdminToken is the admin API's token, of at least 32 bytes; empty: a random one.
	AdminToken string
}

// Cloud is a set of issuers. It is safe for concurrent use.
type Cloud struct {
	issuers     map[string]*issuer // name → issuer; never changed
	credentials Credentials
	oidc        *signer // of the OAuth issuer's tokens
	entra       *signer // of everything that Azure's issuers give
	vault       vault
	log         *slog.Logger

	mu         sync.RWMutex
	registered []crypto.PublicKey // of clients that present assertions
}

// New makes a cloud. Its keys and secrets are new and its own.
func New(cfg Config) (*Cloud, error) {
	c := &Cloud{issuers: make(map[string]*issuer), credentials: newCredentials(), vault: newVault(), log: cfg.Log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if cfg.AdminToken != "" {
		if len(cfg.AdminToken) < guard.MinSecret {
			return nil, freshet.Errorf(freshet.Invalid, "lab: the admin token is shorter than %d bytes", guard.MinSecret)
		}
		c.credentials.AdminToken = cfg.AdminToken
	}
	var err error
	if c.oidc, err = newSigner("oauth"); err != nil {
		return nil, err
	}
	if c.entra, err = newSigner("entra"); err != nil {
		return nil, err
	}
	for _, name := range Issuers() {
		c.issuers[name] = &issuer{}
	}
	for name, s := range cfg.Issuers {
		if err := c.Set(name, s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Set changes an issuer's settings, all of them, for the requests that come from now on. Errors are of kind Invalid.
func (c *Cloud) Set(issuer string, s Settings) error {
	i, ok := c.issuers[issuer]
	if !ok {
		return freshet.Errorf(freshet.Invalid, "lab: unknown issuer %q", issuer).WithHint("there are %s", list(Issuers()))
	}
	err := s.check()
	if err == nil && issuer != OpenAI && (s.Events != 0 || s.Pause != 0) {
		err = errors.New("events, pause: only " + OpenAI + " has a stream")
	}
	if err != nil {
		return freshet.Errorf(freshet.Invalid, "lab: %s: %s", issuer, err)
	}
	i.settings.Store(&s)
	return nil
}

// Count is what an issuer was asked since the last Reset; zero for an unknown issuer.
func (c *Cloud) Count(issuer string) Count {
	if i, ok := c.issuers[issuer]; ok {
		return i.count()
	}
	return Count{}
}

// Tokens are those that an API was shown since the last Reset, good ones and others: the first 16 bytes of a token's SHA-256, in
// hex → in how many requests.
func (c *Cloud) Tokens(api string) map[string]int64 {
	if i, ok := c.issuers[api]; ok {
		return i.seen()
	}
	return nil
}

// Counts are all issuers' counts, by name.
func (c *Cloud) Counts() map[string]Count {
	counts := make(map[string]Count, len(c.issuers))
	for name, i := range c.issuers {
		counts[name] = i.count()
	}
	return counts
}

// Reset sets all counts to zero. What is under way then counts towards Peak, and towards nothing else.
func (c *Cloud) Reset() {
	for _, i := range c.issuers {
		i.reset()
	}
}

// Credentials are what this cloud accepts.
func (c *Cloud) Credentials() Credentials { return c.credentials }

// Register lets assertions that are signed with a key authenticate the cloud's client, at Entra and the OAuth issuer.
func (c *Cloud) Register(key crypto.PublicKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.registered = append(slices.Clip(c.registered), key)
}

func (c *Cloud) keys() []crypto.PublicKey {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.registered
}

// drain is how long requests under way may take to be answered once the server's context has ended.
const drain = 5 * time.Second

// Serve answers at l until ctx ends; then it ends the waits of requests under way, closes l, and returns nil once all have been
// answered or cut.
func (c *Cloud) Serve(ctx context.Context, l net.Listener) error {
	// Latency, that of a fault, and room for the answer. What hangs on purpose is not cut by this.
	server := guard.Server(c.Handler(), 2*maxLatency+time.Minute)
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	server.ErrorLog = slog.NewLogLogger(c.log.Handler(), slog.LevelDebug)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("lab: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}
