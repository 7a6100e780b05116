package broker

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

func TestEveryRetrievalHasOneRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, src, top := newDisk(), &issuer{varies: freshet.FieldTenant}, new(deriver)
		derived := identity("top", top)
		derived.From = "id"
		a := NewAudit(d, false, quiet())
		b := open(t, a, identity("id", src), derived)
		for range 5 {
			get(t, b, self, "id", freshet.Request{Tenant: "a"})
		}
		get(t, b, self, "id", freshet.Request{Tenant: "b"})
		src.fail(freshet.Errorf(freshet.LoginNeeded, "log in"))
		_, _ = b.Credential(t.Context(), self, "id", freshet.Request{Tenant: "c"})
		src.fail(nil)
		made := get(t, b, self, "top", freshet.Request{})
		synctest.Wait()
		records, torn := d.lines(t)
		list := having(records, "retrieval")
		if len(list) != int(src.calls.Load()+top.calls.Load()) || torn != 0 {
			t.Fatalf("%d records of %d retrievals, %d torn lines", len(list), src.calls.Load()+top.calls.Load(), torn)
		}
		keys := make(map[string]bool)
		for _, r := range list {
			keys[r.Key] = true
			if r.Time.IsZero() || r.Source != "test" || len(r.Key) != 16 || r.Reason == "" || r.Caller != "" {
				t.Errorf("record %+v lacks something", r)
			}
			if failed := r.Outcome != "ok"; failed != (r.Fingerprint == "") || failed && r.Outcome != string(freshet.LoginNeeded) {
				t.Errorf("outcome %q with fingerprint %q", r.Outcome, r.Fingerprint)
			}
		}
		if len(keys) != len(list) {
			t.Errorf("%d keys were retrieved, their hashes are %d", len(list), len(keys))
		}
		// A record is written once its waiters have been released, so records of different flights come in any order.
		i := slices.IndexFunc(list, func(r record) bool { return r.Identity == "top" })
		if i < 0 || list[i].Fingerprint != made.Credential.Fingerprint() || list[i].Input == "" {
			t.Errorf("of the derived credential there is none, or not the right record: %+v", list)
		}
	})
}

func TestFirstHandOutIsRecordedAndLaterOnesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, top := newDisk(), new(deriver)
		derived := identity("top", top)
		derived.From = "id"
		b := open(t, NewAudit(d, false, quiet()), identity("id", new(issuer)), derived)
		door, err := b.OpenDoor(Caller{Door: "session", ID: "1"}, []string{"id"})
		if err != nil {
			t.Fatal(err)
		}
		neighbour := self
		neighbour.PID++
		var version string
		for range 7 {
			version = get(t, b, self, "id", freshet.Request{}).Credential.Fingerprint()
			get(t, b, neighbour, "id", freshet.Request{}) // one user is one caller
		}
		for range 5 {
			if _, err := door.Get(t.Context(), "id", freshet.Request{}); err != nil {
				t.Fatal(err)
			}
		}
		get(t, b, self, "top", freshet.Request{})
		synctest.Wait()
		records, _ := d.lines(t)
		first := make(map[string]int)
		for _, r := range having(records, "hand_out") {
			if r.Identity == "id" {
				first[r.Caller]++
				if r.Fingerprint != version {
					t.Errorf("record %+v, want version %s", r, version)
				}
			}
		}
		if len(first) != 3 || first["socket:uid:1000"] != 1 || first["session:1"] != 1 || first["chain:top"] != 1 {
			t.Errorf("first hand-outs: %v, want one each of the user, the session and the chain", first)
		}
		if n := len(having(records, "hand_outs")); n != 0 {
			t.Errorf("%d counts within the first minute", n)
		}
		time.Sleep(auditCounts + time.Second)
		records, _ = d.lines(t)
		counts := make(map[string]int64)
		for _, r := range having(records, "hand_outs") {
			counts[r.Caller] += r.Count
		}
		if len(counts) != 2 || counts["socket:uid:1000"] != 13 || counts["session:1"] != 4 {
			t.Errorf("counts after the first: %v, want 13 for the user and 4 for the session", counts)
		}
	})
}

func TestDoorThatIsOpenedAgainIsNoOtherCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		b := open(t, NewAudit(d, false, quiet()), identity("id", new(issuer)))
		var door *Door
		for range 3 { // as a reload does: the next is opened before the last is closed
			next, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"id"})
			if err != nil {
				t.Fatal(err)
			}
			if door != nil {
				door.Close()
			}
			door = next
			for range 5 {
				if _, err := door.Get(t.Context(), "id", freshet.Request{}); err != nil {
					t.Fatal(err)
				}
			}
			<-time.After(5*time.Minute + 7*time.Second) // not just when the audit counts
		}
		door.Close()
		<-time.After(5 * time.Minute)
		synctest.Wait()
		records, _ := d.lines(t)
		counted := 0
		for _, r := range having(records, "hand_outs") {
			counted += int(r.Count)
		}
		if n := len(having(records, "hand_out")); n != 1 || counted != 14 {
			t.Errorf("got %d first hand-outs and %d later ones, want 1 and 14", n, counted)
		}
	})
}

