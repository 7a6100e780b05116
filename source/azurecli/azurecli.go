// Package azurecli is a source of the tokens of the account that a person logged in with az login. It runs the real Azure CLI:
//
//	az account get-access-token --output json [--tenant T | --subscription S] [--resource R | --scope S…]
//
// One scope that ends in /.default is asked for as a resource, which every version of az knows; others as scopes, all behind one
// --scope, since az takes the last of several. Without scopes az answers for Azure Resource Manager, in the cloud that it is set
// to. It prints
//
//	{"accessToken", "expires_on": 1767225600, "expiresOn": "2026-01-01 00:00:00.000000", "subscription"?, "tenant", "tokenType"}
//
// of which expires_on is there since 2.54; expiresOn is local time, and ambiguous for an hour a year.
//
// az takes 1 to 2 s of CPU a run, and answers from its own cache until 5 minutes are left (msal for Python), so that is when a
// token is due. It gets null stdin, a short listed environment, az's own settings in it, and FRESHET_ANCESTRY: the names, joined
// by commas, of the identities whose retrieval it serves, by which a freshet that it runs in turn recognises a circle.
package azurecli

import (
	"context"
	"fmt"
	"os"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
)

// Source runs az for every retrieval. It is safe for concurrent use.
type Source struct {
	cfg    Config
	runner *child.Runner
}

// New returns a source that runs az through runner, which bounds how many children run at once in the whole process. It does not
// look for az: a daemon starts without it. Errors are of kind Invalid.
func New(cfg Config, runner *child.Runner) (*Source, error) {
	if err := cfg.Check(); err != nil {
		return nil, invalid(err)
	}
	if runner == nil {
		return nil, freshet.Errorf(freshet.Bug, "azure-cli: no runner")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	return &Source{cfg: cfg, runner: runner}, nil
}

// Format implements fmt.Formatter, for every verb alike.
func (s *Source) Format(f fmt.State, verb rune) { s.cfg.Format(f, verb) }

// Varies implements freshet.Varier. Claims are among them for the answer to a challenge to say what to do, rather than that it
// cannot be asked; CAE because az's tokens are fit for it, whether or not a caller says that it is.
func (s *Source) Varies() freshet.Fields {
	return freshet.FieldTenant | freshet.FieldScopes | freshet.FieldClaims | freshet.FieldCAE
}

// authority is whom az asks, in the public cloud. To which cloud an az is set stands in its own files.
const authority = "login.microsoftonline.com"

// Target implements freshet.Targeter. A subscription stands for the tenant that it has.
func (s *Source) Target(req freshet.Request) freshet.Target {
	t := freshet.Target{Host: authority, Tenant: req.Tenant, Client: s.cfg.ConfigDir}
	if t.Tenant == "" {
		t.Tenant = s.cfg.Tenant
	}
	if t.Tenant == "" {
		t.Tenant = s.cfg.Subscription
	}
	return t
}

// Retrieve implements freshet.Source: one run.
func (s *Source) Retrieve(ctx context.Context, req freshet.Request) (*freshet.Credential, error) {
	args, err := s.arguments(req)
	if err != nil {
		return nil, err
	}
	if req.Claims != "" {
		return nil, freshet.Errorf(freshet.LoginNeeded, "az: a claims challenge is answered by a login alone").
			WithHint("run %s --claims-challenge CLAIMS, where CLAIMS is what the service sent, in base64", s.login(req))
	}
	program, err := s.program()
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, time.Duration(s.cfg.Timeout))
	defer cancel()
	sent := freshet.Now()
	out, err := s.runner.Run(bounded, child.Command{Args: append([]string{program}, args...), Env: s.environment(ctx)})
	if err != nil {
		return nil, s.failure(req, out, err)
	}
	return parse(out.Stdout, sent)
}

const envConfigDir = "AZURE_CONFIG_DIR"

// passed are az's own variables that it gets as this process has them: where its login is, and whom its requests trust.
var passed = []string{envConfigDir, "AZURE_EXTENSION_DIR", "REQUESTS_CA_BUNDLE"}

func (s *Source) environment(ctx context.Context) map[string]string {
	env := map[string]string{
		// No colours in what is read, no process of telemetry's that outlives az, no survey, no question that nobody answers.
		"AZURE_CORE_NO_COLOR":                 "true",
		"AZURE_CORE_COLLECT_TELEMETRY":        "false",
		"AZURE_CORE_SURVEY_MESSAGE":           "false",
		"AZURE_CORE_ONLY_SHOW_ERRORS":         "true",
		"AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
	}
	for _, name := range passed {
		if value := os.Getenv(name); value != "" {
			env[name] = value
		}
	}
	if s.cfg.ConfigDir != "" {
		env[envConfigDir] = s.cfg.ConfigDir
	}
	return env
}
