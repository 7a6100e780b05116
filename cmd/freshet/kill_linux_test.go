package main

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helloConfig has an identity that answers at once and one that takes its time.
const helloConfig = `version: 1
identities:
  hello: {source: process, command: [echo, tok], lifetime: 1h}
  slow: {source: process, command: [sh, -c, 'echo run >>DIR/runs; sleep 1; echo slow-tok'], lifetime: 1h}
  hanging: {source: process, command: [sh, -c, 'echo run >>DIR/hanging; exec sleep 1000'], lifetime: 1h}
`

// runs lists the folders of commands that run, or were killed.
func (w *world) runs() []string {
	w.Helper()
	list, err := filepath.Glob(filepath.Join(w.run, "freshet", "runs", "*"))
	if err != nil {
		w.Fatal(err)
	}
	return list
}

// closed reports whether nothing listens at a URL's port.
func (w *world) closed(of string) bool {
	w.Helper()
	u, err := url.Parse(strings.TrimSpace(of))
	if err != nil || u.Host == "" {
		w.Fatalf("%q is not a URL: %v", of, err)
	}
	c, err := net.Dial("tcp", u.Host)
	if err == nil {
		c.Close()
	}
	return err != nil
}

// withAndWithoutDaemon runs a test in a world with a daemon and in one without.
func withAndWithoutDaemon(t *testing.T, f func(w *world)) {
	for _, mode := range []string{"daemon", "private"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("c.yaml", helloConfig)
			if mode == "daemon" {
				w.serve()
			}
			f(w)
		})
	}
}

// TestExecKilled kills exec: its program ends, its door closes, and its folder is removed by the next command.
func TestExecKilled(t *testing.T) {
	t.Parallel()
	withAndWithoutDaemon(t, func(w *world) {
		r := w.start("freshet", "exec", "hello", "--", "sh", "-c", "echo $FRESHET_TOKEN_URL >url; echo $$ >pid; exec sleep 1000")
		pid := w.awaitPID("pid")
		if len(w.runs()) != 1 || w.closed(w.read("url")) {
			w.Fatalf("the program has no folder, or no door: %v", w.runs())
		}
		r.signal(syscall.SIGKILL)
		r.wait()
		w.await("the program ends", func() bool { return !alive(pid) })
		w.await("its door closes", func() bool { return w.closed(w.read("url")) })
		w.freshet(0, "exec", "hello", "true")
		if left := w.runs(); len(left) > 0 {
			w.Errorf("%v is left", left)
		}
	})
}

// TestServeSweeps starts a daemon where an exec was killed: it removes what that left, and not what another still uses.
func TestServeSweeps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", helloConfig)
	killed := w.start("freshet", "exec", "hello", "--", "sh", "-c", "echo $$ >pid; exec sleep 1000")
	w.awaitPID("pid")
	before := w.runs()
	killed.signal(syscall.SIGKILL)
	killed.wait()
	live := w.start("freshet", "exec", "hello", "--", "sh", "-c", "echo $$ >pid2; exec sleep 1000")
	w.awaitPID("pid2")
	if len(before) != 1 || len(w.runs()) != 1 {
		w.Fatalf("folders: got %v, then %v", before, w.runs())
	}
	if err := os.Mkdir(before[0], 0o700); err != nil { // the killed one's again: the second exec had removed it
		w.Fatal(err)
	}
	w.serve()
	if left := w.runs(); len(left) != 1 || left[0] == before[0] {
		w.Errorf("got %v, want the living exec's alone", left)
	}
	_ = live
}

// TestChildKilled kills exec's program: exec says how it ended, and leaves nothing.
func TestChildKilled(t *testing.T) {
	t.Parallel()
	withAndWithoutDaemon(t, func(w *world) {
		r := w.start("freshet", "exec", "hello", "--", "sh", "-c", "echo $FRESHET_TOKEN_URL >url; echo $$ >pid; exec sleep 1000")
		pid := w.awaitPID("pid")
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			w.Fatal(err)
		}
		if code := r.wait(); code != 137 {
			w.Errorf("got exit code %d, want 137", code)
		}
		if left := w.runs(); len(left) > 0 {
			w.Errorf("%v is left", left)
		}
		w.await("the door closes", func() bool { return w.closed(w.read("url")) })
	})
}

