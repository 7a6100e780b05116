package broker

import (
	"context"
	"maps"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

// byCaller is who was handed how much of an identity.
func byCaller(b *Broker, identity string) map[string]int64 {
	n := make(map[string]int64)
	for _, h := range b.HandOutsByCaller() {
		if h.Identity == identity {
			n[h.Caller] = h.Count
		}
	}
	return n
}

// countsOf is what has come to pass of an identity, without the kinds of failure that have not.
func countsOf(b *Broker, name string) Counts {
	c := b.Counts()[name]
	maps.DeleteFunc(c.Refused, func(_ freshet.Kind, n int64) bool { return n == 0 })
	if len(c.Refused) == 0 {
		c.Refused = nil
	}
	return c
}

// brief is a source of credentials that live for less than a minute.
type brief struct{}

func (brief) Retrieve(context.Context, freshet.Request) (*freshet.Credential, error) {
	return freshet.NewBearer(secretPrefix+"brief", "", freshet.Validity{Lifetime: shortLife - time.Second})
}

func TestRequestsAreCountedByWhereTheyAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &issuer{varies: freshet.FieldsAll}
		b := open(t, nil, identity("id", src), identity("brief", brief{}))
		door, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"id", "brief"})
		if err != nil {
			t.Fatal(err)
		}
		var want Counts
		check := func(what string) {
			t.Helper()
			if got := countsOf(b, "id"); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: counted %+v, want %+v", what, got, want)
			}
		}
		both := func(r freshet.Request) (version string) {
			t.Helper()
			version = get(t, b, self, "id", r).Credential.Fingerprint()
			if _, err := door.Get(t.Context(), "id", r); err != nil {
				t.Fatal(err)
			}
			return version
		}
		both(freshet.Request{})
		want.Issuer, want.Memory = 1, 1
		check("a miss and a hit")
		for range 3 {
			both(freshet.Request{Hold: time.Second})
		}
		want.Memory += 6
		check("six hits")
		both(freshet.Request{Claims: `{"a":1}`})
		want.Issuer, want.Claims, want.Memory = 2, 1, want.Memory+1
		check("a claims challenge")
		<-time.After(time.Minute)
		version := both(freshet.Request{MinTTL: time.Hour - time.Second})
		want.Issuer, want.Forced, want.Memory = 3, 1, want.Memory+1
		check("more life than there was")
		<-time.After(10 * time.Minute)
		get(t, b, self, "id", freshet.Request{Rejected: version})
		want.Issuer, want.Forced = 4, 2
		check("a rejection")

		src.fail(freshet.Errorf(freshet.Unavailable, "issuer: 503"))
		version = get(t, b, self, "id", freshet.Request{}).Credential.Fingerprint()
		want.Memory++
		if err := b.Reject(self, "id", version); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // its replacement has failed
		if _, err := door.Get(t.Context(), "id", freshet.Request{}); err != nil {
			t.Fatal(err)
		}
		get(t, b, Caller{Door: "socket", Peer: true, UID: owner, PID: 8}, "id", freshet.Request{})
		want.Memory, want.Stale = want.Memory+2, 2
		check("two stale answers")

		_, _ = door.Get(t.Context(), "id", freshet.Request{Tenant: "another"})
		_, _ = b.Credential(t.Context(), stranger, "id", freshet.Request{})
		want.Refused = map[freshet.Kind]int64{freshet.Unavailable: 1, freshet.Denied: 1}
		check("refusals")
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = b.Credential(gone, self, "id", freshet.Request{Tenant: "yet another"})
		want.Left = 1
		check("a caller that has left")
		_, _ = b.Credential(t.Context(), self, "nobody", freshet.Request{})
		check("an identity that there is not")

		if _, err := door.Get(t.Context(), "brief", freshet.Request{}); err != nil {
			t.Fatal(err)
		}
		if got, want := countsOf(b, "brief"), (Counts{Issuer: 1, Short: 1}); !reflect.DeepEqual(got, want) {
			t.Errorf("a short life: counted %+v, want %+v", got, want)
		}
		if got, want := b.Counts()["id"].HandOuts(), want.Memory+want.Issuer; got != want {
			t.Errorf("%d hand-outs, want %d", got, want)
		}
		door.Close()
		check("once the door is closed")
	})
}

// same is a source that has one token, and takes a second to issue it again and again.
type same struct{}

func (same) Retrieve(context.Context, freshet.Request) (*freshet.Credential, error) {
	<-time.After(time.Second)
	return freshet.NewBearer(secretPrefix+"same", "", freshet.Validity{Lifetime: time.Hour})
}

