package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"freshet.dev/freshet/freshettest"
	"freshet.dev/lab"
)

// export gives the world's commands what a lab printed for a shell.
func (w *world) export(r *running) {
	w.Helper()
	for line := range strings.Lines(r.stdout.String()) {
		w.env = append(w.env, strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(line), "export "), "'", ""))
	}
}

func TestLabFaultLetsAnIssuerFailUntilItIsTurnedOff(t *testing.T) {
	w := newWorld(t)
	r, dir, _ := w.startLab()
	w.export(r)
	admin, err := os.ReadFile(filepath.Join(dir, "admin-token"))
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	command := func(code int, args ...string) (stdout, stderr string) {
		t.Helper()
		stdout, stderr = w.freshet(code, append([]string{"lab", "fault"}, args...)...)
		said += stdout + stderr
		return stdout, stderr
	}

	stdout, stderr := command(0, "entra,oauth", "outage", "--for", "20m", "--status", "502")
	if want := "freshet: entra,oauth: outage for 20m; it ends by itself, or with: freshet lab fault entra,oauth off\n"; stdout != "" || stderr != want {
		t.Errorf("got %q, %q, want %q", stdout, stderr, want)
	}
	if _, stderr := w.freshet(5, "token", "entra"); !strings.Contains(stderr, "answered 502") {
		t.Errorf("entra: got %q", stderr)
	}
	w.freshet(0, "token", "az")
	command(0, "sts", "throttle", "--retry-after", "30s", "--tenant", lab.Account, "--probability", "0.5", "--seed", "1")
	command(0, "msi", "skew", "--by=-90s")
	command(0, "msi", "slow", "--by", "2s", "--jitter", "1s")
	page, _ := command(0)
	for _, want := range []string{
		"ISSUER  FAULT", "outage 502 ", "throttle seconds, retry after 30s  123456789012  0.5 ", "skew by -1m30s ", "slow by 2s to 3s ",
		"19m5", "of 2\n", "ISSUER     REQUESTS  GRANTED  REFUSED  FAULTS", "az         1         1        0        –", " outage\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	text, _ := command(0, "status", "--json")
	var all map[string]lab.IssuerStatus
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatal(err)
	}
	on := all["oauth"].Faults
	if len(on) != 1 || on[0].Kind != lab.Outage || on[0].Status != 502 || on[0].For != 20*time.Minute || on[0].Left < 19*time.Minute || all["entra"].Count.Faults.Outage == 0 {
		t.Errorf("got %s", text)
	}
	if _, stderr := command(0, "msi", "off", "--tenant", lab.Tenant); !strings.Contains(stderr, "for tenant "+lab.Tenant+" alone") {
		t.Errorf("got %q", stderr)
	}
	if page, _ := command(0); !strings.Contains(page, "skew") {
		t.Errorf("what is for all tenants ended with one's:\n%s", page)
	}
	if _, stderr := command(0, "all", "off"); stderr != "freshet: all: nothing fails on purpose any more\n" {
		t.Errorf("got %q", stderr)
	}
	if page, _ := command(0); !strings.HasPrefix(page, "nothing fails on purpose\n\nISSUER ") || !strings.Contains(page, " outage\n") {
		t.Errorf("got\n%s", page)
	}
	w.freshet(0, "token", "entra")
	freshettest.LeakedSecrets(t, said+r.stderr.String()+r.stdout.String(), strings.TrimSpace(string(admin)))
}

