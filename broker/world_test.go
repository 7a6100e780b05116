package broker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

// versioned is an identity of a version, over a source of its own.
func versioned(name, version string, src freshet.Source) Identity {
	id := identity(name, src)
	id.Version = version
	return id
}

func served(t *testing.T, b *Broker, c Caller, name string) (string, error) {
	t.Helper()
	a, err := b.Credential(t.Context(), c, name, freshet.Request{})
	if err != nil {
		return "", err
	}
	return a.Credential.Fingerprint(), nil
}

func TestReconfigurationKeepsWhatHasNotChanged(t *testing.T) {
	one, two, three := new(issuer), new(issuer), new(issuer)
	b := open(t, nil, versioned("kept", "1", one), versioned("changed", "1", two), versioned("removed", "1", three))
	var before [3]string
	for i, name := range []string{"kept", "changed", "removed"} {
		var err error
		if before[i], err = served(t, b, self, name); err != nil {
			t.Fatal(err)
		}
	}
	door, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"kept", "changed", "removed"})
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	seat := (*door.seats.Load())["kept"]
	fresh, added := new(issuer), new(issuer)
	fresh.calls.Store(100) // none of its answers is one of the other's
	c, err := b.Reconfigure([]Identity{versioned("kept", "1", new(issuer)), versioned("changed", "2", fresh), versioned("added", "1", added)})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c); got != "{[added] [changed] [removed]}" {
		t.Errorf("got changes %s", got)
	}
	if got, err := served(t, b, self, "kept"); got != before[0] || err != nil {
		t.Errorf("kept: got %s, %v, want the credential of before", got, err)
	}
	if got, err := served(t, b, self, "changed"); got == before[1] || err != nil || fresh.calls.Load() != 101 {
		t.Errorf("changed: got %s, %v after %d calls, want a new credential", got, err, fresh.calls.Load())
	}
	if _, err := served(t, b, self, "removed"); freshet.AsError(err).Kind != freshet.Invalid {
		t.Errorf("removed: got %v, want an error of kind invalid", err)
	}
	if _, err := served(t, b, self, "added"); err != nil {
		t.Errorf("added: got %v", err)
	}
	if got := b.Names(self); !slices.Equal(got, []string{"added", "changed", "kept"}) {
		t.Errorf("names: got %v", got)
	}
	// The door that is open follows.
	for name, want := range map[string]freshet.Kind{"kept": "", "changed": "", "removed": freshet.Denied} {
		_, err := door.Get(t.Context(), name, freshet.Request{})
		if (err == nil) != (want == "") || err != nil && freshet.AsError(err).Kind != want {
			t.Errorf("by the door: %s: got %v, want kind %q", name, err, want)
		}
	}
	if (*door.seats.Load())["kept"] != seat {
		t.Error("the door counts anew for an identity that has not changed")
	}
	if one.calls.Load() != 1 || b.Stats().Entries != 3 {
		t.Errorf("got %d calls of the kept identity's source and %d entries, want 1 and 3", one.calls.Load(), b.Stats().Entries)
	}
	if n := b.Counts()["kept"].HandOuts(); n != 3 {
		t.Errorf("kept was handed out %d times, want all 3 counted", n)
	}
}

func TestReconfigurationThatFailsChangesNothing(t *testing.T) {
	src := new(issuer)
	b := open(t, nil, versioned("id", "1", src))
	before, err := served(t, b, self, "id")
	if err != nil {
		t.Fatal(err)
	}
	loop := versioned("loop", "1", new(issuer))
	loop.From = "nobody"
	for _, bad := range [][]Identity{
		{versioned("id", "2", new(issuer)), loop},
		{versioned("id", "2", new(issuer)), versioned("id", "2", new(issuer))},
		{versioned("id", "2", new(issuer)), versioned("other", "1", nil)},
	} {
		if _, err := b.Reconfigure(bad); freshet.AsError(err).Kind != freshet.Invalid {
			t.Errorf("got %v, want an error of kind invalid", err)
		}
	}
	if got, err := served(t, b, self, "id"); got != before || err != nil || src.calls.Load() != 1 {
		t.Errorf("got %s, %v after %d calls, want what there was", got, err, src.calls.Load())
	}
	// What a failed attempt had added is gone: the same may be added now.
	if _, err := b.Reconfigure([]Identity{versioned("id", "2", new(issuer))}); err != nil {
		t.Error(err)
	}
}

func TestReconfigurationOfAnInputReachesWhatIsMadeOfIt(t *testing.T) {
	in, out := new(issuer), new(deriver)
	made := func(version string) Identity {
		id := versioned("out", version, out)
		id.From = "in"
		return id
	}
	b := open(t, nil, versioned("in", "1", in), made("1"))
	before, err := served(t, b, self, "out")
	if err != nil {
		t.Fatal(err)
	}
	// A version has to cover what its identity is made of.
	if _, err := b.Reconfigure([]Identity{versioned("in", "2", in), made("1")}); freshet.AsError(err).Kind != freshet.Invalid {
		t.Errorf("got %v, want an error of kind invalid", err)
	}
	if got, err := served(t, b, self, "out"); got != before || err != nil {
		t.Errorf("got %s, %v after a change that was refused", got, err)
	}
	if _, err := b.Reconfigure([]Identity{versioned("in", "2", in), made("1 over 2")}); err != nil {
		t.Fatal(err)
	}
	if got, err := served(t, b, self, "out"); got == before || err != nil {
		t.Errorf("got %s, %v, want one made from the new input", got, err)
	}
}

