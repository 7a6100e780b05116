package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// alertRules are the rules that users are given.
func alertRules(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../examples/prometheus/freshet-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAlertRules has promtool check the alert rules, and their own tests: what they fire at, and what not.
func TestAlertRules(t *testing.T) {
	promtool, rules := party.Promtool(t), alertRules(t)
	for _, args := range [][]string{{"check", "rules", rules}, {"test", "rules", strings.TrimSuffix(rules, ".yaml") + "_test.yaml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestAlertsAtAnOutage has Prometheus scrape a daemon and evaluate the rules as they are. While all is well nothing fires; when the
// issuer goes down the alerts about it are on their way, long before a caller fails.
func TestAlertsAtAnOutage(t *testing.T) {
	promtool := party.Promtool(t)
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": "token-%d", "token_type": "Bearer", "expires_in": 60}`, time.Now().UnixNano())
	}))
	defer issuer.Close()
	listen := party.FreeAddress(t)
	d := serve(t, fmt.Sprintf(`
identities:
  id:
    source: oauth2
    token_url: %s/token
    client_id: c
    auth: post
    client_secret: {file: %s}
    pin: true
    refresh: {at: 10%%}
metrics: {listen: %q}
`, issuer.URL, writeSecret(t, filepath.Join(t.TempDir(), "secret"), "client-secret"), listen))
	p := startPrometheus(t, filepath.Join(filepath.Dir(promtool), "prometheus"), listen, alertRules(t))
	ask := func() error {
		cmd := exec.Command(d.binary, "token", "--config", d.config, "id")
		cmd.Env = callerEnv(d.home)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("token: %v: %s", err, out)
		}
		return nil
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}

	// Every metric that a rule reads is there in a scrape of a daemon that works: a new name for one makes rules that never fire.
	text, err := os.ReadFile(alertRules(t))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bfreshet_[a-z_]+`).FindAllString(string(text), -1)
	err = p.Poll(20*time.Second, func() error {
		var scraped []string
		if err := p.get("label/__name__/values", &scraped); err != nil {
			return err
		}
		for _, name := range names {
			if !slices.Contains(scraped, name) {
				return fmt.Errorf("the rules read %s, which Prometheus has not scraped", name)
			}
		}
		return nil
	})
	if err != nil || len(names) < 10 {
		t.Fatalf("of %d names: %v", len(names), err)
	}
	err = p.Poll(10*time.Second, func() error {
		if active := p.alerts(t); len(active) > 0 {
			return fmt.Errorf("while all is well: %v", active)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	issuer.Close()
	// A life of a minute has never more than a critical runway.
	want := []string{"FreshetIssuerRunwayCritical", "FreshetRunwayCritical", "FreshetStaleServed"}
	err = p.Poll(50*time.Second, func() error {
		if err := ask(); err != nil {
			t.Fatalf("the alerts come after the failure that they are to warn of: %v", err)
		}
		active := p.alerts(t)
		for _, name := range want {
			if !slices.Contains(active, name) {
				return fmt.Errorf("%v are active, want %v", active, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	d.stop(t)
}

// prometheus is a running server.
type prometheus struct {
	*party.Process
	base string
}

// startPrometheus has a server scrape one target each second, and evaluate the rules as often.
func startPrometheus(t *testing.T, binary, target, rules string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	err := os.WriteFile(config, fmt.Appendf(nil, `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: credentials
    static_configs: [{targets: [%q]}]
`, rules, target), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	listen := party.FreeAddress(t)
	cmd := exec.Command(binary, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen)
	cmd.Dir, cmd.Env = dir, callerEnv(dir)
	p := &prometheus{base: "http://" + listen}
	if p.Process, err = party.Start(t, cmd); err != nil {
		t.Fatal(err)
	}
	if err := p.Poll(30*time.Second, func() error { return p.get("status/buildinfo", new(any)) }); err != nil {
		t.Fatal(err)
	}
	return p
}

// get reads the data of an answer of the HTTP API.
func (p *prometheus) get(path string, data any) error {
	resp, err := http.Get(p.base + "/api/v1/" + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("prometheus: %s: status %d: %s", path, resp.StatusCode, body)
	}
	return json.Unmarshal(body, &struct{ Data any }{data})
}

// alerts are the names of those that are pending or fire, sorted.
func (p *prometheus) alerts(t *testing.T) []string {
	t.Helper()
	var data struct {
		Alerts []struct{ Labels map[string]string }
	}
	if err := p.get("alerts", &data); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range data.Alerts {
		names = append(names, a.Labels["alertname"])
	}
	slices.Sort(names)
	return slices.Compact(names)
}
