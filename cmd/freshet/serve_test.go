package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"freshet.dev/client"
)

// TestServiceManagerIsTold speaks for systemd: a datagram socket that NOTIFY_SOCKET names.
func TestServiceManagerIsTold(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(w.run, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	told := func(want ...string) {
		t.Helper()
		buf := make([]byte, 4096)
		_ = l.SetReadDeadline(time.Now().Add(patience))
		n, err := l.Read(buf)
		if err != nil {
			t.Fatalf("waiting for %v: %v", want, err)
		}
		for _, line := range want {
			if !strings.Contains("\n"+string(buf[:n])+"\n", "\n"+line) {
				t.Fatalf("got %q, want a line %s", buf[:n], line)
			}
		}
	}
	w.write("token", "tok")
	w.write("c.yaml", "version: 1\nidentities: {id: {source: file, path: DIR/token}}\n")
	w.env = append(w.env, "NOTIFY_SOCKET="+path)
	d := w.serve()
	told("READY=1")
	d.signal(syscall.SIGHUP)
	told("RELOADING=1", "MONOTONIC_USEC=")
	told("READY=1")
	d.signal(syscall.SIGTERM)
	told("STOPPING=1")
	if code := d.wait(); code != 0 {
		t.Errorf("got exit code %d", code)
	}
}

func TestHangupAndFileChangeReload(t *testing.T) {
	w := newWorld(t)
	w.write("token", "tok")
	w.write("c.yaml", "version: 1\nidentities: {id: {source: file, path: DIR/token}}\n")
	d := w.serve()
	w.write("c.yaml", "version: 1\nidentities: {id: {source: file, path: DIR/token}, more: {source: file, path: DIR/token}}\n")
	d.says("configuration reloaded")
	w.freshet(0, "token", "more")
	w.write("c.yaml", "version: 1\nidentities: {id: {source: file, pth: DIR/token}}\n")
	d.says("configuration not reloaded")
	d.says("did you mean path?")
	w.freshet(2, "token", "id") // the command reads FRESHET_CONFIG itself, and it is wrong
	if out, _ := w.statusJSON(); !strings.Contains(out.ConfigError, "c.yaml:2:") {
		t.Errorf("status says %q about a wrong file", out.ConfigError)
	}
	// A file that the daemon refuses for what only it has, such as a variable, is in order for a command, which is told where to look.
	w.write("c.yaml", "version: 1\nidentities: {id: {source: oauth2, token_url: 'http://127.0.0.1:1', client_id: x, client_secret: {env: ONLY_HERE}}}\n")
	w.await("the daemon refuses it", func() bool { return strings.Contains(d.stderr.String(), "ONLY_HERE is not set") })
	if _, stderr := w.freshet(2, "token", "id"); !strings.Contains(stderr, "freshet status says how") {
		t.Errorf("token says %s", stderr)
	}
	if out, _ := w.freshet(0, "status"); !strings.Contains(out, "the file as it is now is not in force") || !strings.Contains(out, "ONLY_HERE") {
		t.Errorf("status says %s", out)
	}
	d.signal(syscall.SIGHUP)
	w.await("the second report", func() bool { return strings.Count(d.stderr.String(), "configuration not reloaded") >= 2 })
	w.write("c.yaml", "version: 1\nidentities: {id: {source: file, path: DIR/token}}\n")
	w.await("the good file is in force", func() bool { s, _ := w.statusJSON(); return s != nil && s.ConfigError == "" })
	w.freshet(2, "token", "more")
	w.freshet(0, "token", "id")
}

// statusJSON is what `freshet status --json` prints.
func (w *world) statusJSON() (*client.Status, string) {
	w.Helper()
	out, _ := w.freshet(0, "status", "--json")
	var s client.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		w.Fatalf("%v in %s", err, out)
	}
	return &s, out
}

