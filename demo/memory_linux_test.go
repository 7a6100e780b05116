package demo

import (
	"bytes"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestMemoryOfAllDescendants has a shell's child hold memory: it counts for whoever leads the shell's group, and for the shell.
func TestMemoryOfAllDescendants(t *testing.T) {
	const held = 40 << 20
	// tail keeps all of it until its input ends, which is when ours does.
	cmd := exec.Command("/bin/sh", "-c", "(head -c 41943040 /dev/zero; echo >&2; cat) | tail -c 41943040 >/dev/null; exit 0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	filled, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close()
		_ = cmd.Wait()
	}()
	if _, err := io.ReadFull(filled, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	got, ok := privateMemory([]int{cmd.Process.Pid})
	// A pipe's worth may be on its way; and a shell and three small programs take a little.
	if !ok || got < held-1<<20 || got > held+24<<20 {
		t.Errorf("got %d, %v, want about %d", got, ok, held)
	}
	g := measure([]int{cmd.Process.Pid})
	for g.soFar() == nil {
		<-time.After(time.Millisecond)
	}
	if peak := g.stop(); peak == nil || *peak < held-1<<20 {
		t.Errorf("peak: got %v, want about %d", peak, held)
	}
	if own, ok := privateMemory([]int{os.Getpid()}); !ok || own < got {
		t.Errorf("this process and its children: got %d, want more than the %d of one child", own, got)
	}
	if n, ok := privateMemory([]int{math.MaxInt32}); ok || n != 0 {
		t.Errorf("nobody: got %d, %v", n, ok)
	}
}

// TestAvailableMemory reads this machine's.
func TestAvailableMemory(t *testing.T) {
	if n, ok := availableMemory(); !ok || n < 1<<20 {
		t.Errorf("got %d, %v", n, ok)
	}
}

// TestContainersLimits takes the tightest of the groups that a process is in.
func TestContainersLimits(t *testing.T) {
	root := t.TempDir()
	write := func(group, limit, used string) {
		t.Helper()
		dir := filepath.Join(root, group)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"memory.max": limit, "memory.current": used} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("a", "1000", "100")
	write("a/b", "max", "50")
	write("a/b/tight", "400", "100")
	write("a/b/full", "400", "500")
	for path, want := range map[string]int64{"/a/b": 900, "/a/b/tight": 300, "/a/b/full": 0, "/": math.MaxInt64, "/gone": math.MaxInt64} {
		groups := bytes.Join([][]byte{[]byte("3:memory:/elsewhere"), []byte("0::" + path), nil}, []byte("\n"))
		if got := allowance(root, groups); got != want {
			t.Errorf("%s: got %d, want %d", path, got, want)
		}
	}
	if got := allowance(root, nil); got != math.MaxInt64 {
		t.Errorf("no groups: got %d", got)
	}
}
