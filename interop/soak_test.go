package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2/clientcredentials"

	"freshet.dev/interop/internal/party"
)

// TestSoak runs a daemon through faults that come and go, under clients of several kinds, sessions that open, close and are killed,
// and programs that hang or leave others behind. What it holds in the end, of goroutines, descriptors and processes, is what it held
// in the beginning. FRESHET_SOAK sets how long.
func TestSoak(t *testing.T) {
	length := time.Minute
	if s := os.Getenv("FRESHET_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatalf("FRESHET_SOAK: %v", err)
		}
	}
	s := newSoak(t)
	s.run(t, 5*time.Second) // what starts with the first use of something is there before the count
	before := s.quiesce(t, nil)
	t.Logf("before: %v", before)
	s.clients = map[string]*asker{}

	began := time.Now()
	s.run(t, length)
	after := s.quiesce(t, &before)
	t.Logf("after %v: %v", time.Since(began).Round(time.Second), after)
	if after.goroutines > before.goroutines || after.descriptors > before.descriptors || after.children+after.strays > 0 {
		t.Errorf("what the daemon holds: got %v, want no more than %v", after, before)
	}
	audit, err := s.daemon.readAudit()
	if err != nil {
		t.Fatal(err)
	}
	for _, identity := range []string{"one", "two", "aws", "helper"} {
		t.Logf("%s: %d retrievals, %d failed", identity, len(audit.fingerprints[identity]), audit.failed[identity])
	}
	t.Logf("faults %v; sessions %d, %d of them killed; commands %d, %d of them failed; token requests %v, %d of them met a fault",
		s.faults, s.sessions.Load(), s.kills.Load(), s.commands.Load(), s.failedCommands.Load(), s.idp.Counts(), s.idp.Faulted())
	if s.kills.Load() == 0 || s.sessions.Load() == s.kills.Load() {
		t.Error("no session was closed, or none was killed")
	}
	s.daemon.stop(t)
}

// soak is a daemon and all that it deals with.
type soak struct {
	idp      *party.IdP
	server   *party.S3
	lines    []*party.Line
	daemon   *daemon
	tokenURL string
	secret   string
	metrics  string
	helper   string // folder of the program of the process source and of what it starts
	sdks     []party.Client
	random   *mathrand.Rand
	faults   map[string]int

	clients                                   map[string]*asker
	sessions, kills, commands, failedCommands atomic.Int64
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("FRESHET_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("FRESHET_SEED: %v", err)
		}
	}
	t.Logf("FRESHET_SEED=%d", seed)
	s := &soak{
		random: mathrand.New(mathrand.NewPCG(seed, 0)), faults: map[string]int{}, clients: map[string]*asker{},
		secret: rand.Text() + rand.Text(), helper: helperProgram(t), metrics: party.FreeAddress(t),
		sdks: []party.Client{party.GoClient(t), party.NodeClient(t), party.Boto3Client(t), party.AbortClient(t)},
	}
	s.idp = party.OIDC(t, party.OIDCConfig{
		TTL: tokenLife, Clients: []party.OIDCClient{party.PostClient("one", "secret"), party.PostClient("two", "secret")},
		Audiences: map[string]string{resource: audience}, Claims: map[string]any{"policy": "readwrite"},
	})
	s.server = party.MinIO(t, party.MinIOConfig{OIDCConfigURL: s.idp.ConfigURL(), ClientID: audience})
	toxics := party.Toxics(t)
	s.lines = []*party.Line{toxics.Line(s.idp.Issuer), toxics.Line(s.idp.Issuer)}
	dir, listen := t.TempDir(), party.FreeAddress(t)
	s.tokenURL = "http://" + listen + "/token"
	s.daemon = serve(t, fmt.Sprintf(`
identities:
  one: {source: oauth2, token_url: %[1]s/token, client_id: one, auth: post, client_secret: {file: %[3]q}, resource: %[4]s, refresh: {timeout: 5s}}
  two: {source: oauth2, token_url: %[2]s/token, client_id: two, auth: post, client_secret: {file: %[3]q}, resource: %[4]s, refresh: {timeout: 5s}}
  aws: {source: aws-web-identity, role_arn: "arn:minio:iam:::role/dummy", from: one, endpoint: %[5]s, region: us-east-1}
  helper: {source: process, command: [%[6]q], lifetime: 10s, timeout: 2s}
endpoints:
  - {endpoint: oauth-token, listen: %[7]q, identities: [one, two, helper], secret: {file: %[8]q}}
metrics: {listen: %[9]q}
`, s.lines[0].URL, s.lines[1].URL, writeSecret(t, filepath.Join(dir, "client-secret"), "secret"), resource, s.server.URL,
		filepath.Join(s.helper, "helper"), listen, writeSecret(t, filepath.Join(dir, "endpoint-secret"), s.secret), s.metrics))
	return s
}

