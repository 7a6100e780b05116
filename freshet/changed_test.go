package freshet

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// paper is a source that reads what a test writes, as one of a file does.
type paper struct {
	text  atomic.Value // string; "" cannot be read
	reads atomic.Int64
	gate  chan struct{} // if set, a read that has begun waits for it
}

func (p *paper) Retrieve(ctx context.Context, _ Request) (*Credential, error) {
	text := p.text.Load().(string)
	p.reads.Add(1)
	if p.gate != nil {
		select {
		case <-p.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if text == "" {
		return nil, Errorf(Malformed, "half written")
	}
	return NewBearer(text, "", Validity{Lifetime: 10 * time.Hour})
}

func (p *paper) write(text string) { p.text.Store(text) }

func token(t *testing.T, id *Identity) Answer {
	t.Helper()
	a, err := id.Get(t.Context(), Request{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestChangeOfWhatASourceReadsIsInUseWithoutAnybodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(paper)
		p.write("one")
		var reasons []Reason
		id := add(t, newCache(t, CacheConfig{Observe: func(e Event) { reasons = append(reasons, e.Reason) }}), IdentityConfig{Source: p})
		h := mustHandle(t, id, Request{})
		if got := token(t, id).Credential.Token(); got != "one" {
			t.Fatal(got)
		}
		p.write("two")
		id.Changed()
		synctest.Wait()
		a, err := h.Get(t.Context())
		if err != nil || a.Credential.Token() != "two" || a.Retrieved || a.Stale {
			t.Errorf("got %v, %v after the change, want the new token, fresh, from memory", a.Credential, err)
		}
		if want := "[miss changed]"; fmt.Sprint(reasons) != want || p.reads.Load() != 2 {
			t.Errorf("got reasons %v of %d reads, want %s", reasons, p.reads.Load(), want)
		}
		<-time.After(time.Minute)
		token(t, id)
		synctest.Wait()
		if n := p.reads.Load(); n != 2 {
			t.Errorf("got %d reads once the change was in use, want no more than 2", n)
		}
	})
}

func TestChangeIsServedAroundUntilItCanBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(paper)
		p.write("one")
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: p})
		token(t, id)
		p.write("")
		id.Changed()
		synctest.Wait()
		if a := token(t, id); a.Credential.Token() != "one" || !a.Stale {
			t.Errorf("got %v, stale %v, want the old token, stale: the change cannot be read", a.Credential, a.Stale)
		}
		p.write("two")
		id.Changed() // at once, however short ago the last attempt was
		synctest.Wait()
		if a := token(t, id); a.Credential.Token() != "two" || a.Stale {
			t.Errorf("got %v, stale %v, want what was written last", a.Credential, a.Stale)
		}
	})
}

// Whoever asked for what a change replaced did not ask for the next.
func TestWhatReplacedAChangedCredentialLapsesWhenNobodyAsks(t *testing.T) {
	for asked, want := range map[bool]int64{false: 2, true: 3} {
		t.Run(fmt.Sprintf("asked=%v", asked), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &fake{}
				id := alone(t, src)
				mustGet(t, id, Request{})
				time.Sleep(10 * time.Minute)
				mustGet(t, id, Request{})
				id.Changed()
				synctest.Wait()
				wantCalls(t, src, 2)
				if asked {
					mustGet(t, id, Request{})
				}
				time.Sleep(55 * time.Minute) // it is due after at most 40
				wantCalls(t, src, want)
				if asked {
					return
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				wantCalls(t, src, want)
				if n := id.cache.Stats().Entries; n != 0 {
					t.Errorf("%d entries, want none: it has expired, and nobody wants it", n)
				}
			})
		})
	}
}

func TestChangeDuringARetrievalIsReadAfterIt(t *testing.T) {
	for _, cold := range []bool{true, false} {
		t.Run(fmt.Sprintf("cold=%v", cold), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := new(paper)
				p.write("zero")
				id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: p})
				if !cold {
					token(t, id)
				}
				p.gate = make(chan struct{})
				p.write("one")
				if cold {
					go id.Get(t.Context(), Request{})
				} else {
					id.Changed()
				}
				synctest.Wait() // it has read "one", and has not returned
				p.write("two")
				id.Changed()
				id.Changed() // one more retrieval is enough for any number of changes
				before := p.reads.Load()
				close(p.gate)
				synctest.Wait()
				if got := token(t, id).Credential.Token(); got != "two" || p.reads.Load() != before+1 {
					t.Errorf("got %q after %d more reads, want what was written last after 1", got, p.reads.Load()-before)
				}
			})
		})
	}
}

func TestChangeEndsTheWaitAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fail atomic.Bool
		var calls atomic.Int64
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: SourceFunc(func(context.Context, Request) (*Credential, error) {
			if calls.Add(1); fail.Load() {
				return nil, Errorf(LoginNeeded, "log in")
			}
			return NewBearer(fmt.Sprint(calls.Load()), "", Validity{Lifetime: 10 * time.Hour})
		})})
		token(t, id)
		fail.Store(true)
		<-time.After(6 * time.Hour) // due
		token(t, id)
		synctest.Wait()
		before := calls.Load()
		if before < 2 {
			t.Fatalf("%d calls", before)
		}
		fail.Store(false)
		id.Changed() // the login
		synctest.Wait()
		if a := token(t, id); a.Credential.Token() != fmt.Sprint(before+1) || a.Stale {
			t.Errorf("got %v, stale %v right after the login, want a new token", a.Credential, a.Stale)
		}
	})
}

func TestChangeThatIsRefusedForCrowdingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		p := new(paper)
		p.write("one")
		id := add(t, c, IdentityConfig{Name: "id", Issuer: "i", Source: p})
		token(t, id)
		p.write("")
		id.Changed() // fails, and no attempt is due for a while
		synctest.Wait()
		free := make(chan struct{})
		crowd := add(t, c, IdentityConfig{Name: "crowd", Issuer: "i", Source: varying{SourceFunc(func(ctx context.Context, _ Request) (*Credential, error) {
			select {
			case <-free:
			case <-ctx.Done():
			}
			return nil, errDown
		}), FieldsAll}})
		ctx, leave := context.WithCancel(t.Context())
		for i := range maxFlightsPerIssuer {
			go crowd.Get(ctx, Request{Tenant: fmt.Sprint(i)})
		}
		synctest.Wait()
		id.Changed() // refused
		close(free)
		leave()
		synctest.Wait()
		p.write("two")
		if a := token(t, id); a.Credential.Token() != "one" {
			t.Errorf("got %v", a.Credential)
		}
		time.Sleep(retryCrowded + spread)
		synctest.Wait()
		if a := token(t, id); a.Credential.Token() != "two" {
			t.Errorf("got %v, want the retrieval that was refused to have been made", a.Credential)
		}
	})
}

func TestChangedInputIsWaitedForByWhatIsMadeOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		p := new(paper)
		p.write("one")
		in := add(t, c, IdentityConfig{Name: "in", Source: p})
		token(t, in)
		out := add(t, c, IdentityConfig{Name: "out", From: in, Source: &made{}})
		p.gate = make(chan struct{})
		p.write("two")
		in.Changed()
		synctest.Wait()
		got := make(chan string, 1)
		go func() {
			a, err := out.Get(t.Context(), Request{})
			if err != nil {
				got <- err.Error()
				return
			}
			got <- a.Credential.Token()
		}()
		synctest.Wait()
		close(p.gate)
		if s := <-got; s != "of-two" {
			t.Errorf("got %s, want it made of the new input", s)
		}
	})
}

// made is a source whose credentials name their input.
type made struct{}

func (*made) Needs(Request) Need { return Need{} }

func (*made) Retrieve(_ context.Context, req Request) (*Credential, error) {
	return NewBearer("of-"+req.Input.Token(), "", Validity{Lifetime: time.Hour})
}

func TestUnreadKeysAreNotRetrievedForAChange(t *testing.T) {
	p := new(paper)
	p.write("one")
	id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: p})
	id.Changed()
	if n := p.reads.Load(); n != 0 {
		t.Errorf("%d reads for nobody", n)
	}
}

func TestRemovedIdentityServesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &paper{gate: make(chan struct{})}
		p.write("one")
		c := newCache(t, CacheConfig{})
		other := add(t, c, IdentityConfig{Name: "other", Source: SourceFunc(func(context.Context, Request) (*Credential, error) {
			return NewBearer("other", "", Validity{Lifetime: time.Hour})
		})})
		token(t, other)
		synctest.Wait() // its flight has left
		before := c.Stats()
		id := add(t, c, IdentityConfig{Name: "id", Version: "1", Source: p})
		waiter := make(chan error, 1)
		go func() {
			a, err := id.Get(t.Context(), Request{})
			if err == nil && a.Credential.Token() != "one" {
				err = errors.New(a.Credential.Token())
			}
			waiter <- err
		}()
		synctest.Wait()
		c.Remove(id)
		c.Remove(id)
		late := AsError(func() error { _, err := id.Get(t.Context(), Request{}); return err }())
		if late == nil || late.Kind != Invalid || late.Identity != "id" {
			t.Errorf("got %v of a removed identity, want an error of kind invalid", late)
		}
		close(p.gate)
		if err := <-waiter; err != nil {
			t.Errorf("who waited got %v, want the answer", err)
		}
		synctest.Wait()
		if s := c.Stats(); s != before {
			t.Errorf("got %+v after the removal, want the other identity's entry alone: %+v", s, before)
		}
		again := add(t, c, IdentityConfig{Name: "id", Version: "1", Source: p})
		h := mustHandle(t, again, Request{})
		p.write("two")
		if got := token(t, again).Credential.Token(); got != "two" {
			t.Errorf("got %q of an identity added anew, want nothing of the old one", got)
		}
		if _, err := h.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Remove(again)
		if _, err := h.Get(t.Context()); AsError(err).Kind != Invalid {
			t.Errorf("got %v by a handle to a removed identity, want an error of kind invalid", err)
		}
		if err := func() error { c.Remove(other); _, err := other.Get(t.Context(), Request{}); return err }(); err == nil {
			t.Error("the last identity still answers once it is removed")
		}
	})
}
