package freshet

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestRejectionConcernsOnlyTheVersionItNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		v1 := mustGet(t, id, Request{}).Credential
		v2 := mustGet(t, id, Request{Rejected: v1.Fingerprint()}).Credential
		if v2.Fingerprint() == v1.Fingerprint() {
			t.Fatal("the rejecter was given the version it rejected")
		}
		for range 10 { // latecomers that still hold the old one
			a := mustGet(t, id, Request{Rejected: v1.Fingerprint()})
			if a.Credential != v2 || a.Rejected || a.Stale {
				t.Fatalf("got %+v, want the newer version, unmarked", a)
			}
		}
		if a := mustGet(t, id, Request{Rejected: "00000000000000000000000000000000"}); a.Credential != v2 {
			t.Error("a fingerprint of nothing that is served rejected something")
		}
		wantCalls(t, src, 2)
		mustGet(t, id, Request{Rejected: v1.Fingerprint(), MinTTL: 2 * time.Hour})
		if a := mustGet(t, id, Request{}); a.Rejected {
			t.Error("a version was marked for the rejection of another")
		}
	})
}

func TestManyRejectionsOfOneVersionCauseOneRetrieval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		v1 := mustGet(t, id, Request{}).Credential
		src.takes = time.Second
		var got answers
		got.ask(t.Context(), 100, id, Request{Rejected: v1.Fingerprint()})
		time.Sleep(500 * time.Millisecond)
		got.ask(t.Context(), 100, id, Request{Rejected: v1.Fingerprint()})
		got.want(t, 200, 0)
		for _, a := range got.good {
			if a.Credential.Fingerprint() == v1.Fingerprint() {
				t.Fatal("a rejecter was given the version it rejected")
			}
		}
		wantCalls(t, src, 2)
	})
}

func TestOthersGetTheRejectedVersionMarkedUntilItIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		v1 := mustGet(t, id, Request{}).Credential
		src.takes = time.Second
		var rejecter answers
		rejecter.ask(t.Context(), 1, id, Request{Rejected: v1.Fingerprint()})
		synctest.Wait()
		began := time.Now()
		a := mustGet(t, id, Request{})
		if a.Credential != v1 || !a.Rejected || !a.Stale || time.Since(began) != 0 {
			t.Errorf("got %+v after %v, want the rejected version at once, marked", a, time.Since(began))
		}
		rejecter.want(t, 1, 0)
		if a := mustGet(t, id, Request{}); a.Credential == v1 || a.Rejected || a.Stale {
			t.Errorf("got %+v, want its successor, unmarked", a)
		}
		wantCalls(t, src, 2)
	})
}

func TestRejecterNeverGetsItsVersionWhileItsReplacementFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		v1 := mustGet(t, id, Request{}).Credential
		h := mustHandle(t, id, Request{Rejected: v1.Fingerprint()})
		src.fail(errDown)
		for range 100 {
			_, err := h.Get(t.Context())
			wantKind(t, err, Unavailable)
			if a := mustGet(t, id, Request{}); a.Credential != v1 || !a.Rejected {
				t.Fatalf("got %+v, want the rejected version for everybody else, marked", a)
			}
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if n := src.calls.Load(); n < 2 || n > 5 {
			t.Errorf("%d retrievals in 100 s, want them 30 s apart and more", n)
		}
		src.fail(nil)
		time.Sleep(10 * time.Minute)
		if a := mustGet(t, id, Request{Rejected: v1.Fingerprint()}); a.Credential == v1 {
			t.Error("the rejecter was given the version it rejected")
		}
	})
}

func TestIssuerThatGivesTheRejectedVersionAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{reply: func(int64, Request) (*Credential, error) {
			return NewBearer("same", "", Validity{Lifetime: time.Hour})
		}}
		id := alone(t, src)
		v1 := mustGet(t, id, Request{}).Credential
		for range 60 {
			_, err := id.Get(t.Context(), Request{Rejected: v1.Fingerprint()})
			if e := wantKind(t, err, Unavailable); e.RetryAfter <= 0 || e.RetryAfter > 30*time.Second {
				t.Fatalf("got %+v, want a time to retry after", e)
			}
			if a := mustGet(t, id, Request{}); a.Credential.Fingerprint() != v1.Fingerprint() || !a.Rejected {
				t.Fatalf("got %+v, want the version there is, still marked", a)
			}
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if n := src.calls.Load(); n > 4 {
			t.Errorf("%d retrievals in a minute, want them 30 s apart", n)
		}
	})
}

func TestRejectionsAreLimitedPerKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		id := alone(t, src)
		for range 60 { // a caller that rejects whatever it is given
			for _, tenant := range []string{"a", "b"} {
				a, err := id.Get(t.Context(), Request{Tenant: tenant})
				if err == nil {
					_, err = id.Get(t.Context(), Request{Tenant: tenant, Rejected: a.Credential.Fingerprint()})
				}
				if err != nil {
					if e := wantKind(t, err, Unavailable); e.RetryAfter <= 0 {
						t.Fatalf("got %+v, want a time to retry after", e)
					}
				}
			}
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if n := src.calls.Load(); n < 4 || n > 8 {
			t.Errorf("%d retrievals of two keys in a minute, want each key's 30 s apart", n)
		}
	})
}

func TestMinTTLWaitsForALongerCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{takes: time.Second}
		id := alone(t, src)
		first := mustGet(t, id, Request{})
		time.Sleep(30 * time.Minute)
		if a := mustGet(t, id, Request{MinTTL: 29 * time.Minute}); a.Retrieved {
			t.Error("waited, though there is as much life as was asked for")
		}
		a := mustGet(t, id, Request{MinTTL: 45 * time.Minute})
		if a.Credential == first.Credential || a.Short || !a.Retrieved {
			t.Errorf("got %+v, want a new credential, not short", a)
		}
		wantCalls(t, src, 2)
	})
}

func TestMinTTLBeyondTheLifetimeIsFlaggedShortAndCausesNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{lifetime: 10 * time.Minute}
		id := alone(t, src)
		h := mustHandle(t, id, Request{MinTTL: time.Hour})
		for i := range 120 {
			a, err := h.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !a.Short {
				t.Fatalf("answer %d is not flagged short", i)
			}
			if a := mustGet(t, id, Request{}); a.Short {
				t.Fatal("flagged short for a caller that asked for nothing")
			}
			time.Sleep(time.Second)
		}
		if n := src.calls.Load(); n > 1+120/30 {
			t.Errorf("%d retrievals in 2 minutes, want them 30 s apart", n)
		}
	})
}

func TestMinTTLGetsWhatThereIsWhileTheSourceIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		first := mustGet(t, id, Request{})
		time.Sleep(10 * time.Minute)
		src.fail(errDown)
		a := mustGet(t, id, Request{MinTTL: 55 * time.Minute})
		if a.Credential != first.Credential || !a.Short {
			t.Errorf("got %+v, want the valid credential, short", a)
		}
		if a := mustGet(t, id, Request{}); a.Stale {
			t.Error("stale for everybody, though it was not due")
		}
	})
}

func TestRejectedVersionOfOneKeyLeavesOtherKeysAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		id := alone(t, src)
		var creds []*Credential
		for i := range 5 {
			creds = append(creds, mustGet(t, id, Request{Tenant: fmt.Sprint(i)}).Credential)
		}
		mustGet(t, id, Request{Tenant: "0", Rejected: creds[0].Fingerprint()})
		for i := 1; i < 5; i++ {
			if a := mustGet(t, id, Request{Tenant: fmt.Sprint(i), Rejected: creds[0].Fingerprint()}); a.Credential != creds[i] || a.Rejected {
				t.Errorf("key %d got %+v, want its own, unmarked", i, a)
			}
		}
		wantCalls(t, src, 6)
	})
}

func TestRejectMarksEveryKeyThatServesTheVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		src.reply = func(n int64, _ Request) (*Credential, error) {
			token := "same"
			if n > 3 {
				token = fmt.Sprint(n)
			}
			return NewBearer(token, "", src.validity(Now()))
		}
		id := alone(t, src)
		var v1 *Credential
		for _, tenant := range []string{"a", "b", "c"} {
			v1 = mustGet(t, id, Request{Tenant: tenant}).Credential
		}
		mustGet(t, id, Request{Tenant: "d"})
		src.takes = time.Second
		for range 10 {
			if !id.Reject(v1.Fingerprint()) {
				t.Fatal("the version is served, and was not found")
			}
		}
		synctest.Wait()
		for tenant, want := range map[string]bool{"a": true, "b": true, "c": true, "d": false} {
			if a := mustGet(t, id, Request{Tenant: tenant}); a.Rejected != want {
				t.Errorf("key %s: rejected %v, want %v", tenant, a.Rejected, want)
			}
		}
		time.Sleep(2 * time.Second)
		wantCalls(t, src, 7)
		if id.Reject(v1.Fingerprint()) || id.Reject("") {
			t.Error("what is served by nobody was found")
		}
		last := mustGet(t, id, Request{Tenant: "d"}).Credential.Fingerprint()
		time.Sleep(time.Hour)
		if id.Reject(last) {
			t.Error("an expired version was found")
		}
	})
}

func TestServesTellsOfWhatIsServedNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := alone(t, &fake{varies: FieldTenant})
		first := mustGet(t, id, Request{Tenant: "a"}).Credential
		second := mustGet(t, id, Request{Tenant: "b"}).Credential
		for _, of := range []string{first.Fingerprint(), second.Fingerprint()} {
			if !id.Serves(of) {
				t.Errorf("%s is served, and said not to be", of)
			}
			// What begins alike, is longer, or is no fingerprint at all, is not served.
			for _, other := range []string{of[:8] + "000000000000000000000000", of + "0", of[:31], "zz" + of[2:], ""} {
				if id.Serves(other) {
					t.Errorf("%q is said to be served", other)
				}
			}
		}
		time.Sleep(2 * time.Hour)
		if id.Serves(first.Fingerprint()) {
			t.Error("what has expired is said to be served")
		}
	})
}