// helperProgram writes a program that prints a token, and now and then fails, hangs, or leaves another one behind that holds its
// output open. What it starts is recognised by its folder.
func helperProgram(t *testing.T) string {
	t.Helper()
	dir := script(t, "helper", `
case $(($(od -An -N1 -tu1 /dev/urandom) % 6)) in
0) exit 1 ;;
1) exec "${0%/*}/sleep" 300 ;;
2) "${0%/*}/sleep" 300 & ;;
esac
"${0%/*}/sleep" 0.2
echo "token-of-$$-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')"
`)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sleep, filepath.Join(dir, "sleep")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run has everybody ask for some time, while the lines and the issuer break in one way after another. Callers of a credential that
// outlives the faults must not fail.
func (s *soak) run(t *testing.T, length time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var everybody sync.WaitGroup
	for _, identity := range []string{"one", "two", "helper"} {
		a := &asker{opaque: identity == "helper", config: clientcredentials.Config{ClientID: identity, ClientSecret: s.secret, TokenURL: s.tokenURL}}
		s.clients[identity] = a
		everybody.Go(func() { a.loop(ctx) })
	}
	var programs []*program
	for _, sdk := range s.sdks {
		programs = append(programs, s.daemon.program(t, "aws", sdk, workload(s.server, length)))
	}
	for range 2 {
		kill := mathrand.New(mathrand.NewPCG(s.random.Uint64(), 0))
		everybody.Go(func() { s.open(ctx, t, kill) })
	}
	everybody.Go(func() { s.ask(ctx) })
	s.disturb(ctx, t)
	everybody.Wait()
	for _, p := range programs {
		p.want(t, length)
	}
	for _, identity := range []string{"one", "two"} {
		s.clients[identity].want(t, identity)
	}
	helper := s.clients["helper"]
	t.Logf("helper: x/oauth2: %d calls, %d failures", helper.calls, helper.failures)
}

// open opens sessions and closes them, and kills some in the middle.
func (s *soak) open(ctx context.Context, t *testing.T, random *mathrand.Rand) {
	for ctx.Err() == nil {
		cmd := s.daemon.command("one,aws", []string{"/bin/sh", "-c", "sleep 0.2"})
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		proc, err := party.Start(t, cmd)
		if err != nil {
			t.Error(err)
			return
		}
		s.sessions.Add(1)
		if random.IntN(3) == 0 && errors.Is(proc.Wait(time.Duration(random.Int64N(int64(300*time.Millisecond)))), party.ErrRunning) {
			s.kills.Add(1)
			if err := proc.Kill(); err != nil {
				t.Error(err)
			}
			continue
		}
		if err := proc.Wait(time.Minute); err != nil {
			t.Errorf("exec: %v\n%s", err, out.String())
		}
	}
}

// ask runs commands, those for the helper among them, which fail when it does.
func (s *soak) ask(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		identity := []string{"one", "two", "helper"}[n%3]
		cmd := exec.CommandContext(ctx, s.daemon.binary, "token", "--config", s.daemon.config, identity, "--min-ttl", "3s")
		cmd.Env = callerEnv(s.daemon.home)
		if err := cmd.Run(); ctx.Err() == nil {
			s.commands.Add(1)
			if err != nil {
				s.failedCommands.Add(1)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// disturb breaks something for 6 s, and leaves 10 s to recover.
func (s *soak) disturb(ctx context.Context, t *testing.T) {
	const during, between = 6 * time.Second, 10 * time.Second
	poison := func(toxic party.Toxic) func() {
		return func() {
			for _, l := range s.lines {
				l.Poison(toxic)
			}
		}
	}
	faults := map[string]func(){
		"latency":           poison(party.Toxic{Type: "latency", Attributes: map[string]int{"latency": 2000}}),
		"reset":             poison(party.Toxic{Type: "reset_peer", Upstream: true}),
		"reset-unheard":     poison(party.Toxic{Type: "reset_peer"}),
		"half-open":         poison(party.Toxic{Type: "timeout", Upstream: true}),
		"half-open-unheard": poison(party.Toxic{Type: "timeout"}),
		"slow-close":        poison(party.Toxic{Type: "slow_close", Attributes: map[string]int{"delay": 3000}}),
		"outage": func() {
			for _, l := range s.lines {
				l.Cut()
			}
		},
		"503": func() { s.idp.Inject(party.Fault{Status: http.StatusServiceUnavailable, For: during}) },
		"throttle": func() {
			s.idp.Inject(party.Fault{Status: http.StatusTooManyRequests, For: during, RetryAfter: 3 * time.Second})
		},
	}
	names := []string{"latency", "reset", "reset-unheard", "half-open", "half-open-unheard", "slow-close", "outage", "503", "throttle"}
	wait := func(d time.Duration) bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(d):
			return true
		}
	}
	for wait(between) {
		s.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		name := names[0]
		faults[name]()
		s.faults[name]++
		wait(during)
		for _, l := range s.lines {
			l.Heal()
		}
	}
}

// held is what a daemon holds at one moment.
type held struct {
	goroutines, descriptors, children, strays, flights int
	resident                                           string // memory
}

func (h held) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d children, %d strays, %d retrievals under way, %s resident",
		h.goroutines, h.descriptors, h.children, h.strays, h.flights, h.resident)
}

