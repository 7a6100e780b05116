package simulation

import (
	"flag"
	"fmt"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

var (
	seeds       = flag.Int("seeds", 2, "how many `days` TestSimulation plays")
	first       = flag.Uint64("seed", 1, "the first day's `seed`")
	planFlag    = flag.String("plan", "", "play this `plan` alone, as a failure printed it")
	historyFlag = flag.String("history", "", "with -plan: write what happened into a `file`")
	shorten     = flag.Duration("shorten", time.Minute, "how long to look for less that fails alike")
)

// raced reports whether the race detector runs: everything takes ten times as long, and goroutines that can run do in any order.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// The engine keeps what it promises through days of outages, throttling, clocks that step, and callers who come and go.
func TestSimulation(t *testing.T) {
	if *planFlag != "" {
		p, err := parsePlan(*planFlag)
		if err != nil {
			t.Fatal(err)
		}
		h, broken := play(t, p)
		t.Log(h)
		if *historyFlag != "" {
			if err := h.write(*historyFlag); err != nil {
				t.Fatal(err)
			}
		}
		if broken != nil {
			report(t, p, h, broken)
		}
		return
	}
	for i := range *seeds {
		p := newPlan(*first + uint64(i))
		if raced() && *seeds == 2 {
			p.until = 3 * time.Hour
		}
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			began := time.Now()
			h, broken := play(t, p)
			t.Logf("%v in %v", h, time.Since(began).Round(10*time.Millisecond))
			if broken != nil {
				p, h, broken = shortened(t, p, h, broken, began.Add(*shorten))
				report(t, p, h, broken)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// One seed has one history.
func TestSimulationIsRepeatable(t *testing.T) {
	if raced() {
		t.Skip("the race detector has goroutines run in any order: run this without -race")
	}
	p := newPlan(3)
	p.until = 3 * time.Hour
	one, _ := play(t, p)
	two, _ := play(t, p)
	if one.String() != two.String() || len(one.events) < 10_000 {
		t.Errorf("one seed, two histories: %v, %v", one, two)
	}
	p = newPlan(4)
	p.until = 3 * time.Hour
	if other, _ := play(t, p); other.String() == one.String() {
		t.Errorf("two seeds, one history: %v", other)
	}
}

// report tells of a rule that was broken: what led to it, and how to see it again.
func report(t *testing.T, p *plan, h *history, v *violation) {
	t.Helper()
	t.Errorf("%v\nagain: go test -run TestSimulation -plan %q", v, p)
	for i := range p.faults {
		if f := &p.faults[i]; f.start <= v.at {
			t.Log(f)
		}
	}
	if v.key != nil {
		lines := h.of(v.key, v.at)
		for _, line := range lines[max(0, len(lines)-40):] {
			t.Log(line)
		}
	}
}

// shortened looks for a smaller plan that breaks the same rule: it ends sooner, has callers of one tenant, and fewer faults.
func shortened(t *testing.T, p *plan, h *history, v *violation, until time.Time) (*plan, *history, *violation) {
	t.Helper()
	try := func(less plan) bool {
		if !time.Now().Before(until) {
			return false
		}
		hl, vl := play(t, &less)
		if vl == nil || vl.rule != v.rule {
			return false
		}
		p, h, v = &less, hl, vl
		return true
	}
	sooner := func() {
		if v.at < p.until {
			less := *p
			less.until = v.at + time.Nanosecond
			try(less)
		}
	}
	sooner()
	if v.key != nil && v.key.tenant >= 0 {
		less := *p
		less.tenant = v.key.tenant
		try(less)
	}
	if v.key != nil {
		less := *p
		less.faults = slices.DeleteFunc(slices.Clone(p.faults), func(f fault) bool { return !f.concerns(v.key) })
		try(less)
	}
	for size := len(p.faults); size > 0; size /= 2 {
		for from := 0; from < len(p.faults); {
			less := *p
			less.faults = slices.Delete(slices.Clone(p.faults), from, min(from+size, len(p.faults)))
			if !try(less) {
				from += size
			}
		}
	}
	sooner()
	return p, h, v
}
