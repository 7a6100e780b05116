package freshet

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// full is a request that sets every field of the key.
func full() Request {
	return Request{Tenant: "t", Scopes: []string{"a", "b"}, Audience: "aud", Claims: `{"c":1}`, CAE: true, Subject: "sub"}
}

var changes = map[string]func(*Request){
	"tenant":   func(r *Request) { r.Tenant = "u" },
	"scopes":   func(r *Request) { r.Scopes = []string{"a"} },
	"audience": func(r *Request) { r.Audience = "other" },
	"claims":   func(r *Request) { r.Claims = `{"c":2}` },
	"cae":      func(r *Request) { r.CAE = false },
	"subject":  func(r *Request) { r.Subject = "other" },
}

func TestEveryKeyFieldTellsCredentialsApart(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &fake{varies: FieldsAll}
				id := alone(t, src)
				req, other := full(), full()
				change(&other)
				first := mustGet(t, id, req)
				if second := mustGet(t, id, other); second.Credential == first.Credential {
					t.Errorf("%v was answered with the credential of %v", other, req)
				}
				if again := mustGet(t, id, req); again.Credential != first.Credential {
					t.Error("the first request missed when asked again")
				}
				wantCalls(t, src, 2)
			})
		})
	}
}

func TestIdentityAndItsVersionTellCredentialsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		c := newCache(t, CacheConfig{})
		seen := make(map[*Credential]bool)
		for _, cfg := range []IdentityConfig{{Name: "a"}, {Name: "a", Version: "2"}, {Name: "a", Version: "3"}, {Name: "b"}, {Name: "a2"}} {
			cfg.Source = src
			seen[mustGet(t, add(t, c, cfg), Request{}).Credential] = true
		}
		if len(seen) != 5 {
			t.Errorf("5 identities share %d credentials", len(seen))
		}
		if _, err := c.Add(IdentityConfig{Name: "a", Version: "2", Source: src}); err == nil {
			t.Error("want an error for a name and version that are there already")
		}
	})
}

func TestScopeOrderAndDuplicatesMeanNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldScopes}
		id := alone(t, src)
		first := mustGet(t, id, Request{Scopes: []string{"a", "b", "c"}})
		for _, scopes := range [][]string{{"c", "b", "a"}, {"a", "b", "c", "a"}, {"b", "b", "a", "c", "c"}} {
			asked := slices.Clone(scopes)
			if a := mustGet(t, id, Request{Scopes: scopes}); a.Credential != first.Credential {
				t.Errorf("scopes %v missed", scopes)
			}
			if !slices.Equal(scopes, asked) {
				t.Errorf("the caller's own scopes %v were changed to %v", asked, scopes)
			}
		}
		wantCalls(t, src, 1)
	})
}

func TestMinTTLAndRejectedAreNoPartOfTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		mustGet(t, id, Request{})
		mustGet(t, id, Request{MinTTL: 1, Rejected: "0123"})
		wantCalls(t, src, 1)
	})
}

// A token for one scope must not answer a request for another, whatever the caller or the source does to its slices.
func TestSourceIsAskedForWhatItsAnswerIsKeptUnder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldScopes}
		var asked [][]string
		src.reply = func(n int64, req Request) (*Credential, error) {
			asked = append(asked, slices.Clone(req.Scopes))
			for i := range req.Scopes {
				req.Scopes[i] = "changed by the source"
			}
			_ = append(req.Scopes, "more")
			return NewBearer(fmt.Sprint("token-", n), "", src.validity(Now()))
		}
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Defaults: Request{Scopes: []string{"default"}}})
		scopes := []string{"read"}
		h := mustHandle(t, id, Request{Scopes: scopes})
		scopes[0] = "write"
		a, err := h.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = id.Get(t.Context(), Request{Scopes: []string{"read"}, Rejected: a.Credential.Fingerprint()})
		mustGet(t, id, Request{})
		mustGet(t, id, Request{Scopes: []string{"default"}, MinTTL: 2 * 3600e9})
		want := [][]string{{"read"}, {"read"}, {"default"}}
		if !reflect.DeepEqual(asked, want) {
			t.Errorf("source was asked for %v, want %v", asked, want)
		}
	})
}

func TestFieldThatIsNeitherVariedByNorPinnedIsRefused(t *testing.T) {
	sets := map[Fields]Request{
		FieldTenant: {Tenant: "t"}, FieldScopes: {Scopes: []string{"s"}}, FieldAudience: {Audience: "a"},
		FieldClaims: {Claims: "{}"}, FieldCAE: {CAE: true}, FieldSubject: {Subject: "s"},
	}
	for field, req := range sets {
		t.Run(field.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &fake{varies: FieldsAll &^ field}
				id := alone(t, src)
				_, err := id.Get(t.Context(), req)
				wantKind(t, err, Invalid)
				if _, err := id.Handle(req); err == nil {
					t.Error("want an error for a handle too")
				}
				wantCalls(t, src, 0)
				mustGet(t, id, Request{})
				mustGet(t, alone(t, &fake{varies: field}), req)
			})
		})
	}
}

func TestPinnedFieldTakesItsDefaultAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{
			Source: src, Pinned: FieldTenant,
			Defaults: Request{Tenant: "home", Scopes: []string{"b", "a"}, Audience: "aud", Subject: "me"},
		})
		first := mustGet(t, id, Request{})
		for _, req := range []Request{{Tenant: "home"}, {Scopes: []string{"a", "b"}}, {Scopes: []string{"b", "a", "a"}}, {Audience: "aud"}, {Subject: "me"}} {
			if a := mustGet(t, id, req); a.Credential != first.Credential {
				t.Errorf("%v missed, want the identity's own", req)
			}
		}
		for _, req := range []Request{{Tenant: "away"}, {Scopes: []string{"a"}}, {Scopes: []string{"a", "b", "c"}}, {Audience: "x"}, {Subject: "you"}} {
			_, err := id.Get(t.Context(), req)
			wantKind(t, err, Invalid)
		}
		wantCalls(t, src, 1)
	})
}

func TestDefaultsReachTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := Request{Tenant: "home", Scopes: []string{"a", "b"}, Audience: "aud", Subject: "me"}
		for _, varies := range []Fields{0, FieldTenant | FieldAudience, FieldsAll} {
			var got atomic.Pointer[Request]
			src := &fake{varies: varies, reply: func(_ int64, req Request) (*Credential, error) {
				asked := req
				asked.Scopes = slices.Clone(req.Scopes)
				got.Store(&asked)
				clear(req.Scopes) // a source may do to its request what it likes
				return NewBearer("t", "", Validity{Lifetime: 3600e9})
			}}
			id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Defaults: want})
			for range 2 {
				mustGet(t, id, Request{MinTTL: 2 * time.Hour})
				if !reflect.DeepEqual(*got.Load(), want) {
					t.Errorf("a source that varies by %q was asked for %s, want %s", varies, plain(*got.Load()), plain(want))
				}
				time.Sleep(time.Hour)
			}
		}
	})
}

func TestTokenForAnotherAudienceIsRefused(t *testing.T) {
	for aud, good := range map[string]bool{
		`"https://a"`: true, `["x","https://a"]`: true, `"https://b"`: false, `["x"]`: false, `[]`: false, `null`: true, `7`: true,
	} {
		synctest.Test(t, func(t *testing.T) {
			src := SourceFunc(func(context.Context, Request) (*Credential, error) {
				return NewBearer(jwt(`{"aud":`+aud+`}`), "", Validity{Lifetime: 3600e9})
			})
			id := alone(t, varying{src, FieldAudience})
			_, err := id.Get(t.Context(), Request{Audience: "https://a"})
			if (err == nil) != good {
				t.Errorf("a token with aud %s: got error %v, want accepted: %v", aud, err, good)
			}
			if err != nil {
				wantKind(t, err, Malformed)
			}
			mustGet(t, id, Request{}) // who asks for no audience takes any
		})
	}
}

// FuzzKeyIsInjective checks that two normalised requests have one key exactly if they are equal, and that a key decodes to the
// request it was made of.
func FuzzKeyIsInjective(f *testing.F) {
	f.Add("t", "a b", "aud", "{}", true, "s", "t", "a", "b", "{}", true, "s", byte(0xff))
	f.Add("", "ab", "", "", false, "", "", "a b", "", "", false, "", byte(0x3f))
	f.Add("\x01a", "", "", "", false, "", "", "a", "", "", false, "", byte(0x3f))
	const uuid = "0123abcd-4567-89ef-0123-456789abcdef"
	f.Add(uuid, uuid, uuid, uuid, true, uuid, uuid, uuid, uuid, strings.ToUpper(uuid), true, uuid[:35]+"g", byte(0xff))
	f.Add(uuid, "", "", "", false, "", strings.ReplaceAll(uuid, "-", "0"), "", "", "", false, "", byte(0x3f))
	f.Add(uuid, "", "", "", false, "", "\x01\x23\xab\xcd\x45\x67\x89\xef\x01\x23\x45\x67\x89\xab\xcd\xef", "", "", "", false, "", byte(0x3f))
	f.Add(strings.Repeat("x", 300), "", "\x80", "", false, "", "", "", "", "", true, "\x00", byte(0x15))
	f.Fuzz(func(t *testing.T, t1, s1, a1, c1 string, e1 bool, u1 string, t2, s2, a2, c2 string, e2 bool, u2 string, varies byte) {
		id := &Identity{name: "id", version: "1", varies: Fields(varies) & FieldsAll, private: new(private)}
		request := func(t, s, a, c string, e bool, u string) Request {
			r := Request{Tenant: t, Scopes: canonical(strings.Fields(s)), Audience: a, Claims: c, CAE: e, Subject: u}
			for f, clear := range map[Fields]func(){
				FieldTenant: func() { r.Tenant = "" }, FieldScopes: func() { r.Scopes = nil }, FieldAudience: func() { r.Audience = "" },
				FieldClaims: func() { r.Claims = "" }, FieldCAE: func() { r.CAE = false }, FieldSubject: func() { r.Subject = "" },
			} {
				if id.varies&f == 0 {
					clear()
				}
			}
			if len(r.Scopes) == 0 {
				r.Scopes = nil
			}
			return r
		}
		r1, r2 := request(t1, s1, a1, c1, e1, u1), request(t2, s2, a2, c2, e2, u2)
		k1, k2 := string(appendKey(nil, id, &r1)), string(appendKey(nil, id, &r2))
		if (k1 == k2) != reflect.DeepEqual(r1, r2) {
			t.Errorf("%#v and %#v have keys %q and %q", r1, r2, k1, k2)
		}
		for key, want := range map[string]Request{k1: r1, k2: r2} {
			if got := keyRequest(key, id); !reflect.DeepEqual(got, want) {
				t.Errorf("key %q decodes to %+v, want %+v", key, plain(got), plain(want))
			}
		}
		other := &Identity{name: "i", version: "d1", varies: id.varies}
		if k := wholeKey(other, k1); k == wholeKey(id, k1) {
			t.Errorf("two identities share key %q", string(k))
		}
	})
}

// plain shows a request whole, unlike its String.
func plain(r Request) string {
	type bare Request
	b, _ := json.Marshal(bare(r))
	return string(b)
}
