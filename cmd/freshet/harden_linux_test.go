package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is a uid that owns nothing, for tests that root runs: the kernel's marks of an undumpable process show on others'.
const nobody = 65534

// asUser has the commands of a world run as somebody else than root.
func (w *world) asUser() {
	w.Helper()
	if os.Getuid() != 0 {
		return
	}
	bin := filepath.Join(w.run, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		w.Fatal(err)
	}
	// The folders that hold the test's own binary are closed to others.
	for _, program := range []string{"freshet", "sdk"} {
		from, err := exec.LookPath(program)
		if err != nil {
			w.Fatal(err)
		}
		b, err := os.ReadFile(from)
		if err != nil {
			w.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, program), b, 0o755); err != nil {
			w.Fatal(err)
		}
	}
	w.env[0] = "PATH=" + bin + ":" + os.Getenv("PATH")
	w.dir = filepath.Join(w.run, "home")
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		w.Fatal(err)
	}
	for i, kv := range w.env {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "HOME", "TMPDIR":
			w.env[i] = name + "=" + w.dir
		case "FRESHET_CONFIG":
			w.env[i] = name + "=" + w.path("c.yaml")
		}
	}
	w.user = &syscall.Credential{Uid: nobody, Gid: nobody}
	for _, path := range []string{w.run, w.dir} {
		if err := os.Chown(path, nobody, nobody); err != nil {
			w.Fatal(err)
		}
	}
}

// chown gives a file to the user that the commands run as.
func (w *world) chown(name string) {
	w.Helper()
	if w.user == nil {
		return
	}
	if err := os.Chown(w.path(name), int(w.user.Uid), int(w.user.Gid)); err != nil {
		w.Fatal(err)
	}
}

// uid is the user that the commands run as.
func (w *world) uid() int {
	if w.user != nil {
		return int(w.user.Uid)
	}
	return os.Getuid()
}

// owner is the uid that the kernel lets look into a process: root, of one that is not dumpable.
func (w *world) owner(pid int) int {
	w.Helper()
	info, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		w.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

// TestDaemonIsNotDumpable looks at a daemon from outside: no debugger of its user's may attach, and it writes no core. The
// same holds for exec where there is no daemon, and not for the program that exec runs.
func TestDaemonIsNotDumpable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.asUser()
	w.write("c.yaml", helloConfig)
	w.chown("c.yaml")

	private := w.start("freshet", "exec", "hello", "sh", "-c", "echo $$ >pid; exec sleep 1000")
	program := w.awaitPID("pid")
	if got := w.owner(private.cmd.Process.Pid); got != 0 {
		t.Errorf("exec can be looked into by uid %d", got)
	}
	if got, want := w.owner(program), w.uid(); got != want {
		t.Errorf("exec's program belongs to uid %d, want %d: it is nobody's business but its own", got, want)
	}
	inherited, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", program))
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := coreLimit(string(inherited)), coreLimit(string(own)); got != want {
		t.Errorf("exec's program has the core limit %q, want this process's %q", got, want)
	}

	d := w.serve()
	if got := w.owner(d.cmd.Process.Pid); got != 0 {
		t.Errorf("the daemon can be looked into by uid %d", got)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", d.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if got := coreLimit(string(limits)); got != "0 0" {
		t.Errorf("the daemon's core limit is %q, want 0", got)
	}
}

func coreLimit(limits string) string {
	for line := range strings.Lines(limits) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			f := strings.Fields(rest)
			return f[0] + " " + f[1]
		}
	}
	return "none"
}

// TestDaemonBar measures how soon a daemon is ready and what it takes idle: at most 50 ms and 25 MiB. Machines are noisy, so it
// fails at twice that only.
func TestDaemonBar(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector is measured too")
	}
	w := newWorld(t)
	bin := filepath.Join(t.TempDir(), "freshet")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	w.env = append(w.env, "DOOR=0123456789abcdef0123456789abcdef")
	w.write("c.yaml", helloConfig+`
endpoints:
  - {endpoint: oauth-token, listen: 127.0.0.1:0, identities: [hello, slow], secret: {env: DOOR}}
metrics: {listen: 127.0.0.1:0}
audit: {file: DIR/audit.log}
`)
	best, rss := time.Hour, 0
	for range 10 {
		cmd := exec.Command(bin, "serve")
		cmd.Dir, cmd.Env = w.dir, w.env
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 4096)
		n, err := stderr.Read(line)
		took := time.Since(began)
		if err != nil || !strings.HasPrefix(string(line[:n]), "freshet: ready: ") {
			t.Fatalf("got %q, %v, want the ready line", line[:n], err)
		}
		best = min(best, took)
		rss = max(rss, w.resident(cmd.Process.Pid))
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	t.Logf("ready after %v (bar 50 ms), best of 10; resident idle %.1f MiB (bar 25 MiB), worst of 10", best.Round(100*time.Microsecond), float64(rss)/1024)
	if best > 100*time.Millisecond {
		t.Errorf("ready after %v, more than twice 50 ms", best)
	}
	if rss > 50<<10 {
		t.Errorf("%d KiB idle, more than twice 25 MiB", rss)
	}
}

// resident is a process's memory in KiB.
func (w *world) resident(pid int) int {
	w.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		w.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				w.Fatal(err)
			}
			return n
		}
	}
	w.Fatal("no VmRSS")
	return 0
}
