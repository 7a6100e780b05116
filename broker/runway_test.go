package broker

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// held is an identity in an estate: one that asks host, by keys that last so many seconds.
func held(name, host, from string, lasts ...float64) IdentityStatus {
	id := IdentityStatus{Name: name, From: from, Host: host}
	if from != "" {
		id.Input = inputCached
	}
	for i, l := range lasts {
		k := KeyStatus{Key: fmt.Sprintf("%016x", i), Wanted: true, Lasts: l, Target: TargetStatus{Host: host}}
		if l > 0 {
			k.Fingerprint = "f"
		}
		id.Keys = append(id.Keys, k)
	}
	return id
}

// estateOf finishes an estate as the broker does.
func estateOf(ids ...IdentityStatus) estate {
	all := estate(ids)
	slices.SortFunc(all, func(a, b IdentityStatus) int { return strings.Compare(a.Name, b.Name) })
	all.link()
	return all
}

// shown is a span as these tests write it: "-" for none.
func shown(s *float64) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprint(*s)
}

func TestRunwayOfAnIdentityIsItsLeastWantedKeys(t *testing.T) {
	with := func(change func(*KeyStatus), lasts ...float64) IdentityStatus {
		id := held("id", "h", "", lasts...)
		change(&id.Keys[0])
		return id
	}
	for _, test := range []struct {
		name string
		id   IdentityStatus
		want string
	}{
		{"nothing", held("id", "h", ""), "-"},
		{"one", held("id", "h", "", 60), "60"},
		{"the least", held("id", "h", "", 60, 50, 70), "50"},
		{"one has nothing to serve", held("id", "h", "", 60, 0), "0"},
		{"not wanted", with(func(k *KeyStatus) { k.Wanted = false }, 5, 60), "60"},
		{"none is wanted", with(func(k *KeyStatus) { k.Wanted = false }, 5), "-"},
		{"being retrieved for the first time", with(func(k *KeyStatus) { k.Refreshing = true }, 0, 60), "60"},
		{"being retrieved again", with(func(k *KeyStatus) { k.Refreshing, k.LastKind = true, freshet.Unavailable }, 0, 60), "0"},
		{"denied", with(func(k *KeyStatus) { k.LastKind = freshet.Denied }, 0, 60), "60"},
		{"asked for what cannot be", with(func(k *KeyStatus) { k.LastKind = freshet.Invalid }, 0, 60), "60"},
		{"denied, and still served", with(func(k *KeyStatus) { k.LastKind = freshet.Denied }, 5, 60), "5"},
		{"login needed", with(func(k *KeyStatus) { k.LastKind = freshet.LoginNeeded }, 0, 60), "0"},
		{"the issuer is down", with(func(k *KeyStatus) { k.LastKind = freshet.Unavailable }, 0, 60), "0"},
	} {
		if got := shown(test.id.ownRunway()); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestRunwayOfAnIssuerGoesThroughChains(t *testing.T) {
	fresh := func(id IdentityStatus) IdentityStatus { id.Input = inputFresh; return id }
	for _, test := range []struct {
		name string
		all  estate
		host string
		want string // seconds, and whose they are
	}{
		{"another's", estateOf(held("a", "other", "", 60)), "h", "- "},
		{"direct", estateOf(held("a", "h", "", 60), held("b", "h", "", 50), held("c", "other", "", 1)), "h", "50 b"},
		{"its own issuer: the input is of no use", estateOf(held("in", "idp", "", 3000), held("out", "sts", "in", 60)), "sts", "60 out"},
		{"its input's: made anew while that lives", estateOf(held("in", "idp", "", 3000), held("out", "sts", "in", 60)), "idp", "3000 in"},
		{"its input's: its own lasts longer", estateOf(held("in", "idp", "", 60), held("out", "sts", "in", 3000)), "idp", "60 in"},
		{"its input's, which nobody else wants", func() estate {
			all := estateOf(held("in", "idp", "", 60), held("out", "sts", "in", 3000))
			all[0].Keys[0].Wanted = false
			return all
		}(), "idp", "3000 out"},
		{"its input's, of which the least key counts", func() estate {
			all := estateOf(held("in", "idp", "", 600, 400), held("out", "sts", "in", 60))
			all[0].Keys[0].Wanted, all[0].Keys[1].Wanted = false, false
			return all
		}(), "idp", "400 out"},
		{"a fresh input", func() estate {
			all := estateOf(held("in", "idp", "", 600), fresh(held("out", "sts", "in", 60)))
			all[0].Keys[0].Wanted = false
			return all
		}(), "idp", "60 out"},
		{"an input of which nothing is held", estateOf(held("in", "idp", ""), held("out", "sts", "in", 60)), "idp", "60 out"},
		{"three deep", func() estate {
			all := estateOf(held("a", "idp", "", 900), held("b", "sts", "a", 300), held("c", "ecr", "b", 60))
			all[0].Keys[0].Wanted, all[1].Keys[0].Wanted = false, false
			return all
		}(), "idp", "900 c"},
		{"three deep, the middle one's", func() estate {
			all := estateOf(held("a", "idp", "", 900), held("b", "sts", "a", 300), held("c", "ecr", "b", 60))
			all[1].Keys[0].Wanted = false
			return all
		}(), "sts", "300 c"},
		{"one issuer for both", estateOf(held("in", "sts", "", 900), held("out", "sts", "in", 60)), "sts", "60 out"},
		{"a key that asks another host than its identity does", func() estate {
			all := estateOf(held("a", "h", "", 60, 900))
			all[0].Keys[0].Target.Host = "region"
			all.link()
			return all
		}(), "region", "60 a"},
	} {
		seconds, first := test.all.runway(test.host)
		if got := shown(seconds) + " " + first; got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestIssuersOfAChainAreAllOfIt(t *testing.T) {
	all := estateOf(held("a", "ecr", "m"), held("m", "sts", "z"), held("z", "idp", "")) // what is made comes before what it is made from
	for i, want := range []string{"[ecr idp sts]", "[idp sts]", "[idp]"} {
		if got := fmt.Sprint(all[i].Issuers); got != want {
			t.Errorf("%s: got %s, want %s", all[i].Name, got, want)
		}
	}
}

// aimed is a source that says whom it asks.
type aimed struct {
	issuer
	target freshet.Target
}

func (s *aimed) Target(r freshet.Request) freshet.Target {
	t := s.target
	t.Tenant = r.Tenant
	return t
}

// derived is a source over another's credential, which says whom it asks.
type derived struct {
	aimed
	need freshet.Need
}

func (d *derived) Needs(freshet.Request) freshet.Need { return d.need }

func TestRunwaysAreOfEveryIdentityAndIssuer(t *testing.T) {
	in := identity("in", &aimed{target: freshet.Target{Host: "idp.example"}})
	out := identity("out", &derived{aimed: aimed{target: freshet.Target{Host: "sts.example"}}})
	out.From = "in"
	b := open(t, nil, in, out, identity("script", new(issuer)))
	var got []string
	for _, r := range b.Runways() {
		got = append(got, fmt.Sprintf("%s/%s %v", r.Identity, r.Issuer, r.Known))
	}
	want := "in/ false, out/ false, script/ false, /idp.example false, /script false, /sts.example false"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), want)
	}
	get(t, b, self, "out", freshet.Request{})
	for _, r := range b.Runways() {
		if known := r.Identity != "script" && r.Issuer != "script"; r.Known != known || known && (r.Seconds < 3500 || r.Seconds > 3600) {
			t.Errorf("got %+v, want what is left of an hour, or nothing of what nobody wants", r)
		}
	}
}

func TestStatusTellsOfIssuersWhatTheCallerMayKnow(t *testing.T) {
	in := identity("in", &aimed{issuer: issuer{varies: freshet.FieldTenant}, target: freshet.Target{Host: "idp.example", Client: "client-7"}})
	in.Defaults.Tenant = "contoso"
	out := identity("out", &derived{aimed: aimed{issuer: issuer{varies: freshet.FieldTenant}, target: freshet.Target{Host: "sts.example", Client: "client-8"}}})
	out.Defaults.Tenant = "fabrikam"
	out.From, out.Policy.UIDs = "in", []uint32{owner, stranger.UID}
	b := open(t, nil, in, out, identity("script", new(issuer)))
	door, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"out"})
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	get(t, b, self, "out", freshet.Request{})
	hosts := func(s Status) string {
		var hosts []string
		for _, i := range s.Issuers {
			hosts = append(hosts, fmt.Sprintf("%s%v", i.Host, i.Identities))
		}
		slices.Sort(hosts)
		return strings.Join(hosts, " ")
	}
	full := b.Status(self)
	if got, want := hosts(full), "idp.example[in out] script[script] sts.example[out]"; got != want {
		t.Errorf("the owner is told of %s, want %s", got, want)
	}
	if full.Partial || fmt.Sprint(full.Identities[0].UsedBy) != "[identity out]" || fmt.Sprint(full.Identities[1].UsedBy) != "[endpoint:e]" {
		t.Errorf("the owner is told %+v", full)
	}
	if k := full.Identities[0].Keys[0]; k.Target != (TargetStatus{"idp.example", "contoso", "client-7"}) {
		t.Errorf("the owner is told of the target %+v", k.Target)
	}
	part := b.Status(stranger)
	if got, want := hosts(part), "idp.example[out] sts.example[out]"; got != want || !part.Partial || len(part.Identities) != 1 {
		t.Errorf("another user is told of %s and %d identities, want %s and 1", got, len(part.Identities), want)
	}
	text, err := json.Marshal(part)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"contoso", "fabrikam", "client-7", "client-8", "endpoint:e", "script", secretPrefix} {
		if strings.Contains(string(text), secret) {
			t.Errorf("another user is told %q: %s", secret, text)
		}
	}
	if full.Issuers[0].Runway == nil || *full.Issuers[0].Runway < 3500 || full.Issuers[2].Runway != nil {
		t.Errorf("got runways %s, %s, want the known first", shown(full.Issuers[0].Runway), shown(full.Issuers[2].Runway))
	}
}

