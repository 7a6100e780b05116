package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"freshet.dev/freshet/freshettest"
	"freshet.dev/lab"
)

// startLab runs a lab with its folder in the world's, and returns that and the cloud's address.
func (w *world) startLab(flags ...string) (r *running, dir, base string) {
	w.Helper()
	dir = filepath.Join(w.run, "lab") // its socket's path must be short
	r = w.start("freshet", append([]string{"lab", "serve", "--write", dir}, flags...)...)
	r.says("freshet: ready: ")
	for line := range strings.Lines(r.stdout.String()) {
		if rest, ok := strings.CutPrefix(line, "export FRESHET_LAB="); ok {
			base = strings.TrimSpace(rest)
		}
	}
	return r, dir, base
}

func TestLabServesAConfigurationThatWorks(t *testing.T) {
	w := newWorld(t)
	r, dir, base := w.startLab("--lifetime", "5m", "--latency", "1ms", "--latency", "az=2ms")
	config := filepath.Join(dir, lab.ConfigName)
	if got, want := r.stdout.String(), "export FRESHET_CONFIG='"+config+"'\nexport FRESHET_LAB="+base+
		"\nexport FRESHET_LAB_ADMIN_TOKEN_FILE='"+filepath.Join(dir, "admin-token")+"'\n"; got != want {
		t.Errorf("standard output: got %q, want %q", got, want)
	}
	if stdout, stderr := w.freshet(0, "check", "--config", config); stderr != "" || !strings.Contains(stdout, "ok: 5 identities") {
		t.Errorf("check: got %q, %q", stdout, stderr)
	}
	for _, identity := range []string{"entra", "oauth", "workload", "az"} {
		if stdout, stderr := w.freshet(0, "token", "--config", config, identity); strings.Count(stdout, ".") != 2 || stderr != "" {
			t.Errorf("%s: got %q, %q", identity, stdout, stderr)
		}
	}
	if stdout, _ := w.freshet(0, "token", "--config", config, "aws"); !strings.Contains(stdout, `"SessionToken":`) {
		t.Errorf("aws: got %q", stdout)
	}

	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/admin/issuers", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+read("admin-token"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var issuers map[string]struct {
		Settings map[string]string
		Count    lab.Count
	}
	if err := json.NewDecoder(resp.Body).Decode(&issuers); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"entra": 1, "oauth": 3, "sts": 1, "az": 1, "msi": 0} { // aws made a workload token of its own
		if got := issuers[name].Count; got.Requests != want || got.Granted != want {
			t.Errorf("%s: got %+v, want %d", name, got, want)
		}
	}
	if e, az := issuers["entra"].Settings, issuers["az"].Settings; e["latency"] != "1ms" || az["latency"] != "2ms" || az["lifetime"] != "5m" {
		t.Errorf("settings: got %v and %v", e, az)
	}
	freshettest.LeakedSecrets(t, r.stdout.String()+r.stderr.String()+read(lab.ConfigName), read("admin-token"), read("client-secret"), read("az-secret"))

	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != 0 {
		t.Errorf("got exit code %d\n%s", code, r.stderr.String())
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("its folder is still there")
	}
}

func TestLabInAFolderOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.write("token", strings.Repeat("0123456789", 4)+"\n")
	r := w.start("freshet", "lab", "serve", "--admin-token-file", "token")
	r.says("freshet: ready: ")
	made, err := filepath.Glob(w.path("freshet-lab-*")) // TMPDIR is the world's folder
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != 1 {
		t.Fatalf("got folders %v", made)
	}
	if b, err := os.ReadFile(filepath.Join(made[0], "admin-token")); err != nil || string(b) != w.read("token") {
		t.Errorf("the admin token is not the given one: %v", err)
	}
	r.signal(os.Interrupt)
	if code := r.wait(); code != 0 {
		t.Errorf("got exit code %d", code)
	}
	if _, err := os.Stat(made[0]); err == nil {
		t.Error("its folder is still there")
	}
}

func TestLabMistakes(t *testing.T) {
	w := newWorld(t)
	w.write("short", "short\n")
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"lab", "x"}, `unknown command "x"`},
		{[]string{"lab", "serve", "x"}, "one argument too many"},
		{[]string{"lab", "serve", "--latency", "5"}, "--latency: want a duration"},
		{[]string{"lab", "serve", "--latency", "x=5s"}, `unknown issuer "x"`},
		{[]string{"lab", "serve", "--latency", "1h"}, "latency: want 0s to 5m"},
		{[]string{"lab", "serve", "--refresh-in", "1h"}, "refresh_in"},
		{[]string{"lab", "serve", "--listen", "0.0.0.0:0"}, "want a loopback address"},
		{[]string{"lab", "serve", "--listen", "example.com:80"}, "want a loopback address"},
		{[]string{"lab", "serve", "--admin-token-file", "short"}, "shorter than 32 bytes"},
		{[]string{"lab", "serve", "--admin-token-file", "none"}, "none does not exist"},
		{[]string{"lab", "az", "login"}, "ERROR: "},
	} {
		stdout, stderr := w.freshet(2, test.args...)
		if stdout != "" || !strings.Contains(stderr, test.says) {
			t.Errorf("freshet %s: got %q, %q", strings.Join(test.args, " "), stdout, stderr)
		}
	}
	run := filepath.Join(w.run, "own")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(run, "freshet.yaml"), []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr := w.freshet(2, "lab", "serve", "--write", run); stdout != "" || !strings.Contains(stderr, "is there already") {
		t.Errorf("over a configuration of one's own: got %q, %q", stdout, stderr)
	}
	if stdout, _ := w.freshet(0, "lab"); !strings.Contains(stdout, "freshet lab serve") || strings.Contains(stdout, "\n  az ") {
		t.Errorf("help: got %q", stdout)
	}
}
