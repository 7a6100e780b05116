package socket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// role tells a copy of this test's program what it is to do.
const role = "FRESHET_TEST_ROLE"

// nobody is a user that is not the one who runs this test.
const nobody = 65534

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "start": // as a daemon would, once its input ends
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		l, err := Listen(os.Args[1], 0o600, -1)
		if err != nil {
			fmt.Println("refused")
			return
		}
		fmt.Println("listening")
		for said := 0; said == 0; { // until the test has counted, and says so; others look whether somebody is there
			c, err := l.Accept()
			if err != nil {
				return
			}
			said, _ = c.Read(make([]byte, 1))
			c.Close()
		}
		return
	case "leave": // its lock and socket to a program, as one that is killed between fork and exec does
		l, err := Listen(os.Args[1], 0o600, -1)
		if err != nil {
			fmt.Println(err)
			return
		}
		inherited, err := l.File()
		if err != nil {
			fmt.Println(err)
			return
		}
		heir := exec.Command("sh", "-c", "read line")
		heir.Stdin, heir.ExtraFiles = os.Stdin, []*os.File{l.lock, inherited}
		fmt.Println(heir.Start())
		_ = heir.Wait()
	case "serve": // whoever connects
		l, err := Listen(os.Args[1], 0o666, -1)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("listening")
		_, _ = io.Copy(io.Discard, os.Stdin)
		l.Close()
	}
}

// run starts a copy of this program.
func run(t *testing.T, what, arg string, change func(*exec.Cmd)) (in io.WriteCloser, out *bufio.Scanner, cmd *exec.Cmd) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(exe, arg)
	cmd.Env = append(os.Environ(), role+"="+what)
	if change != nil {
		change(cmd)
	}
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return stdin, bufio.NewScanner(stdout), cmd
}

func listen(t *testing.T, path string) *Listener {
	t.Helper()
	l, err := Listen(path, 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	if e := freshet.AsError(err); e == nil || e.Kind != freshet.Invalid || !strings.Contains(e.Error(), want) || e.Hint == "" {
		t.Errorf("got %v, want an invalid one with a hint that says %q", err, want)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close() // as a daemon that was killed
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNobody) {
		t.Errorf("before: %v, want that nobody listens", err)
	}
	l := listen(t, path)
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close the socket is there: %v", err)
	}
	listen(t, path)
}

func TestSecondListenerIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listen(t, path)
	_, err := Listen(path, 0o600, -1)
	refused(t, err, "another freshet daemon has it")
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatalf("the first does not listen any more: %v", err)
	}
	c.Close()
}

// TestWhatADeadDaemonLeftToAProgramIsWaitedFor kills a daemon whose lock and socket are open elsewhere for a moment more, as they
// are in a program that it had begun to start: the next daemon takes the path as soon as that is over.
func TestWhatADeadDaemonLeftToAProgramIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	in, out, dead := run(t, "leave", path, nil)
	if out.Scan(); out.Text() != "<nil>" {
		t.Fatalf("the daemon's program did not start: %s", out.Text())
	}
	if _, err := Listen(path, 0o600, -1); err == nil {
		t.Fatal("the path was taken from a daemon that lives")
	}
	if err := dead.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = dead.Process.Wait() // not that of the command, which would close the program's input
	taken := make(chan error)
	go func() {
		l, err := Listen(path, 0o600, -1)
		if err == nil {
			l.Close()
		}
		taken <- err
	}()
	select {
	case err := <-taken:
		t.Fatalf("not waited for: %v", err)
	case <-time.After(passing / 10):
	}
	in.Close()
	if err := <-taken; err != nil {
		t.Error(err)
	}
}

func TestAnotherProgramsSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	// Once with room in its queue, and once without: it does not accept.
	for range 3 {
		_, err := Listen(path, 0o600, -1)
		refused(t, err, "another program listens there")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("its socket: %v", err)
	}
}

func TestWhatIsNoSocketIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	file, link, target := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "target")
	if err := errors.Join(os.WriteFile(file, []byte("data"), 0o600), os.WriteFile(target, nil, 0o600), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir + "/."} {
		_, err := Listen(path, 0o600, -1)
		if e := freshet.AsError(err); e == nil || e.Kind != freshet.Invalid {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "data" {
		t.Errorf("the file is %q, %v", b, err)
	}
	// Nor is the lock opened through a link that somebody laid.
	path := filepath.Join(dir, "s")
	if err := os.Symlink(target, path+".lock"); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(path, 0o600, -1)
	refused(t, err, "socket "+path)
}

func TestPathsThatCannotBeAreExplained(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	_, err := Listen(long, 0o600, -1)
	refused(t, err, "bytes long")
	missing := filepath.Join(t.TempDir(), "missing", "s")
	_, err = Listen(missing, 0o600, -1)
	refused(t, err, "no such file or directory")
	if n := strings.Count(err.Error(), missing); n != 1 {
		t.Errorf("%v names the path %d times", err, n)
	}
}

func TestSocketHasItsModeAndGroupAndTheUmaskStays(t *testing.T) {
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	for _, mode := range []fs.FileMode{0o600, 0o660, 0o666} {
		path, gid := filepath.Join(t.TempDir(), "s"), os.Getgid()
		if os.Getuid() == 0 {
			gid = nobody
		}
		l, err := Listen(path, mode, gid)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != mode || int(st.Gid) != gid {
			t.Errorf("mode %v and group %d, want %v and %d", info.Mode(), st.Gid, mode, gid)
		}
		if info, err := os.Stat(path + ".lock"); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the lock's mode is %v, %v", info.Mode(), err)
		}
		l.Close()
	}
	if now := syscall.Umask(0o027); now != 0o027 {
		t.Errorf("the umask is %#o afterwards, want 027", now)
	}
}

