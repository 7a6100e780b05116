package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"freshet.dev/demo"
)

// demoWorld is a world whose home, temp and run-time folders are empty, and whose user has settings, logins and proxies that
// would lead every SDK astray.
func demoWorld(t *testing.T) *world {
	w := newWorld(t)
	home := filepath.Join(w.dir, "home")
	for _, dir := range []string{"home", "home/.aws", "tmp"} {
		if err := os.Mkdir(w.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.write("home/.aws/config", "[default]\ncredential_process = /bin/false\nregion = \n")
	w.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + w.path("tmp"), "XDG_RUNTIME_DIR=" + w.run, hasty,
		"FRESHET_CONFIG=/nowhere/freshet.yaml", "FRESHET_SOCKET=/nowhere/sock", "FRESHET_ANCESTRY=orders",
		"HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1", "AWS_PROFILE=other", "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1/",
		"IDENTITY_ENDPOINT=http://127.0.0.1:1/", "IDENTITY_HEADER=x", "AZURE_TENANT_ID=elsewhere", "FRESHET_LAB=http://127.0.0.1:1",
	}
	return w
}

// leavesNothing wants the world's folders to be as they were.
func (w *world) leavesNothing() {
	w.Helper()
	for dir, want := range map[string]int{w.path("tmp"): 0, w.run: 0, w.path("home"): 1, w.path("home/.aws"): 1, w.dir: 2} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != want {
			w.Errorf("%s: got %v, %v, want %d entries", dir, entries, err, want)
		}
	}
}

// TestDemo measures with a few callers of each client: without freshet each of them reaches an issuer, with it one request does
// for all of them, or one for each link of a chain.
func TestDemo(t *testing.T) {
	t.Parallel()
	w := demoWorld(t)
	const callers = 6
	stdout, stderr := w.freshet(0, "demo", "--json", "--callers", "6")
	w.leavesNothing()
	var l demo.Ledger
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil || d.More() {
		t.Fatalf("got %v of %s", err, stdout)
	}
	// issuers are those that the answer to one caller takes with freshet.
	issuers := []int64{1, 1, 2, 1}
	if len(l.Rows) != len(issuers) || l.Callers != callers {
		t.Fatalf("got %d rows of %d callers, want %d of %d", len(l.Rows), l.Callers, len(issuers), callers)
	}
	for i, r := range l.Rows {
		az := strings.Contains(r.Client, "AzureCLI")
		if r.Client == "" || r.Module == "" || r.Door == "" || r.Daemon == az {
			t.Errorf("got row %+v", r)
		}
		if r.Without.IssuerCalls != callers || r.With.IssuerCalls != issuers[i] {
			t.Errorf("%s: got %d issuer calls without freshet and %d with it, want %d and %d", r.Client, r.Without.IssuerCalls, r.With.IssuerCalls, callers, issuers[i])
		}
		if without, with := r.Without.Processes, r.With.Processes; az && (without != callers || with != 1) || !az && without+with != 0 {
			t.Errorf("%s: got %d az without freshet and %d with it", r.Client, without, with)
		}
		for side, f := range map[string]demo.Figures{"without": r.Without, "with": r.With} {
			if f.Callers != callers || f.Failures != 0 || f.Failure != "" {
				t.Errorf("%s, %s freshet: %d of %d callers failed: %s", r.Client, side, f.Failures, f.Callers, f.Failure)
			}
			// Every one of them waits for an issuer that takes its time.
			if f.P50MS < l.IssuerLatencyMS && !az || f.P50MS > f.P99MS || f.P99MS > f.WallMS {
				t.Errorf("%s, %s freshet: got p50 %v, p99 %v of %v ms", r.Client, side, f.P50MS, f.P99MS, f.WallMS)
			}
			if p := f.PeakMemoryBytes; (p == nil) != (runtime.GOOS != "linux") || p != nil && *p < 1<<20 {
				t.Errorf("%s, %s freshet: got peak memory %v", r.Client, side, p)
			}
			if p := f.PeakMemoryBytes; az && p != nil && *p < l.AzureCLI.MemoryBytes {
				t.Errorf("%s, %s freshet: got peak memory %d, less than that of one az", r.Client, side, *p)
			}
		}
	}
	if l.Total.Without.IssuerCalls != 4*callers || l.Total.With.IssuerCalls != 5 || l.Total.Without.Processes != callers || l.Total.With.Processes != 1 {
		t.Errorf("got total %+v", l.Total)
	}
	if want := (demo.Moments{
		Without: demo.Moment{Callers: callers, Cancelled: 1, Served: callers - 1, IssuerCalls: callers},
		With:    demo.Moment{Callers: callers, Cancelled: 1, Served: callers - 1, IssuerCalls: 1},
	}); l.Cancelled != want {
		t.Errorf("cancelled: got %+v, want %+v", l.Cancelled, want)
	}
	if want := (demo.Moments{
		Without: demo.Moment{Callers: callers, Served: callers, IssuerCalls: callers},
		With:    demo.Moment{Callers: callers, Served: callers, IssuerCalls: 1},
	}); l.Rejected != want {
		t.Errorf("rejected: got %+v, want %+v", l.Rejected, want)
	}
	if l.AzureCLI.WallMS < 500 || l.AzureCLI.MemoryBytes < 1<<20 || l.WallSeconds < 1 || l.Version != version {
		t.Errorf("got %+v", l)
	}
	if lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n"); len(lines) != 11 || strings.ContainsAny(stderr, "\r\x1b") ||
		lines[0] != "freshet: demo: 1/11: one az, alone" || lines[10] != "freshet: demo: 11/11: one credential is refused" {
		t.Errorf("progress: got %q", stderr)
	}
}

