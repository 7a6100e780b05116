package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"freshet.dev/freshet"
)

var (
	crashes   = flag.Int("crashes", 12, "how often to kill the daemon under load")
	crashSeed = flag.Uint64("crash-seed", 0, "kill it at the points of this seed; 0: at new ones")
)

const (
	// crashReady is how soon a daemon must be ready after one that was killed. Alone it takes some 30 ms, and five times that with
	// the race detector; machines are busy.
	crashReady = 5 * time.Second
	// crashRecovery is how soon after the ready line every kind of caller must have been answered.
	crashRecovery = time.Second
)

// crashPoint is where in its life a daemon is killed.
type crashPoint string

const (
	starting   crashPoint = "starting"   // before its ready line
	cold       crashPoint = "cold"       // just after it: nothing is cached, retrievals are under way
	warm       crashPoint = "warm"       // when all callers have been answered
	reloading  crashPoint = "reloading"  // while it puts a new configuration in force
	draining   crashPoint = "draining"   // after SIGTERM, while it waits for a source that hangs
	aborting   crashPoint = "aborting"   // with SIGABRT, at which the Go runtime would leave a core
	inSession  crashPoint = "in session" // with a freshet exec open
	tornRecord crashPoint = "torn"       // with the audit log ending within a line, as a kill within a write leaves it
)

// crashPoints is how often each comes, of all: who is killed when warm has shown that callers recovered.
var crashPoints = []crashPoint{
	starting, starting, starting, cold, cold, cold, warm, warm, warm, warm, reloading, reloading, reloading, draining, draining, draining,
	aborting, inSession, inSession, tornRecord,
}

// TestDaemonSurvivesKills kills the daemon over and over, wherever it is, while callers of every kind ask on. Each next daemon is
// ready soon and every caller is answered soon after; nobody is ever given what is another's, or a part of it; nothing that the
// dead left stops anybody or piles up; no secret is in any file that freshet wrote.
func TestDaemonSurvivesKills(t *testing.T) {
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("%d kills; the same again: -crash-seed %d", *crashes, seed)
	c := newCrash(t, rand.New(rand.NewPCG(seed, 0)))
	// Every point is reached, in an order of the seed's; then they are drawn.
	plan := slices.Compact(slices.Sorted(slices.Values(crashPoints)))
	c.rng.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	for len(plan) < *crashes {
		plan = append(plan, crashPoints[c.rng.IntN(len(crashPoints))])
	}
	c.prime()
	half := len(plan) / 2
	c.load(func() {
		for i, at := range plan[:half] {
			c.kill(i, at)
		}
	})
	before := c.atRest()
	c.load(func() {
		for i, at := range plan[half:] {
			c.kill(half+i, at)
		}
	})
	after := c.atRest()
	if !slices.Equal(before, after) {
		t.Errorf("what is there has changed:\n%s\nafter %d kills, and after %d\n%s",
			strings.Join(before, "\n"), half, len(plan), strings.Join(after, "\n"))
	}
	c.report()
}

// crash is a world whose daemon is killed.
type crash struct {
	*world
	rng      *rand.Rand
	ledger   *ledger
	callers  []*caller
	noise    []*caller     // who need no daemon
	up       interval      // when a daemon has been ready without a break
	daemon   *crashing     // the one that runs, or was killed last
	commands *sync.RWMutex // held for reading while a command of the callers runs
	doors    []string      // secrets of sessions
	handle   *freshet.Handle
	pids     int            // how much of the file of the sources' processes was looked at
	tears    int            // lines of the audit log that were cut
	configs  int            // configurations so far
	ports    map[string]int // endpoint → port
	ready    []time.Duration
	killed   map[crashPoint]int
}

// crashing is a daemon that is to be killed.
type crashing struct {
	*running
	began time.Time
	heard *ear
}

// launch starts a daemon. It may write a core, where the machine lets it.
func (c *crash) launch() *crashing {
	c.Helper()
	cmd := c.command("sh", "-c", "ulimit -c unlimited 2>/dev/null; exec freshet serve")
	d := &crashing{began: time.Now(), heard: &ear{ready: make(chan struct{})}}
	cmd.Stderr = d.heard
	d.running = c.begin(cmd)
	c.daemon = d
	return d
}

