package simulation

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var (
	bugsFlag = flag.Bool("bugs", false, "have TestPlantedBugs plant them: it takes minutes")
	search   = flag.Bool("search", false, "with -bugs: look for each in 20 days, rather than in the one where it was found")
)

// edit is a change of the engine's source.
type edit struct{ file, old, new string }

// bug is something wrong that the simulation has to find.
type bug struct {
	name  string
	seed  uint64 // of the day in which it was found
	rule  string // that it was found to break
	edits []edit
}

var bugs = []bug{
	{"jitter makes a refresh later", 1, "refreshes come ahead of the end", []edit{
		{"schedule.go", "max(spacing(l.lifetime), after-jitter(of, width))", "max(spacing(l.lifetime), after+jitter(of, 6*width))"},
	}},
	{"the first caller's context is the flight's", 1, "what is derived is not born short", []edit{
		{"flight.go", "permit *permit\n\twithin", "permit *permit\n\tleader context.Context\n\twithin"},
		{"flight.go", "	case no == nil:\n		s.flight.waiters++", "	case no == nil:\n		s.flight.leader = ctx\n		s.flight.waiters++"},
		{"attempt.go", "	ctx, cancel := context.WithTimeout(c.ctx, within-grace(within))", "	leader := c.ctx\n	if f.leader != nil {\n		leader = f.leader\n	}\n	ctx, cancel := context.WithTimeout(leader, within-grace(within))"},
	}},
	{"no floor", 1, "nothing is served past its floor", []edit{{"credential.go", "c.sent.Add(c.lifetime - floor(c.lifetime))", "c.sent.Add(c.lifetime)"}}},
	{"held callers are let go in spite of Retry-After", 1, "who fails is left alone", []edit{
		{"governor.go", "	p.probes, no = g.passLocked(&p.keys, clock.Now())\n	return no", "	p.probes, no = g.passLocked(&p.keys, clock.Now())\n	no = nil\n	return no"},
		{"governor.go", "if len(p.probes) == 0 {", "if false {"},
	}},
	{"a 5xx is repeated at once in spite of its Retry-After", 1, "attempts are apart", []edit{{"attempt.go", "err.Status/100 != 5 || err.RetryAfter > 0 ||", "err.Status/100 != 5 ||"}, {"attempt.go", "	return c.governor.barred(id, p.target) == nil\n", "	return true\n"}, {"attempt.go", "	if c.governor.barred(id, p.target) != nil {", "	if false {"},
		{"governor.go", "	if p.ended { // its time", "	if false { // its time"}, {"governor.go", "	if len(p.probes) == 0 {\n		var no", "	if false {\n		var no"}}},
	{"Retry-After is believed for as long as it likes", 1, "nobody is sent away for long", []edit{
		{"gate.go", "		d := min(err.RetryAfter, longestSilence)", "		d := err.RetryAfter"},
		{"landing.go", "	silence := min(err.RetryAfter, longestSilence)", "	silence := err.RetryAfter"},
	}},
	{"those who wait for a failure try one after the other", 1, "attempts are apart", []edit{{"landing.go", "if x.again = now.Mono + int64(max(again(s.key, int(x.failures)), silence)); err.Kind == Invalid {", "if x.again = 0; err.Kind == Invalid {"}}},
	{"refreshes that failed are repeated without a pause", 1, "attempts are apart", []edit{{"schedule.go", "	return s + jitter(of, width)", "	return jitter(of, width)"}}},
	{"flights without a bound", 1, "everything is bounded", []edit{{"governor.go", "if own := g.tenants[t]; !input && (", "if own := g.tenants[t]; false && !input && ("}}},
	{"a rejection concerns newer versions too", 1, "nobody fails while there is something valid", []edit{
		{"slot.go", "	case v.named(w.rejected):\n		return false", "	case w.rejected != \"\":\n		return false"},
		{"flight.go", "	case v.named(w.rejected):\n		v.marks.Or(markRejected)", "	case w.rejected != \"\":\n		v.marks.Or(markRejected)"},
	}},
	{"who rejects a version gets it while its replacement fails", 1, "who rejects a version does not get it again", []edit{{"flight.go", "v.at(now) != expired && !v.named(w.rejected) {\n		return v.answer(w, now), nil", "v.at(now) != expired {\n		return v.answer(w, now), nil"}}},
	{"a rejection is forgotten when the issuer gives the same again", 1, "what is rejected is marked, and nothing else", []edit{{"landing.go", "v.marks.Or(old.marks.Load() & markRejected)", "_ = old.marks"}}},
	{"one retrieval of a tenant at a time", 1, "nobody waits for nothing", []edit{
		{"attempt.go", "	asked := clock.Now()\n", "	one, _ := tenantLocks.LoadOrStore(req.Tenant, make(chan struct{}, 1))\n	one.(chan struct{}) <- struct{}{}\n	defer func() { <-one.(chan struct{}) }()\n	asked := clock.Now()\n"},
		{"attempt.go", "// turnedBack is", "var tenantLocks sync.Map\n\n// turnedBack is"},
		{"attempt.go", "	\"strings\"\n", "	\"strings\"\n	\"sync\"\n"},
	}},
	{"a slot of a limit is held while an input resolves", 3, "nobody waits for nothing", []edit{
		{"attempt.go", "	if id.deriver != nil {\n", "	if err := c.acquire(ctx, &id.limit, p); err != nil {\n		return nil, err\n	}\n	if id.deriver != nil {\n"},
	}},
	{"the wall clock alone", 1, "nothing is served past its floor", []edit{
		{"internal/clock/clock.go", "return r.Wall >= other.Wall || r.Mono >= other.Mono", "return r.Wall >= other.Wall"},
		{"internal/clock/clock.go", "min(sub(other.Wall, r.Wall), sub(other.Mono, r.Mono))", "sub(other.Wall, r.Wall)"},
	}},
	{"the monotonic clock alone", 1, "nothing is served past its floor", []edit{
		{"internal/clock/clock.go", "return r.Wall >= other.Wall || r.Mono >= other.Mono", "return r.Mono >= other.Mono"},
		{"internal/clock/clock.go", "min(sub(other.Wall, r.Wall), sub(other.Mono, r.Mono))", "sub(other.Mono, r.Mono)"},
	}},
	{"an issuer's clock is corrected the wrong way", 1, "nothing is served past its floor", []edit{{"credential.go", "v.Expires.Add(-skew(v.Date, sent, clock.Now()))", "v.Expires.Add(skew(v.Date, sent, clock.Now()))"}}},
	{"a failed login is remembered for hours", 1, "nobody is sent away for long", []edit{{"gate.go", "	loginAgain  = 120 * time.Second", "	loginAgain  = 3 * time.Hour"}}},
	{"whoever wants more life gets what there is", 1, "who asks for more life gets it, or is told", []edit{{"slot.go", "	case w.minTTL > 0 && now.Until", "	case false && now.Until"}}},
	{"hits mark no use", 1, "refreshes come ahead of the end", []edit{{"slot.go", "	s.use()\n	return v\n", "	return v\n"}, {"slot.go", "	s.use()\n	marks", "	marks"}, {"refresh.go", "	default:\n		s.wantedLocked()\n", "	default:\n"}}},
	{"everything is refreshed for ever", 1, "what nobody asks for lapses", []edit{{"refresh.go", "	case !forced && !s.wantedLocked():", "	case false:"}}},
	{"one tenant's trouble is its host's", 1, "nobody fails for nothing", []edit{{"gate.go", "	wide = 3\n", "	wide = 1\n"}}},
	{"a probe long after a block fails those beside it", 1, "nobody fails for nothing", []edit{{"gate.go", "		case b.forgotten(now):\n", "		case false:\n"}, {"flight.go", "(no.err.Kind == Unavailable || no.proving)", "no.err.Kind == Unavailable"}}},
	{"an input is refused while a probe finds out", 15, "nobody fails for nothing", []edit{{"flight.go", "	p.probe = p.attempt\n	if a.input {\n		p.attempt = 0", "	p.probe = p.attempt\n	if a.input {\n		p.attempt, p.probe = 0, 0"}}},
	{"an outage is not noticed", 1, "who fails is left alone", []edit{{"gate.go", "	enough = 3\n", "	enough = 1 << 30\n"}, {"gate.go", "	wide = 3\n", "	wide = 1 << 30\n"}}},
	{"429 without a time is nothing", 2, "who fails is left alone", []edit{{"gate.go", "	throttled     = 60 * time.Second\n", "	throttled     = time.Millisecond\n"}}},
	{"everybody is a probe", 2, "one probe at a time", []edit{{"gate.go", "		b.probing = true\n", "		b.probing = false\n"}}},
	{"a failed login is not remembered", 1, "who refuses is left alone", []edit{{"gate.go", "	loginAgain  = 120 * time.Second", "	loginAgain  = time.Millisecond"}}},
	{"who tries again at once sets the pace", 2, "attempts are apart", []edit{{"refresh.go", "if now.Mono < f.starts && f.waiters > 0 {", "if false {"}}},
	{"what comes late replaces what is newer", 1, "versions never go back", []edit{{"landing.go", "old.cred.sent.Mono > cred.sent.Mono", "old.cred.sent.Mono > cred.sent.Mono+int64(time.Hour)"}}},
	{"who waits for a source that ignores its deadline waits with it", 1, "callers are back in time", []edit{{"attempt.go", "	hard := time.AfterFunc(within, func() {", "	hard := time.AfterFunc(within+time.Hour, func() {"}}},
	{"probes keep their worker", 1, "refreshes come ahead of the end", []edit{{"governor.go", "	if p.worker {\n		g.yieldLocked(p)", "	if p.worker && len(p.probes) == 0 {\n		g.yieldLocked(p)"}}},
	{"a hung issuer has all the workers", 1, "a host has its share of workers", []edit{{"governor.go", "	maxWorkersPerIssuer = 64\n", "	maxWorkersPerIssuer = 512\n"}}},
	{"no rate", 1, "limits hold", []edit{{"limit.go", "	return (l.most == 0 || l.running < l.most) && now.Mono >= l.next", "	return l.most == 0 || l.running < l.most"}}},
	{"one more at once than the limit says", 1, "limits hold", []edit{{"limit.go", "l.running < l.most)", "l.running <= l.most)"}}},
	{"tenants stand in one line", 1, "nobody fails for nothing", []edit{
		{"limit.go", "l.turns.push(p.target.Tenant)", "l.turns.push(\"\")"},
		{"limit.go", "l.turns.leave(p.target.Tenant, k)", "l.turns.leave(\"\", k)"},
		{"limit.go", "l.turns.ahead(tenant)", "l.turns.ahead(\"\")"},
	}},
	{"what is due is served without a mark while it cannot be replaced", 1, "what could not be replaced is marked", []edit{{"landing.go", "			v.marks.Or(markStale)\n", ""}}},
	{"an input is used though it is due", 1, "what is derived is not born short", []edit{{"slot.go", "	case w.input && (now.Reached(v.early(refreshAt))", "	case w.input && (false"}}},
	{"an assertion is used twice", 1, "what is for one exchange is used once", []edit{{"chain.go", "	if need.Fresh {", "	if false {"}}},
	{"tenants share credentials", 1, "nobody gets another's", []edit{{"key.go", "		b = appendString(b, r.Tenant)\n", "		b = appendString(b, r.Tenant[:min(1, len(r.Tenant))])\n"}}},
	{"what nobody can be served stays", 1, "what has ended goes", []edit{{"refresh.go", "		default:\n			return true\n", "		default:\n			c.at(s, now.Mono+int64(time.Hour))\n"}}},
	{"a handle's first call refreshes nothing", 1, "refreshes come ahead of the end", []edit{{"flight.go", "if ans.Due || ans.Rejected {", "if false {"}}},
	{"who leaves before a longer life comes gets nothing", 1, "nobody fails while there is something valid", []edit{{"flight.go", "	if s != nil && !a.input {", "	if false {"}}},
	{"what replaced a changed credential counts as asked for", 1, "what nobody asks for lapses", []edit{{"changed.go", "	s.wantedLocked() // who", "	// who"}}},
}