func TestIssuersAreToldWithTheirBlocks(t *testing.T) {
	all := estateOf(held("a", "h", "", 60), held("b", "h", "", 600), held("c", "other", "", 5))
	all[1].Keys[0].Target = TargetStatus{"h", "t2", "c"}
	busy := &freshet.Error{Kind: freshet.Unavailable, Why: "h: answered 429", Status: 429}
	states := []freshet.IssuerState{
		{Target: freshet.Target{Host: "h", Tenant: "t2", Client: "c"}, Block: busy, RetryIn: 20 * time.Second, Failures: 1},
		{Target: freshet.Target{Host: "h", Tenant: "t1"}, Block: busy, RetryIn: 30 * time.Second, Failures: 4},
		{Target: freshet.Target{Host: "h"}, Whole: true, Flights: 7, Waiting: 3},
		{Target: freshet.Target{Host: "h", Tenant: "t3"}, Flights: 5}, // of those 7
		{Target: freshet.Target{Host: "gone"}, Whole: true, Flights: 1},
		{Target: freshet.Target{Host: "other"}, Whole: true, Block: busy, RetryIn: 38 * time.Second},
	}
	got := issuers(all, all, states, true)
	if len(got) != 3 || got[0].Host != "other" || got[1].Host != "h" || got[2].Host != "gone" {
		t.Fatalf("got %+v, want other, h, gone: by runway", got)
	}
	if o := got[0]; !o.Blocked || o.RetryIn != 38 || o.Why != "h: answered 429" || !strings.Contains(o.Hint, "freshet unblock c") || len(o.Blocks) != 0 {
		t.Errorf("a host that is blocked: got %+v", o)
	}
	h := got[1]
	if h.Blocked || h.Flights != 7 || h.Waiting != 3 || h.Failures != 4 || len(h.Blocks) != 2 || h.Blocks[0].Tenant != "t1" || h.Blocks[1].RetryIn != 20 || h.First != "a" {
		t.Errorf("a host of which two tenants are blocked: got %+v", h)
	}
	if h.Blocks[0].Identity != "" || h.Blocks[1].Identity != "b" || !strings.Contains(h.Hint, "freshet unblock b") {
		t.Errorf("whoever asks as who is blocked: got %+v", h)
	}
	if fmt.Sprint(h.Identities) != "[a b]" {
		t.Errorf("got identities %v", h.Identities)
	}
	if got = issuers(all, estate{all[2]}, states, false); len(got) != 1 || !got[0].Blocked || got[0].Hint != "" {
		t.Errorf("who may not unblock is told %+v", got)
	}
	mine := estate{all[1]}
	got = issuers(all, mine, states, false)
	if len(got) != 1 || got[0].Host != "h" || got[0].Blocks != nil || shown(got[0].Runway) != "600" || got[0].First != "b" || got[0].Hint != "" {
		t.Errorf("who may use b alone is told %+v", got)
	}
}

