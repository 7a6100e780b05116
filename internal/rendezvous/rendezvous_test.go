package rendezvous

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
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

// role tells a copy of this test's program how to retrieve.
const role = "FRESHET_TEST_ROLE"

const (
	key    = "planted-key-0123456789"
	secret = "planted-token-0123456789"
	takes  = 500 * time.Millisecond
)

func TestMain(m *testing.M) {
	how := os.Getenv(role)
	if how == "" {
		os.Exit(m.Run())
	}
	p, err := At(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	c, shared, err := p.Do(ctx, key, func(ctx context.Context) (*freshet.Credential, error) {
		fmt.Println("retrieving")
		switch how {
		case "hang":
			<-ctx.Done()
			return nil, ctx.Err()
		case "fail":
			<-time.After(takes)
			return nil, freshet.Errorf(freshet.LoginNeeded, "log in").WithHint("like this")
		}
		<-time.After(takes)
		return freshet.NewBearer(fmt.Sprintf("%s-%d", secret, os.Getpid()), "", freshet.Validity{Lifetime: time.Hour})
	})
	fmt.Println("shared", shared)
	if err != nil {
		e := freshet.AsError(err)
		fmt.Println("result", e.Kind, e, e.Hint)
		return
	}
	fmt.Println("result", c.Token())
}

// process is a copy of this program that retrieves.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t *testing.T, how, dir string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, dir)
	cmd.Env = append(os.Environ(), role+"="+how)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p := &process{cmd, in, bufio.NewScanner(out)}
	p.expect(t, "ready")
	return p
}

func (p *process) expect(t *testing.T, want string) {
	t.Helper()
	if !p.out.Scan() || p.out.Text() != want {
		t.Fatalf("a process says %q, want %q", p.out.Text(), want)
	}
}

// verdict is what became of a process.
type verdict struct {
	retrieved bool
	shared    string
	result    string
}

func (p *process) verdict() (v verdict) {
	for p.out.Scan() {
		word, rest, _ := strings.Cut(p.out.Text(), " ")
		switch word {
		case "retrieving":
			v.retrieved = true
		case "shared":
			v.shared = rest
		case "result":
			v.result = rest
		}
	}
	return v
}

// release lets processes go at once, and returns what became of them.
func release(ps []*process) []verdict {
	var all sync.WaitGroup
	verdicts := make([]verdict, len(ps))
	for i, p := range ps {
		all.Go(func() {
			p.in.Close()
			verdicts[i] = p.verdict()
		})
	}
	all.Wait()
	return verdicts
}

// agree checks that the verdicts are of one retrieval, and returns its result.
func agree(t *testing.T, verdicts []verdict) string {
	t.Helper()
	retrieved := 0
	for _, v := range verdicts {
		if v.retrieved {
			retrieved++
		}
		if v.result == "" || v.result != verdicts[0].result || (v.shared == "true") == v.retrieved {
			t.Errorf("%+v does not agree with %+v", v, verdicts[0])
		}
	}
	if retrieved != 1 {
		t.Errorf("%d processes made %d retrievals", len(verdicts), retrieved)
	}
	return verdicts[0].result
}

// watch reads all that is in a folder until it is told to stop, and reports secrets and anything that is written to a file.
func watch(t *testing.T, dir string) (stop func()) {
	t.Helper()
	done, ended := make(chan struct{}), make(chan struct{})
	var seen int
	look := func() {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			seen++
			freshettest.LeakedSecrets(t, path, secret, key)
			if d.Type() == 0 {
				if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
					t.Errorf("%s holds %d bytes", path, len(b))
				}
			}
			return nil
		})
	}
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				look()
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		look()
		if seen == 0 {
			t.Error("nothing was ever there to look at")
		}
	}
}

func TestFiftyProcessesMakeOneRetrievalAndLeaveNothingOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "f")
	var ps []*process
	for range 50 {
		ps = append(ps, start(t, "give", dir))
	}
	stop := watch(t, dir)
	result := agree(t, release(ps))
	stop()
	if !strings.HasPrefix(result, secret) {
		t.Errorf("they got %q", result)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("%v is left in the folder (%v)", left, err)
	}
}

func TestErrorIsSharedToo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "f")
	var ps []*process
	for range 10 {
		ps = append(ps, start(t, "fail", dir))
	}
	if got, want := agree(t, release(ps)), "login needed log in like this"; got != want {
		t.Errorf("they got %q, want %q", got, want)
	}
}

func TestAnotherTakesOverFromAHolderThatIsKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "f")
	holder := start(t, "hang", dir)
	holder.in.Close()
	holder.expect(t, "retrieving")
	var ps []*process
	for range 5 {
		ps = append(ps, start(t, "give", dir))
	}
	killed := time.AfterFunc(300*time.Millisecond, func() { _ = holder.cmd.Process.Kill() })
	defer killed.Stop()
	if got := agree(t, release(ps)); !strings.HasPrefix(got, secret) {
		t.Errorf("they got %q", got)
	}
}

