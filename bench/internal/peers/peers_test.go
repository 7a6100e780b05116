package peers

import (
	"fmt"
	"testing"
	"time"

	"freshet.dev/bench/internal/issuer"
)

func TestPeersGetTheirTokenOnceAndNobodyElses(t *testing.T) {
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			i := issuer.New()
			t.Cleanup(i.Close)
			get, err := p.New(i)
			if err != nil {
				t.Fatal(err)
			}
			all := []issuer.Wanted{Only}
			for n := range 3 {
				if p.Scopes {
					all = append(all, issuer.Wanted{Tenant: Only.Tenant, Scope: fmt.Sprintf("api://%d/.default", n)})
				}
				if p.Tenants {
					all = append(all, issuer.Wanted{Tenant: fmt.Sprintf("%08d-0000-0000-0000-000000000001", n), Scope: Only.Scope})
				}
			}
			for range 3 {
				for _, w := range all {
					secret, expires, err := get(t.Context(), w)
					if err != nil {
						t.Fatal(err)
					}
					if got, _, err := issuer.Read(secret); err != nil || got != w {
						t.Errorf("got a token for %v, want one for %v (%v)", got, w, err)
					}
					if left := time.Until(expires); !expires.IsZero() && (left < 58*time.Minute || left > time.Hour) {
						t.Errorf("the token lives for %v, want an hour", left)
					}
				}
			}
			if got, want := i.Calls(), int64(len(all)); got != want {
				t.Errorf("%d token calls, want %d", got, want)
			}
			if !p.Tenants {
				if _, _, err := get(t.Context(), issuer.Wanted{Tenant: "another"}); err == nil {
					t.Error("a client of one token answered for another")
				}
			}
		})
	}
}

func TestPeersTellTheIssuersFailure(t *testing.T) {
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			i := issuer.New()
			t.Cleanup(i.Close)
			i.SetFail(&issuer.Refusal{Status: 400, Code: "invalid_client"})
			get, err := p.New(i)
			if err != nil {
				t.Fatal(err)
			}
			if secret, _, err := get(t.Context(), Only); err == nil {
				t.Errorf("got a token of %d bytes, want an error", len(secret))
			}
			if got := i.Calls(); got != 1 {
				t.Errorf("%d token calls, want 1", got)
			}
		})
	}
}
