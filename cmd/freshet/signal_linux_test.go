package main

import (
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// hearSignals makes programs that the test starts hear the signals that a shell has its background jobs ignore (nohup: SIGHUP;
// "&" in a script: SIGINT and SIGQUIT): ignoring is inherited, and this test may run in such a job.
func hearSignals(t *testing.T) {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	t.Cleanup(func() { signal.Stop(caught) })
}

// TestSignalsReachTheChildOnce sends signals to exec alone, as a supervisor does.
func TestSignalsReachTheChildOnce(t *testing.T) {
	t.Parallel()
	hearSignals(t)
	withAndWithoutDaemon(t, func(w *world) {
		cmd := w.command("freshet", "exec", "hello", "sdk", "signals", "got")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
		r := w.begin(cmd)
		w.await("the program is ready", func() bool { return w.lines("got") == 1 })
		want := "ready " + strings.Fields(w.read("got"))[1] + "\n"
		for i, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTERM} {
			r.signal(s)
			want += s.String() + "\n"
			w.await(s.String(), func() bool { return w.lines("got") >= i+2 })
		}
		r.signal(syscall.SIGUSR2)
		if code := r.wait(); code != 0 {
			w.Errorf("got exit code %d", code)
		}
		if got := w.read("got"); got != want {
			w.Errorf("the program got %q, want %q", got, want)
		}
	})
}

// TestInterruptAtTheTerminal presses Ctrl-C: the terminal sends the signal to exec and its program alike, and the program gets
// it once. The program has the terminal.
func TestInterruptAtTheTerminal(t *testing.T) {
	t.Parallel()
	hearSignals(t)
	withAndWithoutDaemon(t, func(w *world) {
		master, slave := w.terminal()
		cmd := w.command("freshet", "exec", "hello", "sh", "-c", "test -t 0 && test -t 1 && exec sdk signals got")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		r := w.begin(cmd)
		w.await("the program is ready", func() bool { return w.lines("got") == 1 })
		const presses = 5
		for i := range presses {
			if _, err := master.Write([]byte{3}); err != nil {
				w.Fatal(err)
			}
			w.await("the signal", func() bool { return w.lines("got") >= i+2 })
		}
		r.signal(syscall.SIGUSR2)
		if code := r.wait(); code != 0 {
			w.Errorf("got exit code %d", code)
		}
		if got := strings.Count(w.read("got"), "interrupt\n"); got != presses {
			w.Errorf("the program got %d interrupts of %d presses", got, presses)
		}
	})
}

// TestInterruptDuringRetrieval presses Ctrl-C, or has a supervisor stop exec, before its program runs: exec ends at once.
func TestInterruptDuringRetrieval(t *testing.T) {
	t.Parallel()
	hearSignals(t)
	withAndWithoutDaemon(t, func(w *world) {
		r := w.start("freshet", "exec", "hanging", "sh", "-c", "touch started")
		w.await("the source runs", func() bool { return w.lines("hanging") > 0 })
		r.signal(syscall.SIGINT)
		if code := r.wait(); code != 125 {
			w.Errorf("got exit code %d, want 125", code)
		}
		if got := r.stderr.String(); !strings.Contains(got, "cancelled") {
			w.Errorf("got %q", got)
		}
		if _, err := os.Stat(w.path("started")); err == nil {
			w.Error("the program ran")
		}
		if left := w.runs(); len(left) > 0 {
			w.Errorf("%v is left", left)
		}
	})
}

// TestIgnoredSignalsStayIgnored runs exec as nohup does: what was ignored is neither caught nor passed on, and the program
// inherits that.
func TestIgnoredSignalsStayIgnored(t *testing.T) {
	t.Parallel()
	withAndWithoutDaemon(t, func(w *world) {
		r := w.start("sh", "-c", "trap '' HUP INT; exec freshet exec hello sh -c 'echo $$ >pid; grep SigIgn /proc/self/status >ignored; exec sleep 1000'")
		w.awaitPID("pid")
		r.signal(syscall.SIGHUP)
		r.signal(syscall.SIGINT)
		w.await("what it ignores", func() bool { return w.lines("ignored") == 1 })
		set, err := strconv.ParseUint(strings.Fields(w.read("ignored"))[1], 16, 64)
		if want := uint64(1<<(syscall.SIGHUP-1) | 1<<(syscall.SIGINT-1)); err != nil || set&want != want {
			w.Errorf("the program ignores %x, want %x among it: %v", set, want, err)
		}
		select {
		case <-r.ended:
			w.Errorf("exec ended: %s", r.stderr.String())
		default:
		}
		r.signal(syscall.SIGTERM)
		if code := r.wait(); code != 128+int(syscall.SIGTERM) {
			w.Errorf("got exit code %d", code)
		}
	})
}

// terminal makes a pseudo-terminal.
func (w *world) terminal() (master, slave *os.File) {
	w.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		w.Skipf("no pseudo-terminals: %v", err)
	}
	w.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		w.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		w.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		w.Skipf("no pseudo-terminals: %v", err)
	}
	w.Cleanup(func() { slave.Close() })
	return master, slave
}
