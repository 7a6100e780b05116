package broker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

// short is an issuer of tokens that live for so long, asked as one client of a host.
type short struct {
	aimed
	lives time.Duration
}

func (s *short) Retrieve(ctx context.Context, r freshet.Request) (*freshet.Credential, error) {
	if _, err := s.issuer.Retrieve(ctx, r); err != nil {
		return nil, err
	}
	return freshet.NewBearer(fmt.Sprintf("%s%v-%d", secretPrefix, s.lives, s.calls.Load()), "", freshet.Validity{Lifetime: s.lives})
}

func client(lives time.Duration, name string) *short {
	return &short{aimed{target: freshet.Target{Host: "h", Client: name}}, lives}
}

var down = &freshet.Error{Kind: freshet.Unavailable, Why: "h: answered 503", Status: 503}

// TestAHostIsAsBadAsTheWorstOfItsIdentities has two identities ask as one client. From when the first has nothing left until it is
// well again, whatever the issuer is asked meanwhile, status tells of that one.
func TestAHostIsAsBadAsTheWorstOfItsIdentities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		well, ill := client(time.Hour, "c"), client(2*time.Minute, "c")
		b := open(t, nil, identity("entra", well), identity("oauth", ill))
		ask := func(name string) error {
			_, err := b.Credential(t.Context(), self, name, freshet.Request{})
			return err
		}
		if ask("entra") != nil || ask("oauth") != nil {
			t.Fatal("they are not well to begin with")
		}
		ill.fail(down)
		failing, blocked, without := 0, 0, 0
		for range 600 {
			time.Sleep(time.Second)
			if err := ask("entra"); err != nil {
				t.Fatal(err)
			}
			fails := ask("oauth") != nil
			s := b.Status(self)
			h := s.Issuers[0]
			if fails {
				failing++
				if len(s.Identities[1].Keys) == 0 {
					without++
				}
				if shown(h.Runway) != "0" || h.First != "oauth" || shown(s.Identities[1].Runway) != "0" {
					t.Fatalf("oauth fails: got runway %s of %q", shown(h.Runway), h.First)
				}
				if d, err := Rehearse(s, "entra", time.Second); err != nil || d.Failing != 1 || d.Shortest != "oauth" {
					t.Fatalf("oauth fails: the drill says %+v, %v", d, err)
				}
			}
			if len(h.Blocks) > 0 {
				blocked++
				if h.Hint != "once it is well: freshet unblock oauth" || h.Blocks[0].Identity != "oauth" {
					t.Fatalf("oauth's block: got hint %q, %+v", h.Hint, h.Blocks[0])
				}
			}
		}
		if failing < 400 || blocked < 100 || without < 100 {
			t.Errorf("too little happened: %d failed, %d of them with no key, %d blocked", failing, without, blocked)
		}
		for _, r := range b.Runways() {
			if want := r.Identity == "entra"; !r.Known || r.Seconds > 0 != want {
				t.Errorf("the metrics say %+v", r)
			}
		}
		ill.fail(nil)
		if err := b.Unblock(self, "oauth"); err != nil {
			t.Fatal(err)
		}
		if err := ask("oauth"); err != nil {
			t.Fatal(err)
		}
		if h := b.Status(self).Issuers[0]; *h.Runway <= 0 || h.Hint != "" {
			t.Errorf("once it is well: got %+v", h)
		}
	})
}