// awaitReady waits for the ready line, and counts how long it took.
func (c *crash) awaitReady(d *crashing) {
	c.Helper()
	select {
	case <-d.heard.ready:
	case <-d.ended:
		c.Fatalf("the daemon ended by itself: %v\n%s", d.cmd.ProcessState, d.heard.String())
	case <-time.After(patience):
		c.Fatalf("the daemon is not ready after %v; it said:\n%s", patience, d.heard.String())
	}
	c.up.begin(d.heard.at)
	took := d.heard.at.Sub(d.began)
	c.ready = append(c.ready, took)
}

// kill starts a daemon and kills it at a point.
func (c *crash) kill(i int, at crashPoint) {
	c.Helper()
	c.killed[at]++
	d := c.launch()
	with := syscall.SIGKILL
	var session *running
	switch at {
	case starting:
		usual := 100 * time.Millisecond
		if len(c.ready) > 0 {
			usual = median(c.ready)
		}
		c.pause(c.rng.Int64N(int64(usual)))
	case cold:
		c.awaitReady(d)
		c.pause(c.rng.Int64N(int64(50 * time.Millisecond)))
	default:
		c.awaitReady(d)
		if took := d.heard.at.Sub(d.began); took > crashReady {
			if noise := c.allowance(d.began, d.heard.at); took > crashReady+noise {
				c.Errorf("kill %d, %s: the daemon was ready after %v, want %v and the %v that this machine may take", i, at, took, crashReady, noise)
			}
		}
		c.awaitRecovery(i, at, d.heard.at)
		c.pause(c.rng.Int64N(int64(100 * time.Millisecond)))
	}
	switch at {
	case reloading:
		c.configure()
		d.signal(syscall.SIGHUP)
		c.pause(c.rng.Int64N(int64(40 * time.Millisecond)))
	case draining:
		c.up.end()
		d.signal(syscall.SIGTERM)
		c.pause(c.rng.Int64N(int64(60 * time.Millisecond)))
	case aborting:
		with = syscall.SIGABRT
	case inSession:
		session = c.openSession()
	}
	c.up.end()
	d.signal(with)
	d.wait()
	// A daemon that drains may have ended first. Nothing else may have.
	if status := d.cmd.ProcessState.Sys().(syscall.WaitStatus); status.CoreDump() || !status.Signaled() && at != draining {
		c.Errorf("kill %d, %s: the daemon ended with %v\n%s", i, at, d.cmd.ProcessState, d.heard.String())
	}
	if at == aborting && !strings.Contains(d.heard.String(), "goroutine ") {
		c.Errorf("kill %d: no goroutines were printed: %q", i, d.heard.String())
	}
	c.ledger.wantNone(c.T, fmt.Sprintf("standard error of the daemon of kill %d, %s", i, at), d.heard.String())
	c.wantChildrenGone(i, at)
	if session != nil {
		c.endSession(session)
	}
	if at == tornRecord {
		c.tear()
		if stdout, _ := c.freshet(0, "token", "plain"); c.ledger.want("plain", strings.TrimSuffix(stdout, "\n")) != nil {
			c.Errorf("kill %d: without a daemon: got a token that is not plain's", i)
		}
	}
	if i%10 == 0 {
		c.wantNothingUnsealed()
	}
}

func (c *crash) pause(ns int64) { <-time.After(time.Duration(ns)) }

// awaitRecovery waits until every caller has been answered by the daemon that was ready at an instant.
func (c *crash) awaitRecovery(i int, at crashPoint, ready time.Time) {
	c.Helper()
	for _, one := range c.callers {
		var took time.Duration
		eventually(func(format string, args ...any) {
			c.Fatalf(format+"\nits last failure: %v", append(args, one.failure())...)
		}, fmt.Sprintf("kill %d, %s: an answer to %s", i, at, one), func() (answered bool) {
			took, answered = one.recovered(ready)
			return answered
		})
		one.recoveries = append(one.recoveries, took)
		if took <= crashRecovery {
			continue
		}
		if noise := c.allowance(ready, ready.Add(took)); took > crashRecovery+noise {
			c.Errorf("kill %d, %s: %s was answered %v after the ready line, want %v and the %v that this machine may take",
				i, at, one, took, crashRecovery, noise)
		}
	}
}

