package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this binary the commands freshet and sdk, which tests find on PATH.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"freshet": main, "sdk": sdkMain})
}

var update = flag.Bool("update", false, "write what commands print into the scripts")

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		UpdateScripts:       *update,
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               setupScript,
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %s", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  scriptExits,
			"issuer": scriptIssuer,
			"serve":  scriptServe,
			"halt":   scriptHalt,
			"poll":   scriptPoll,
			"taken":  scriptTaken,
			"count":  scriptCount,
			"expand": scriptExpand,
		},
	})
}

// setupScript gives a script a home of its own, and a run-time folder with a path short enough for sockets.
func setupScript(env *testscript.Env) error {
	run, err := os.MkdirTemp("/tmp", "fr")
	if err != nil {
		return err
	}
	env.Defer(func() { os.RemoveAll(run) })
	home := filepath.Join(env.WorkDir, "home")
	env.Setenv("HOME", home)
	env.Setenv("XDG_RUNTIME_DIR", run)
	env.Setenv("RUN", run)
	env.Setenv("GORACE", strings.TrimPrefix(hasty, "GORACE="))
	env.Setenv("TOKEN", "tok-31415926535897932384")
	if err := os.MkdirAll(filepath.Join(home, ".config", "freshet"), 0o700); err != nil {
		return err
	}
	// The modes must not depend on the umask of whoever runs the tests.
	return filepath.WalkDir(env.WorkDir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Chmod(path, 0o755)
		case filepath.Ext(path) == ".sh":
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o600)
	})
}

// scriptExits runs a program and wants exactly this exit code: exits CODE PROGRAM ARGUMENT…
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT]...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("got exit code %d, want %d", got, want)
	}
}

// scriptIssuer starts a token endpoint, whose URL is $ISSUER: /token answers, /refuse does not, /slow takes its time. It counts
// requests in the file issued.
func scriptIssuer(ts *testscript.TestScript, _ bool, _ []string) {
	s := newIssuer(ts.MkAbs("issued"))
	ts.Defer(s.Close)
	ts.Setenv("ISSUER", s.URL)
	ts.Setenv("ISSUER_HOST", strings.TrimPrefix(s.URL, "http://"))
}

// newIssuer is an OAuth token endpoint that counts its requests in a file.
func newIssuer(counter string) *httptest.Server {
	var n atomic.Int64
	var mu sync.Mutex
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if f, err := os.OpenFile(counter, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			fmt.Fprintln(f, r.URL.Path)
			f.Close()
		}
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/refuse":
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client","error_description":"the secret hunter2 is wrong"}`))
			return
		case "/down":
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case "/page":
			_, _ = w.Write([]byte("<html>log in</html>"))
			return
		case "/slow":
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": fmt.Sprintf("issued-%d-%s", n.Add(1), strings.ReplaceAll(r.FormValue("scope"), " ", "+")), "token_type": "Bearer", "expires_in": 600,
		})
	}))
}

// daemons are those that scripts run: script → daemon.
var daemons sync.Map

// scriptServe starts freshet serve with these arguments, and waits for its ready line. Its standard error is the file serve.log.
func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	log, err := os.Create(ts.MkAbs("serve.log"))
	ts.Check(err)
	program, err := exec.LookPath("freshet")
	ts.Check(err)
	cmd := exec.Command(program, append([]string{"serve"}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Stderr = log
	for _, name := range []string{"PATH", "HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "FRESHET_CONFIG", "TMPDIR", "WORK", "TOKEN", "CLIENT_SECRET", "DOOR", "GORACE"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	ts.Check(cmd.Start())
	log.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ts.Defer(func() { _ = cmd.Process.Kill() })
	daemons.Store(ts, &scriptDaemon{cmd, ended})
	eventually(ts.Fatalf, "the daemon's ready line", func() bool {
		select {
		case err := <-ended:
			ts.Fatalf("the daemon ended: %v\n%s", err, ts.ReadFile("serve.log"))
		default:
		}
		return strings.Contains(ts.ReadFile("serve.log"), "freshet: ready: ")
	})
}

type scriptDaemon struct {
	cmd   *exec.Cmd
	ended chan error
}

// scriptHalt ends the script's daemon: halt KILL, or halt [CODE] for SIGTERM, of which it wants that exit code.
func scriptHalt(ts *testscript.TestScript, _ bool, args []string) {
	v, ok := daemons.LoadAndDelete(ts)
	if !ok {
		ts.Fatalf("no daemon runs")
	}
	d := v.(*scriptDaemon)
	sig := syscall.SIGTERM
	want := "0"
	switch {
	case len(args) > 0 && args[0] == "KILL":
		sig = syscall.SIGKILL
	case len(args) > 0:
		want = args[0]
	}
	ts.Check(d.cmd.Process.Signal(sig))
	<-d.ended
	if got := strconv.Itoa(d.cmd.ProcessState.ExitCode()); got != want && sig == syscall.SIGTERM {
		ts.Fatalf("serve: got exit code %s, want %s\n%s", got, want, ts.ReadFile("serve.log"))
	}
}

// scriptPoll waits for a file, with a text in it if one is given.
func scriptPoll(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts.Fatalf, strings.Join(args, " with "), func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && (len(args) < 2 || bytes.Contains(b, []byte(args[1])))
	})
}

// scriptTaken listens at a port, whose address is $TAKEN.
func scriptTaken(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv("TAKEN", l.Addr().String())
}

// scriptCount wants this many lines in a file: count N FILE.
func scriptCount(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[1]))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		ts.Check(err)
	}
	if got := bytes.Count(b, []byte("\n")); got != want {
		ts.Fatalf("%s has %d lines, want %d:\n%s", args[1], got, want, b)
	}
}

// scriptExpand puts the values of ${NAMES} into files.
func scriptExpand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := ts.ReadFile(name)
		for _, v := range []string{"WORK", "RUN", "ISSUER", "TAKEN", "TOKEN"} {
			text = strings.ReplaceAll(text, "${"+v+"}", ts.Getenv(v))
		}
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// hasty keeps commands that the race detector is built into from sleeping for a second before they end.
const hasty = "GORACE=atexit_sleep_ms=0"

// patience bounds every wait of these tests: machines are slow under the race detector.
const patience = 20 * time.Second

// eventually waits until a condition holds.
func eventually(fatalf func(string, ...any), what string, holds func() bool) {
	deadline, tick := time.After(patience), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			fatalf("waited %v in vain for: %s", patience, what)
			return
		}
	}
}