// TestWhoWentWithoutIsToldOfForAsLongAsItAsks has callers that are refused without a retrieval, by all that ask of a broker.
func TestWhoWentWithoutIsToldOfForAsLongAsItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := client(time.Hour, "c")
		busy.fail(&freshet.Error{Kind: freshet.Unavailable, Why: "h: answered 429", Status: 429, RetryAfter: 10 * time.Minute})
		other, third := client(time.Hour, "c"), client(time.Hour, "d")
		b := open(t, nil, identity("busy", busy), identity("other", other), identity("third", third))
		_, _ = b.Credential(t.Context(), self, "busy", freshet.Request{})
		get(t, b, self, "third", freshet.Request{})
		state := func() string {
			s := b.Status(self)
			return fmt.Sprintf("%s %v %v", s.Issuers[0].Hint, s.Identities[1].Failing, len(s.Identities[1].Keys))
		}
		const alone = "once it is well: freshet unblock busy false 0"
		if got := state(); got != alone {
			t.Errorf("nobody asks for it: got %q", got)
		}
		door, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"other"})
		if err != nil {
			t.Fatal(err)
		}
		defer door.Close()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = b.Credential(gone, self, "other", freshet.Request{})
		if got := state(); got != alone {
			t.Errorf("its caller is gone: got %q", got)
		}
		for name, ask := range map[string]func() error{
			"through a door": func() error { _, err := door.Get(t.Context(), "other", freshet.Request{}); return err },
			"as a caller":    func() error { _, err := b.Credential(t.Context(), self, "other", freshet.Request{}); return err },
		} {
			for _, end := range []func(){
				func() {
					time.Sleep(10*time.Minute + 30*time.Second) // when it was told to come
					if !b.Status(self).Identities[1].Failing {
						t.Errorf("%s: it is not said to fail, though it may be about to ask again", name)
					}
					time.Sleep(time.Minute)
				},
				func() { _ = b.Unblock(self, "other") },
			} {
				_ = b.Unblock(self, "busy")
				_, _ = b.Credential(t.Context(), self, "busy", freshet.Request{}) // it is blocked again
				if err := ask(); kindOf(err) != freshet.Unavailable {
					t.Fatalf("%s: got %v", name, err)
				}
				if got, want := state(), "once it is well: freshet unblock busy; so too other true 0"; got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
				if end(); b.Status(self).Identities[1].Failing {
					t.Errorf("%s: it is still said to fail", name)
				}
			}
		}
		if n := other.calls.Load(); n != 0 {
			t.Errorf("other was retrieved %d times", n)
		}
	})
}

// TestWhatASuccessOrARefusalSaysOfCallers: a success ends what was said before, and a caller that is refused for what it asks is no
// outage's.
func TestWhatASuccessOrARefusalSaysOfCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := client(time.Hour, "c")
		b := open(t, nil, identity("id", src))
		fails := func(kind freshet.Kind) bool {
			t.Helper()
			if _, err := b.Credential(t.Context(), self, "id", freshet.Request{}); kindOf(err) != kind {
				t.Fatalf("got %v, want %s", err, kind)
			}
			return b.Status(self).Identities[0].Failing
		}
		for _, kind := range []freshet.Kind{freshet.Invalid, freshet.Denied} {
			src.fail(freshet.Errorf(kind, "no"))
			if fails(kind) {
				t.Errorf("%s is taken for an outage", kind)
			}
			_ = b.Unblock(self, "id")
		}
		for _, kind := range []freshet.Kind{freshet.Unavailable, freshet.LoginNeeded, freshet.Malformed} {
			src.fail(freshet.Errorf(kind, "no"))
			if !fails(kind) {
				t.Errorf("%s is not told of", kind)
			}
			src.fail(nil)
			for b.Status(self).Identities[0].LastError != "" { // until the failure is forgotten
				time.Sleep(time.Second)
				_, _ = b.Credential(t.Context(), self, "id", freshet.Request{})
			}
			if b.Status(self).Identities[0].Failing {
				t.Errorf("%s: it is said to fail after it has succeeded", kind)
			}
			time.Sleep(2 * time.Hour)
		}
	})
}

func TestHintsNameWhoseBlockItIs(t *testing.T) {
	shut := func(client string) freshet.IssuerState {
		return freshet.IssuerState{Target: freshet.Target{Host: "h", Client: client}, Block: down, RetryIn: time.Second}
	}
	id := func(name, client string, kind freshet.Kind) IdentityStatus {
		id := held(name, "h", "", 60)
		id.Keys[0].Target.Client, id.Keys[0].LastKind = client, kind
		return id
	}
	all := estateOf(id("a", "c", ""), id("b", "c", freshet.Unavailable), id("c", "d", ""), id("d", "c", freshet.LoginNeeded), id("e", "", freshet.Unavailable))
	many := estateOf(id("0", "c", ""))
	for _, name := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		many = append(many, id(name, "c", freshet.Malformed))
	}
	many.link()
	for _, test := range []struct {
		all    estate
		states []freshet.IssuerState
		want   string
	}{
		{all, []freshet.IssuerState{shut("c")}, "b"},
		{all, []freshet.IssuerState{shut("d")}, "c"}, // it was another's, who is gone
		{all, []freshet.IssuerState{shut("gone")}, ""},
		{all, []freshet.IssuerState{shut("d"), shut("c")}, "b; so too c"},
		{all, []freshet.IssuerState{shut("c"), shut("d")}, "b; so too c"},
		{all, []freshet.IssuerState{shut("")}, "e"},
		{many, []freshet.IssuerState{shut("c")}, "1; so too 2, 3, 4, 5, 2 more"},
	} {
		got, _ := strings.CutPrefix(issuers(test.all, test.all, test.states, true)[0].Hint, "once it is well: freshet unblock ")
		if got != test.want {
			t.Errorf("%v: got %q, want %q", test.states, got, test.want)
		}
	}
}
