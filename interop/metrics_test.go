package interop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
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
	text := scrapeOver(t, "tcp", listen)
	for _, want := range []string{
		`freshet_retrievals_total{identity="good",outcome="ok",reason="miss",source="process"} 1`,
		`freshet_retrievals_total{identity="bad",outcome="unavailable",reason="miss",source="process"} 1`,
	} {
		if !bytes.Contains(text, []byte(want+"\n")) {
			t.Errorf("no line %s", want)
		}
	}
	config, err := os.ReadFile(d.config)
	if err != nil {
		t.Fatal(err)
	}
	socket := regexp.MustCompile(`socket: {path: (\S+)}`).FindSubmatch(config)
	if socket == nil {
		t.Fatal("the configuration names no socket")
	}
	local := scrapeOver(t, "unix", string(socket[1]))
	caller := fmt.Sprintf("freshet_hand_outs_by_caller_total{caller=\"socket:uid:%d\",identity=\"good\"} 1\n", os.Getuid())
	if !bytes.Contains(local, []byte(caller)) {
		t.Errorf("on the socket there is no line %s", caller)
	}
	if bytes.Contains(text, []byte("caller=")) {
		t.Error("callers are named over TCP")
	}
	for door, text := range map[string][]byte{"TCP": text, "the socket": local} {
		lint := exec.Command(promtool, "check", "metrics")
		lint.Stdin = bytes.NewReader(text)
		if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("promtool check metrics, over %s: %v\n%s", door, err, out)
		}
	}
}

// scrapeOver is what a daemon says to Prometheus.
func scrapeOver(t *testing.T, network, address string) []byte {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
	resp, err := client.Get("http://localhost/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("over %s: status %d, %v: %s", network, resp.StatusCode, err, text)
	}
	return text
}