func TestLabFaultMistakes(t *testing.T) {
	w := newWorld(t)
	r, dir, base := w.startLab()
	for _, test := range []struct {
		code int
		args string
		says string
	}{
		{2, "entra", "KIND is missing"},
		{2, "entra outage x", "one argument too many"},
		{2, "x outage", `unknown issuer "x"`},
		{2, "entra,x off", `unknown issuer "x"`},
		{2, "entra fire", `unknown fault "fire": there are throttle, malformed, outage, slow, skew, and off`},
		{2, "entra outage --how html", "there are 5xx, refused, hang, reset"},
		{2, "entra outage --for 25h", "up to 24h"},
		{2, "entra outage --for 0s", "nothing to it"},
		{2, "entra outage --probability 0", "nothing to it"},
		{2, "entra outage --probability 2", "probability"},
		{2, "entra outage --json", "--json is for what fails"},
		{2, "entra slow", "is missing"},
		{2, "entra throttle --how date", "retry-after"},
		{2, "all throttle --tenant contoso.example", "tenant"},
		{2, "entra off --for 5m", "--for goes with a kind"},
		{2, "--seed 5", "--seed goes with an issuer and a kind"},
		{2, "status --how hang", "--how goes with"},
		{5, "entra outage", "neither --lab nor $FRESHET_LAB is set"},
		{2, "--lab " + base, "$FRESHET_LAB_ADMIN_TOKEN_FILE"},
		{2, "--lab http://example.com --admin-token-file DIR/admin-token", "on this machine"},
		{2, "--lab http://192.0.2.1:9920 --admin-token-file DIR/admin-token", "on this machine"},
		{2, "--lab https://127.0.0.1:9920 --admin-token-file DIR/admin-token", "on this machine"},
		{2, "--lab http://u:p@127.0.0.1:9920 --admin-token-file DIR/admin-token", "on this machine"},
		{2, "--lab " + base + "/x --admin-token-file DIR/admin-token", "on this machine"},
		{2, "--lab " + base + " --admin-token-file DIR/none", "is the lab still running?"},
		{5, "--lab http://127.0.0.1:1 --admin-token-file DIR/admin-token", "connection refused"},
		{4, "--lab " + base + " --admin-token-file DIR/client-secret", "does not take this admin token"},
		{4, "entra outage --lab " + base + " --admin-token-file DIR/client-secret", "does not take this admin token"},
	} {
		args := append([]string{"lab", "fault"}, strings.Fields(strings.ReplaceAll(test.args, "DIR", dir))...)
		stdout, stderr := w.freshet(test.code, args...)
		if stdout != "" || !strings.HasPrefix(stderr, "freshet: lab fault: ") || !strings.Contains(stderr, test.says) || !strings.Contains(stderr, "hint: ") {
			t.Errorf("freshet lab fault %s: got %q, %q, want %q", test.args, stdout, stderr, test.says)
		}
	}
	if _, stderr := w.freshet(5, "lab", "fault"); !strings.Contains(stderr, "hint: start one with: freshet lab serve") {
		t.Errorf("without a lab: got %q", stderr)
	}
	w.export(r)
	if page, _ := w.freshet(0, "lab", "fault"); !strings.HasPrefix(page, "nothing fails on purpose\n") {
		t.Errorf("a mistake took effect:\n%s", page)
	}
}

// TestLabFaultTellsTheTokenToNobodyElse runs against what is no lab, and what leads elsewhere.
func TestLabFaultTellsTheTokenToNobodyElse(t *testing.T) {
	w := newWorld(t)
	w.write("token", strings.Repeat("0123456789", 4)+"\n")
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"a redirect":      func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) },
		"a page":          func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"another service": http.NotFound,
	} {
		server := httptest.NewServer(answer)
		stdout, stderr := w.freshet(5, "lab", "fault", "--lab", server.URL, "--admin-token-file", "token")
		if stdout != "" || !strings.HasPrefix(stderr, "freshet: lab fault: ") || strings.Contains(stderr, "0123456789") || strings.Contains(stderr, "<html>") {
			t.Errorf("%s: got %q, %q", name, stdout, stderr)
		}
		server.Close()
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests went elsewhere", n)
	}
}

func TestLabFaultCompletes(t *testing.T) {
	w := newWorld(t)
	for args, want := range map[string]string{
		"lab fault ":                    "az container entra msi oauth openai sts all status",
		"lab fault entra ":              "throttle malformed outage slow skew off",
		"lab fault entra outage ":       "",
		"lab fault entra outage --how ": "5xx refused hang reset",
		"lab fault entra slow --how ":   "",
	} {
		stdout, _ := w.freshet(0, append([]string{"__complete"}, strings.Split(args, " ")...)...)
		var words []string
		for line := range strings.Lines(stdout) {
			if word, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(word, ":") {
				words = append(words, word)
			}
		}
		if got := strings.Join(words, " "); got != want {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}