// TestDemoTable prints the ledger for a person, and what to do next.
func TestDemoTable(t *testing.T) {
	t.Parallel()
	w := demoWorld(t)
	stdout, _ := w.freshet(0, "demo", "--callers", "2")
	w.leavesNothing()
	for _, want := range []string{
		"2 callers of each client,", "azidentity AzureCLICredential", "  with freshet: aws-container ", "8 issuer calls → 5 · 2 az processes → 1",
		"cancelled  the first of 2 callers, mid-flight: 1 of 1 others got theirs · issuer calls 2 → 1\n",
		"rejected   one version, by a service; 2 callers said so: 2 got the next · issuer calls 2 → 1\n",
		"\nnext  freshet lab serve ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("got\n%s\nwithout %q", stdout, want)
		}
	}
	if strings.Contains(stdout, "\x1b") {
		t.Error("colours where there is no terminal")
	}
}

// TestDemoIsInterrupted ends it while az run, and while a daemon does: its processes end, theirs too, and nothing is left.
func TestDemoIsInterrupted(t *testing.T) {
	t.Parallel()
	for step, signal := range map[string]syscall.Signal{"2/11": syscall.SIGINT, "10/11": syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			w := demoWorld(t)
			r := w.start("freshet", "demo", "--callers", "4")
			r.says("freshet: demo: " + step)
			child, _ := w.demoChild(r)
			if step == "2/11" && isProc() {
				w.await("an az", func() bool { return len(w.family(child)) > 0 })
			}
			r.signal(signal)
			if code := r.wait(); code != 5 || r.stdout.String() != "" || !strings.HasSuffix(r.stderr.String(), "\nfreshet: demo: interrupted\n") {
				t.Errorf("got exit code %d, %q, %q", code, r.stdout.String(), r.stderr.String())
			}
			w.leavesNothing()
			if child != 0 {
				w.await("the end of its processes", func() bool { return !alive(child) && len(w.family(child)) == 0 })
			}
		})
	}
}

// TestDemoIsKilled leaves its daemon alone, which ends by itself. It has no secret in its arguments, which everybody may read.
func TestDemoIsKilled(t *testing.T) {
	if !isProc() {
		t.Skip("looks into /proc")
	}
	t.Parallel()
	w := demoWorld(t)
	r := w.start("freshet", "demo", "--callers", "2")
	r.says("freshet: demo: 10/11")
	child, args := w.demoChild(r)
	config, ok := strings.CutPrefix(args, "freshet demo daemon --config ")
	if !ok || filepath.Base(config) != "freshet.yaml" || strings.Contains(config, " ") {
		t.Errorf("got arguments %q", args)
	}
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(config)) }) // in /tmp, if the temp folder's path is too long for a socket
	r.signal(syscall.SIGKILL)
	r.wait()
	w.await("the daemon's end", func() bool { return !alive(child) })
}

// family are processes by their arguments, on a system that has /proc: those whose parent or whose group's leader has this id.
func (w *world) family(pid int) map[int]string {
	w.Helper()
	list := make(map[int]string)
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		w.Fatal(err)
	}
	for _, path := range all {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest) // its state, its parent, its group
		if len(fields) < 3 || fields[0] == "Z" || fields[1] != strconv.Itoa(pid) && fields[2] != strconv.Itoa(pid) {
			continue
		}
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			w.Fatal(err)
		}
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if id != pid {
			list[id] = strings.TrimSpace(strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return list
}

// demoChild is the one child that a demo has at this moment, which leads a group of its own; 0 where there is no /proc.
func (w *world) demoChild(r *running) (pid int, args string) {
	w.Helper()
	if !isProc() {
		return 0, ""
	}
	children := w.family(r.cmd.Process.Pid)
	if len(children) != 1 {
		w.Errorf("got children %v, want one", children)
	}
	for pid, args = range children {
	}
	return pid, args
}

// TestDemoUsage keeps the commands that the demo runs for itself out of sight, and out of a person's way.
func TestDemoUsage(t *testing.T) {
	t.Parallel()
	w := demoWorld(t)
	if stdout, _ := w.freshet(0, "demo", "--help"); strings.Contains(stdout, "phase") || strings.Contains(stdout, "daemon  ") || !strings.Contains(stdout, "--json") {
		t.Errorf("got %s", stdout)
	}
	for _, args := range [][]string{{"demo", "--callers", "1"}, {"demo", "--callers", "501"}, {"demo", "all"}, {"demo", "phase"}} {
		if stdout, stderr := w.freshet(2, args...); stdout != "" || !strings.HasPrefix(stderr, "freshet: demo") {
			t.Errorf("%v: got %q, %q", args, stdout, stderr)
		}
	}
	w.leavesNothing()
}
