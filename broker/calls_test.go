package broker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCallsOfToolsAreRecordedOnceAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		b := open(t, NewAudit(d, false, quiet()), identity("id", new(issuer)))
		c := Call{Caller: "uid:1000", Bridge: "tools", Upstream: "aws", Tool: "list", Identity: "id", Outcome: "ok"}
		for range 3 {
			b.Called(c)
		}
		c.Outcome = "refused"
		b.Called(c)
		time.Sleep(auditCounts + time.Second)
		records, _ := d.lines(t)
		first := having(records, "call")
		if len(first) != 2 {
			t.Fatalf("got %+v", records)
		}
		if r := first[0]; r.Caller != "mcp:uid:1000" || r.Bridge != "tools" || r.Upstream != "aws" || r.Tool != "list" || r.Identity != "id" || r.Outcome != "ok" || r.Reason != "" {
			t.Errorf("got %+v", r)
		}
		if r := first[1]; r.Outcome != "refused" {
			t.Errorf("got %+v", r)
		}
		if more := having(records, "calls"); len(more) != 1 || more[0].Count != 2 || more[0].Tool != "list" || more[0].Upstream != "aws" || more[0].Bridge != "tools" {
			t.Errorf("counted %+v", more)
		}
	})
}

func TestApprovalsAreRecordedEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		b := open(t, NewAudit(d, false, quiet()), identity("id", new(issuer)))
		for _, outcome := range []string{"asked", "approved", "used", "approved"} {
			b.Approval(Approval{Call: Call{Caller: "secret", Bridge: "tools", Upstream: "aws", Tool: "drop", Outcome: outcome}, ID: "abc", By: "uid:0"})
		}
		synctest.Wait()
		records, _ := d.lines(t)
		list := having(records, "approval")
		if len(list) != 4 || list[1].Outcome != "approved" || list[1].ID != "abc" || list[1].By != "uid:0" || list[1].Caller != "mcp:secret" || list[1].Tool != "drop" || list[1].Bridge != "tools" {
			t.Errorf("got %+v", records)
		}
	})
}

// TestNamesThatAgentsMakeUpAreBounded: in number and in length, so that they fill neither memory nor disk.
func TestNamesThatAgentsMakeUpAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		b := open(t, NewAudit(d, false, quiet()), identity("id", new(issuer)))
		b.Called(Call{Bridge: "b", Tool: strings.Repeat("y", 1<<20), Outcome: "refused"})
		for i := range maxNames + 100 {
			b.Called(Call{Bridge: "b", Tool: fmt.Sprint(strings.Repeat("x\xff\n", 20), i), Outcome: "refused"})
			if i%1000 == 0 {
				synctest.Wait()
			}
		}
		if err := b.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		records, _ := d.lines(t)
		names := make(map[string]bool)
		for _, r := range append(having(records, "call"), having(records, "calls")...) {
			if names[r.Tool] = true; len(r.Tool) > 2*maxName {
				t.Fatalf("a name of %d bytes", len(r.Tool))
			}
		}
		if len(names) > maxNames+1 || !names["(other)"] {
			t.Errorf("%d names, the others' among them: %v", len(names), names["(other)"])
		}
	})
}

// TestNamesThatOneCallerMakesUpLeaveTheOthersTheirs: whoever fills what is told apart fills it for themselves, and what a person is asked
// to approve is named in any case.
func TestNamesThatOneCallerMakesUpLeaveTheOthersTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		b := open(t, NewAudit(d, false, quiet()), identity("id", new(issuer)))
		for i := range 2 * maxNames {
			b.Called(Call{Caller: "uid:1", Bridge: "b", Tool: fmt.Sprint("made", i), Outcome: "refused"})
			if i%1000 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		b.Called(Call{Caller: "uid:1", Bridge: "another", Tool: "its", Outcome: "ok"})
		b.Called(Call{Caller: "uid:2", Bridge: "b", Tool: "honest", Outcome: "ok"})
		b.Approval(Approval{Call: Call{Caller: "uid:1", Bridge: "b", Tool: "drop\xff", Outcome: "asked"}, ID: "abc"})
		if err := b.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		records, _ := d.lines(t)
		calls, asked := having(records, "call"), having(records, "approval")
		if last := calls[len(calls)-2]; last.Bridge != "another" || last.Tool != "its" {
			t.Errorf("a call at another bridge is recorded as %+v", last)
		}
		if last := calls[len(calls)-1]; last.Caller != "mcp:uid:2" || last.Tool != "honest" {
			t.Errorf("another's call is recorded as %+v", last)
		}
		if len(asked) != 1 || asked[0].Tool != "drop?" {
			t.Errorf("an approval is recorded as %+v", asked)
		}
	})
}

// TestCallersWhoseNamesAreToldApartAreBounded too.
func TestCallersWhoseNamesAreToldApartAreBounded(t *testing.T) {
	var n names
	for i := range maxToolUsers {
		if got := n.name("b", fmt.Sprint("uid:", i), "tool"); got != "tool" {
			t.Fatalf("got %q of %d", got, i)
		}
	}
	if got := n.name("b", "uid:x", "tool"); got != others || len(n.known) != maxToolUsers {
		t.Errorf("got %q, of %d callers", got, len(n.known))
	}
	if got := n.name("b", "uid:0", "second"); got != "second" {
		t.Errorf("got %q", got)
	}
}
