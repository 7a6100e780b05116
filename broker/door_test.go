package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

func TestDoorHitAllocatesNothingAndTakesNoLock(t *testing.T) {
	for _, test := range []struct{ audited, signs bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			var a *Audit
			if test.audited {
				a = NewAudit(newDisk(), true, quiet())
			}
			id := identity("id", new(issuer))
			id.Policy.Withheld = test.signs
			b := open(t, a, id)
			door, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e", Signs: test.signs}, []string{"id"})
			if err != nil {
				t.Fatal(err)
			}
			hit := func() {
				if a, err := door.Get(context.Background(), "id", freshet.Request{}); err != nil || a.Credential == nil {
					t.Error(err)
				}
			}
			hit()
			if n := testing.AllocsPerRun(1000, hit); n != 0 {
				t.Errorf("a hit allocates %v times", n)
			}
			e := b.world.Load().entries["id"]
			b.mu.Lock()
			b.refused.mu.Lock()
			e.last.mu.Lock()
			done := make(chan struct{})
			go func() {
				defer close(done)
				hit()
			}()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Error("a hit waits for a lock")
			}
			e.last.mu.Unlock()
			b.refused.mu.Unlock()
			b.mu.Unlock()
			<-done
		})
	}
}

func TestDoorAsksForMoreThanItsDefaultsUnderThePolicy(t *testing.T) {
	src := &issuer{varies: freshet.FieldTenant}
	id := identity("id", src)
	id.Policy.Tenants = []string{"a"}
	b := open(t, nil, id)
	door, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	if _, err := door.Get(t.Context(), "id", freshet.Request{Tenant: "a"}); err != nil || src.asked().Tenant != "a" {
		t.Errorf("got %v, and the source was asked for tenant %q", err, src.asked().Tenant)
	}
	if _, err := door.Get(t.Context(), "id", freshet.Request{Tenant: "b"}); kindOf(err) != freshet.Denied {
		t.Errorf("a tenant that is not listed: %v", err)
	}
}

func TestStatusTellsStateAndNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &issuer{varies: freshet.FieldsAll}
		b := open(t, nil, identity("id", src))
		asked := freshet.Request{Tenant: "planted-tenant", Scopes: []string{"planted-scope"}, Claims: `{"planted-claims":1}`}
		version := get(t, b, self, "id", asked).Credential.Fingerprint()
		s := b.Status(self)
		if len(s.Identities) != 1 || len(s.Identities[0].Keys) != 1 || s.Entries != 1 || s.Bytes == 0 {
			t.Fatalf("status %+v", s)
		}
		id := s.Identities[0]
		if k := id.Keys[0]; k.Fingerprint != version || k.Remaining < 3590 || k.Stale || k.Rejected || k.Failures != 0 {
			t.Errorf("key %+v", k)
		}
		if id.LastSuccess == nil || id.LastFailure != nil || id.LastError != "" {
			t.Errorf("identity %+v", id)
		}
		src.fail(freshet.Errorf(freshet.Unavailable, "issuer: 503"))
		_ = b.Reject(self, "id", version)
		synctest.Wait() // in the same instant as the success
		id = b.Status(self).Identities[0]
		if k := id.Keys[0]; !k.Stale || !k.Rejected || k.Failures != 1 {
			t.Errorf("key after a rejection and a failure: %+v", k)
		}
		if id.LastFailure == nil || !strings.Contains(id.LastError, "issuer: 503") {
			t.Errorf("identity after a failure: %+v", id)
		}
		b.Each(func(name string, entries []freshet.Entry, failures int) {
			if name != "id" || len(entries) != 1 || failures != 1 {
				t.Errorf("%s has %d entries and %d failures", name, len(entries), failures)
			}
		})
		text, err := json.Marshal(b.Status(self))
		if err != nil {
			t.Fatal(err)
		}
		all := string(text) + fmt.Sprintf("%+v %#v", b.Status(self), b.Status(self))
		freshettest.LeakedSecrets(t, all, secretPrefix, "planted-scope", "planted-claims")
		src.fail(nil)
		time.Sleep(time.Hour)
		get(t, b, self, "id", asked)
		synctest.Wait()
		if id = b.Status(self).Identities[0]; id.LastError != "" {
			t.Errorf("error %q after a success", id.LastError)
		}
	})
}
