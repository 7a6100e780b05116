package broker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

// signer is a proxy's route, as the broker knows it.
var signer = Caller{Door: "proxy", ID: "p", Signs: true}

// kept is an identity that is never handed out.
func kept(src freshet.Source) Identity {
	id := identity("id", src)
	id.Policy.Withheld = true
	return id
}

func openSigner(t *testing.T, b *Broker) *Door {
	t.Helper()
	d, err := b.OpenDoor(signer, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestSigningDoorHasWhatIsNeverHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &issuer{varies: freshet.FieldsAll}
		b := open(t, nil, kept(src))
		_, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"id"})
		if e := freshet.AsError(err); e.Kind != freshet.Denied || !errors.Is(err, ErrWithheld) || !strings.Contains(e.Hint, "signs requests") {
			t.Errorf("an endpoint: got %v, hint %q, want it denied, and told what serves", err, e.Hint)
		}
		d := openSigner(t, b)
		first, err := d.Get(t.Context(), "id", freshet.Request{})
		if err != nil {
			t.Fatal(err)
		}
		version := first.Credential.Fingerprint()
		// Nor is there anything else that such a door may not ask: the answer to a challenge, and a version in place of one refused.
		claims, err := d.Get(t.Context(), "id", freshet.Request{Claims: `{"a":1}`})
		if err != nil || claims.Credential.Fingerprint() == version || src.asked().Claims == "" {
			t.Errorf("with a challenge: got %v, %v", claims.Credential, err)
		}
		next, err := d.Get(t.Context(), "id", freshet.Request{Rejected: version})
		if err != nil || next.Credential.Fingerprint() == version {
			t.Errorf("in place of a version refused: got %v, %v", next.Credential, err)
		}
		asked := self
		asked.Signs = true
		if a := get(t, b, asked, "id", freshet.Request{}); a.Credential.Fingerprint() != next.Credential.Fingerprint() {
			t.Errorf("by request: got %v", a.Credential)
		}
		if _, err := b.Credential(t.Context(), self, "id", freshet.Request{}); kindOf(err) != freshet.Denied {
			t.Errorf("by request of somebody who does not sign: got %v, want it denied", err)
		}
		if n := countsOf(b, "id").HandOuts(); n != 4 {
			t.Errorf("%d hand-outs are counted, want 4", n)
		}
	})
}

func TestIdentityThatIsNoLongerHandedOutStillSigns(t *testing.T) {
	b := open(t, nil, identity("id", new(issuer)))
	ordinary, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	defer ordinary.Close()
	signing := openSigner(t, b)
	before, err := signing.Get(t.Context(), "id", freshet.Request{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		id   Identity
		want freshet.Kind
	}{{kept(new(issuer)), freshet.Denied}, {identity("id", new(issuer)), ""}} {
		if _, err := b.Reconfigure([]Identity{step.id}); err != nil {
			t.Fatal(err)
		}
		if _, err := ordinary.Get(t.Context(), "id", freshet.Request{}); kindOf(err) != step.want {
			t.Errorf("withheld: %v: an endpoint got %v, want kind %q", step.id.Policy.Withheld, err, step.want)
		}
		a, err := signing.Get(t.Context(), "id", freshet.Request{})
		if err != nil || a.Credential.Fingerprint() != before.Credential.Fingerprint() {
			t.Errorf("withheld: %v: a proxy got %v, %v, want what it had", step.id.Policy.Withheld, a.Credential, err)
		}
	}
}

func TestOpenerWhoLosesTheRightLosesTheRoute(t *testing.T) {
	id := kept(new(issuer))
	id.Policy.UIDs = []uint32{stranger.UID}
	b := open(t, nil, id)
	if _, err := b.OpenDoorFor(self, Caller{Door: "route", ID: "1", Signs: true}, []string{"id"}); kindOf(err) != freshet.Denied {
		t.Errorf("who may not use it got a door: %v", err)
	}
	d, err := b.OpenDoorFor(stranger, Caller{Door: "route", ID: "2", Signs: true}, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	a, err := d.Get(t.Context(), "id", freshet.Request{})
	if err != nil {
		t.Fatal(err)
	}
	id.Policy.UIDs = []uint32{self.UID}
	if _, err := b.Reconfigure([]Identity{id}); err != nil {
		t.Fatal(err)
	}
	for _, req := range []freshet.Request{{}, {Claims: `{"a":1}`}} {
		if _, err := d.Get(t.Context(), "id", req); kindOf(err) != freshet.Denied {
			t.Errorf("asking for %v: got %v, want it denied", req, err)
		}
	}
	if err := d.Reject("id", a.Credential.Fingerprint()); kindOf(err) != freshet.Denied {
		t.Errorf("rejecting: got %v, want it denied", err)
	}
}

func TestDoorRejectsWhatItWasGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, src := newDisk(), new(issuer)
		b := open(t, NewAudit(d, false, quiet()), kept(src))
		door := openSigner(t, b)
		a, err := door.Get(t.Context(), "id", freshet.Request{})
		if err != nil {
			t.Fatal(err)
		}
		version := a.Credential.Fingerprint()
		if err := door.Reject("other", version); kindOf(err) != freshet.Invalid {
			t.Errorf("of another identity: got %v", err)
		}
		if err := door.Reject("id", "abc"); kindOf(err) != freshet.Invalid {
			t.Errorf("what is no fingerprint: got %v", err)
		}
		// While the issuer is down the version stays for everybody: a door stands for many, of whom one was refused.
		src.fail(freshet.Errorf(freshet.Unavailable, "issuer: 503"))
		if err := door.Reject("id", version); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, req := range []freshet.Request{{}, {MinTTL: time.Second}} {
			if a, err := door.Get(t.Context(), "id", req); err != nil || a.Credential.Fingerprint() != version || !a.Rejected {
				t.Errorf("asking for %v while the issuer is down: got %v, rejected %v, %v", req, a.Credential, a.Rejected, err)
			}
		}
		if _, err := door.Get(t.Context(), "id", freshet.Request{Rejected: version}); kindOf(err) != freshet.Unavailable {
			t.Errorf("in its place, while the issuer is down: got %v", err)
		}
		src.fail(nil)
		time.Sleep(10 * time.Minute)
		if a, err := door.Get(t.Context(), "id", freshet.Request{}); err != nil || a.Credential.Fingerprint() == version || a.Rejected {
			t.Errorf("after the outage: got %v, rejected %v, %v", a.Credential, a.Rejected, err)
		}
		synctest.Wait()
		records, _ := d.lines(t)
		if list := having(records, "reject"); len(list) != 1 || list[0].Caller != "proxy:p" || list[0].Fingerprint != version || list[0].Outcome != "ok" {
			t.Errorf("records of the rejection: %+v", list)
		}
	})
}

func TestSignaturesAreRecordedAsSuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		b := open(t, NewAudit(d, false, quiet()), identity("id", &issuer{varies: freshet.FieldsAll}))
		door := openSigner(t, b)
		for _, req := range []freshet.Request{{}, {}, {}, {Scopes: []string{"a"}}, {Scopes: []string{"a"}}} {
			if _, err := door.Get(t.Context(), "id", req); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(auditCounts + time.Second)
		synctest.Wait()
		records, _ := d.lines(t)
		if n := len(having(records, "hand_out")) + len(having(records, "hand_outs")); n != 0 {
			t.Errorf("%d records of hand-outs", n)
		}
		first, counted := having(records, "sign"), int64(0)
		for _, r := range append(first, having(records, "signs")...) {
			if counted += r.Count; r.Caller != "proxy:p" || r.Identity != "id" || r.Fingerprint == "" {
				t.Errorf("record %+v", r)
			}
		}
		if len(first) != 2 || counted != 3 {
			t.Errorf("%d versions and %d further signatures are recorded, want 2 and 3", len(first), counted)
		}
	})
}

func TestRequestsAtADoorAreRecordedOnceAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		b := open(t, NewAudit(d, false, quiet()), identity("id", new(issuer)))
		door := openSigner(t, b)
		for range 5 {
			door.Record("uid:1000", "ok", "")
		}
		door.Record("uid:1000", "refused", "path")
		door.Record("", "refused", "secret")
		synctest.Wait()
		records, _ := d.lines(t)
		var told []string
		for _, r := range having(records, "request") {
			told = append(told, strings.Join([]string{r.Caller, r.Identity, r.Outcome, r.Reason}, " "))
		}
		slices.Sort(told)
		if want := []string{"proxy:p id refused secret", "proxy:p:uid:1000 id ok ", "proxy:p:uid:1000 id refused path"}; !slices.Equal(told, want) {
			t.Errorf("got %q, want %q", told, want)
		}
		time.Sleep(auditCounts + time.Second)
		synctest.Wait()
		records, _ = d.lines(t)
		if list := having(records, "requests"); len(list) != 1 || list[0].Count != 4 || list[0].Caller != "proxy:p:uid:1000" || list[0].Outcome != "ok" {
			t.Errorf("counts: %+v", list)
		}
	})
	b := open(t, nil, identity("id", new(issuer)))
	openSigner(t, b).Record("secret", "ok", "") // without a record, nothing
}

func TestRequestsOfADoorThatHasClosedAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		b := open(t, NewAudit(d, false, quiet()), identity("id", new(issuer)))
		for i := range 3 { // as a command's route does, which is another each time
			door, err := b.OpenDoor(Caller{Door: "route", ID: fmt.Sprint(i), Signs: true}, []string{"id"})
			if err != nil {
				t.Fatal(err)
			}
			for j := range maxRequests + 100 { // callers with certificates may be many
				for range 2 {
					door.Record(fmt.Sprint("cert:", j), "ok", "")
				}
			}
			kept := 0
			for range door.rows.Range {
				kept++
			}
			if kept != maxRequests {
				t.Errorf("a door keeps %d tallies at hand, want %d", kept, maxRequests)
			}
			door.Close()
			time.Sleep(3*auditCounts + time.Second)
		}
		synctest.Wait()
		if n := b.audit.known.Load(); n != 300 {
			t.Errorf("%d tallies are kept, want those past each door's bound alone", n)
		}
		time.Sleep((auditForget + 2) * auditCounts)
		synctest.Wait()
		if n := b.audit.known.Load(); n != 0 {
			t.Errorf("%d tallies are kept after two hours", n)
		}
		records, _ := d.lines(t)
		var told int64
		for _, r := range having(records, "requests") {
			told += r.Count
		}
		if first := len(having(records, "request")); first != 3*(maxRequests+100) || told != int64(first) {
			t.Errorf("%d firsts and %d counted, want %d each", first, told, 3*(maxRequests+100))
		}
	})
}
