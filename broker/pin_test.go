package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

func TestPinFollowsTheConfigurationAndKeepsCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := new(issuer)
		with := func(pin bool) []Identity {
			id := identity("id", src)
			id.Pin = pin
			return []Identity{id}
		}
		b := open(t, nil, with(true)...)
		if got := fmt.Sprint(b.Unloaded()); got != "[id]" && got != "[]" {
			t.Errorf("got %s", got)
		}
		synctest.Wait()
		if got := b.Unloaded(); len(got) != 0 || src.calls.Load() != 1 {
			t.Fatalf("%v is not loaded after %d retrievals, though it is pinned", got, src.calls.Load())
		}
		first := get(t, b, self, "id", freshet.Request{})
		if k := b.Status(self).Identities[0].Keys[0]; !k.Pinned || !k.Wanted {
			t.Errorf("got %+v, want it pinned", k)
		}
		time.Sleep(3 * time.Hour)
		if n := src.calls.Load(); n < 4 {
			t.Errorf("%d retrievals in three lives of an hour, want it kept loaded", n)
		}
		c, err := b.Reconfigure(with(false))
		if err != nil || fmt.Sprint(c.Changed) != "[id]" {
			t.Fatalf("got %v, %v", c, err)
		}
		calls := src.calls.Load()
		if a := get(t, b, self, "id", freshet.Request{}); a.Retrieved || a.Credential.Fingerprint() == first.Credential.Fingerprint() {
			t.Errorf("got %+v, want what was loaded", a)
		}
		time.Sleep(5 * time.Hour)
		if n := src.calls.Load() - calls; n > 1 {
			t.Errorf("%d retrievals after the pin was taken away and nobody asks", n)
		}
		calls = src.calls.Load()
		if _, err := b.Reconfigure(with(true)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := b.Unloaded(); len(got) != 0 || src.calls.Load() != calls+1 {
			t.Errorf("%v is not loaded after %d retrievals, though it is pinned again", got, src.calls.Load()-calls)
		}
		// A configuration that is refused changes no pin.
		bad := with(false)
		if _, err := b.Reconfigure(append(bad, bad[0])); err == nil {
			t.Fatal("two of one name were accepted")
		}
		if k := b.Status(self).Identities[0].Keys[0]; !k.Pinned {
			t.Errorf("got %+v after a configuration that was refused, want it pinned as before", k)
		}
	})
}
