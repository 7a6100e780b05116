package builtin

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
)

func names[T any](rows []T, of func(T) string) []string {
	var list []string
	for _, r := range rows {
		list = append(list, of(r))
	}
	return list
}

// TestRowsAreWhole checks that every row can be used, is found by its name, and is in its place.
func TestRowsAreWhole(t *testing.T) {
	sources := names(Sources(), func(s Source) string { return s.Name })
	if !slices.IsSorted(sources) || len(slices.Compact(sources)) != len(Sources()) {
		t.Errorf("sources are not sorted and unique: %v", sources)
	}
	for _, s := range Sources() {
		if SourceNamed(s.Name) == nil {
			t.Errorf("source %s is not found", s.Name)
		}
		c := s.Config()
		if v := reflect.ValueOf(c); v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct || !v.Elem().IsZero() {
			t.Errorf("source %s: settings are %T, want a pointer to a zero struct", s.Name, c)
		}
		if c == s.Config() {
			t.Errorf("source %s: settings are shared", s.Name)
		}
		// Settings that nobody filled in are an error, never a panic, and no half-made source is returned; az needs none.
		src, err := s.New(c, child.NewRunner(0))
		if err == nil && s.Name != "azure-cli" {
			t.Errorf("source %s: got %v of no settings at all, want an error", s.Name, src)
		}
		if s.Warn != nil {
			_ = s.Warn(c)
		}
	}
	endpoints := names(Endpoints(), func(e Endpoint) string { return e.Name })
	if !slices.IsSorted(endpoints) {
		t.Errorf("endpoints are not sorted: %v", endpoints)
	}
	paths := make(map[string]string)
	for _, e := range Endpoints() {
		if EndpointNamed(e.Name) == nil {
			t.Errorf("endpoint %s is not found", e.Name)
		}
		if !strings.HasPrefix(e.Path, "/") || e.Type == "" || e.New == nil || e.Deny == nil || e.Environment == nil || e.Config() == nil {
			t.Errorf("endpoint %s: its row is not whole", e.Name)
		}
		if other, taken := paths[e.Path]; taken {
			t.Errorf("endpoints %s and %s have the same path, so they cannot share a server", e.Name, other)
		}
		paths[e.Path] = e.Name
		env := e.Environment("http://127.0.0.1:1", "the-secret", "name")
		if !slices.Contains(slices.Collect(maps.Values(env)), "the-secret") {
			t.Errorf("endpoint %s: its environment %v has no secret", e.Name, env)
		}
	}
	for _, f := range Formats() {
		if FormatNamed(f.Name) == nil || f.Render == nil || !strings.Contains(FormatNames(), f.Name) {
			t.Errorf("format %s: its row is not whole", f.Name)
		}
	}
	if SourceNamed("") != nil || EndpointNamed("no") != nil || FormatNamed("no") != nil {
		t.Error("what is not there was found")
	}
}

// TestEveryTypeHasAForm checks that token's defaults exist: raw for tokens, aws-process for AWS keys, json for all.
func TestEveryTypeHasAForm(t *testing.T) {
	life := freshet.Validity{Static: true}
	bearer, err1 := freshet.NewBearer("tok", "", life)
	idToken, err2 := freshet.NewIDToken("tok", life)
	keys, err3 := freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "AKID", SecretAccessKey: "s"}, life)
	basic, err4 := freshet.NewBasic("u", "p", life)
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for c, want := range map[*freshet.Credential][]string{
		bearer:  {"raw", "json", "header", "env", "kube-exec", "az", "azd"},
		idToken: {"raw", "json", "header", "env", "kube-exec"},
		keys:    {"json", "env", "aws-process"},
		basic:   {"json", "header", "env"},
	} {
		var got []string
		for _, f := range Formats() {
			if out, err := f.Render(freshet.Answer{Credential: c}, Rendering{Getenv: func(string) string { return "" }}); err == nil && strings.HasSuffix(string(out), "\n") {
				got = append(got, f.Name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got forms %v, want %v", c.Type(), got, want)
		}
	}
}