// quiesce waits until nobody asks any more and what the daemon holds has gone back to what it was or, if it is nil, has stopped
// changing; and returns the last that was seen. Keys that were wanted are still refreshed for a while, so the count is taken between.
func (s *soak) quiesce(t *testing.T, before *held) held {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	var last held // in the beginning, the most of those that are alike
	steady := 0
	err := party.Poll(90*time.Second, func() error {
		h := s.count(t)
		// The connection of the count before may linger on a busy machine: a descriptor and two goroutines.
		alike := max(h.goroutines, last.goroutines)-min(h.goroutines, last.goroutines) <= 2 && max(h.descriptors, last.descriptors)-min(h.descriptors, last.descriptors) <= 1
		if h.children+h.strays+h.flights == 0 && alike {
			steady++
			if before == nil {
				h.goroutines, h.descriptors = max(h.goroutines, last.goroutines), max(h.descriptors, last.descriptors)
			}
		} else {
			steady = 0
		}
		last = h
		if before == nil && steady < 20 || before != nil && (h.goroutines > before.goroutines || h.descriptors > before.descriptors || h.children+h.strays+h.flights > 0) {
			return fmt.Errorf("it holds %v", h)
		}
		return nil
	})
	if err != nil {
		t.Errorf("the daemon does not come to rest: %v", err)
	}
	return last
}

// count counts. The connection that the metrics come over is part of it each time.
func (s *soak) count(t *testing.T) held {
	t.Helper()
	resp, err := (&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + s.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	figures := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if f, err := strconv.ParseFloat(value, 64); err == nil {
			figures[name] = f
		}
	}
	pid := s.daemon.proc.Pid()
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	h := held{goroutines: int(figures["go_goroutines"]), flights: int(figures["freshet_flights"]), descriptors: len(descriptors),
		resident: fmt.Sprintf("%.1f MiB", figures["process_resident_memory_bytes"]/(1<<20))}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range processes {
		stat, _ := os.ReadFile(dir + "/stat") // it may be gone
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			h.children++
		}
		if line, _ := os.ReadFile(dir + "/cmdline"); bytes.Contains(line, []byte(s.helper)) {
			h.strays++
		}
	}
	return h
}
