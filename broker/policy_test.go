package broker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"freshet.dev/freshet"
)

func TestPolicyDecidesWhoReachesTheSource(t *testing.T) {
	for _, test := range []struct {
		name   string
		policy Policy
		caller Caller
		may    bool
	}{
		{"the owner, by default", Policy{}, self, true},
		{"another user, by default", Policy{}, stranger, false},
		{"root, by default", Policy{}, root, false},
		{"a user named", Policy{UIDs: []uint32{2000}}, stranger, true},
		{"the owner, where others are named", Policy{UIDs: []uint32{2000}}, self, false},
		{"a user of a group named", Policy{GIDs: []uint32{44}}, stranger, true},
		{"a user of another group", Policy{GIDs: []uint32{45}}, stranger, false},
		{"the owner, where a group is named", Policy{GIDs: []uint32{44}}, self, false},
		{"whom the kernel did not name", Policy{}, Caller{Door: "socket", UID: owner}, false},
		{"a door that was granted it", Policy{}, Caller{Door: "endpoint", Grants: []string{"id"}}, true},
		{"a door that was granted another", Policy{}, Caller{Door: "endpoint", Grants: []string{"other"}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			src := new(issuer)
			id := identity("id", src)
			id.Policy = test.policy
			b := open(t, nil, id)
			_, err := b.Credential(t.Context(), test.caller, "id", freshet.Request{})
			if got, want := src.calls.Load(), map[bool]int64{true: 1}[test.may]; got != want {
				t.Errorf("the source was asked %d times, want %d", got, want)
			}
			if test.may != (err == nil) || err != nil && kindOf(err) != freshet.Denied {
				t.Errorf("got error %v, want one: %v", err, !test.may)
			}
			if got := slices.Contains(b.Names(test.caller), "id"); got != test.may {
				t.Errorf("the caller's list has the identity: %v, want %v", got, test.may)
			}
		})
	}
}

func TestUnknownIdentityListsWhatTheCallerMayUse(t *testing.T) {
	other := identity("others", new(issuer))
	other.Policy.UIDs = []uint32{3000}
	b := open(t, nil, identity("b", new(issuer)), identity("a", new(issuer)), other)
	_, err := b.Credential(t.Context(), self, "typo", freshet.Request{})
	e := freshet.AsError(err)
	if !errors.Is(err, ErrUnknown) || e.Kind != freshet.Invalid || e.Hint != "there are: a, b" {
		t.Errorf("got %v (%s), hint %q", err, e.Kind, e.Hint)
	}
	// Somebody who may use none cannot find out which there are.
	_, unknown := b.Credential(t.Context(), stranger, "typo", freshet.Request{})
	_, known := b.Credential(t.Context(), stranger, "a", freshet.Request{})
	u, k := freshet.AsError(unknown), freshet.AsError(known)
	if u.Kind != k.Kind || u.Hint != k.Hint || strings.ReplaceAll(u.Why, "typo", "a") != k.Why || errors.Is(unknown, ErrUnknown) {
		t.Errorf("an unknown identity: %v (%v); one that is another's: %v (%v); want them alike", unknown, u.Kind, known, k.Kind)
	}
}

