package broker

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

func TestRejectionsOfOneCallerAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := new(issuer)
		d := newDisk()
		b := open(t, NewAudit(d, false, quiet()), identity("a", src), identity("b", src))
		reject := func(c Caller, i int) error {
			name := []string{"a", "b"}[i%2] // over all identities
			if i%4 < 2 {
				return b.Reject(c, name, fmt.Sprintf("%032x", i))
			}
			_, err := b.Credential(t.Context(), c, name, freshet.Request{Rejected: fmt.Sprintf("%032x", i)})
			return err
		}
		for i := range rejectionsAtOnce {
			if err := reject(self, i); err != nil {
				t.Fatalf("rejection %d: %v", i, err)
			}
		}
		calls := src.calls.Load()
		for i := range 4 { // by either way
			err := reject(self, i)
			if err == nil {
				t.Fatal("one more was let in")
			}
			e := freshet.AsError(err)
			if e.Kind != freshet.Unavailable || e.RetryAfter != rejectionEvery || e.Hint == "" {
				t.Errorf("one more: got %v, retry after %v, want it refused for %v", err, e.RetryAfter, rejectionEvery)
			}
		}
		if n := src.calls.Load(); n != calls || b.refused.has(self, fmt.Sprintf("%032x", rejectionsAtOnce)) {
			t.Errorf("a rejection that was refused had an effect: %d retrievals more", n-calls)
		}
		// Others are not concerned, and neither is who asks for a credential.
		neighbour := self
		neighbour.PID++
		for _, c := range []Caller{neighbour, {Door: "endpoint", ID: "e", Grants: []string{"a", "b"}}} {
			if err := reject(c, 2); err != nil {
				t.Errorf("%s: %v", c.name(), err)
			}
		}
		get(t, b, self, "a", freshet.Request{})
		// It is given back bit by bit.
		time.Sleep(rejectionEvery - time.Millisecond)
		if err := reject(self, 0); err == nil || freshet.AsError(err).RetryAfter != time.Millisecond {
			t.Errorf("a millisecond too early: got %#v, want a millisecond's wait", err)
		}
		time.Sleep(time.Millisecond)
		if err := reject(self, 0); err != nil {
			t.Errorf("in time: %v", err)
		}
		if err := reject(self, 1); err == nil {
			t.Error("two were given back for one's time")
		}
		time.Sleep(time.Hour)
		for i := range rejectionsAtOnce + 1 {
			if err := reject(self, 20+i); (err == nil) != (i < rejectionsAtOnce) {
				t.Errorf("after an hour, rejection %d: %v", i, err)
			}
		}
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(d.text(), `"event":"deny","identity":"a","caller":"socket:uid:1000","pid":7,"reason":"rejections"`) {
			t.Errorf("the record does not tell of it: %s", d.text())
		}
	})
}

func TestRejectersRememberedAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rejections
		caller := func(pid int) Caller { return Caller{Door: "socket", Peer: true, PID: pid} }
		for pid := range 3 * maxRejecters {
			for i := range rejectionsAtOnce {
				if wait := r.take(caller(pid), fmt.Sprint(i)); wait != 0 {
					t.Fatalf("caller %d: refused for %v", pid, wait)
				}
			}
		}
		if len(r.by) != maxRejecters || len(r.ring) != maxRejecters {
			t.Errorf("%d are remembered in a ring of %d, want %d", len(r.by), len(r.ring), maxRejecters)
		}
		for pid := 2 * maxRejecters; pid < 3*maxRejecters; pid++ {
			if r.take(caller(pid), "another") == 0 {
				t.Fatalf("caller %d was forgotten: the oldest go first", pid)
			}
		}
	})
}

// TestRequestsOfOneVersionThatASignerSentRejectItOnce: all that were under way say so.
func TestRequestsOfOneVersionThatASignerSentRejectItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := new(issuer)
		b := open(t, nil, identity("id", src))
		door, err := b.OpenDoor(Caller{Door: "proxy", ID: "p", Signs: true}, []string{"id"})
		if err != nil {
			t.Fatal(err)
		}
		a, err := door.Get(t.Context(), "id", freshet.Request{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 * rejectionsAtOnce {
			if i%2 == 0 {
				err = door.Reject("id", a.Credential.Fingerprint())
			} else {
				_, err = door.Get(t.Context(), "id", freshet.Request{Rejected: a.Credential.Fingerprint()})
			}
			if err != nil {
				t.Fatalf("rejection %d: %v", i, err)
			}
		}
		if n := src.calls.Load(); n != 2 {
			t.Errorf("%d retrievals, want 2", n)
		}
		for i := range rejectionsAtOnce {
			if err := door.Reject("id", fmt.Sprintf("%032x", i)); (err == nil) != (i < rejectionsAtOnce-1) {
				t.Errorf("further version %d: %v", i, err)
			}
		}
	})
}

// TestProgramMayRejectAVersionFromAllItsCallers: fifty goroutines were refused with it, and each says so over the socket.
func TestProgramMayRejectAVersionFromAllItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := new(issuer)
		b := open(t, nil, identity("id", src))
		held := get(t, b, self, "id", freshet.Request{}).Credential.Fingerprint()
		for i := range 5 * rejectionsAtOnce {
			a, err := b.Credential(t.Context(), self, "id", freshet.Request{Rejected: held})
			if err != nil || a.Credential.Fingerprint() == held {
				t.Fatalf("caller %d: %v", i, err)
			}
		}
		if n := src.calls.Load(); n != 2 {
			t.Errorf("%d retrievals, want 2", n)
		}
	})
}