// prime has a handle filled, as it is in a program that has run for long: its holder shall not notice any kill at all.
func (c *crash) prime() {
	c.Helper()
	d := c.launch()
	c.awaitReady(d)
	if _, err := c.handle.Get(c.Context()); err != nil {
		c.Fatal(err)
	}
	c.up.end()
	d.signal(syscall.SIGKILL)
	d.wait()
}

// openSession runs a program under the daemon.
func (c *crash) openSession() *running {
	c.Helper()
	_ = os.Remove(c.path("session"))
	r := c.start("freshet", "exec", "plain,role", "--", "sh", "-c",
		`echo "$FRESHET_CLIENT_SECRET"; sdk oauth; sdk aws; echo $$ >session; while [ ! -e over ]; do sleep 0.02; done; freshet token plain; exec sleep 1000`)
	c.awaitPID("session")
	c.await("what a session's program prints", func() bool { return strings.Count(r.stdout.String(), "\n") == 3 })
	lines := strings.Split(r.stdout.String(), "\n")
	if len(lines) < 3 || len(lines[0]) < 32 {
		c.Fatalf("a session's program printed %q; exec said:\n%s", lines, r.stderr.String())
	}
	c.doors = append(c.doors, lines[0])
	keys := strings.Fields(lines[2])
	if err := c.ledger.want("plain", lines[1]); err != nil || len(keys) != 3 {
		c.Errorf("a session's program got %d keys and a token that is %v", len(keys), err)
	} else if err := c.ledger.want("role", keys[1], keys[2]); err != nil {
		c.Errorf("a session's program got keys that are %v", err)
	}
	return r
}

// endSession ends a program whose daemon was killed: it was told, it went on, what it asks by a command it gets although there is
// no daemon, and it leaves no folder.
func (c *crash) endSession(r *running) {
	c.Helper()
	r.says("freshet: the daemon ended: this program gets no more credentials\nhint: ")
	pid := c.awaitPID("session")
	if !alive(pid) {
		c.Error("a session's program ended with the daemon")
	}
	c.write("over", "")
	c.await("the token of a session's program", func() bool { return strings.Count(r.stdout.String(), "\n") == 4 })
	if err := c.ledger.want("plain", strings.Split(r.stdout.String(), "\n")[3]); err != nil {
		c.Errorf("a session's program got a token without a daemon that is %v", err)
	}
	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != 128+int(syscall.SIGTERM) {
		c.Errorf("exec: got exit code %d\n%s", code, r.stderr.String())
	}
	if left := c.runs(); len(left) > 0 {
		c.Errorf("%v is left", left)
	}
	c.ledger.wantNone(c.T, "exec's standard error", r.stderr.String())
	if err := os.Remove(c.path("over")); err != nil {
		c.Error(err)
	}
}

// report prints what was measured.
func (c *crash) report() {
	c.Logf("ready: median %v, longest %v of %d", median(c.ready).Round(time.Millisecond), slices.Max(c.ready).Round(time.Millisecond), len(c.ready))
	c.Logf("killed: %v", c.killed)
	for _, one := range append(slices.Clip(c.noise), c.callers...) {
		line := fmt.Sprintf("%s: %d answers, %d lost to kills", one, one.answers, one.lost)
		if n := len(one.recoveries); n > 0 {
			line += fmt.Sprintf("; recovered within %v, longest %v, of %d", median(one.recoveries).Round(time.Millisecond), slices.Max(one.recoveries).Round(time.Millisecond), n)
		}
		if one.failed != nil {
			line += fmt.Sprintf("; the last failure: %v", one.failed)
		}
		c.Log(strings.TrimSpace(line))
	}
}