func TestWithheldIdentityLeavesByNoDoor(t *testing.T) {
	base, top := new(issuer), new(deriver)
	withheld := identity("base", base)
	withheld.Policy.Withheld = true
	derived := identity("top", top)
	derived.From = "base"
	b := open(t, nil, derived, withheld)
	if _, err := b.Credential(t.Context(), self, "base", freshet.Request{}); kindOf(err) != freshet.Denied {
		t.Errorf("by request: got %v, want it denied", err)
	}
	for _, names := range [][]string{{"base"}, {"top", "base"}} {
		if _, err := b.OpenDoor(Caller{Door: "session", ID: "1"}, names); kindOf(err) != freshet.Denied {
			t.Errorf("by a door for %v: got %v, want it denied", names, err)
		}
	}
	if n := base.calls.Load(); n != 0 {
		t.Errorf("its source was asked %d times", n)
	}
	d, err := b.OpenDoor(Caller{Door: "session", ID: "1"}, []string{"top"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Get(t.Context(), "base", freshet.Request{}); kindOf(err) != freshet.Invalid {
		t.Errorf("by a door for another: got %v, want it unknown there", err)
	}
	// It serves as another identity's input.
	if _, err := d.Get(t.Context(), "top", freshet.Request{}); err != nil {
		t.Fatal(err)
	}
	if in := top.asked().Input; in == nil || base.calls.Load() != 1 {
		t.Errorf("the chain's input is %v after %d retrievals", in, base.calls.Load())
	}
}

func TestRequestsKeepToTheAllowlists(t *testing.T) {
	src := &issuer{varies: freshet.FieldTenant | freshet.FieldScopes | freshet.FieldAudience}
	id := identity("id", src)
	id.Defaults = freshet.Request{Tenant: "home", Audience: "api", Scopes: []string{"read"}}
	id.Policy = Policy{Tenants: []string{"a", "b"}, Scopes: []string{"read", "write"}, Audiences: []string{"other"}}
	b := open(t, nil, id)
	for _, test := range []struct {
		req  freshet.Request
		want freshet.Kind
	}{
		{freshet.Request{}, ""},
		{freshet.Request{Tenant: "home"}, ""},
		{freshet.Request{Tenant: "b"}, ""},
		{freshet.Request{Tenant: "c"}, freshet.Denied},
		{freshet.Request{Tenant: "B"}, freshet.Denied},
		{freshet.Request{Scopes: []string{"write"}}, ""},
		{freshet.Request{Scopes: []string{"write", "read"}}, ""},
		{freshet.Request{Scopes: []string{"read", "admin"}}, freshet.Denied},
		{freshet.Request{Scopes: []string{"read write"}}, freshet.Denied},
		{freshet.Request{Scopes: []string{""}}, freshet.Denied},
		{freshet.Request{Audience: "api"}, ""},
		{freshet.Request{Audience: "other"}, ""},
		{freshet.Request{Audience: "third"}, freshet.Denied},
	} {
		before := src.calls.Load()
		_, err := b.Credential(t.Context(), self, "id", test.req)
		if kindOf(err) != test.want {
			t.Errorf("%v %q: got %v, want kind %q", test.req, test.req.Scopes, err, test.want)
		}
		if err != nil && src.calls.Load() != before {
			t.Errorf("%v: the source was asked", test.req)
		}
	}
}

func TestDefaultWithoutAListIsTheOnlyOne(t *testing.T) {
	for _, c := range []Caller{self, {Door: "endpoint", Grants: []string{"id"}}} {
		src := &issuer{varies: freshet.FieldTenant | freshet.FieldScopes | freshet.FieldAudience}
		id := identity("id", src)
		id.Defaults = freshet.Request{Tenant: "home", Audience: "api", Scopes: []string{"read"}}
		b := open(t, nil, id)
		for _, r := range []freshet.Request{{Tenant: "other"}, {Audience: "other"}, {Scopes: []string{"write"}}, {Scopes: []string{""}}} {
			if _, err := b.Credential(t.Context(), c, "id", r); kindOf(err) != freshet.Invalid {
				t.Errorf("%v: got %v, want it refused", r, err)
			}
		}
		if n := src.calls.Load(); n != 0 {
			t.Errorf("the source was asked %d times", n)
		}
		get(t, b, c, "id", freshet.Request{Tenant: "home", Audience: "api", Scopes: []string{"read"}})
	}
}

func TestChainsThatCannotBeAreRefusedWithTheirNames(t *testing.T) {
	chain := func(name, from string) Identity {
		id := identity(name, new(deriver))
		id.From = from
		return id
	}
	for _, test := range []struct {
		name string
		ids  []Identity
		want string
	}{
		{"cycle", []Identity{chain("a", "b"), chain("b", "c"), chain("c", "a")}, "other: a → b → c → a."},
		{"cycle below", []Identity{chain("top", "a"), chain("a", "b"), chain("b", "a")}, "other: top → a → b → a."},
		{"of itself", []Identity{chain("a", "a")}, "other: a → a."},
		{"missing", []Identity{chain("a", "gone")}, "identity a: from names gone"},
		{"twice", []Identity{identity("a", new(issuer)), identity("a", new(issuer))}, "identity a: there are two"},
		{"deriver without input", []Identity{identity("a", new(deriver))}, "identity a"},
	} {
		b, err := New(Config{Identities: test.ids})
		if b != nil || kindOf(err) != freshet.Invalid || !strings.Contains(err.Error()+".", test.want) {
			t.Errorf("%s: got %v, want it to say %q", test.name, err, test.want)
		}
	}
}

func TestOwnerAndRootSeeAndRejectWhatIsAnybodys(t *testing.T) {
	id := identity("theirs", new(issuer))
	id.Policy.UIDs = []uint32{2000}
	b := open(t, nil, id, identity("mine", new(issuer)))
	version := get(t, b, stranger, "theirs", freshet.Request{}).Credential.Fingerprint()
	names := func(c Caller) (all []string) {
		for _, s := range b.Status(c).Identities {
			all = append(all, s.Name)
		}
		return all
	}
	for _, c := range []Caller{self, root} {
		if got, want := names(c), []string{"mine", "theirs"}; !slices.Equal(got, want) {
			t.Errorf("uid %d sees %v, want %v", c.UID, got, want)
		}
		if err := b.Reject(c, "theirs", version); err != nil {
			t.Errorf("uid %d rejects: %v", c.UID, err)
		}
		if _, err := b.Credential(t.Context(), c, "theirs", freshet.Request{}); kindOf(err) != freshet.Denied {
			t.Errorf("uid %d is given the credential: %v", c.UID, err)
		}
	}
	if got, want := names(stranger), []string{"theirs"}; !slices.Equal(got, want) {
		t.Errorf("the other user sees %v, want %v", got, want)
	}
	if err := b.Reject(stranger, "mine", version); kindOf(err) != freshet.Denied {
		t.Errorf("the other user rejects: %v, want it denied", err)
	}
}

// TestAncestryEndsReentryAtOnce is what keeps a source's own child from waiting for its parent.
func TestAncestryEndsReentryAtOnce(t *testing.T) {
	src := new(issuer)
	b := open(t, nil, identity("id", src))
	c := self
	c.Ancestry = []string{"id"}
	_, err := b.Credential(context.Background(), c, "id", freshet.Request{})
	if kindOf(err) != freshet.Invalid || !strings.Contains(err.Error(), "id → id") || src.calls.Load() != 0 {
		t.Errorf("got %v after %d retrievals, want the cycle after none", err, src.calls.Load())
	}
}