func TestPolicyOfOpenDoorsFollowsTheConfiguration(t *testing.T) {
	src := new(issuer)
	b := open(t, nil, versioned("id", "1", src))
	session, err := b.OpenDoorFor(self, Caller{Door: "session", ID: "1"}, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	endpoint, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	defer endpoint.Close()
	outcome := func(policy Policy) string {
		id := versioned("id", "1", src)
		id.Policy = policy
		if _, err := b.Reconfigure([]Identity{id}); err != nil {
			t.Fatal(err)
		}
		_, errSession := session.Get(t.Context(), "id", freshet.Request{})
		_, errEndpoint := endpoint.Get(t.Context(), "id", freshet.Request{})
		_, errSocket := served(t, b, self, "id")
		return fmt.Sprint(errSession == nil, errEndpoint == nil, errSocket == nil)
	}
	for _, test := range []struct {
		policy Policy
		want   string
	}{
		{Policy{}, "true true true"},
		{Policy{UIDs: []uint32{self.UID + 1}}, "false true false"}, // the session's user may no more; the endpoint was granted it by name
		{Policy{Withheld: true}, "false false false"},
		{Policy{}, "true true true"},
	} {
		if got := outcome(test.policy); got != test.want {
			t.Errorf("%+v: session, endpoint, socket: got %s, want %s", test.policy, got, test.want)
		}
	}
	if n := src.calls.Load(); n != 1 {
		t.Errorf("%d retrievals, want 1: who may have a credential does not change it", n)
	}
	if _, err := b.OpenDoorFor(Caller{Door: "socket", Peer: true, UID: self.UID + 1}, Caller{Door: "session"}, []string{"id"}); err == nil {
		t.Error("a door was opened for who may not use the identity")
	}
}

func TestReconfigurationDropsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := freshet.SourceFunc(func(ctx context.Context, _ freshet.Request) (*freshet.Credential, error) {
			return new(issuer).Retrieve(ctx, freshet.Request{})
		})
		version := 0
		next := func() []Identity {
			version++
			in := versioned("in", fmt.Sprint(version), slow)
			out := versioned("out", fmt.Sprint(version), new(deriver))
			out.From = "in"
			return []Identity{in, out}
		}
		b := open(t, nil, next()...)
		door, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"out"})
		if err != nil {
			t.Fatal(err)
		}
		defer door.Close()
		var callers sync.WaitGroup
		var failed atomic.Int64
		stop := make(chan struct{})
		for i := range 8 {
			callers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					var err error
					if i%2 == 0 {
						_, err = door.Get(t.Context(), "out", freshet.Request{})
					} else {
						_, err = b.Credential(t.Context(), self, "out", freshet.Request{})
					}
					if err != nil && failed.Add(1) == 1 {
						t.Error(err)
					}
				}
			})
		}
		for range 200 {
			if _, err := b.Reconfigure(next()); err != nil {
				t.Fatal(err)
			}
		}
		close(stop)
		callers.Wait()
	})
}

func TestReconfigurationOfOthersRepeatsNoRetrieval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		failing := freshet.SourceFunc(func(context.Context, freshet.Request) (*freshet.Credential, error) {
			calls.Add(1)
			<-time.After(30 * time.Second)
			return nil, freshet.Errorf(freshet.Unavailable, "down")
		})
		n := 0
		next := func() []Identity {
			n++
			return []Identity{versioned("id", "1", failing), versioned("other", fmt.Sprint(n), new(issuer))}
		}
		b := open(t, nil, next()...)
		door, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"id"})
		if err != nil {
			t.Fatal(err)
		}
		defer door.Close()
		ended := make(chan error, 2)
		go func() { _, err := b.Credential(t.Context(), self, "id", freshet.Request{}); ended <- err }()
		go func() { _, err := door.Get(t.Context(), "id", freshet.Request{}); ended <- err }()
		for range 10 {
			<-time.After(7 * time.Second)
			if _, err := b.Reconfigure(next()); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := <-ended; err == nil {
				t.Error("got no error")
			}
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("%d retrievals, want the one that both waited for", n)
		}
	})
}

func TestFailureOfAnIdentityThatWasReplacedIsNotTheNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := freshet.SourceFunc(func(context.Context, freshet.Request) (*freshet.Credential, error) {
			<-time.After(30 * time.Second)
			return nil, freshet.Errorf(freshet.Denied, "wrong secret")
		})
		b := open(t, nil, versioned("id", "1", old))
		ctx, cancel := context.WithCancel(t.Context())
		go b.Credential(ctx, self, "id", freshet.Request{})
		synctest.Wait()
		if _, err := b.Reconfigure([]Identity{versioned("id", "2", new(issuer))}); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := served(t, b, self, "id"); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if s := b.Status(self).Identities[0]; s.LastError != "" || s.LastFailure != nil {
			t.Errorf("status tells the old one's failure of the new one: %+v", s)
		}
		// One that failed before it was replaced is not told either.
		if _, err := b.Reconfigure([]Identity{versioned("id", "3", old)}); err != nil {
			t.Fatal(err)
		}
		if _, err := served(t, b, self, "id"); err == nil {
			t.Fatal("no error")
		}
		if b.Status(self).Identities[0].LastError == "" {
			t.Error("its own failure is not told")
		}
		if _, err := b.Reconfigure([]Identity{versioned("id", "4", new(issuer))}); err != nil {
			t.Fatal(err)
		}
		if s := b.Status(self).Identities[0]; s.LastError != "" {
			t.Errorf("after the repair: %+v", s)
		}
	})
}
