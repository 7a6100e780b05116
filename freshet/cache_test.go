package freshet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Identity is a Source, so that what is cached composes like what is not.
var _ Source = (*Identity)(nil)

func TestReaderSeesOneVersionWhole(t *testing.T) {
	src := &fake{}
	src.reply = func(n int64, _ Request) (*Credential, error) {
		return NewAWS(AWSKeys{
			AccessKeyID: fmt.Sprint("AKIA-", n), SecretAccessKey: Secret(fmt.Sprint("secret-", n)), SessionToken: Secret(fmt.Sprint("session-", n)),
		}, Validity{Lifetime: 20 * time.Millisecond})
	}
	id := alone(t, src)
	h := mustHandle(t, id, Request{})
	var wg sync.WaitGroup
	reads := 10_000
	for range 10 {
		wg.Go(func() {
			for range reads / 10 {
				a, err := h.Get(t.Context())
				if err != nil {
					if !errors.Is(err, Unavailable) && !errors.Is(err, Malformed) { // it may end before it is handed out
						t.Error(err)
					}
					continue
				}
				keys := a.Credential.AWS()
				n := strings.TrimPrefix(keys.AccessKeyID, "AKIA-")
				if string(keys.SecretAccessKey) != "secret-"+n || string(keys.SessionToken) != "session-"+n {
					t.Errorf("parts of several versions: %s %s %s", keys.AccessKeyID, string(keys.SecretAccessKey), string(keys.SessionToken))
				}
			}
		})
	}
	stop, rotations := make(chan struct{}), make(chan struct{})
	go func() { // rotates without pause
		defer close(rotations)
		for {
			select {
			case <-stop:
				return
			default:
				s := h.slot.Load()
				if s == nil {
					continue
				}
				cred, err := src.Retrieve(t.Context(), Request{})
				if err != nil {
					t.Error(err)
					return
				}
				s.mu.Lock()
				s.publishLocked(cred, cred.sent)
				s.mu.Unlock()
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-rotations
}

func TestHitAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	src := &fake{varies: FieldsAll}
	id := alone(t, src)
	req := full()
	h := mustHandle(t, id, req)
	if _, err := h.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for name, hit := range map[string]func(){
		"by handle":  func() { _, _ = h.Get(ctx) },
		"by request": func() { _, _ = id.Get(ctx, req) },
		"with wishes": func() {
			r := req
			r.MinTTL, r.Rejected = time.Minute, "00000000000000000000000000000000"
			_, _ = id.Get(ctx, r)
		},
	} {
		if n := testing.AllocsPerRun(1000, hit); n != 0 {
			t.Errorf("a hit %s allocates %v times", name, n)
		}
	}
	wantCalls(t, src, 1)
}

// within fails the test if f does not return: it waits for a lock that the test holds.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Errorf("%s waits for a lock", what)
	}
}

func TestHitTakesNoLock(t *testing.T) {
	for _, state := range []string{"fresh", "due, refreshing", "stale", "rejected, refreshing"} {
		t.Run(state, func(t *testing.T) {
			src := &fake{varies: FieldTenant}
			release := make(chan struct{})
			src.reply = func(n int64, _ Request) (*Credential, error) {
				if n > 1 && state != "stale" {
					<-release
				}
				v := Validity{Sent: Now(), Lifetime: time.Hour}
				if state == "due, refreshing" || state == "stale" {
					v.Sent.r = v.Sent.r.Add(-50 * time.Minute)
				}
				return NewBearer(fmt.Sprint(n), "", v)
			}
			c := newCache(t, CacheConfig{})
			defer close(release)
			id := add(t, c, IdentityConfig{Source: src})
			req := Request{Tenant: "a"}
			h := mustHandle(t, id, req)
			cred, err := h.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s := h.slot.Load()
			switch state {
			case "due, refreshing":
				s.pardon()
				mustGet(t, id, req)
			case "stale":
				src.fail(errDown)
				s.pardon()
				mustGet(t, id, req)
				for s.flags.Load()&busy != 0 {
				}
			case "rejected, refreshing":
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				_, _ = id.Get(ctx, Request{Tenant: "a", Rejected: cred.Credential.Fingerprint()})
				cancel()
			}
			c.mu.Lock()
			s.mu.Lock()
			c.governor.mu.Lock()
			c.scheduler.mu.Lock()
			within(t, "a hit by handle", func() { _, err = h.Get(context.Background()) })
			if err != nil {
				t.Error(err)
			}
			within(t, "a hit by request", func() { _, err = id.Get(context.Background(), req) })
			if err != nil {
				t.Error(err)
			}
			c.scheduler.mu.Unlock()
			c.governor.mu.Unlock()
			s.mu.Unlock()
			c.mu.Unlock()
		})
	}
}

func TestIdentityIsASource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		inner := add(t, newCache(t, CacheConfig{}), IdentityConfig{Name: "inner", Source: src})
		outer := alone(t, inner)
		first := mustGet(t, outer, Request{})
		if a := mustGet(t, inner, Request{}); a.Credential != first.Credential {
			t.Error("the two caches hold different credentials")
		}
		for range 3600 {
			mustGet(t, outer, Request{})
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if n := src.calls.Load(); n < 2 || n > 4 {
			t.Errorf("%d retrievals in an hour, want 2 or 3", n)
		}
		src.fail(errDown)
		inner2, err := outer.Retrieve(t.Context(), Request{Rejected: mustGet(t, outer, Request{}).Credential.Fingerprint()})
		if inner2 != nil || err == nil {
			t.Errorf("got %v, %v, want an error and nothing else", inner2, err)
		}
	})
}

func TestMemoryAnswersWhoseContextHasEnded(t *testing.T) {
	var calls atomic.Int64
	id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: SourceFunc(func(context.Context, Request) (*Credential, error) {
		calls.Add(1)
		return NewBearer("tok", "", Validity{Lifetime: time.Hour})
	})})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	h := mustHandle(t, id, Request{})
	for i, get := range []func(context.Context) (Answer, error){
		func(ctx context.Context) (Answer, error) { return id.Get(ctx, Request{}) }, h.Get,
	} {
		if _, err := get(ended); !errors.Is(err, context.Canceled) || calls.Load() != 0 {
			t.Errorf("%d: a miss: got %v after %d calls, want the context's error and none", i, err, calls.Load())
		}
	}
	if _, err := h.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, get := range []func(context.Context) (Answer, error){
		func(ctx context.Context) (Answer, error) { return id.Get(ctx, Request{}) }, h.Get,
	} {
		if a, err := get(ended); err != nil || a.Credential.Token() != "tok" {
			t.Errorf("%d: a hit: got %v, %v", i, a.Credential, err)
		}
	}
}

// pardon has a due slot replaced at its next hit, however short ago the last attempt was.
func (s *slot) pardon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pardonLocked()
}
