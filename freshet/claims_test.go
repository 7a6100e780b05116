package freshet

import (
	"testing"
	"testing/synctest"
	"time"
)

const challenge = `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`

func TestAnswerToAChallengeReplacesWhatOthersAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant | FieldClaims | FieldCAE, takes: time.Second}
		id := alone(t, src)
		plain := mustGet(t, id, Request{Tenant: "a", CAE: true})
		other := mustGet(t, id, Request{Tenant: "b", CAE: true})
		unaware := mustGet(t, id, Request{Tenant: "a"})
		time.Sleep(time.Minute)
		var got answers
		got.ask(t.Context(), 50, id, Request{Tenant: "a", CAE: true, Claims: challenge})
		got.want(t, 50, 0)
		wantCalls(t, src, 4)
		answered := got.good[0].Credential
		if a := mustGet(t, id, Request{Tenant: "a", CAE: true}); a.Credential != answered || a.Credential == plain.Credential {
			t.Errorf("without claims: got %v, want what answered the challenge", a.Credential)
		}
		if a := mustGet(t, id, Request{Tenant: "b", CAE: true}); a.Credential != other.Credential {
			t.Errorf("another tenant's: got %v, want it left alone", a.Credential)
		}
		if a := mustGet(t, id, Request{Tenant: "a"}); a.Credential != unaware.Credential {
			t.Errorf("of a caller without CAE: got %v, want it left alone", a.Credential)
		}
		wantCalls(t, src, 4)
		time.Sleep(55 * time.Minute)
		if a := mustGet(t, id, Request{Tenant: "a", CAE: true}); a.Retrieved || a.Stale {
			t.Errorf("got %+v, want it replaced ahead of time like any other", a)
		}
	})
}

func TestChallengeWithNothingServedLeavesNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldClaims}
		id := alone(t, src)
		mustGet(t, id, Request{Claims: challenge})
		if n := id.cache.Stats().Entries; n != 1 {
			t.Errorf("%d entries", n)
		}
		mustGet(t, id, Request{})
		wantCalls(t, src, 2)
	})
}