// TestRejectedVersionThatComesAgainIsCountedAsStale has who asks for more life wait for a version that a service refused to another.
func TestRejectedVersionThatComesAgainIsCountedAsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, nil, identity("id", same{}))
		version := get(t, b, self, "id", freshet.Request{}).Credential.Fingerprint()
		<-time.After(time.Minute) // it is not replaced sooner
		if err := b.Reject(self, "id", version); err != nil {
			t.Fatal(err)
		}
		another := self
		another.PID++
		if a := get(t, b, another, "id", freshet.Request{MinTTL: time.Hour - time.Second/2}); !a.Stale || !a.Retrieved {
			t.Fatalf("stale %v, retrieved %v", a.Stale, a.Retrieved)
		}
		if got, want := countsOf(b, "id"), (Counts{Issuer: 2, Forced: 1, Stale: 1}); !reflect.DeepEqual(got, want) {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	})
}

func TestDoorCountsItsOwnRefusals(t *testing.T) {
	src := new(issuer)
	src.fail(freshet.Errorf(freshet.LoginNeeded, "log in"))
	b := open(t, nil, identity("id", src))
	door, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := door.Get(t.Context(), "id", freshet.Request{}); err == nil {
		t.Fatal("no error")
	}
	if got, want := countsOf(b, "id"), (Counts{Refused: map[freshet.Kind]int64{freshet.LoginNeeded: 1}}); !reflect.DeepEqual(got, want) {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestHandOutsAreCountedByCaller(t *testing.T) {
	b := open(t, nil, identity("id", new(issuer)), identity("other", new(issuer)))
	endpoint, err1 := b.OpenDoor(Caller{Door: "endpoint", ID: "aws-container@127.0.0.1:9911"}, []string{"id"})
	first, err2 := b.OpenDoorFor(self, Caller{Door: "session", ID: "1"}, []string{"id"})
	second, err3 := b.OpenDoorFor(self, Caller{Door: "session", ID: "2"}, []string{"id", "other"})
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range []*Door{endpoint, first, second} {
		for range i + 1 {
			if _, err := d.Get(t.Context(), "id", freshet.Request{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := second.Get(t.Context(), "id", freshet.Request{MinTTL: time.Minute}); err != nil { // which no seat answers
		t.Fatal(err)
	}
	get(t, b, self, "id", freshet.Request{})
	get(t, b, self, "id", freshet.Request{MinTTL: time.Minute})
	// The first to ask waits for the retrieval, the others are answered from memory.
	want := map[string]int64{"endpoint:aws-container@127.0.0.1:9911": 1, "session:uid:1000": 6, "socket:uid:1000": 2}
	if got := byCaller(b, "id"); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v: sessions count for the user who opened them", got, want)
	}
	first.Close()
	second.Close()
	if got := byCaller(b, "id"); !maps.Equal(got, want) {
		t.Errorf("after doors closed %v, want %v", got, want)
	}
	if _, err := b.Reconfigure([]Identity{identity("other", new(issuer))}); err != nil {
		t.Fatal(err)
	}
	if got := byCaller(b, "id"); len(got) != 0 {
		t.Errorf("of an identity that is not configured any more: %v", got)
	}
}

func TestCallersPastTheFirstHundredAreOne(t *testing.T) {
	id := identity("id", new(issuer))
	for uid := range uint32(150) {
		id.Policy.UIDs = append(id.Policy.UIDs, uid)
	}
	b := open(t, nil, id)
	var all sync.WaitGroup
	for uid := range uint32(150) {
		all.Go(func() {
			for range 2 {
				if _, err := b.Credential(context.Background(), Caller{Door: "socket", Peer: true, UID: uid}, "id", freshet.Request{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var sum int64
	n := byCaller(b, "id")
	for _, count := range n {
		sum += count
	}
	if len(n) != maxCallers+1 || n[otherCallers] != 100 || sum != 300 {
		t.Errorf("%d callers with %d hand-outs, %d of them by others; want %d with 300, 100 by others", len(n), sum, n[otherCallers], maxCallers+1)
	}
	// What is past the bound leaves nothing behind.
	rows := 0
	for range b.callers.rows.Range {
		rows++
	}
	if rows != maxCallers+1 || len(b.callers.names) != maxCallers {
		t.Errorf("%d rows and %d names are kept", rows, len(b.callers.names))
	}
}
