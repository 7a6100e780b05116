package approval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

// aCall is the call of these tests; its arguments hold what must be in no log.
func aCall() Call {
	return Call{Bridge: "tools", Upstream: "aws", Tool: "delete_bucket", Caller: "uid 1000", Arguments: json.RawMessage(`{"bucket":"hunter2"}`)}
}

// log has the outcomes that a store told, in order.
type log struct {
	mu  sync.Mutex
	all []string
}

func (l *log) observe(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Arguments != nil || e.ID == "" || e.Tool == "" || !e.Expires.After(e.Asked) {
		l.all = append(l.all, fmt.Sprintf("a bad event %#v", e.ID))
	}
	l.all = append(l.all, strings.TrimSpace(e.Outcome+" "+e.By))
}

func (l *log) want(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.all, want) {
		t.Errorf("got events %q, want %q", l.all, want)
	}
}

// only is the one call that waits.
func only(t *testing.T, s *Store) Pending {
	t.Helper()
	list := s.List()
	if len(list) != 1 {
		t.Fatalf("%d calls wait, want one", len(list))
	}
	return list[0]
}

// wantWaiting wants the error by which an agent learns that its call waits, and how it goes on.
func wantWaiting(t *testing.T, err error, id string) {
	t.Helper()
	e := freshet.AsError(err)
	if e == nil || e.Kind != freshet.Unavailable || e.Why != "waits for approval by the operator of this bridge" || !strings.Contains(e.Hint, "freshet approve "+id+";") {
		t.Errorf("got %#v with hint %q, want that it waits for %s", err, e.Hint, id)
	}
}

func wantDenied(t *testing.T, err error) {
	t.Helper()
	if e := freshet.AsError(err); e == nil || e.Kind != freshet.Denied || e.Hint != "" {
		t.Errorf("got %v, want that it is denied", err)
	}
}

func decide(t *testing.T, s *Store, id string, approve bool) {
	t.Helper()
	if err := s.Decide(id, approve, "root"); err != nil {
		t.Error(err)
	}
}

// asking asks in the background, and returns what gives the answer.
func asking(ctx context.Context, s *Store, c Call, wait time.Duration) <-chan error {
	done := make(chan error, 1)
	go func() { done <- s.Ask(ctx, c, wait) }()
	return done
}

func TestACallWaitsForItsApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events log
		s := NewStore(Config{Observe: events.observe})
		done := asking(t.Context(), s, aCall(), time.Minute)
		synctest.Wait()
		p := only(t, s)
		if want := aCall(); p.Tool != want.Tool || p.Upstream != want.Upstream || p.Bridge != want.Bridge || p.Caller != want.Caller ||
			string(p.Arguments) != string(want.Arguments) || p.Expires.Sub(p.Asked) != usualExpiry {
			t.Errorf("got %+v until %v", p, p.Expires)
		}
		time.Sleep(30 * time.Second)
		select {
		case err := <-done:
			t.Fatalf("got %v before anybody decided", err)
		default:
		}
		decide(t, s, p.ID, true)
		if err := <-done; err != nil {
			t.Error(err)
		}
		events.want(t, "asked", "approved root", "used root")
		if len(s.List()) != 0 {
			t.Error("it waits on")
		}
	})
}

func TestAnApprovalServesOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Config{})
		err := s.Ask(t.Context(), aCall(), 0)
		first := only(t, s).ID
		wantWaiting(t, err, first)
		decide(t, s, first, true)
		if err := s.Ask(t.Context(), aCall(), 0); err != nil {
			t.Fatal(err)
		}
		err = s.Ask(t.Context(), aCall(), 0)
		second := only(t, s).ID
		wantWaiting(t, err, second)
		if second == first {
			t.Error("the second call has the first one's id")
		}
		if err := s.Decide(first, true, "root"); !errors.Is(err, freshet.Invalid) {
			t.Errorf("the first id is good again: %v", err)
		}
	})
}

// An agent that gave up, and one that calls again while another waits, find what was asked and decided.
func TestAPendingCallOutlivesItsAsker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events log
		s := NewStore(Config{Observe: events.observe})
		ctx, cancel := context.WithCancel(t.Context())
		gone := asking(ctx, s, aCall(), time.Hour)
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that it was cancelled", err)
		}
		id := only(t, s).ID
		wantWaiting(t, s.Ask(t.Context(), aCall(), 45*time.Second), id) // the same one
		decide(t, s, id, true)
		time.Sleep(5 * time.Minute)
		if err := s.Ask(t.Context(), aCall(), 0); err != nil {
			t.Errorf("the approval given meanwhile: %v", err)
		}
		events.want(t, "asked", "approved root", "used root")
	})
}

func TestAnApprovalIsNotLostOnACallerThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Config{})
		_ = s.Ask(t.Context(), aCall(), 0)
		decide(t, s, only(t, s).ID, true)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Ask(ctx, aCall(), time.Minute); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that it was cancelled", err)
		}
		if err := s.Ask(t.Context(), aCall(), 0); err != nil {
			t.Errorf("the approval has gone with it: %v", err)
		}
	})
}

func TestAnApprovalIsForNoOtherCall(t *testing.T) {
	for name, change := range map[string]func(*Call){
		"bridge":           func(c *Call) { c.Bridge = "other" },
		"upstream":         func(c *Call) { c.Upstream = "gcp" },
		"tool":             func(c *Call) { c.Tool = "delete_buckets" },
		"caller":           func(c *Call) { c.Caller = "uid 1001" },
		"arguments":        func(c *Call) { c.Arguments = json.RawMessage(`{"bucket":"hunter3"}`) },
		"more arguments":   func(c *Call) { c.Arguments = json.RawMessage(`{"bucket":"hunter2","force":true}`) },
		"no arguments":     func(c *Call) { c.Arguments = nil },
		"another number":   func(c *Call) { c.Arguments = json.RawMessage(`{"bucket":"hunter2","n":1.0}`) },
		"moved boundaries": func(c *Call) { c.Upstream, c.Tool = "awsd", "elete_bucket" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := NewStore(Config{})
				mine, other := aCall(), aCall()
				if name == "another number" {
					mine.Arguments = json.RawMessage(`{"bucket":"hunter2","n":1}`)
				}
				change(&other)
				_ = s.Ask(t.Context(), mine, 0)
				decide(t, s, only(t, s).ID, true)
				err := s.Ask(t.Context(), other, 0)
				wantWaiting(t, err, only(t, s).ID)
				if err := s.Ask(t.Context(), mine, 0); err != nil {
					t.Errorf("the call that was approved: %v", err)
				}
			})
		})
	}
}

// What is compared and shown is what the arguments mean, not how they are written.
func TestArgumentsAreComparedByWhatTheyMean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Config{})
		c := aCall()
		c.Arguments = json.RawMessage("{ \"b\" : [1, \"\u202eA\"],\n\"a\":{} }")
		_ = s.Ask(t.Context(), c, 0)
		if got, want := string(only(t, s).Arguments), `{"a":{},"b":[1,"\u202eA"]}`; got != want {
			t.Errorf("an operator is shown %s, want %s", got, want)
		}
		decide(t, s, only(t, s).ID, true)
		c.Arguments = json.RawMessage(`{"a":{},"b":[1,"\u202e\u0041"]}`)
		if err := s.Ask(t.Context(), c, 0); err != nil {
			t.Errorf("the same call, written otherwise: %v", err)
		}
		c.Arguments = nil
		_ = s.Ask(t.Context(), c, 0)
		if got := string(only(t, s).Arguments); got != "{}" {
			t.Errorf("no arguments are shown as %q", got)
		}
	})
}

func TestArgumentsThatCannotBeShownAsTheyAreAreRefused(t *testing.T) {
	s := NewStore(Config{})
	for text, want := range map[string]string{
		`{"a":1,"a":2}`:  "a key is twice in one object",
		`{"a":"\ud800"}`: "not text in Unicode",
		`{`:              "not JSON",
		`[]`:             "not an object",
		`null`:           "not an object",
		`{"a":"` + strings.Repeat("x", maxArguments) + `"}`: "over 1 MiB",
	} {
		c := aCall()
		c.Arguments = json.RawMessage(text)
		err := s.Ask(t.Context(), c, 0)
		if !errors.Is(err, freshet.Invalid) || err.Error() != "the arguments of a call that needs approval: "+want {
			t.Errorf("%.40s: got %v, want %s", text, err, want)
		}
	}
	if len(s.List()) != 0 {
		t.Error("one of them waits")
	}
}

func TestADenialHoldsUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events log
		s := NewStore(Config{Expire: 10 * time.Minute, Observe: events.observe})
		done := asking(t.Context(), s, aCall(), time.Hour)
		time.Sleep(9 * time.Minute)
		decide(t, s, only(t, s).ID, false)
		wantDenied(t, <-done)
		for range 3 { // a loop of the agent's
			time.Sleep(3 * time.Minute)
			wantDenied(t, s.Ask(t.Context(), aCall(), time.Minute))
			if len(s.List()) != 0 {
				t.Error("it is asked for again")
			}
		}
		time.Sleep(time.Minute + time.Second)
		err := s.Ask(t.Context(), aCall(), 0)
		wantWaiting(t, err, only(t, s).ID)
		events.want(t, "asked", "denied root", "asked")
	})
}

func TestAnApprovalExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Config{Expire: 10 * time.Minute})
		_ = s.Ask(t.Context(), aCall(), 0)
		time.Sleep(9 * time.Minute)
		decide(t, s, only(t, s).ID, true)
		time.Sleep(10*time.Minute - time.Second)
		if err := s.Ask(t.Context(), aCall(), 0); err != nil {
			t.Errorf("a second before it expires: %v", err)
		}
		_ = s.Ask(t.Context(), aCall(), 0)
		decide(t, s, only(t, s).ID, true)
		time.Sleep(10*time.Minute + time.Second)
		err := s.Ask(t.Context(), aCall(), 0)
		wantWaiting(t, err, only(t, s).ID)
	})
}

func TestWhatNobodyDecidesExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events log
		s := NewStore(Config{Expire: 10 * time.Minute, Observe: events.observe})
		_ = s.Ask(t.Context(), aCall(), 0)
		id := only(t, s).ID
		time.Sleep(10*time.Minute + time.Second)
		events.want(t, "asked", "expired")
		if len(s.List()) != 0 {
			t.Error("it waits on")
		}
		if err := s.Decide(id, true, "root"); !errors.Is(err, freshet.Invalid) || !strings.Contains(freshet.AsError(err).Hint, "freshet approve") {
			t.Errorf("its id: got %v", err)
		}
		if s.bytes != 0 || len(s.held) != 0 || len(s.byID) != 0 || len(s.calls) != 0 {
			t.Errorf("it is held: %d bytes, %v", s.bytes, s.held)
		}
	})
}

// A caller that waits when its call expires is told of an id that is good.
func TestACallThatExpiresUnderItsCallerIsAskedForAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Config{Expire: time.Minute})
		_ = s.Ask(t.Context(), aCall(), 0)
		first := only(t, s).ID
		time.Sleep(50 * time.Second)
		done := asking(t.Context(), s, aCall(), 30*time.Second)
		time.Sleep(10*time.Second + time.Millisecond)
		second := only(t, s).ID // while it waits
		if second == first {
			t.Error("the old id is good on")
		}
		wantWaiting(t, <-done, second)
	})
}

// While a machine sleeps its monotonic clock stops, and timers with it: the wall clock tells that an approval is of last night.
func TestAnApprovalExpiresWhileTheMachineSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Config{Expire: 10 * time.Minute})
		_ = s.Ask(t.Context(), aCall(), 0)
		first := only(t, s).ID
		decide(t, s, first, true)
		freshettest.SetWallClock(t, 8*time.Hour)
		err := s.Ask(t.Context(), aCall(), 0)
		second := only(t, s).ID
		wantWaiting(t, err, second)
		freshettest.SetWallClock(t, 16*time.Hour)
		if list := s.List(); len(list) != 0 {
			t.Errorf("%v waits on", list)
		}
		if err := s.Decide(second, true, "root"); !errors.Is(err, freshet.Invalid) {
			t.Errorf("got %v", err)
		}
	})
}

// A wall clock that is set back makes nothing live longer.
func TestAnApprovalExpiresThoughTheClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Config{Expire: 10 * time.Minute})
		_ = s.Ask(t.Context(), aCall(), 0)
		decide(t, s, only(t, s).ID, true)
		freshettest.SetWallClock(t, -8*time.Hour)
		time.Sleep(10*time.Minute + time.Second)
		err := s.Ask(t.Context(), aCall(), 0)
		wantWaiting(t, err, only(t, s).ID)
	})
}

func TestADecisionThatIsNotUsedCanBeChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events log
		s := NewStore(Config{Observe: events.observe})
		_ = s.Ask(t.Context(), aCall(), 0)
		id := only(t, s).ID
		decide(t, s, id, true)
		decide(t, s, id, true) // nothing new
		decide(t, s, id, false)
		wantDenied(t, s.Ask(t.Context(), aCall(), 0))
		decide(t, s, id, true)
		if err := s.Ask(t.Context(), aCall(), 0); err != nil {
			t.Error(err)
		}
		events.want(t, "asked", "approved root", "denied root", "approved root", "used root")
	})
}

func TestEqualCallsThatWaitNeedAnApprovalEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events log
		s := NewStore(Config{Observe: events.observe})
		var served atomic.Int32
		for range 3 {
			go func() {
				if s.Ask(t.Context(), aCall(), 14*time.Minute) == nil {
					served.Add(1)
				}
			}()
		}
		seen := map[string]bool{}
		for want := range int32(3) {
			synctest.Wait()
			if got := served.Load(); got != want {
				t.Fatalf("%d calls were served by %d approvals", got, want)
			}
			p := only(t, s)
			if seen[p.ID] {
				t.Errorf("%s is asked for twice", p.ID)
			}
			seen[p.ID] = true
			decide(t, s, p.ID, true)
		}
		synctest.Wait()
		if served.Load() != 3 || len(s.List()) != 0 {
			t.Errorf("%d calls were served by 3 approvals", served.Load())
		}
	})
}

// Under any order of events, as many calls are served as approvals were used, and never more than were given.
func TestNoApprovalIsUsedTwice(t *testing.T) {
	var approved, used, served atomic.Int64
	s := NewStore(Config{Observe: func(e Event) {
		switch e.Outcome {
		case "approved":
			approved.Add(1)
		case "used":
			used.Add(1)
		}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var agents, operators sync.WaitGroup
	for range 8 {
		operators.Go(func() {
			for ctx.Err() == nil {
				for _, p := range s.List() {
					_ = s.Decide(p.ID, true, "root")
				}
			}
		})
	}
	for i := range 32 {
		agents.Go(func() {
			for j := range 30 {
				c := aCall()
				c.Tool = fmt.Sprint("tool", i%3)
				one, stop := context.WithCancel(ctx)
				if (i+j)%5 == 0 {
					go stop() // at any moment
				}
				if s.Ask(one, c, time.Millisecond) == nil {
					served.Add(1)
				}
				stop()
			}
		})
	}
	agents.Wait()
	cancel()
	operators.Wait()
	if a, u, n := approved.Load(), used.Load(), served.Load(); n == 0 || n != u || n > a {
		t.Errorf("%d calls were served; %d approvals were given and %d used", n, a, u)
	}
}

func TestAStoreIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Config{})
		ask := func(caller string, i int) error {
			c := aCall()
			c.Caller, c.Arguments = caller, json.RawMessage(fmt.Sprintf(`{"i":%d}`, i))
			return s.Ask(t.Context(), c, 0)
		}
		full := func(err error) bool {
			return errors.Is(err, freshet.Unavailable) && !strings.Contains(err.Error(), "waits for approval by")
		}
		for i := range maxOfCaller {
			if err := ask("a", i); full(err) {
				t.Fatalf("call %d: %v", i, err)
			}
		}
		if err := ask("a", maxOfCaller); !full(err) {
			t.Errorf("one more of a caller: %v", err)
		}
		if err := ask("a", 0); full(err) {
			t.Errorf("what waits already: %v", err)
		}
		for i := maxOfCaller; i < maxCalls; i++ {
			if err := ask(fmt.Sprint("c", i/maxOfCaller), i); full(err) {
				t.Fatalf("call %d: %v", i, err)
			}
		}
		if err := ask("z", 0); !full(err) || len(s.List()) != maxCalls {
			t.Errorf("one more of all: %v, and %d wait", err, len(s.List()))
		}
		time.Sleep(usualExpiry + time.Second)
		if err := ask("a", maxOfCaller); full(err) {
			t.Errorf("after the others have expired: %v", err)
		}
	})
}

func TestArgumentsThatAreHeldAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Config{})
		c := aCall()
		s.bytes = maxKeptBytes - len(c.Arguments) // those of others
		err := s.Ask(t.Context(), c, 0)
		wantWaiting(t, err, only(t, s).ID)
		c.Arguments = nil
		if err := s.Ask(t.Context(), c, 0); !errors.Is(err, freshet.Unavailable) || err.Error() != "too many calls wait for approval" {
			t.Errorf("more of them: %v", err)
		}
	})
}

