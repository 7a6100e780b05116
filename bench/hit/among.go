package hit

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

// most is how many keys a round goes through, however many there are: those that a busy program comes back to.
const most = 1024

func scopes() measure.Curve {
	ours := new(shared[manyTokens])
	return measure.Curve{
		Name:  "hit/scopes",
		Title: "A hit among many scopes",
		About: "One client has a token for each of so many scopes, and is asked for those of up to 1,024 of them in turn.",
		Complexity: "freshet: O(1), one lookup in a hash table, and by handle none. msal-go: O(N), it looks through all its tokens " +
			"until one fits.",
		X: "scopes of one client", At: []int{1, 100, 10_000, 100_000}, Columns: measure.LoopColumns(),
		Subjects: []measure.Sized{
			amongStrings(ours, scope), amongHandles(ours, scope), amongMSAL(scope),
		},
	}
}

func tenants() measure.Curve {
	ours := new(shared[manyTokens])
	azidentity := amongAzIdentity(tenant)
	azidentity.Most = 10_000 // as long as it takes to give it more
	return measure.Curve{
		Name:  "hit/tenants",
		Title: "A hit among many tenants",
		About: "One client has a token for each of so many tenants, and is asked for those of up to 1,024 of them in turn.",
		Complexity: "freshet: O(1), one lookup in a hash table, and by handle none. msal-go, and azidentity over it: O(N), all tokens " +
			"are looked through until one fits.",
		X: "tenants of one client", At: []int{1, 100, 10_000, 100_000}, Columns: measure.LoopColumns(),
		Subjects: []measure.Sized{
			amongStrings(ours, tenant), amongHandles(ours, tenant), amongMSAL(tenant), azidentity,
		},
	}
}

// scope and tenant are the nth of many wishes.
func scope(n int) issuer.Wanted {
	return issuer.Wanted{Tenant: peers.Only.Tenant, Scope: fmt.Sprintf("api://%08d.example/.default", n)}
}

func tenant(n int) issuer.Wanted {
	return issuer.Wanted{Tenant: fmt.Sprintf("%08d-0000-0000-0000-000000000000", n), Scope: peers.Only.Scope}
}

// hot are up to so many of n, evenly among them.
func hot(n int) []int {
	some := make([]int, min(n, most))
	for k := range some {
		some[k] = k * (n / len(some))
	}
	return some
}

// fill gets n tokens, and counts the issuer's calls from there.
func fill(i *issuer.Issuer, n int, get func(n int) error) error {
	for k := range n {
		if err := get(k); err != nil {
			return err
		}
	}
	if calls := i.Calls(); calls != int64(n) {
		return wrong("%d calls for %d tokens", calls, n)
	}
	i.Reset()
	return nil
}

// among makes a round of hits on wishes. f does n, beginning with the one that it is told, and returns the last token and whose it
// is to be.
func among(s *measure.Setup, i *issuer.Issuer, wishes int, f func(from, n int) (string, issuer.Wanted, error)) measure.Round {
	return loop(s, func(n int) error {
		got, want, err := f(rand.IntN(wishes), n)
		if err != nil {
			return err
		}
		if w, _, err := issuer.Read(got); err != nil || w != want {
			return wrong("got a token for %v, want one for %v", w, want)
		}
		return nil
	}, func() error {
		if calls := i.Calls(); calls != 0 {
			return wrong("%d calls of the issuer", calls)
		}
		return nil
	})
}

// challenge is a claims challenge. A client that is asked with one does not look for a token that it has, which at so many would
// take hours before all are there; what it gets it keeps like any other.
const challenge = `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`

func amongMSAL(nth func(int) issuer.Wanted) measure.Sized {
	return measure.Sized{
		Name: peers.MSAL.Name, Role: peers.MSAL.Role, Modules: peers.MSAL.Modules,
		Note: peers.MSAL.Note + "; the tokens were got with claims, for which it does not search",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			i, ctx := opened(s), context.Background()
			c, err := peers.NewMSAL(i)
			if err != nil {
				return nil, err
			}
			err = fill(i, size, func(n int) error {
				w := nth(n)
				_, err := c.AcquireTokenByCredential(ctx, []string{w.Scope}, confidential.WithTenantID(w.Tenant), confidential.WithClaims(challenge))
				return err
			})
			var wishes []issuer.Wanted
			var scopes [][]string
			for _, n := range hot(size) {
				wishes, scopes = append(wishes, nth(n)), append(scopes, []string{nth(n).Scope})
			}
			return among(s, i, len(wishes), func(from, n int) (last string, w issuer.Wanted, err error) {
				k := from
				for range n {
					if k++; k >= len(wishes) {
						k = 0
					}
					r, err := c.AcquireTokenByCredential(ctx, scopes[k], confidential.WithTenantID(wishes[k].Tenant))
					if err != nil {
						return "", w, err
					}
					last = r.AccessToken
				}
				return last, wishes[k], nil
			}), err
		},
	}
}

func amongAzIdentity(nth func(int) issuer.Wanted) measure.Sized {
	return measure.Sized{
		Name: peers.AzIdentity.Name, Role: peers.AzIdentity.Role, Modules: peers.AzIdentity.Modules, Note: peers.AzIdentity.Note,
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			i, ctx := opened(s), context.Background()
			c, err := peers.NewAzIdentity(i)
			if err != nil {
				return nil, err
			}
			options := func(w issuer.Wanted) policy.TokenRequestOptions {
				return policy.TokenRequestOptions{TenantID: w.Tenant, Scopes: []string{w.Scope}}
			}
			err = fill(i, size, func(n int) error {
				o := options(nth(n))
				o.Claims = challenge
				_, err := c.GetToken(ctx, o)
				return err
			})
			var wishes []issuer.Wanted
			var asked []policy.TokenRequestOptions
			for _, n := range hot(size) {
				wishes, asked = append(wishes, nth(n)), append(asked, options(nth(n)))
			}
			return among(s, i, len(wishes), func(from, n int) (last string, w issuer.Wanted, err error) {
				k := from
				for range n {
					if k++; k >= len(wishes) {
						k = 0
					}
					t, err := c.GetToken(ctx, asked[k])
					if err != nil {
						return "", w, err
					}
					last = t.Token
				}
				return last, wishes[k], nil
			}), err
		},
	}
}
