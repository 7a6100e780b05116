package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/child"
	"freshet.dev/internal/field"
)

const (
	password = "planted-pass-word"
	token    = "planted-access-token-0123456789"
	gossip   = "sk-gossip0123456789abcdef0123456789"
)

// script is a source that runs a shell script.
func script(t *testing.T, text string, change func(*Config)) *Source {
	t.Helper()
	cfg := Config{Command: []string{"/bin/sh", "-c", text}, Env: map[string]string{"PASSWORD": password}}
	if change != nil {
		change(&cfg)
	}
	src, err := New(cfg, new(child.Runner))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestConformance(t *testing.T) {
	text := map[freshettest.Upstream]string{
		freshettest.Good:    aws(time.Hour),
		freshettest.Hang:    `exec sleep 600`,
		freshettest.Garbage: `echo "<html>` + gossip + `"; echo ` + gossip + ` >&2`,
		freshettest.Empty:   `:`,
		freshettest.Huge:    `printf %s ` + gossip + `; head -c 104857600 /dev/zero | tr '\0' x`,
		freshettest.Expired: aws(-time.Minute),
		freshettest.Century: aws(100 * 365 * 24 * time.Hour),
		freshettest.Failing: `echo "cannot: $PASSWORD secret=` + gossip + `" >&2; echo ` + token + `; exit 7`,
	}
	freshettest.Source(t, freshettest.SourceSuite{
		New: func(t *testing.T, u freshettest.Upstream) (freshet.Source, any) {
			src := script(t, text[u], nil)
			return src, src.cfg
		},
		Request: freshet.Request{Scopes: []string{"b", "a"}},
		Secrets: []string{password, token, gossip},
		Absent:  map[freshettest.Upstream]string{freshettest.Throttled: "a program has no way to say so"},
	})
}

func aws(life time.Duration) string {
	return fmt.Sprintf(`printf '{"Version":1,"AccessKeyId":"ASIAX","SecretAccessKey":"%s","SessionToken":"%s","Expiration":"%s"}'`,
		gossip, token, freshet.Now().Wall().Add(life).Format(time.RFC3339))
}

func minute(c *Config) { c.Lifetime = field.Duration(time.Minute) }

func TestArguments(t *testing.T) {
	src := script(t, "", func(c *Config) {
		minute(c)
		c.Command = []string{"/bin/sh", "-c", `IFS=_; printf '%s' "$*" | tr ' ' +`, "sh", "get", "{scope}", "--in={tenant}/{audience}", "{other}"}
	})
	cred, err := src.Retrieve(t.Context(), freshet.Request{Scopes: []string{"a.read", "b"}, Tenant: "x{audience}y", Audience: "api://z"})
	if err == nil {
		t.Fatalf("braces in a value: got %v", cred)
	}
	cred, err = src.Retrieve(t.Context(), freshet.Request{Scopes: []string{"a.read", "b"}, Tenant: "x", Audience: "api:z"})
	if err == nil {
		t.Fatalf("a token with braces: got %v", cred) // {other} stays, and no token has braces
	}
	src.cfg.Command = src.cfg.Command[:7]
	cred, err = src.Retrieve(t.Context(), freshet.Request{Scopes: []string{"a.read", "b"}, Tenant: "x", Audience: "api://z"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cred.Token(), "get_a.read+b_--in=x/api://z"; got != want {
		t.Errorf("arguments were %q, want %q", got, want)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("OF_FRESHET_ITSELF", "x")
	src := script(t, `printf '%s.%s.%s' "$PASSWORD" "$FRESHET_ANCESTRY" "$OF_FRESHET_ITSELF"`, minute)
	cred, err := src.Retrieve(freshet.WithAncestry(t.Context(), "outer", "inner"), freshet.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cred.Token(), password+".outer,inner."; got != want {
		t.Errorf("environment was %q, want %q", got, want)
	}
}

func TestAncestryOfTheEngine(t *testing.T) {
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(t.Context())
	id, err := cache.Add(freshet.IdentityConfig{Name: "me", Source: script(t, `printf %s "$FRESHET_ANCESTRY"`, minute)})
	if err != nil {
		t.Fatal(err)
	}
	ans, err := id.Get(t.Context(), freshet.Request{})
	if err != nil || ans.Credential.Token() != "me" {
		t.Errorf("got %v, %v, want the identity's name", ans.Credential, err)
	}
}

func TestKeysAreApart(t *testing.T) {
	// A command without placeholders is run for each scope, and what one caller got does not answer another.
	path := filepath.Join(t.TempDir(), "runs")
	src := script(t, `echo x >> `+path+`; printf t$(wc -l < `+path+`)`, minute)
	if src.Placeholders() != 0 {
		t.Errorf("placeholders are %v", src.Placeholders())
	}
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(t.Context())
	id, err := cache.Add(freshet.IdentityConfig{Name: "me", Source: src})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, req := range []freshet.Request{{}, {Scopes: []string{"a"}}, {Scopes: []string{"b"}}, {Tenant: "a"}, {Audience: "a"}} {
		ans, err := id.Get(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if seen[ans.Credential.Token()] {
			t.Errorf("%v got another's credential", req)
		}
		seen[ans.Credential.Token()] = true
	}
	if _, err := id.Get(t.Context(), freshet.Request{Claims: "{}"}); !errors.Is(err, freshet.Invalid) {
		t.Errorf("claims: got %v, want them refused", err)
	}
}

func TestFailures(t *testing.T) {
	noexec := filepath.Join(t.TempDir(), "noexec")
	if err := os.WriteFile(noexec, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text   string
		change func(*Config)
		kind   freshet.Kind
		want   string
		hint   string
	}{
		"exit":          {`echo "no network" >&2; exit 3`, nil, freshet.Unavailable, "sh: exit status 3: no network", ""},
		"exit with out": {aws(time.Hour) + `; exit 1`, nil, freshet.Unavailable, "sh: exit status 1", ""},
		"signal":        {`kill -9 $$`, nil, freshet.Unavailable, "sh: killed", ""},
		"az":            {`echo "ERROR: Please run 'az login' to setup account." >&2; exit 1`, nil, freshet.LoginNeeded, "sh: exit status 1: ERROR: Please", "run az login"},
		"aws": {`echo "refresh failed, run aws sso
 login with" ; exit 255`, nil, freshet.LoginNeeded, "sh: exit status 255", "run aws sso login"},
		"chatty success": {`echo "az login" >&2; ` + aws(time.Hour), nil, "", "", ""},
		"absent":         {"", func(c *Config) { c.Command = []string{"freshet-no-such-program"} }, freshet.Invalid, "freshet-no-such-program: no such program", "install it"},
		"not executable": {"", func(c *Config) { c.Command = []string{noexec} }, freshet.Invalid, "noexec: not executable", "chmod"},
		"slow":           {`exec sleep 600`, func(c *Config) { c.Timeout = field.Duration(50 * time.Millisecond) }, freshet.Unavailable, "sh: timed out", "terminal"},
		"too much":       {`head -c 2000000 /dev/zero`, nil, freshet.Malformed, "sh: output over 1 MiB", ""},
		"nothing":        {`echo`, nil, freshet.Malformed, "sh: printed nothing", ""},
		"no expiry":      {`echo ` + token, nil, freshet.Malformed, "sh: answer does not say when it expires", "lifetime"},
	} {
		cred, err := script(t, test.text, test.change).Retrieve(t.Context(), freshet.Request{})
		if test.kind == "" {
			if err != nil || cred == nil {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		e, ok := err.(*freshet.Error)
		if !ok || e.Kind != test.kind || !strings.Contains(e.Why, test.want) || !strings.Contains(e.Hint, test.hint) {
			t.Errorf("%s: got %v (%v), want %q %q, %q", name, err, e.Hint, test.kind, test.want, test.hint)
		}
	}
}

func TestTimeoutIsNotTheCallers(t *testing.T) {
	src := script(t, `exec sleep 600`, nil)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := src.Retrieve(ctx, freshet.Request{})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "sh: cancelled") {
		t.Errorf("got %v, want the caller's cancel", err)
	}
}
