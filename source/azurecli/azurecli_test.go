package azurecli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/child"
	"freshet.dev/internal/field"
)

const (
	token  = "planted-access-token-0123456789"
	gossip = "sk-gossip0123456789abcdef0123456789"
)

// fake writes a shell script that stands for az, and returns its path.
func fake(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "az")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func source(t *testing.T, cfg Config) *Source {
	t.Helper()
	src, err := New(cfg, new(child.Runner))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// printed is a script's line that prints a token as Azure CLI 2.54 does.
func printed(life time.Duration) string {
	at := freshet.Now().Wall().Add(life)
	return fmt.Sprintf(`printf '{"accessToken": "%s", "expires_on": %d, "expiresOn": "%s", "tenant": "t", "tokenType": "Bearer"}'`,
		token, at.Unix(), at.In(time.Local).Format("2006-01-02 15:04:05.000000"))
}

func TestConformance(t *testing.T) {
	text := map[freshettest.Upstream]string{
		freshettest.Good:    printed(time.Hour),
		freshettest.Hang:    `exec sleep 600`,
		freshettest.Garbage: `echo "<html>` + gossip + `"; echo ` + gossip + ` >&2`,
		freshettest.Empty:   `:`,
		freshettest.Huge:    `printf '{"accessToken": "%s' ` + gossip + `; head -c 104857600 /dev/zero | tr '\0' x`,
		freshettest.Expired: printed(-time.Minute),
		freshettest.Century: printed(100 * 365 * 24 * time.Hour),
		freshettest.Failing: `echo "ERROR: HTTPSConnectionPool: access_token=` + gossip + `" >&2; echo ` + token + `; exit 1`,
	}
	freshettest.Source(t, freshettest.SourceSuite{
		New: func(t *testing.T, u freshettest.Upstream) (freshet.Source, any) {
			src := source(t, Config{Program: fake(t, text[u])})
			return src, src.cfg
		},
		Request: freshet.Request{Scopes: []string{"https://vault.azure.net/.default"}, Tenant: "contoso.example"},
		Secrets: []string{token, gossip},
		Absent:  map[freshettest.Upstream]string{freshettest.Throttled: "az does not say for how long"},
	})
}

// TestArgumentsAreOnesThatEveryAzKnows compares what az is given, word by word.
func TestArgumentsAreOnesThatEveryAzKnows(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  Config
		req  freshet.Request
		want []string
	}{
		"nothing asked":      {Config{}, freshet.Request{}, nil},
		"one default":        {Config{}, freshet.Request{Scopes: []string{"https://vault.azure.net/.default"}}, []string{"--resource", "https://vault.azure.net"}},
		"its trailing slash": {Config{}, freshet.Request{Scopes: []string{"https://management.core.windows.net//.default"}}, []string{"--resource", "https://management.core.windows.net/"}},
		"one permission":     {Config{}, freshet.Request{Scopes: []string{"https://graph.microsoft.com/User.Read"}}, []string{"--scope", "https://graph.microsoft.com/User.Read"}},
		"several": {Config{}, freshet.Request{Scopes: []string{"api://x/a", "api://x/b"}}, // az takes the last of several --scope
			[]string{"--scope", "api://x/a", "api://x/b"}},
		"tenant":                {Config{}, freshet.Request{Tenant: "contoso.example", Scopes: []string{"api://x/.default"}}, []string{"--tenant", "contoso.example", "--resource", "api://x"}},
		"subscription":          {Config{Subscription: "My subscription (1)"}, freshet.Request{}, []string{"--subscription", "My subscription (1)"}},
		"a default and another": {Config{}, freshet.Request{Scopes: []string{"api://x/.default", "openid"}}, []string{"--scope", "api://x/.default", "openid"}},
		"no resource":           {Config{}, freshet.Request{Scopes: []string{"/.default"}}, []string{"--scope", "/.default"}},
	} {
		file := filepath.Join(t.TempDir(), "args")
		test.cfg.Program = fake(t, `for a; do printf '%s\n' "$a"; done > `+file+"\n"+printed(time.Hour))
		if _, err := source(t, test.cfg).Retrieve(t.Context(), test.req); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := append([]string{"account", "get-access-token", "--output", "json"}, test.want...)
		if args := strings.Split(strings.TrimSuffix(string(got), "\n"), "\n"); !slices.Equal(args, want) {
			t.Errorf("%s: got %q, want %q", name, args, want)
		}
	}
}

