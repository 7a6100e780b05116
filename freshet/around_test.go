package freshet

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestAroundDecidesWhetherTheSourceIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		elsewhere, err := NewBearer("elsewhere", "", Validity{Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		own := func(ctx context.Context, _ string, retrieve func(context.Context) (*Credential, error)) (*Credential, bool, error) {
			cred, err := retrieve(ctx)
			return cred, false, err
		}
		for name, c := range map[string]struct {
			around Around
			want   Kind
			token  string
			calls  int64
		}{
			"retrieves":         {own, "", "token-1", 1},
			"shares":            {answering(elsewhere, nil), "", "elsewhere", 0},
			"fails":             {answering(nil, errDown), Unavailable, "", 0},
			"answers nothing":   {answering(nil, nil), Bug, "", 0},
			"a zero credential": {answering(new(Credential), nil), Bug, "", 0},
			"panics": {func(context.Context, string, func(context.Context) (*Credential, error)) (*Credential, bool, error) {
				panic(planted)
			}, Bug, "", 0},
		} {
			src := &fake{}
			id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Around: c.around})
			a, err := id.Get(t.Context(), Request{})
			switch {
			case c.want != "":
				wantKind(t, err, c.want)
			case err != nil || a.Credential.Token() != c.token:
				t.Errorf("%s: got %v, %v, want %s", name, a.Credential, err, c.token)
			}
			wantCalls(t, src, c.calls)
		}
	})
}

// answering is an Around that has the credential from elsewhere.
func answering(cred *Credential, err error) Around {
	return func(context.Context, string, func(context.Context) (*Credential, error)) (*Credential, bool, error) {
		return cred, true, err
	}
}
