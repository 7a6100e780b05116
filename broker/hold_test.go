package broker

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

// TestDoorHoldsCallersForTheNextAttempt has an issuer come back while the dialect's client still waits, and too late for one that
// does not.
func TestDoorHoldsCallersForTheNextAttempt(t *testing.T) {
	for _, req := range []freshet.Request{{}, {Tenant: "another"}} {
		for _, hold := range []time.Duration{0, 20 * time.Second} {
			t.Run(fmt.Sprintf("tenant %q hold %v", req.Tenant, hold), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					src := &issuer{varies: freshet.FieldTenant}
					src.fail(freshet.Errorf(freshet.Unavailable, "issuer: down"))
					b := open(t, nil, identity("id", src))
					door, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"id"})
					if err != nil {
						t.Fatal(err)
					}
					time.AfterFunc(time.Second/2, func() { src.fail(nil) })
					began, held := time.Now(), req
					held.Hold = hold
					_, err = door.Get(context.Background(), "id", held)
					if took := time.Since(began); (err == nil) != (hold > 0) || hold == 0 && took > 0 || took > hold {
						t.Errorf("after %v: %v", took, err)
					}
					if e := freshet.AsError(err); e != nil && e.RetryAfter == 0 {
						t.Error("who is refused is not told when to come back")
					}
				})
			})
		}
	}
}

func TestHoldIsNoPartOfWhatIsAsked(t *testing.T) {
	b := open(t, nil, identity("id", new(issuer)))
	door, err := b.OpenDoor(Caller{Door: "endpoint", ID: "e"}, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	hit := func() {
		if _, err := door.Get(context.Background(), "id", freshet.Request{Hold: 20 * time.Second}); err != nil {
			t.Error(err)
		}
	}
	hit()
	if n := testing.AllocsPerRun(1000, hit); n != 0 {
		t.Errorf("a hit by a caller that could be held allocates %v times", n)
	}
}
