package broker

import (
	"fmt"
	"testing"
	"testing/synctest"

	"freshet.dev/freshet"
)

func TestRejecterAloneIsNotGivenTheVersionAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := new(issuer)
		b := open(t, nil, identity("id", src))
		bad := get(t, b, self, "id", freshet.Request{}).Credential.Fingerprint()
		src.fail(freshet.Errorf(freshet.Unavailable, "issuer: 503"))
		if err := b.Reject(self, "id", bad); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		// The issuer is down, so the version stays: the rejecter gets an error, another process of the same user gets it, marked.
		if a, err := b.Credential(t.Context(), self, "id", freshet.Request{}); kindOf(err) != freshet.Unavailable {
			t.Errorf("the rejecter got %v, %v", a.Credential, err)
		}
		neighbour := self
		neighbour.PID++
		for _, c := range []Caller{neighbour, {Door: "endpoint", Grants: []string{"id"}}} {
			if a := get(t, b, c, "id", freshet.Request{}); a.Credential.Fingerprint() != bad || !a.Rejected || !a.Stale {
				t.Errorf("%s got %+v, want the rejected version, marked", c.name(), a)
			}
		}
		// With the request itself as well.
		third := self
		third.PID += 2
		for range 2 {
			if a, err := b.Credential(t.Context(), third, "id", freshet.Request{Rejected: bad}); kindOf(err) != freshet.Unavailable {
				t.Errorf("who rejects while asking got %v, %v", a.Credential, err)
			}
		}
		if a, err := b.Credential(t.Context(), third, "id", freshet.Request{}); kindOf(err) != freshet.Unavailable {
			t.Errorf("who rejected while asking got %v, %v afterwards", a.Credential, err)
		}
	})
}

func TestRejectedVersionIsReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := new(issuer)
		b := open(t, nil, identity("id", src))
		bad := get(t, b, self, "id", freshet.Request{}).Credential.Fingerprint()
		for pid := range 20 {
			c := self
			c.PID = pid
			if err := b.Reject(c, "id", bad); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if a := get(t, b, self, "id", freshet.Request{}); a.Credential.Fingerprint() == bad || a.Rejected || src.calls.Load() != 2 {
			t.Errorf("20 rejections led to %d retrievals and %+v", src.calls.Load()-1, a)
		}
		if err := b.Reject(self, "id", bad); err != nil {
			t.Errorf("rejecting a version that is gone: %v", err)
		}
	})
}

func TestRejectionNeedsAFingerprint(t *testing.T) {
	src := new(issuer)
	b := open(t, nil, identity("id", src))
	for _, s := range []string{"x", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdef0", string(make([]byte, 60<<10))} {
		if err := b.Reject(self, "id", s); kindOf(err) != freshet.Invalid {
			t.Errorf("rejecting %.40q: %v", s, err)
		}
		if _, err := b.Credential(t.Context(), self, "id", freshet.Request{Rejected: s}); kindOf(err) != freshet.Invalid {
			t.Errorf("asking with %.40q rejected: %v", s, err)
		}
	}
	if n := len(b.refused.set); n != 0 || src.calls.Load() != 0 {
		t.Errorf("%d refusals are remembered, after %d retrievals", n, src.calls.Load())
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	var r refusals
	version := func(i int) string { return fmt.Sprintf("%032x", i) }
	for i := range 3 * maxRefusals {
		r.add(self, version(i))
		r.add(self, version(i))
	}
	if len(r.set) != maxRefusals || len(r.ring) != maxRefusals {
		t.Errorf("%d are remembered in a ring of %d, want %d", len(r.set), len(r.ring), maxRefusals)
	}
	for i := range 3 * maxRefusals {
		if got, want := r.has(self, version(i)), i >= 2*maxRefusals; got != want {
			t.Fatalf("refusal %d is remembered: %v, want %v: the oldest go first", i, got, want)
		}
	}
}