// TestWhatIsNotPassedOnNeverRuns asks for what az would take for an option or for a file's name.
func TestWhatIsNotPassedOnNeverRuns(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	script := fake(t, "touch "+ran+"; "+printed(time.Hour))
	for _, req := range []freshet.Request{
		{Scopes: []string{"--debug"}}, {Scopes: []string{"@/etc/passwd"}}, {Scopes: []string{"x=@/etc/passwd"}}, {Scopes: []string{""}},
		{Scopes: []string{"a b"}}, {Scopes: []string{"$(id)"}}, {Scopes: []string{"a", "-b/.default"}}, {Scopes: []string{"-b/.default"}},
		{Tenant: "-x"}, {Tenant: "@x"}, {Tenant: "x y"}, {Tenant: "x\n"},
		{Tenant: "x/y"}, {Tenant: "x:y"}, {Tenant: "x_y"}, {Tenant: "../y"},
	} {
		_, err := source(t, Config{Program: script}).Retrieve(t.Context(), req)
		if !errors.Is(err, freshet.Invalid) {
			t.Errorf("%v: got %v, want it refused", req, err)
		}
	}
	if _, err := source(t, Config{Program: script, Subscription: "s"}).Retrieve(t.Context(), freshet.Request{Tenant: "t"}); !errors.Is(err, freshet.Invalid) {
		t.Errorf("a tenant beside the subscription: got %v, want it refused", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("az was run")
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for name, cfg := range map[string]Config{
		"both":        {Tenant: "t", Subscription: "s"},
		"tenant":      {Tenant: "@t"},
		"tenants":     {Tenant: "t/u"},
		"option":      {Subscription: "-s"},
		"file":        {Subscription: "@s"},
		"file behind": {Subscription: "a=@s"},
		"control":     {Subscription: "a\nb"},
	} {
		if _, err := New(cfg, new(child.Runner)); !errors.Is(err, freshet.Invalid) {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
	if _, err := New(Config{}, new(child.Runner)); err != nil {
		t.Errorf("no settings at all: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("OF_FRESHET_ITSELF", "x")
	t.Setenv("AZURE_CLIENT_SECRET", "x")
	t.Setenv("AZURE_CONFIG_DIR", "/of/freshet")
	file := filepath.Join(t.TempDir(), "env")
	script := fake(t, "env > "+file+"; cat >> "+file+"; pwd >> "+file+"; "+printed(time.Hour))
	look := func(cfg Config) []string {
		cfg.Program = script
		if _, err := source(t, cfg).Retrieve(freshet.WithAncestry(t.Context(), "outer", "inner"), freshet.Request{}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(got), "\n")
	}
	got := look(Config{})
	for _, kv := range []string{"FRESHET_ANCESTRY=outer,inner", "AZURE_CONFIG_DIR=/of/freshet", "AZURE_CORE_COLLECT_TELEMETRY=false", "AZURE_CORE_NO_COLOR=true", "/"} {
		if !slices.Contains(got, kv) {
			t.Errorf("no %q in %q", kv, got)
		}
	}
	for _, kv := range got {
		if strings.HasPrefix(kv, "OF_FRESHET_ITSELF=") || strings.HasPrefix(kv, "AZURE_CLIENT_SECRET=") {
			t.Errorf("az is given %q", kv)
		}
	}
	if got := look(Config{ConfigDir: "/its/own"}); !slices.Contains(got, "AZURE_CONFIG_DIR=/its/own") {
		t.Errorf("config_dir does not win: %q", got)
	}
}

func TestAzIsFoundOnPathAndNeverFreshetItself(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	shims, real, relative := t.TempDir(), filepath.Dir(fake(t, printed(time.Hour))), "relative"
	if err := os.Symlink(self, filepath.Join(shims, "az")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Mkdir(relative, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(relative, "az"), []byte("#!/bin/sh\nexit 9\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	src := source(t, Config{})
	t.Setenv("PATH", strings.Join([]string{relative, shims, real, "/usr/bin", "/bin"}, ":"))
	if got, err := src.program(); err != nil || got != filepath.Join(real, "az") {
		t.Errorf("found %q, %v, want the one in %s", got, err, real)
	}
	if _, err := src.Retrieve(t.Context(), freshet.Request{}); err != nil {
		t.Error(err)
	}
	t.Setenv("PATH", relative+":"+shims)
	_, err = src.Retrieve(t.Context(), freshet.Request{})
	if e := freshet.AsError(err); e == nil || e.Kind != freshet.Invalid || !strings.Contains(e.Hint, "apt-get install azure-cli") {
		t.Errorf("without az: got %v, want a hint that installs it", err)
	}
	// It is found once it is installed, without a restart.
	t.Setenv("PATH", real+":/usr/bin:/bin")
	if _, err := src.Retrieve(t.Context(), freshet.Request{}); err != nil {
		t.Error(err)
	}
}

func TestFailures(t *testing.T) {
	req := freshet.Request{Tenant: "contoso.example", Scopes: []string{"https://vault.azure.net/.default"}}
	const login = "run az login --tenant contoso.example --scope https://vault.azure.net/.default"
	const offered = `\nInteractive authentication is needed. Please run:\naz login --scope https://vault.azure.net/.default`
	exit1 := func(said string) string { return `printf "%b\n" "` + said + `" >&2; exit 1` }
	for name, test := range map[string]struct {
		text       string
		change     func(*Config)
		kind       freshet.Kind
		want, hint string
	}{
		"logged out":         {exit1("ERROR: Please run 'az login' to setup account."), nil, freshet.LoginNeeded, "az: exit status 1: ERROR: Please run", login},
		"session has ended":  {exit1("ERROR: AADSTS700082: The refresh token has expired due to inactivity." + offered), nil, freshet.LoginNeeded, "AADSTS700082", login},
		"second factor":      {exit1("ERROR: AADSTS50076: Due to a configuration change you must use multi-factor authentication." + offered), nil, freshet.LoginNeeded, "AADSTS50076", login},
		"blocked":            {exit1("ERROR: AADSTS53003: Access has been blocked by Conditional Access policies." + offered), nil, freshet.Denied, "AADSTS53003", ""},
		"no such resource":   {exit1("ERROR: AADSTS500011: The resource principal named x was not found." + offered), nil, freshet.Denied, "AADSTS500011", ""},
		"wrong secret":       {exit1("ERROR: AADSTS7000215: Invalid client secret provided." + offered), nil, freshet.Denied, "AADSTS7000215", ""},
		"a code not listed":  {exit1("ERROR: AADSTS99999: something"), nil, freshet.Denied, "AADSTS99999", ""},
		"Entra is busy":      {exit1("ERROR: AADSTS90033: A transient error has occurred." + offered), nil, freshet.Unavailable, "AADSTS90033", ""},
		"network":            {exit1("ERROR: HTTPSConnectionPool(host='login.microsoftonline.com', port=443): Max retries exceeded"), nil, freshet.Unavailable, "Max retries", ""},
		"managed identity":   {exit1("ERROR: Tenant shouldn't be specified for managed identity account"), nil, freshet.Invalid, "Tenant shouldn't", ""},
		"subscription":       {exit1("ERROR: Subscription 'x' not found. Check the spelling and casing and try again."), nil, freshet.Invalid, "not found", ""},
		"too old":            {`echo "az: error: unrecognized arguments: --scope" >&2; exit 2`, nil, freshet.Invalid, "az: exit status 2", "update"},
		"token beside error": {printed(time.Hour) + "; exit 1", nil, freshet.Unavailable, "az: exit status 1", ""},
		"killed":             {"kill -9 $$", nil, freshet.Unavailable, "az: killed", ""},
		"chatty success":     {`echo "WARNING: run az login" >&2; ` + printed(time.Hour), nil, "", "", ""},
		"slow":               {"exec sleep 600", func(c *Config) { c.Timeout = field.Duration(50 * time.Millisecond) }, freshet.Unavailable, "az: timed out", "terminal"},
		"program is absent":  {"", func(c *Config) { c.Program = "/nonexistent/az" }, freshet.Invalid, "az: no such program", "install"},
		"another folder": {exit1("ERROR: Please run 'az login' to setup account."), func(c *Config) { c.ConfigDir = "/its/own" }, freshet.LoginNeeded, "",
			"run AZURE_CONFIG_DIR=/its/own az login --tenant"},
		"another folder with a space": {exit1("ERROR: Please run 'az login' to setup account."), func(c *Config) { c.ConfigDir = "/Bob's own/$(id)" },
			freshet.LoginNeeded, "", `run AZURE_CONFIG_DIR='/Bob'\''s own/$(id)' az login --tenant`},
		"a freshet":             {`echo "freshet: unknown command \"account\"" >&2; exit 2`, nil, freshet.Invalid, "is a freshet", "name the real az as program:"},
		"a freshet that failed": {`echo "freshet: identity me: az login" >&2; exit 4`, nil, freshet.Invalid, "is a freshet", "name the real az as program:"},
	} {
		cfg := Config{Program: fake(t, test.text)}
		if test.change != nil {
			test.change(&cfg)
		}
		cred, err := source(t, cfg).Retrieve(t.Context(), req)
		if test.kind == "" {
			if err != nil || cred == nil {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		e, ok := err.(*freshet.Error)
		if !ok || e.Kind != test.kind || !strings.Contains(e.Why, test.want) || !strings.Contains(e.Hint, test.hint) {
			t.Errorf("%s: got %v (%v), hint %q, want %q %q, %q", name, err, freshet.AsError(err).Kind, freshet.AsError(err).Hint, test.kind, test.want, test.hint)
		}
		if ok && test.kind != freshet.LoginNeeded && strings.Contains(e.Hint, "az login") {
			t.Errorf("%s: the hint %q is about a login that would not help", name, e.Hint)
		}
	}
}

func TestClaimsChallengeAsksForALogin(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	src := source(t, Config{Program: fake(t, "touch "+ran+"; "+printed(time.Hour))})
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(context.Background())
	id, err := cache.Add(freshet.IdentityConfig{Name: "me", Source: src})
	if err != nil {
		t.Fatal(err)
	}
	_, err = id.Get(t.Context(), freshet.Request{Claims: `{"access_token":{"planted":{}}}`, Tenant: "contoso.example", Scopes: []string{"api://x/.default"}})
	e := freshet.AsError(err)
	if e == nil || e.Kind != freshet.LoginNeeded || e.Hint != "run az login --tenant contoso.example --scope api://x/.default --claims-challenge CLAIMS, where CLAIMS is what the service sent, in base64" {
		t.Errorf("got %v, hint %q", err, e.Hint)
	}
	if strings.Contains(e.Error()+e.Hint, "planted") {
		t.Error("the claims are shown")
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("az was run, which would answer with the token that was refused")
	}
	if _, err := id.Get(t.Context(), freshet.Request{CAE: true}); err != nil {
		t.Errorf("a caller that handles continuous access evaluation: %v", err)
	}
}

func TestKeysAreApart(t *testing.T) {
	src := source(t, Config{Program: fake(t, `t=$(printf %s "$*" | tr -c 'A-Za-z0-9' _)
printf '{"accessToken":"%s","expires_on":`+fmt.Sprint(freshet.Now().Wall().Add(time.Hour).Unix())+`}' "$t"`)})
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(context.Background())
	id, err := cache.Add(freshet.IdentityConfig{Name: "me", Source: src})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, req := range []freshet.Request{{}, {Scopes: []string{"a"}}, {Scopes: []string{"b"}}, {Tenant: "a"}, {Tenant: "b", Scopes: []string{"a"}}} {
		ans, err := id.Get(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if seen[ans.Credential.Token()] {
			t.Errorf("%v got another's credential", req)
		}
		seen[ans.Credential.Token()] = true
	}
	if _, err := id.Get(t.Context(), freshet.Request{Audience: "x"}); !errors.Is(err, freshet.Invalid) {
		t.Errorf("audience: got %v, want it refused", err)
	}
}