// TestDaemonKilled kills the daemon under an exec and a waiting caller: the program goes on and is told, the caller retrieves for
// itself, and the next daemon takes the socket.
func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", helloConfig)
	w.write("program.sh", `
sdk oauth || exit 1
echo $$ >pid
while [ ! -e go ]; do sleep 0.05; done
sdk oauth
echo "sdk $?"
freshet token hello
echo "token $?"
exit 7
`)
	d := w.serve()
	r := w.start("freshet", "exec", "hello", "sh", "program.sh")
	pid := w.awaitPID("pid")
	caller := w.start("freshet", "token", "slow")
	w.await("the source runs", func() bool { return w.lines("runs") > 0 })
	d.signal(syscall.SIGKILL)
	if code := caller.wait(); code != 0 || caller.stdout.String() != "slow-tok\n" || caller.stderr.String() != "" {
		w.Errorf("the caller: got exit code %d, %q, %q, want its token", code, caller.stdout.String(), caller.stderr.String())
	}
	r.says("freshet: the daemon ended: this program gets no more credentials\nhint: ")
	if !alive(pid) {
		w.Error("the program ended with the daemon")
	}

	// The next daemon replaces the socket, and answers what asks by its path.
	<-d.ended // its lock goes with it
	w.serve()
	w.write("go", "")
	if code := r.wait(); code != 7 {
		w.Errorf("exec: got exit code %d, want the program's 7", code)
	}
	if got, want := r.stdout.String(), "tok\nsdk 9\ntok\ntoken 0\n"; got != want {
		w.Errorf("the program: got %q, want %q", got, want)
	}
	if left := w.runs(); len(left) > 0 {
		w.Errorf("%v is left", left)
	}
}

// TestServeDrains ends a daemon during a retrieval: who waits for it is answered, new callers are not, sessions are told, and
// it exits with 0.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", helloConfig)
	d := w.serve()
	r := w.start("freshet", "exec", "hello", "sh", "-c", "echo $$ >pid; exec sleep 1000")
	pid := w.awaitPID("pid")
	caller := w.start("freshet", "token", "slow")
	w.await("the source runs", func() bool { return w.lines("runs") > 0 })
	began := time.Now()
	d.signal(syscall.SIGTERM)
	r.says("freshet: the daemon ended: ")
	if took := time.Since(began); took > 4*time.Second {
		w.Errorf("the session was told after %v: it was cut, not ended", took)
	}
	if code := caller.wait(); code != 0 || caller.stdout.String() != "slow-tok\n" {
		w.Errorf("the caller: got exit code %d, %q, %q, want its token", code, caller.stdout.String(), caller.stderr.String())
	}
	if code := d.wait(); code != 0 {
		w.Errorf("serve: got exit code %d\n%s", code, d.stderr.String())
	}
	if took := time.Since(began); took > 10*time.Second {
		w.Errorf("serve took %v to end", took)
	}
	if !alive(pid) {
		w.Error("the program ended with the daemon")
	}
	if _, err := os.Stat(filepath.Join(w.run, "freshet", "freshet.sock")); err == nil {
		w.Error("the socket is left")
	}
}

// TestServeEndsDespiteAHungSource ends a daemon whose source does not answer: the caller is told, and the source's program is
// gone with the daemon.
func TestServeEndsDespiteAHungSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", strings.ReplaceAll(helloConfig, "echo run >>DIR/hanging;", "echo $$ >>DIR/hanging;"))
	d := w.serve()
	caller := w.start("freshet", "token", "hanging")
	source := w.awaitPID("hanging")
	began := time.Now()
	d.signal(syscall.SIGTERM)
	if code := d.wait(); code != 0 {
		w.Errorf("serve: got exit code %d\n%s", code, d.stderr.String())
	}
	if took := time.Since(began); took > 12*time.Second {
		w.Errorf("serve took %v to end", took)
	}
	if code := caller.wait(); code != 5 {
		w.Errorf("the caller: got exit code %d, %q", code, caller.stderr.String())
	}
	w.await("the source's program ends", func() bool { return !alive(source) })
}

// TestWarningThatNobodyReads kills the daemon under an exec whose standard error has no reader: its program goes on.
func TestWarningThatNobodyReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", helloConfig)
	d := w.serve()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := w.command("freshet", "exec", "hello", "sh", "-c", "echo $$ >pid; while [ ! -e go ]; do sleep 0.05; done; exit 7")
	cmd.Stderr = write
	r := w.begin(cmd)
	read.Close()
	write.Close()
	w.awaitPID("pid")
	d.signal(syscall.SIGKILL)
	d.wait()
	w.await("exec lets go of the daemon", func() bool {
		select {
		case <-r.ended:
			return true
		default:
			return w.connections(cmd.Process.Pid) == 0
		}
	})
	w.write("go", "")
	if code := r.wait(); code != 7 {
		t.Errorf("got exit code %d, want the program's 7", code)
	}
}

// connections is how many sockets a process has open.
func (w *world) connections(pid int) int {
	w.Helper()
	list, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	if err != nil {
		w.Fatal(err)
	}
	n := 0
	for _, fd := range list {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}
