package interop

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// bridgeLife is how long credentials live in the run of the bridges: at half of it, less up to a tenth, they are replaced.
const bridgeLife = 12 * time.Second

// TestMCPRotation has 25 calls at once go through freshet without pause, by clients of both eras, over stdio and HTTP, to servers of both
// eras, behind checks of tokens and of signatures, while the credentials are replaced every six seconds. Some of the calls are given up
// at random moments. None of the others fails; each request has one version of the credential on it, whole; and the issuer is
// asked once for each version.
//
// It takes 20 s, or as long as FRESHET_ROTATION says.
func TestMCPRotation(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("FRESHET_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("FRESHET_SEED: %v", err)
		}
	}
	t.Logf("FRESHET_SEED=%d", seed)
	length := 20 * time.Second
	if os.Getenv("FRESHET_ROTATION") != "" {
		length = signedLength(t)
	}
	b := newBridge(t, bridgeLife, true)
	everything, small := party.MCPEverything(t), party.MCPStateless(t, false)
	checks := []*check{b.bearer(t, everything.URL), b.sigv4(t, everything.URL), b.bearer(t, small.URL), b.sigv4(t, small.URL)}
	b.serve(t, "", fmt.Sprintf(`
  - {name: everything, listen: "@LISTEN@", path: /everything, secret: {file: "@SECRET@"}, upstreams: [{url: %q, identity: token}]}
  - {name: stateless, listen: "@LISTEN@", path: /stateless, secret: {file: "@SECRET@"}, upstreams: [{url: %q, identity: keys, signer: sigv4, service: %s, region: %s}]}
`, checks[0].URL, checks[3].URL, mcpService, mcpRegion))
	signing := []string{"--as", "keys", "--service", mcpService, "--region", mcpRegion}
	callers := []struct {
		sdk, version string
		settings     agentSettings
		at           int // calls at once
		ways         []op
	}{
		{"sdk", "", b.stdio(overDaemon, checks[0].URL, "--as", "token"), 5, waysEverything},
		{"client", stateless, b.stdio(overDaemon, append([]string{checks[1].URL}, signing...)...), 5, waysEverything},
		{"sdk", "", b.stdio(overDaemon, append([]string{checks[3].URL}, signing...)...), 4, waysSmall},
		{"client", stateless, b.stdio(overDaemon, checks[2].URL, "--as", "token"), 4, waysSmall},
		{"sdk", "", b.http("/everything"), 4, waysEverything},
		{"client", stateless, b.http("/stateless"), 3, waysSmall},
	}
	var (
		done                sync.WaitGroup
		calls, failed, left atomic.Int64
		mu                  sync.Mutex
		errs                = map[string]int{} // what went wrong, and how often
		agents              []*agent
		at                  int
	)
	for i := range callers {
		callers[i].settings.Version = callers[i].version
		agents = append(agents, startAgent(t, callers[i].sdk, callers[i].settings))
	}
	began := time.Now()
	for i, c := range callers {
		for range c.at {
			at++
			random := rand.New(rand.NewPCG(seed, uint64(at)))
			done.Go(func() {
				tick := time.NewTicker(150 * time.Millisecond)
				defer tick.Stop()
				for time.Since(began) < length {
					o := c.ways[random.IntN(len(c.ways))]
					if random.IntN(5) == 0 {
						o.Cancel = 1 + random.IntN(60)
					}
					var came outcome
					select {
					case came = <-agents[i].start(t, o):
					case <-agents[i].ended:
						t.Errorf("%s ended\n%s", c.sdk, agents[i].proc.Log())
						return
					case <-time.After(90 * time.Second):
						t.Errorf("nothing came of %s %v by %s", o.Method, o.Params, c.sdk)
						return
					}
					switch gone := came.Error != nil && strings.Contains(came.Error.Message, "thought better"); {
					case gone && o.Cancel > 0:
						left.Add(1)
					case came.Error != nil || came.Result["isError"] == true:
						mu.Lock()
						failed.Add(1)
						errs[fmt.Sprintf("%s by %s, cancelled after %d of %d ms: %s", jsonOf(o.Params), c.sdk, o.Cancel, came.Took, came.text())]++
						mu.Unlock()
					default:
						calls.Add(1)
					}
					<-tick.C
				}
			})
		}
	}
	done.Wait()
	took := time.Since(began)
	for _, a := range agents {
		a.close(t)
	}
	b.daemon.stop(t)

	if at != 25 {
		t.Errorf("%d callers, want 25", at)
	}
	if failed.Load() > 0 || calls.Load() == 0 || left.Load() == 0 {
		t.Errorf("%d calls, %d given up, %d failures: %s", calls.Load(), left.Load(), failed.Load(), jsonOf(errs))
	}
	requests := 0
	for _, c := range checks {
		requests += c.count("")
		if strangers := c.strangers(); len(strangers) > 0 {
			t.Errorf("%d requests were not signed as they should be: %q", len(strangers), strangers)
		}
	}
	audit, err := b.daemon.readAudit()
	if err != nil {
		t.Fatal(err)
	}
	for identity, issued := range map[string]int{"token": b.idp.Counts()["agent"].Successes, "keys": b.sts.count()} {
		versions := audit.fingerprints[identity]
		if err := distinct(versions); err != nil {
			t.Errorf("%s: %v", identity, err)
		}
		if issued != len(versions) {
			t.Errorf("%s: %d issued, want the %d retrievals in the audit", identity, issued, len(versions))
		}
		if want := int(took / bridgeLife); len(versions)-1 < want {
			t.Errorf("%s: %d rotations, want %d or more in %v", identity, len(versions)-1, want, took)
		}
		t.Logf("%s: %d rotations", identity, len(versions)-1)
	}
	for _, c := range checks {
		if c.signedWith() < 2 {
			t.Errorf("requests to %s were signed with %d versions", c.URL, c.signedWith())
		}
	}
	t.Logf("%d calls in %v, %d given up, %d failures; %d requests upstream", calls.Load(), took.Round(time.Second), left.Load(), failed.Load(), requests)
}

// What the callers do.
var (
	waysEverything = []op{
		tool("echo", map[string]any{"message": "hi"}),
		with(tool("trigger-long-running-operation", map[string]any{"duration": 0.1, "steps": 2}), func(o *op) { o.Progress = true }),
		tool("trigger-sampling-request", map[string]any{"prompt": "say"}),
		tool("trigger-elicitation-request", nil),
		read("tools/list", nil),
		read("resources/read", map[string]any{"uri": "demo://resource/dynamic/text/7"}),
	}
	waysSmall = []op{
		tool("echo", map[string]any{"message": "hi"}),
		with(tool("progress", map[string]any{"steps": 3}), func(o *op) { o.Progress = true }),
		tool("ask", nil),
		tool("rounds", nil),
		tool("wait", map[string]any{"ms": 100}),
		read("tools/list", nil),
		read("prompts/get", map[string]any{"name": "greet", "arguments": map[string]any{"who": "Ada"}}),
	}
)