func TestStoresThatShareACountHaveTheirOwnExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Config{})
		short := s.Expiring(time.Minute)
		other := aCall()
		other.Bridge = "short"
		_ = s.Ask(t.Context(), aCall(), 0)
		time.Sleep(time.Second)
		_ = short.Ask(t.Context(), other, 0)
		if list := s.List(); len(list) != 2 || list[0].Bridge != "tools" || list[1].Bridge != "short" || list[1].Expires.Sub(list[1].Asked) != time.Minute {
			t.Fatalf("got %v", list)
		}
		time.Sleep(time.Minute)
		if p := only(t, short); p.Bridge != "tools" {
			t.Errorf("%v is left", p)
		}
	})
}

func TestIDsAreEasyToType(t *testing.T) {
	s := NewStore(Config{})
	_ = s.Ask(t.Context(), aCall(), 0)
	id := only(t, s).ID
	if !regexp.MustCompile(`^[0-9a-hjkmnp-tv-z]{8}$`).MatchString(id) {
		t.Errorf("got %q", id)
	}
	written := strings.NewReplacer("0", "O", "1", "l").Replace(strings.ToUpper(id[:4]) + "-" + id[4:])
	if err := s.Decide(" "+written+"\n", true, "root"); err != nil {
		t.Errorf("%s, typed as %s: %v", id, written, err)
	}
	for _, bad := range []string{"", "-", id[:7], id + "0", "hunter22"} {
		if err := s.Decide(bad, true, "root"); !errors.Is(err, freshet.Invalid) || bad != "" && strings.Contains(err.Error(), bad) && len(bad) > 1 {
			t.Errorf("%q: got %v", bad, err)
		}
	}
	if got := typed("OoIiLl"); got != "001111" {
		t.Errorf("got %s", got)
	}
}

func TestWhatIsListedIsTheCallersToKeep(t *testing.T) {
	s := NewStore(Config{})
	c := aCall()
	_ = s.Ask(t.Context(), c, 0)
	copy(only(t, s).Arguments, "XXXXXXXX")
	copy(c.Arguments, "XXXXXXXX")
	if got := string(only(t, s).Arguments); got != string(aCall().Arguments) {
		t.Errorf("got %s", got)
	}
}

func TestArgumentsAreInNoLog(t *testing.T) {
	s := NewStore(Config{})
	err := s.Ask(t.Context(), aCall(), 0)
	p := only(t, s)
	var b strings.Builder
	logger := slog.New(slog.NewJSONHandler(&b, nil))
	logger.Info("x", "call", aCall(), "pending", p, "event", Event{Pending: p}, "err", err)
	e := freshet.AsError(err)
	for _, v := range []any{aCall(), p, &p, Event{Pending: p}, []Pending{p}, err, e.Hint, s} {
		fmt.Fprintf(&b, "%v %+v %#v %s %q %x\n", v, v, v, v, v, v)
	}
	if text := b.String(); strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") ||
		strings.Contains(text, "0x68, 0x75, 0x6e") || strings.Contains(text, "104 117 110") || strings.Contains(text, "0x680x75") || !strings.Contains(text, "delete_bucket of aws through tools for uid 1000") {
		t.Errorf("got %s", text)
	}
	if got := (Call{Tool: "\x1b[2J\u202e"}).String(); strings.ContainsAny(got, "\x1b\u202e") {
		t.Errorf("got %q", got)
	}
}

// TestApprovalIsForItsScopeAlone: two bridges of one name may use different identities.
func TestApprovalIsForItsScopeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(Config{})
		one := aCall()
		one.Scope = "one"
		two := aCall()
		two.Scope = "two"
		if err := s.Ask(t.Context(), one, 0); err == nil {
			t.Fatal("nobody has approved it")
		}
		if err := s.Decide(only(t, s).ID, true, "uid:0"); err != nil {
			t.Fatal(err)
		}
		if err := s.Ask(t.Context(), two, 0); err == nil {
			t.Error("the approval of another scope served")
		}
		if err := s.Ask(t.Context(), one, 0); err != nil {
			t.Errorf("its own approval does not: %v", err)
		}
	})
}
