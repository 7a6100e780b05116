package azurecli

import (
	"testing"

	"freshet.dev/freshet"
)

func TestTarget(t *testing.T) {
	for _, test := range []struct {
		cfg    Config
		tenant string
		want   freshet.Target
	}{
		{Config{}, "", freshet.Target{}},
		{Config{}, "contoso.example", freshet.Target{Tenant: "contoso.example"}},
		{Config{Tenant: "own.example"}, "", freshet.Target{Tenant: "own.example"}},
		{Config{Tenant: "own.example"}, "contoso.example", freshet.Target{Tenant: "contoso.example"}},
		{Config{Subscription: "sub"}, "", freshet.Target{Tenant: "sub"}},
		{Config{ConfigDir: "/etc/az"}, "", freshet.Target{Client: "/etc/az"}},
	} {
		test.want.Host = "login.microsoftonline.com"
		if got := source(t, test.cfg).Target(freshet.Request{Tenant: test.tenant}); got != test.want {
			t.Errorf("%+v, tenant %q: got %v, want %v", test.cfg, test.tenant, got, test.want)
		}
	}
}

// TestThrottlingOfEntra: az tells of it in words alone, and has tried again already.
func TestThrottlingOfEntra(t *testing.T) {
	for code, status := range map[string]int{"90055": 429, "50196": 429, "90033": 0, "700016": 0} {
		src := source(t, Config{Program: fake(t, `echo "ERROR: AADSTS`+code+`: so it is. Please run: az login" >&2; exit 1`)})
		_, err := src.Retrieve(t.Context(), freshet.Request{})
		e := freshet.AsError(err)
		if e == nil || e.Status != status || (status != 0) && e.Kind != freshet.Unavailable {
			t.Errorf("%s: got %v, want it with status %d", code, err, status)
		}
	}
}