func median(list []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// newCrash makes a world with everything in use that freshet has.
func newCrash(t *testing.T, rng *rand.Rand) *crash {
	t.Helper()
	for _, program := range []string{"sh", "sleep", "cat"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	c := &crash{world: newWorld(t), rng: rng, ledger: newLedger(), ports: make(map[string]int), killed: make(map[crashPoint]int)}
	for _, dir := range []string{"secrets", "tmp", ".config", ".config/freshet"} {
		if err := os.Mkdir(c.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	door := c.ledger.mint("door")
	c.env = append(slices.DeleteFunc(c.env, func(kv string) bool {
		return strings.HasPrefix(kv, "FRESHET_CONFIG=") || strings.HasPrefix(kv, "TMPDIR=") // a command that names no configuration takes any daemon
	}), "TMPDIR="+c.path("tmp"), "CLIENT="+c.ledger.mint("client secret"), "DOOR="+door, "GOTRACEBACK=crash")
	c.write("secrets/client", c.ledger.mint("client secret"))
	c.write("secrets/door", door)
	c.write("secrets/text", c.ledger.mint("text"))
	for _, tenant := range crashTenants {
		c.write("secrets/tenant-"+tenant, c.ledger.mint("tenant "+tenant))
	}
	for _, resource := range crashResources {
		c.write("secrets/azure-"+resource, c.ledger.mint("azure "+resource))
	}
	c.write("tenant.sh", "echo $$ >>DIR/pids\nexec cat \"DIR/secrets/tenant-$1\"\n")
	c.write("azure.sh", "echo $$ >>DIR/pids\nr=${1#https://}\nexec cat \"DIR/secrets/azure-${r%%.*}\"\n")
	c.write("hang.sh", "echo $$ >>DIR/pids\nexec sleep 1000\n")
	issuer := c.ledger.issuer(t)
	for _, name := range []string{"oauth-token", "aws-container", "azure-app-service", "metrics"} {
		c.ports[name] = freePort(t, rng)
	}
	c.write("c.template", strings.ReplaceAll(crashConfig, "ISSUER", issuer))
	c.configure()
	c.callers = c.newCallers(door)
	c.noise = c.newNoise(issuer)
	return c
}

const crashConfig = `version: 1
log: {level: debug}
audit: {file: DIR/audit.log}
metrics: {listen: 127.0.0.1:PORT_metrics}
endpoints:
  - {endpoint: oauth-token, listen: 127.0.0.1:PORT_oauth-token, identities: [plain, scoped], secret: {env: DOOR}}
  - {endpoint: aws-container, listen: 127.0.0.1:PORT_aws-container, identity: role, secret: {file: DIR/secrets/door}}
  - {endpoint: azure-app-service, listen: 127.0.0.1:PORT_azure-app-service, identity: azure, secret: {env: DOOR}}
identities:
  plain: {source: oauth2, token_url: "ISSUER/token", client_id: plain, client_secret: {env: CLIENT}, pin: true}
  scoped: {source: oauth2, token_url: "ISSUER/token", client_id: scoped, client_secret: {file: DIR/secrets/client}, scopes: [a, b, c, refused], limit: {concurrency: 4}}
  web: {source: oauth2, token_url: "ISSUER/token", client_id: web, client_secret: {env: CLIENT}, release: false}
  role: {source: aws-web-identity, from: web, role_arn: 'arn:aws:iam::123456789012:role/a', endpoint: "ISSUER/sts", region: us-east-1}
  tenant: {source: process, command: [sh, DIR/tenant.sh, '{tenant}'], tenants: [red, green, blue], lifetime: 1h}
  azure: {source: process, command: [sh, DIR/azure.sh, '{scope}'], lifetime: 1h}
  text: {source: file, path: DIR/secrets/text, lifetime: 1h}
  brief: {source: oauth2, token_url: "ISSUER/brief", client_id: brief, client_secret: {env: CLIENT}}
  hanging: {source: process, command: [sh, DIR/hang.sh], timeout: 1m, lifetime: 1h}
`

// configure replaces the configuration as an editor does, by one that differs.
func (c *crash) configure() {
	c.Helper()
	text := c.read("c.template")
	for name, port := range c.ports {
		text = strings.ReplaceAll(text, "PORT_"+name+"}", fmt.Sprintf("%d}", port))
		text = strings.ReplaceAll(text, "PORT_"+name+",", fmt.Sprintf("%d,", port))
	}
	c.configs++
	text += fmt.Sprintf("  more-%d: {source: file, path: %s, lifetime: %dm}\n", c.configs%3, c.path("secrets/text"), c.configs+1)
	next := filepath.Join(".config", "freshet", "freshet.yaml")
	c.write(next+".new", text)
	if err := os.Rename(c.path(next+".new"), c.path(next)); err != nil {
		c.Fatal(err)
	}
}