func TestStatusShowsWhatLivesAndWhatFails(t *testing.T) {
	w := newWorld(t)
	w.write("token", "planted-token-1")
	w.write("c.yaml", `version: 1
identities:
  pod: {source: file, path: DIR/token, lifetime: 10h}
  down: {source: file, path: DIR/none}
  idle: {source: file, path: DIR/token}
`)
	if _, stderr := w.freshet(5, "status"); !strings.Contains(stderr, "no daemon is running") {
		t.Errorf("without a daemon: %s", stderr)
	}
	w.serve()
	w.freshet(0, "token", "pod")
	w.freshet(5, "token", "down")
	out, _ := w.freshet(0, "status")
	for _, want := range []string{"3 identities, 2 keys, 0 under way", "IDENTITY", "pod ", "9h59m", "fresh", "down ", "failing", "idle ", "\ndown: failed ", "hint: look at what should write the file"} {
		if !strings.Contains(out, want) {
			t.Errorf("status does not show %q:\n%s", want, out)
		}
	}
	s, text := w.statusJSON()
	if strings.Contains(out+text, "planted-token-1") {
		t.Error("status shows a secret")
	}
	if len(s.Identities) != 3 || s.Identities[2].Name != "pod" || len(s.Identities[2].Keys) != 1 || s.Identities[2].Keys[0].RefreshIn <= 0 ||
		s.Identities[2].Keys[0].Remaining <= 9*3600 || s.Config != w.path("c.yaml") {
		t.Errorf("status --json: %s", text)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("status has colours or the like, and nobody looks")
	}
	watching := w.start("freshet", "status", "--watch", "--json")
	w.await("two documents", func() bool { return strings.Count(watching.stdout.String(), "\n") >= 2 })
	watching.signal(syscall.SIGINT)
	if code := watching.wait(); code != 0 {
		t.Errorf("--watch ended by Ctrl-C: exit code %d, %s", code, watching.stderr.String())
	}
}

func TestFileThatChangesUnderExecIsInUse(t *testing.T) {
	w := newWorld(t)
	w.write("token", "one")
	w.write("c.yaml", "version: 1\nidentities: {pod: {source: file, path: DIR/token, lifetime: 10h}}\n")
	w.start("freshet", "exec", "pod", "sh", "-c", `
while :; do
  freshet token pod >answer.new && mv answer.new answer
  sleep 0.1
done`)
	w.await("the token", func() bool { return strings.Contains(w.read("answer"), "one") })
	w.write("token", "two")
	w.await("the new token", func() bool { return strings.Contains(w.read("answer"), "two") })
}

func TestCompletionNamesIdentities(t *testing.T) {
	w := newWorld(t)
	w.write("token", "tok")
	w.write("c.yaml", "version: 1\nidentities: {internal: {source: file, path: DIR/token}}\n")
	if out, _ := w.freshet(0, "__complete", "token", ""); !strings.Contains(out, "internal\tfile\n") {
		t.Errorf("token completes to %s", out)
	}
	if out, _ := w.freshet(0, "__complete", "token", "internal", "--format", ""); !strings.Contains(out, "aws-process\n") {
		t.Errorf("--format completes to %s", out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, stderr := w.freshet(0, "completion", shell); !strings.Contains(out, "freshet") || stderr != "" {
			t.Errorf("%s: %d bytes, %s", shell, len(out), stderr)
		}
	}
	if _, stderr := w.freshet(2, "completion", "tcsh"); !strings.Contains(stderr, "there are bash, zsh and fish") {
		t.Error(stderr)
	}
}

// TestExecCallsFromTheIdentitysRegion runs programs whose user has another region by default.
func TestExecCallsFromTheIdentitysRegion(t *testing.T) {
	w := newWorld(t)
	if err := os.Mkdir(w.path(".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.write(".aws/config", "[default]\nregion = us-west-2\n[profile prod]\nregion = eu-north-1\n")
	w.write(".aws/credentials", "[prod]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = planted\n")
	w.write("c.yaml", `version: 1
identities:
  prod: {source: aws-profile, profile: prod}
  keys: {source: lab, type: aws}
`)
	w.env = append(w.env, "AWS_PROFILE=default")
	for _, daemon := range []bool{false, true} {
		if daemon {
			w.serve()
		}
		for identities, want := range map[string]string{
			"prod":      "[default]\nregion = eu-north-1\n",
			"keys":      "[default]\nregion = us-west-2\n",
			"keys,prod": "[default]\nregion = us-west-2\n\n[profile prod]\nregion = eu-north-1\ncredential_process",
		} {
			out, _ := w.freshet(0, "exec", identities, "sh", "-c", "cat $AWS_CONFIG_FILE; echo $AWS_EC2_METADATA_DISABLED")
			if !strings.HasPrefix(out, want) || !strings.HasSuffix(out, "true\n") {
				t.Errorf("%s, daemon %v: got\n%s\nwant\n%s", identities, daemon, out, want)
			}
		}
	}
}