func TestInputOfAFailedExchangeIsRecordedAsHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, top := newDisk(), new(deriver)
		top.fail(freshet.Errorf(freshet.Unavailable, "issuer: 503"))
		derived := identity("top", top)
		derived.From = "id"
		b := open(t, NewAudit(d, false, quiet()), identity("id", new(issuer)), derived)
		_, _ = b.Credential(t.Context(), self, "top", freshet.Request{})
		synctest.Wait()
		records, _ := d.lines(t)
		if list := having(records, "hand_out"); len(list) != 1 || list[0].Caller != "chain:top" || list[0].Identity != "id" {
			t.Errorf("hand-outs %+v, want the chain's: its input has gone to the issuer", list)
		}
	})
}

func TestDenialsAreRecordedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		withheld, listed := identity("withheld", new(issuer)), identity("listed", &issuer{varies: freshet.FieldsAll})
		withheld.Policy.Withheld = true
		listed.Policy.Tenants = []string{"a"}
		b := open(t, NewAudit(d, false, quiet()), withheld, listed)
		for range 1000 {
			_, _ = b.Credential(t.Context(), stranger, "listed", freshet.Request{})
			_, _ = b.Credential(t.Context(), stranger, "made-up", freshet.Request{})
			_, _ = b.Credential(t.Context(), self, "withheld", freshet.Request{})
			_, _ = b.Credential(t.Context(), self, "listed", freshet.Request{Tenant: "planted-tenant"})
			_ = b.Reject(stranger, "listed", "0123456789abcdef0123456789abcdef")
		}
		time.Sleep(auditCounts + time.Second)
		records, _ := d.lines(t)
		got := make(map[string]int64)
		for _, r := range records {
			if r.Event == "deny" {
				r.Count = 1
			}
			got[r.Caller+" "+r.Identity+" "+r.Reason] += r.Count
		}
		want := map[string]int64{
			"socket:uid:2000 listed policy": 2000, "socket:uid:2000  policy": 1000,
			"socket:uid:1000 withheld release": 1000, "socket:uid:1000 listed tenant": 1000,
		}
		for k, n := range want {
			if got[k] != n {
				t.Errorf("%s: %d denials are recorded, want %d", k, got[k], n)
			}
		}
		if len(got) != len(want) || len(records) > 2*len(want) {
			t.Errorf("5000 denials made %d lines about %v", len(records), got)
		}
		if list := having(records, "deny"); len(list) == 0 || list[0].PID != stranger.PID {
			t.Errorf("the first of them is %+v, want its process", list)
		}
	})
}

func TestRejectionsAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		b := open(t, NewAudit(d, false, quiet()), identity("id", new(issuer)))
		bad := get(t, b, self, "id", freshet.Request{}).Credential.Fingerprint()
		_ = b.Reject(self, "id", bad)
		synctest.Wait()
		again := get(t, b, self, "id", freshet.Request{}).Credential.Fingerprint()
		_, _ = b.Credential(t.Context(), root, "id", freshet.Request{Rejected: again})
		_, _ = b.Credential(t.Context(), self, "id", freshet.Request{Rejected: again}) // too soon for another, and recorded all the same
		_ = b.Reject(self, "id", bad)                                                  // gone by now
		synctest.Wait()
		records, _ := d.lines(t)
		list := having(records, "reject")
		if len(list) != 3 || list[0].Fingerprint != bad || list[0].Outcome != "ok" || list[1].Fingerprint != again || list[1].Outcome != "ok" ||
			list[2].Fingerprint != "" || list[2].Outcome != "not served" || list[0].Caller != "socket:uid:1000" || list[0].PID != self.PID {
			t.Errorf("rejections: %+v", list)
		}
	})
}

func TestAuditHoldsNoSecretAndNothingOfWhatWasAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, src := newDisk(), &issuer{varies: freshet.FieldsAll}
		b := open(t, NewAudit(d, false, quiet()), identity("id", src))
		r := freshet.Request{Tenant: "planted-tenant", Scopes: []string{"planted-scope"}, Audience: "planted-audience", Claims: `{"planted-claims":1}`,
			Subject: "planted-subject"}
		bad := get(t, b, self, "id", r).Credential.Fingerprint()
		_ = b.Reject(self, "id", bad)
		src.fail(freshet.Errorf(freshet.Denied, "issuer: no"))
		r.Tenant = "planted-tenant-2"
		_, _ = b.Credential(t.Context(), self, "id", r)
		time.Sleep(2 * auditCounts)
		if n := strings.Count(d.text(), "\n"); n < 4 {
			t.Errorf("%d lines: what was to be searched is not there", n)
		}
		freshettest.LeakedSecrets(t, d.text(), secretPrefix, "planted-tenant", "planted-scope", "planted-audience", "planted-claims", "planted-subject")
	})
}

func TestTornLineOfACrashIsEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte(`{"time":"2026-01-01T00:00:00Z","event":"retr`), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		a, err := OpenAudit(path, false, quiet())
		if err != nil {
			t.Fatal(err)
		}
		a.deny(self, "id", "policy")
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[1], `{"time":`) || !strings.HasPrefix(lines[2], `{"time":`) {
		t.Errorf("the file is %q, want the torn line and two whole ones", text)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestAuditFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a, err := OpenAudit(path, false, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if _, err := OpenAudit(filepath.Join(path, "below"), false, quiet()); kindOf(err) != freshet.Invalid {
		t.Errorf("a path below a file: %v", err)
	}
}

func TestNoAuditRecordsNothing(t *testing.T) {
	var a *Audit
	a.deny(self, "id", "policy")
	a.rejection(self, "id", "", false)
	a.retrieval(freshet.Event{})
	if a.handOut(self, "id", "") != nil || a.fit() != nil || a.Lost() != 0 || a.close(context.Background()) != nil {
		t.Error("a nil audit does something")
	}
}
