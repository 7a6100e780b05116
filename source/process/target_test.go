package process

import (
	"strings"
	"testing"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
)

// TestTarget: commands and environments are told apart, and shown by nothing but the program's name.
func TestTarget(t *testing.T) {
	target := func(cfg Config, tenant string) freshet.Target {
		t.Helper()
		src, err := New(cfg, child.NewRunner(1))
		if err != nil {
			t.Fatal(err)
		}
		return src.Target(freshet.Request{Tenant: tenant})
	}
	helper := Config{Command: []string{"/opt/my-helper", "--account", "planted-one"}, Env: map[string]string{"A": "planted-two"}}
	got := target(helper, "contoso")
	if got.Host != "my-helper" || got.Tenant != "contoso" || got.Client == "" || strings.Contains(got.Client, "planted") {
		t.Errorf("got %v", got)
	}
	if again := target(helper, "contoso"); again != got {
		t.Errorf("the same command is %v and %v", got, again)
	}
	for _, other := range []Config{
		{Command: []string{"/opt/my-helper", "--account", "planted-other"}, Env: helper.Env},
		{Command: []string{"/opt/my-helper", "--accountplanted-one"}, Env: helper.Env},
		{Command: helper.Command, Env: map[string]string{"A": "planted-other"}},
		{Command: helper.Command},
	} {
		if target(other, "contoso") == got {
			t.Errorf("%q with %q is taken for another", other.Command, other.Env)
		}
	}
}
