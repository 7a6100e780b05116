package child

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

const parentFifo = "CHILD_TEST_PARENT_FIFO"

// TestParentThatIsKilled is no test: it is the process that TestChildDiesWithItsParent kills.
func TestParentThatIsKilled(t *testing.T) {
	fifo := os.Getenv(parentFifo)
	if fifo == "" {
		t.Skip("run by TestChildDiesWithItsParent")
	}
	_, err := new(Runner).Run(t.Context(), sh(`echo $$ > "$1"; exec sleep 1000`, fifo))
	t.Errorf("the child ended: %v", err)
}

func TestChildDiesWithItsParent(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "pid")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	parent := exec.CommandContext(bounded(t), os.Args[0], "-test.run=^TestParentThatIsKilled$")
	parent.Env = append(os.Environ(), parentFifo+"="+fifo)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(fifo)
	if err != nil {
		t.Fatal(err)
	}
	pid := pidOf(t, bytes.TrimSpace(line))
	if !groupAlive(pid) {
		t.Error("the child was not there to begin with")
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	wantGone(t, pid)
}

// TestNoTerminal: a helper that asks on the terminal must fail at once rather than be stopped there, so it leads a
// session, and a new session has no terminal.
func TestNoTerminal(t *testing.T) {
	out, err := new(Runner).Run(bounded(t), sh(`echo $$; cut -d" " -f5,6 /proc/$$/stat`)) // group, session
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(pidOf(t, out.Stdout))
	if got, want := string(out.Stdout), pid+"\n"+pid+" "+pid+"\n"; got != want {
		t.Errorf("got process, group and session %q, want %q", got, want)
	}
}