// point is a meeting place for this process.
func point(t *testing.T) *Point {
	t.Helper()
	p, err := At(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func give(context.Context) (*freshet.Credential, error) {
	return freshet.NewBearer(secret, "", freshet.Validity{Lifetime: time.Hour})
}

func TestHoldersOwnEndIsNotSharedWithTheOthers(t *testing.T) {
	p := point(t)
	ctx, cancel := context.WithCancel(t.Context())
	holding, waiting := make(chan struct{}), make(chan struct{})
	first := make(chan error)
	go func() {
		_, _, err := p.Do(ctx, key, func(ctx context.Context) (*freshet.Credential, error) {
			close(holding)
			<-waiting
			cancel()
			return nil, freshet.AsError(ctx.Err())
		})
		first <- err
	}()
	<-holding
	var c *freshet.Credential
	var shared bool
	second := make(chan error)
	go func() {
		var err error
		c, shared, err = p.Do(t.Context(), key, give)
		second <- err
	}()
	<-time.After(50 * time.Millisecond) // the second is at the first's socket by now, or comes to another
	close(waiting)
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first, which was cancelled, got %v", err)
	}
	if err := <-second; err != nil || shared || c.Token() != secret {
		t.Errorf("the second got %v, shared %v, %v; want a retrieval of its own", c, shared, err)
	}
}

func TestWaiterLeavesAtItsOwnDeadline(t *testing.T) {
	p := point(t)
	holding, enough, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_, _, _ = p.Do(t.Context(), key, func(ctx context.Context) (*freshet.Credential, error) {
			close(holding)
			<-enough
			return give(ctx)
		})
	}()
	<-holding
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, _, err := p.Do(ctx, key, give); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want its deadline", err)
	}
	if _, shared, err := p.Do(t.Context(), "another key", give); err != nil || shared {
		t.Errorf("another key: shared %v, %v", shared, err)
	}
	close(enough)
	<-done
}

// TestConnectedProcessesAreAnsweredOnABusyMachine answers in a program whose other goroutines leave the holder little time: it may
// be put aside at any point for longer than it waits for those who have not quite connected.
func TestConnectedProcessesAreAnsweredOnABusyMachine(t *testing.T) {
	const waiting = 500
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conns := make([]net.Conn, waiting)
	for i := range conns {
		if conns[i], err = net.Dial("unix", path); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var over atomic.Bool
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for !over.Load() {
			}
		})
	}
	answerAll(l, []byte("answer"))
	over.Store(true)
	busy.Wait()
	l.Close()
	for i, c := range conns {
		if b, err := io.ReadAll(c); err != nil || string(b) != "answer" {
			t.Fatalf("process %d of %d got %q, %v", i+1, waiting, b, err)
		}
	}
}

func TestPanicGivesUpTheLock(t *testing.T) {
	p := point(t)
	func() {
		defer func() { _ = recover() }()
		_, _, _ = p.Do(t.Context(), key, func(context.Context) (*freshet.Credential, error) { panic("source") })
	}()
	lock, err := take(p.base(key) + ".lock")
	if lock == nil || err != nil {
		t.Fatalf("the lock is still held: %v", err)
	}
	leave(lock, p.base(key)+".lock")
	if _, _, err := p.Do(t.Context(), key, give); err != nil {
		t.Errorf("the next got %v", err)
	}
}

func TestLeftoversAreReplaced(t *testing.T) {
	p := point(t)
	// A socket that nobody listens on, and the lock's file, of a holder that was killed.
	base := p.base(key)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: base + ".sock", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := os.WriteFile(base+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, shared, err := p.Do(t.Context(), key, give); err != nil || shared || c.Token() != secret {
		t.Errorf("got %v, shared %v, %v", c, shared, err)
	}
}

func TestFolderThatIsNotOursAloneIsRefused(t *testing.T) {
	base := t.TempDir()
	wide := filepath.Join(base, "wide")
	if err := errors.Join(os.Mkdir(wide, 0o700), os.Chmod(wide, 0o777)); err != nil {
		t.Fatal(err)
	}
	bad := []string{wide, filepath.Join(wide, "below")}
	if os.Getuid() == 0 {
		theirs := filepath.Join(base, "theirs")
		if err := errors.Join(os.Mkdir(theirs, 0o700), os.Chown(theirs, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		bad = append(bad, theirs)
	}
	for _, dir := range bad {
		if _, err := At(dir); freshet.AsError(err) == nil || freshet.AsError(err).Kind != freshet.Invalid {
			t.Errorf("%s: %v, want it refused", dir, err)
		}
	}
	p := point(t)
	info, err := os.Stat(p.dir)
	if err != nil || info.Mode().Perm() != 0o700 || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Getuid()) {
		t.Errorf("the folder's mode is %v, %v", info.Mode(), err)
	}
}

func TestLocksOfOneFileExcludeEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := take(path)
	if first == nil || err != nil {
		t.Fatal(err)
	}
	if second, err := take(path); second != nil || err != nil {
		t.Errorf("a second lock: %v, %v", second, err)
	}
	// Whoever opened the file before its holder removed it must not think that it holds the key.
	late, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	leave(first, path)
	next, err := take(path)
	if next == nil || err != nil {
		t.Fatal(err)
	}
	defer leave(next, path)
	if names(path, late) {
		t.Error("a removed lock still counts")
	}
	if err := os.Symlink("/dev/null", path+"2"); err != nil {
		t.Fatal(err)
	}
	if f, err := take(path + "2"); f != nil || err == nil {
		t.Errorf("a lock through a link: %v, %v", f, err)
	}
}

func TestLockHasOneHolderHoweverOftenItsFileIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside, turns atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for turns.Load() < 500 {
				lock, err := take(path)
				if err != nil {
					t.Error(err)
					return
				}
				if lock == nil {
					continue
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				turns.Add(1)
				runtime.Gosched()
				inside.Add(-1)
				leave(lock, path)
			}
		})
	}
	all.Wait()
}