// The simulation finds what is wrong on purpose.
func TestPlantedBugs(t *testing.T) {
	// That every bug can still be planted is checked always.
	for _, b := range bugs {
		if _, err := b.plant(t.TempDir()); err != nil {
			t.Errorf("%s: %v", b.name, err)
		}
	}
	if !*bugsFlag || t.Failed() {
		return
	}
	for _, b := range bugs {
		t.Run(strings.ReplaceAll(b.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			overlay, err := b.plant(dir)
			if err != nil {
				t.Fatal(err)
			}
			binary := filepath.Join(dir, "planted.test")
			if out, err := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			seed, days := b.seed, 1
			if *search {
				seed, days = 1, 20
			}
			run := exec.Command(binary, "-test.run", "^TestSimulation$", "-test.timeout", "15m", "-shorten", "0", fmt.Sprint("-seed=", seed), fmt.Sprint("-seeds=", days))
			out, err := run.CombinedOutput()
			if err == nil {
				t.Fatalf("not found in %d days from seed %d", days, seed)
			}
			event, found := firstEvent(out)
			switch {
			case !found:
				t.Fatalf("%v, and no rule is said to be broken:\n%s", err, out[:min(len(out), 4000)])
			case !*search && !strings.Contains(event, ": "+b.rule+": "):
				t.Errorf("want %q, found: seed %s", b.rule, event)
			default:
				t.Logf("found: seed %s", event)
			}
		})
	}
}

