package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// cloud is a running `freshet lab serve`, with the configuration that it wrote.
type cloud struct {
	binary, home, config, url, admin string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	dir := filepath.Join(socketDir(t), "lab")
	c := &cloud{binary: build(t), home: t.TempDir(), config: filepath.Join(dir, "freshet.yaml"), url: "http://" + party.FreeAddress(t)}
	c.start(t, "lab", "serve", "--write", dir, "--listen", strings.TrimPrefix(c.url, "http://"))
	token, err := os.ReadFile(filepath.Join(dir, "admin-token"))
	if err != nil {
		t.Fatal(err)
	}
	c.admin = strings.TrimSpace(string(token))
	return c
}

// start starts freshet, which says when it is ready.
func (c *cloud) start(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(c.binary, args...)
	cmd.Env = callerEnv(c.home)
	proc, err := party.Start(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	err = proc.Poll(10*time.Second, func() error {
		if !strings.Contains(proc.Log(), "ready") {
			return errors.New("no ready line")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// api is what the lab's API has counted.
type api struct {
	Count struct{ Requests, Granted, Refused, Left int64 }
	// Tokens that it was shown, by hash.
	Tokens map[string]int64
}

// ask makes a request of the lab's admin API.
func (c *cloud) ask(t *testing.T, method, path, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+"/admin"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.admin)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
	return resp
}

func (c *cloud) openai(t *testing.T) api {
	t.Helper()
	resp := c.ask(t, http.MethodGet, "/issuers", "")
	defer resp.Body.Close()
	var all map[string]api
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all["openai"]
}

// set says how the API is to answer, and forgets what it has counted.
func (c *cloud) set(t *testing.T, events int, pause time.Duration) {
	t.Helper()
	c.ask(t, http.MethodPut, "/issuers/openai", fmt.Sprintf(`{"events":%d,"pause":%q}`, events, pause)).Body.Close()
	c.ask(t, http.MethodPost, "/reset", "").Body.Close()
}

// told is what the program prints.
type told struct {
	Text   string
	Times  []int // of events, in milliseconds
	Error  string
	Status int
}

// command is the program under exec --proxy.
func (c *cloud) command(argv []string, what string) []string {
	return slices.Concat([]string{c.binary, "exec", "--config", c.config, "--proxy", "openai+" + c.url + "/openai/v1=oauth", "--"}, argv, []string{what})
}

// exec runs the program to its end.
func (c *cloud) exec(t *testing.T, argv []string, what string) (said told) {
	t.Helper()
	runJSON(t, time.Minute, callerEnv(c.home), c.command(argv, what), &said)
	return said
}

// TestProxyServesOpenAIsClient has OpenAI's own client speak to an API through `freshet exec --proxy`, with a daemon and without one. It
// has no key; what is streamed arrives event by event; and if it leaves, so does the proxy.
func TestProxyServesOpenAIsClient(t *testing.T) {
	c, client := newCloud(t), party.OpenAINode(t)
	const words = "this is what a lab has to say "
	c.set(t, 0, 0)
	if said := c.exec(t, client, "plain"); said.Text != words {
		t.Errorf("without a daemon: got %+v", said)
	}
	c.start(t, "serve", "--config", c.config)
	for what, want := range map[string]string{"plain": words, "responses": words, "models": "lab-1"} {
		if said := c.exec(t, client, what); said.Text != want {
			t.Errorf("%s: got %+v, want %q", what, said, want)
		}
	}
	if got := c.openai(t); got.Count.Requests != 4 || got.Count.Granted != 4 || len(got.Tokens) != 2 {
		t.Errorf("the API counted %+v, want 4 requests with two tokens: one of the daemon's, and one of before", got)
	}

	t.Run("stream", func(t *testing.T) {
		const pause = 150 * time.Millisecond
		c.set(t, 8, pause)
		said := c.exec(t, client, "stream")
		if said.Text != words || len(said.Times) != 9 {
			t.Fatalf("got %+v", said)
		}
		// The pauses add up to 8 × 150 ms between the first and the last; had they been kept back, they would come at once.
		if spread := said.Times[8] - said.Times[0]; spread < 900 {
			t.Errorf("9 events came within %d ms: %v", spread, said.Times)
		}
		together := 0
		for i := 1; i < len(said.Times); i++ {
			if said.Times[i]-said.Times[i-1] < 20 {
				together++
			}
		}
		if together > 3 {
			t.Errorf("%d of 8 events came with the one before: %v", together, said.Times)
		}
		t.Logf("events after %v ms", said.Times)
	})
	t.Run("abort", func(t *testing.T) {
		c.set(t, 1000, time.Minute) // nothing is written meanwhile that would fail
		argv := c.command(client, "abort")
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = callerEnv(c.home)
		proc, err := party.Start(t, cmd) // its end would be the route's, too
		if err != nil {
			t.Fatal(err)
		}
		line, err := proc.ReadyLine("{", time.Minute)
		if err != nil || !strings.Contains(line, `"times":[`) && !strings.Contains(line, "APIUserAbortError") {
			t.Fatalf("got {%s, %v", line, err)
		}
		err = party.Poll(10*time.Second, func() error {
			if got := c.openai(t).Count; got.Left != 1 {
				return fmt.Errorf("the API counted %+v", got)
			}
			return nil
		})
		if err != nil {
			t.Errorf("the request upstream goes on: %v", err)
		}
	})
	t.Run("wrong key", func(t *testing.T) {
		c.set(t, 0, 0)
		if said := c.exec(t, client, "wrong"); said.Error != "AuthenticationError" || said.Status != http.StatusUnauthorized {
			t.Errorf("got %+v", said)
		}
		if got := c.openai(t); got.Count.Requests != 0 {
			t.Errorf("the API was asked: %+v", got)
		}
	})
}
