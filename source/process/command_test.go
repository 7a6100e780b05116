package process

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/child"
)

func TestExpand(t *testing.T) {
	req := freshet.Request{Scopes: []string{"https://x/.default"}, Tenant: "contoso.example", Audience: "api://a"}
	for _, test := range []struct {
		arg  string
		want string
	}{
		{"plain", "plain"},
		{"{scope}", "https://x/.default"},
		{"--resource={scope}", "--resource=https://x/.default"},
		{"{tenant}:{audience}:{tenant}", "contoso.example:api://a:contoso.example"},
		{"{Scope}{x}{}", "{Scope}{x}{}"},
		{`{"tenant":"{tenant}"}`, `{"tenant":"contoso.example"}`},
	} {
		got, err := expand([]string{"helper", test.arg}, req)
		if err != nil || !slices.Equal(got, []string{"helper", test.want}) {
			t.Errorf("%s: got %q, %v, want %q", test.arg, got, err, test.want)
		}
	}
	several := freshet.Request{Scopes: []string{"a", "b"}}
	if got, err := expand([]string{"helper", "{scope}"}, several); err != nil || got[1] != "a b" {
		t.Errorf("several scopes: got %q, %v", got, err)
	}
	if _, err := expand([]string{"helper", "--scope={scope}"}, several); !errors.Is(err, freshet.Invalid) {
		t.Errorf("several scopes in a part of an argument: got %v", err)
	}
}

func TestValuesRefused(t *testing.T) {
	for _, value := range []string{
		"", "-x", "--help", "a..b", "../x", "a b", "a\nb", "a\x00b", "a;b", "a$b", "a`b", "a|b", "a&b", "a'b", `a"b`, `a\b`, "a(b", "a<b", "a*b", "{tenant}", "ä",
	} {
		for place, req := range map[string]freshet.Request{
			"{scope}": {Scopes: []string{value}}, "{tenant}": {Tenant: value}, "{audience}": {Audience: value},
		} {
			for _, arg := range []string{place, "--x=" + place} {
				_, err := expand([]string{"helper", arg}, req)
				if !errors.Is(err, freshet.Invalid) {
					t.Errorf("%s with %q: got %v, want it refused", arg, value, err)
				}
				if len(value) > 3 && err != nil && strings.Contains(err.Error(), value) && value != place {
					t.Errorf("%s: the error %q has the value", arg, err)
				}
			}
		}
	}
	if _, err := expand([]string{"helper", "{scope}"}, freshet.Request{Scopes: []string{"ok", "-x"}}); !errors.Is(err, freshet.Invalid) {
		t.Errorf("second scope: got %v", err)
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("--scope={scope}", "a", "b", "c")
	f.Add("{tenant}", "{scope}", "-x", "..")
	f.Fuzz(func(t *testing.T, arg, scope, tenant, audience string) {
		req := freshet.Request{Scopes: []string{scope}, Tenant: tenant, Audience: audience}
		got, err := expand([]string{"helper", arg, "last"}, req)
		if err != nil {
			if !errors.Is(err, freshet.Invalid) {
				t.Errorf("got %v", err)
			}
			return
		}
		if len(got) != 3 || got[0] != "helper" || got[2] != "last" {
			t.Fatalf("got %q", got)
		}
		if placeholdersIn(arg) == 0 && got[1] != arg {
			t.Errorf("%q became %q", arg, got[1])
		}
		for _, p := range []struct{ place, value string }{{placeScope, scope}, {placeTenant, tenant}, {placeAudience, audience}} {
			if !strings.Contains(arg, p.place) {
				continue
			}
			if p.value == "" || p.value[0] == '-' || strings.Contains(p.value, "..") || strings.ContainsAny(p.value, " \t\n\x00;$`\"'") {
				t.Errorf("%q let %q through", arg, p.value)
			}
		}
	})
}

func TestCheck(t *testing.T) {
	for want, cfg := range map[string]Config{
		"command: names no program":                   {},
		"command: a caller could choose the program":  {Command: []string{"{tenant}-helper"}},
		"command: a path that depends on the current": {Command: []string{"bin/helper"}},
		"command[1]: has a NUL character":             {Command: []string{"helper", "a\x00"}},
		"env: has what is not a variable":             {Command: []string{"helper"}, Env: map[string]string{"A=B": "x"}},
		"env: FRESHET_ANCESTRY is freshet's own":      {Command: []string{"helper"}, Env: map[string]string{"FRESHET_ANCESTRY": "x"}},
	} {
		if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := New(cfg, new(child.Runner)); !errors.Is(err, freshet.Invalid) {
			t.Errorf("New: got %v", err)
		}
	}
	cfg := Config{Command: []string{"/bin/helper", "{scope}", "{tenant}"}}
	if err := cfg.Check(); err != nil {
		t.Error(err)
	}
	if got, want := cfg.Placeholders(), freshet.FieldScopes|freshet.FieldTenant; got != want {
		t.Errorf("placeholders are %v, want %v", got, want)
	}
}

func TestPrintingSecretsInWrongPlaces(t *testing.T) {
	cfg := Config{Command: []string{"/bin/helper", "--password=" + password}, Env: map[string]string{"X": password}}
	src, err := New(cfg, new(child.Runner))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		text := fmt.Sprintf(verb+verb+verb, src, cfg, &cfg)
		freshettest.LeakedSecrets(t, text, password)
		if !strings.Contains(text, "helper") {
			t.Errorf("%s: %q does not name the program", verb, text)
		}
	}
}