// firstEvent is what a failed run of TestSimulation says was found: "SEED: RULE: WHEN WHERE: WHAT".
func firstEvent(out []byte) (string, bool) {
	_, plan, ok := bytes.Cut(out, []byte("TestSimulation/seed="))
	seed, _, _ := bytes.Cut(plan, []byte("_"))
	for line := range bytes.Lines(plan) {
		if at := bytes.Index(line, []byte("simulation_test.go:")); at >= 0 && bytes.Count(line, []byte(": ")) >= 3 {
			_, text, _ := bytes.Cut(line[at:], []byte(": "))
			return string(seed) + ": " + strings.TrimSpace(string(text)), ok
		}
	}
	return "", false
}

// plant writes the changed sources into a folder, and an overlay for the go command that puts them in place.
func (b *bug) plant(dir string) (overlay string, err error) {
	engine, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for _, e := range b.edits {
		path := filepath.Join(engine, e.file)
		text, err := os.ReadFile(cmp.Or(replace[path], path))
		if err != nil {
			return "", err
		}
		if n := bytes.Count(text, []byte(e.old)); n != 1 {
			return "", fmt.Errorf("%s has %d times, want once: %s", e.file, n, e.old)
		}
		planted := filepath.Join(dir, strings.ReplaceAll(e.file, "/", "_"))
		if err := os.WriteFile(planted, bytes.Replace(text, []byte(e.old), []byte(e.new), 1), 0o600); err != nil {
			return "", err
		}
		replace[path] = planted
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}
