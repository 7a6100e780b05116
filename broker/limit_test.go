package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

func TestLimitFollowsTheConfigurationAndKeepsCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := new(issuer)
		with := func(rate float64) []Identity {
			id := identity("id", src)
			id.Rate = rate
			return []Identity{id}
		}
		b := open(t, nil, with(0)...)
		first := get(t, b, self, "id", freshet.Request{})
		c, err := b.Reconfigure(with(0.02))
		if err != nil || fmt.Sprint(c.Changed) != "[id]" {
			t.Fatalf("got %v, %v", c, err)
		}
		if a := get(t, b, self, "id", freshet.Request{}); a.Retrieved || a.Credential != first.Credential {
			t.Errorf("got %+v, want the credential from before", a)
		}
		began := time.Now()
		reject := func() {
			t.Helper()
			a := get(t, b, self, "id", freshet.Request{})
			get(t, b, self, "id", freshet.Request{Rejected: a.Credential.Fingerprint(), Hold: time.Hour})
		}
		reject()
		reject()
		if took := time.Since(began); took < 50*time.Second {
			t.Errorf("two retrievals began within %v, want them 50 s apart", took)
		}
		if c, err := b.Reconfigure(with(0.02)); err != nil || len(c.Changed) != 0 {
			t.Errorf("got %v, %v for the same again", c, err)
		}
	})
}