// needy panics when it is asked what it needs, and whom it asks.
type needy struct{ deriver }

func (*needy) Needs(freshet.Request) freshet.Need           { panic("needs") }
func (*needy) Target(freshet.Request) (none freshet.Target) { panic("target") }

func TestInputIsToldAsItIsObtained(t *testing.T) {
	for _, test := range []struct {
		src  freshet.Source
		want string
	}{
		{new(issuer), ""},
		{new(derived), inputCached},
		{&derived{need: freshet.Need{Fresh: true}}, inputFresh},
		{&derived{need: freshet.Need{Request: freshet.Request{MinTTL: time.Minute}}}, inputFresh},
		{new(needy), inputFresh},
	} {
		if got := inputOf(test.src, freshet.Request{}); got != test.want {
			t.Errorf("%T: got %q, want %q", test.src, got, test.want)
		}
	}
	for _, test := range []struct {
		cfg  freshet.IdentityConfig
		want string
	}{
		{freshet.IdentityConfig{Name: "n", Source: new(issuer)}, "n"},
		{freshet.IdentityConfig{Name: "n", Issuer: "i", Source: new(issuer)}, "i"},
		{freshet.IdentityConfig{Name: "n", Issuer: "i", Source: &aimed{target: freshet.Target{Host: "h"}}}, "h"},
		{freshet.IdentityConfig{Name: "n", Source: new(aimed)}, "n"},
		{freshet.IdentityConfig{Name: "n", Source: new(needy)}, "n"},
	} {
		if got := hostOf(&test.cfg); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.cfg, got, test.want)
		}
	}
}
