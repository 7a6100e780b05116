package interop

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"testing"

	"freshet.dev/interop/internal/party"
)

// TestMetricsPassPromtool has Prometheus's own linter read what a daemon says after a retrieval that worked and one that did
// not.
func TestMetricsPassPromtool(t *testing.T) {
	promtool := party.Promtool(t)
	listen := party.FreeAddress(t)
	d := serve(t, fmt.Sprintf(`
identities:
  good: {source: process, command: [echo, token-of-a-helper], lifetime: 1h}
  bad:  {source: process, command: ["false"]}
metrics: {listen: %q}
`, listen))
	for identity, want := range map[string]int{"good": 0, "bad": 5} {
		cmd := exec.Command(d.binary, "token", "--config", d.config, identity)
		cmd.Env = callerEnv(d.home)
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Fatalf("token %s: exit code %d, want %d", identity, got, want)
		}
	}
	resp, err := http.Get("http://" + listen + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`freshet_retrievals_total{identity="good",outcome="ok",reason="miss",source="process"} 1`,
		`freshet_retrievals_total{identity="bad",outcome="unavailable",reason="miss",source="process"} 1`,
	} {
		if !bytes.Contains(text, []byte(want+"\n")) {
			t.Errorf("no line %s", want)
		}
	}
	lint := exec.Command(promtool, "check", "metrics")
	lint.Stdin = bytes.NewReader(text)
	if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
