package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// rehearsed is a drill as one line for each outcome.
func rehearsed(t *testing.T, all estate, identity string, down time.Duration) (Drill, []string) {
	t.Helper()
	d, err := Rehearse(Status{Identities: all}, identity, down)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, o := range d.Outcomes {
		l := fmt.Sprintf("%s %s", o.Identity, o.Outcome)
		if o.From != nil {
			l += fmt.Sprintf(" %v-%v", *o.From, *o.Until)
		}
		lines = append(lines, l)
	}
	return d, lines
}

func TestDrillSaysWhoFailsWhen(t *testing.T) {
	all := estateOf(
		held("aside", "other", "", 1), held("idle", "idp", ""), held("in", "idp", "", 3600),
		held("long", "idp", "", 3000), held("out", "sts", "in", 600), held("short", "idp", "", 750, 2400),
	)
	d, got := rehearsed(t, all, "in", 40*time.Minute)
	want := []string{"short fails 750-2460", "idle idle", "in survives", "long survives", "out survives", "short survives"}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("got %q, want %q", got, want)
	}
	if d.Wanted != 5 || d.Failing != 1 || shown(d.First) != "750" || shown(d.Runway) != "750" || d.Shortest != "short" || d.Down != 2400 || d.Probe != 60 ||
		fmt.Sprint(d.Issuers) != "[idp]" {
		t.Errorf("got %+v", d)
	}
	// Through a chain both issuers are down, and the input that is still valid is of no use.
	d, got = rehearsed(t, all, "out", 10*time.Minute)
	want = []string{"idle idle", "in survives", "long survives", "out survives", "short survives", "short survives"}
	if strings.Join(got, "; ") != strings.Join(want, "; ") || d.Failing != 0 || d.First != nil || shown(d.Runway) != "600" || d.Shortest != "out" {
		t.Errorf("got %q and %+v, want %q: 10 minutes of life are enough for 10", got, d, want)
	}
	if d, got = rehearsed(t, all, "out", 10*time.Minute+time.Second); got[0] != "out fails 600-661" || d.Failing != 1 {
		t.Errorf("got %q, want out to fail in the last second", got)
	}
	// Who fails first leads, whatever the order of names.
	if d, got = rehearsed(t, all, "in", 2*time.Hour); got[0] != "short fails 750-7260" || got[1] != "short fails 2400-7260" || d.Failing != 5 || shown(d.First) != "750" {
		t.Errorf("got %q and %+v, want the first to fail first", got, d)
	}
}

func TestDrillCountsForWhoeverUsesAKey(t *testing.T) {
	id := held("id", "h", "", 5, 0, 0, 0)
	id.Keys[0].Wanted = false
	id.Keys[1].LastKind = freshet.Denied
	id.Keys[2].Refreshing = true
	id.UsedBy = []string{"endpoint:e"}
	d, got := rehearsed(t, estateOf(id), "id", time.Minute)
	want := []string{"id fails 0-120", "id lapses", "id refused", "id loading"}
	if strings.Join(got, "; ") != strings.Join(want, "; ") || d.Wanted != 1 || d.Failing != 1 || shown(d.First) != "0" {
		t.Errorf("got %q and %+v, want %q", got, d, want)
	}
	if fmt.Sprint(d.Outcomes[0].UsedBy) != "[endpoint:e]" {
		t.Errorf("got users %v", d.Outcomes[0].UsedBy)
	}
	d, got = rehearsed(t, estateOf(held("id", "h", "")), "id", time.Minute)
	if len(got) != 1 || got[0] != "id idle" || d.Failing != 0 || d.Runway != nil {
		t.Errorf("nothing held: got %q and %+v", got, d)
	}
}

func TestDrillSeesNoMoreThanItsStatus(t *testing.T) {
	all := estateOf(held("in", "idp", "", 3600), held("out", "sts", "in", 60))
	mine := estate{all[1]} // the input is somebody else's
	if _, got := rehearsed(t, mine, "out", time.Hour); len(got) != 1 || got[0] != "out fails 60-3660" {
		t.Errorf("got %q, want the least that is known", got)
	}
	mine = append(mine, held("zone", "idp", "", 600))
	mine[1].Issuers = []string{"idp"}
	if _, got := rehearsed(t, mine, "zone", 2*time.Minute); strings.Join(got, "; ") != "out fails 60-180; zone survives" {
		t.Errorf("got %q, want what is made from a hidden identity to depend on its issuer", got)
	}
	d, err := Rehearse(Status{Identities: mine, Partial: true}, "out", time.Hour)
	if err != nil || !d.Partial {
		t.Errorf("got %+v, %v, want it marked as partial", d, err)
	}
	_, err = Rehearse(Status{Identities: all}, "typo", time.Hour)
	if !errors.Is(err, ErrUnknown) || freshet.AsError(err).Hint != "there are: in, out" {
		t.Errorf("got %v", err)
	}
}
