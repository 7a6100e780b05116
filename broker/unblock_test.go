package broker

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"freshet.dev/freshet"
)

func TestUnblockIsForWhoOverseesAndRecorded(t *testing.T) {
	d := newDisk()
	b := open(t, NewAudit(d, false, quiet()), identity("id", new(issuer)))
	if err := b.Unblock(stranger, "id"); kindOf(err) != freshet.Denied {
		t.Errorf("who may not use it: got %v", err)
	}
	shared := identity("id", new(issuer))
	shared.Policy.UIDs = []uint32{stranger.UID}
	if _, err := b.Reconfigure([]Identity{shared}); err != nil {
		t.Fatal(err)
	}
	if err := b.Unblock(stranger, "id"); kindOf(err) != freshet.Denied || !strings.Contains(err.Error(), "only the daemon's own user and root") {
		t.Errorf("who may use it: got %v", err)
	}
	if err := b.Unblock(self, "typo"); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown identity: got %v", err)
	}
	for _, c := range []Caller{self, root} {
		if err := b.Unblock(c, "id"); err != nil {
			t.Errorf("%s: %v", c.name(), err)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	records, _ := d.lines(t)
	if got := having(records, "unblock"); len(got) != 2 || got[0].Identity != "id" || got[0].Caller != "socket:uid:1000" || got[0].PID != 7 || got[1].Caller != "socket:uid:0" {
		t.Errorf("the record has %+v", got)
	}
}

func TestUnblockHasAnIssuerAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := new(issuer), new(deriver)
		made := identity("out", out)
		made.From = "in"
		b := open(t, nil, identity("in", in), made)
		in.fail(freshet.Errorf(freshet.LoginNeeded, "log in"))
		for range 2 {
			if _, err := b.Credential(t.Context(), self, "out", freshet.Request{}); kindOf(err) != freshet.LoginNeeded {
				t.Fatalf("got %v", err)
			}
		}
		in.fail(nil)
		if _, err := b.Credential(t.Context(), self, "out", freshet.Request{}); kindOf(err) != freshet.LoginNeeded {
			t.Errorf("got %v, want the failure to be remembered", err)
		}
		if err := b.Unblock(self, "out"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		get(t, b, self, "out", freshet.Request{}) // what it is made from was in its way
	})
}

func TestUnblockThatCannotBeRecordedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.set(0)
		a := NewAudit(d, true, quiet())
		b := open(t, a, identity("id", new(issuer)))
		a.deny(self, "id", "test") // a line that shows that the disk is full
		synctest.Wait()
		if err := b.Unblock(self, "id"); kindOf(err) != freshet.Unavailable {
			t.Errorf("got %v, want it refused", err)
		}
		d.set(-1)
	})
}