func TestOneOfManyStartersWins(t *testing.T) {
	const starters = 8
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	var ins []io.WriteCloser
	var outs []*bufio.Scanner
	for range starters {
		in, out, _ := run(t, "start", path, nil)
		if !out.Scan() {
			t.Fatal("a starter did not start")
		}
		ins, outs = append(ins, in), append(outs, out)
	}
	var all sync.WaitGroup
	verdicts := make([]string, starters)
	for i := range starters {
		all.Go(func() {
			ins[i].Close()
			if outs[i].Scan() {
				verdicts[i] = outs[i].Text()
			}
		})
	}
	all.Wait()
	if s := strings.Join(verdicts, " "); strings.Count(s, "listening") != 1 || strings.Count(s, "refused") != starters-1 {
		t.Errorf("of %d starters: %s; want one to listen and the others refused", starters, s)
	}
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatalf("nobody can be reached afterwards: %v", err)
	}
	_, _ = c.Write([]byte{1})
	c.Close()
}

func TestNobodyListensMeansThatAloneAndNoDenial(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, nobody := range map[string]bool{
		filepath.Join(dir, "missing"): true, filepath.Join(dir, "missing", "s"): true,
		file:                     true, // ECONNREFUSED: a file that no longer is, or never was, a socket in use
		filepath.Join(file, "s"): false,
		filepath.Join(dir, strings.Repeat("x", 120)): false,
	} {
		_, err := Dial(t.Context(), path)
		if e := freshet.AsError(err); e == nil || e.Kind != freshet.Unavailable || errors.Is(err, ErrNobody) != nobody {
			t.Errorf("%s: %v, which says that nobody listens: %v, want %v", path, err, errors.Is(err, ErrNobody), nobody)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	listen(t, filepath.Join(dir, "s"))
	if _, err := Dial(ctx, filepath.Join(dir, "s")); err == nil || errors.Is(err, ErrNobody) {
		t.Errorf("cancelled: %v", err)
	}
}

// open is a folder that every user can enter, with a copy of this program that they can run.
func open(t *testing.T) (dir, exe string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can run programs as another user")
	}
	dir, err := os.MkdirTemp("", "freshet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	this, err1 := os.Executable()
	program, err2 := os.ReadFile(this)
	exe = filepath.Join(dir, "program")
	if err := errors.Join(err1, err2, os.Chmod(dir, 0o755), os.WriteFile(exe, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir, exe
}

func TestServerOfAnotherUserIsRefused(t *testing.T) {
	dir, exe := open(t)
	theirs := filepath.Join(dir, "theirs")
	if err := errors.Join(os.Mkdir(theirs, 0o755), os.Chown(theirs, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(theirs, "s")
	_, out, _ := run(t, "serve", path, func(c *exec.Cmd) {
		c.Path, c.Dir = exe, dir
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	})
	if !out.Scan() || out.Text() != "listening" {
		t.Fatalf("the other user's server says %q", out.Text())
	}
	c, err := Dial(t.Context(), path)
	if e := freshet.AsError(err); c != nil || e == nil || e.Kind != freshet.Denied || errors.Is(err, ErrNobody) {
		t.Errorf("got %v, %v, want it denied", c, err)
	}
}

func TestOwnFolderIsMadePrivateAndForeignOnesAreRefused(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "made", "too")
	for range 2 {
		if err := OwnDir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, %v, want 0700", d, info.Mode(), err)
		}
	}
	made := func(name string, mode fs.FileMode) string {
		path := filepath.Join(base, name)
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := filepath.Join(base, "link")
	if err := errors.Join(os.Symlink(dir, link), os.WriteFile(filepath.Join(base, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	bad := []string{made("group", 0o770), made("all", 0o707), link, filepath.Join(base, "file"), filepath.Join(made("open", 0o777), "below")}
	if os.Getuid() == 0 {
		theirs := made("theirs", 0o700)
		if err := os.Chown(theirs, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		bad = append(bad, theirs, filepath.Join(theirs, "below"))
	}
	for _, path := range bad {
		if err := OwnDir(path, 0o700); err == nil {
			t.Errorf("%s is accepted", path)
		}
	}
	if err := OwnDir(filepath.Join(made("sticky", fs.ModeSticky|0o777), "below"), 0o700); err != nil {
		t.Errorf("a folder in one such as /tmp: %v", err)
	}
}

func TestDefaultPathIsTheUsersOwn(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	if got := Default(); got != "/run/user/7/freshet/freshet.sock" {
		t.Errorf("got %s", got)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	want := "/run/freshet/freshet.sock"
	if uid := os.Getuid(); uid != 0 {
		want = filepath.Join(os.TempDir(), fmt.Sprint("freshet-", uid), "freshet.sock")
	}
	if got := Default(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
