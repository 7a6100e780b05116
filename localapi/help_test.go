package localapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"freshet.dev/broker"
	"freshet.dev/client"
	"freshet.dev/daemon"
	"freshet.dev/freshet"
	"freshet.dev/internal/socket"
	"freshet.dev/internal/wire"
	"freshet.dev/localapi"
)

// role tells a copy of this test's program what it is to do at the socket that its first argument names.
const role = "FRESHET_TEST_ROLE"

// nobody is a user, and a group, that is not the one who runs this test.
const nobody = 65534

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "ask", "unblock": // for each identity named, print the status and the body of the answer
		route := map[string]string{"ask": "credential", "unblock": "unblock"}[os.Getenv(role)]
		for _, name := range os.Args[2:] {
			resp, err := over(os.Args[1]).Post("http://freshet/v1/identities/"+name+"/"+route, "application/json", strings.NewReader("{}"))
			if err != nil {
				fmt.Println(err)
				continue
			}
			b, _ := io.ReadAll(resp.Body)
			fmt.Println(resp.StatusCode, strings.TrimSpace(string(b)))
		}
	case "status", "reload": // print the body of the answer
		method := map[string]string{"status": "GET", "reload": "POST"}[os.Getenv(role)]
		req, _ := http.NewRequest(method, "http://freshet/v1/"+os.Getenv(role), nil)
		resp, err := over(os.Args[1]).Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		b, _ := io.ReadAll(resp.Body)
		fmt.Println(resp.StatusCode, strings.TrimSpace(string(b)))
	case "proxy": // open a route for the identity, print its address, and wait to be killed
		p, err := client.New(client.Config{Socket: os.Args[1]}).OpenProxy(context.Background(), wire.Proxy{Identity: os.Args[2]})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(p.URL)
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "mcp": // open a bridge, and print what it says
		conn, err := client.New(client.Config{Socket: os.Args[1]}).OpenMCP(context.Background(), wire.MCP{URL: os.Args[2]})
		if err != nil {
			fmt.Println(err)
			return
		}
		_, _ = io.WriteString(conn, "hello\n")
		_, _ = io.Copy(os.Stdout, conn)
	case "approve": // list what waits, and approve one; print the status and the body of each answer
		ask := func(method, path, body string) {
			req, _ := http.NewRequest(method, "http://freshet/v1/approvals"+path, strings.NewReader(body))
			resp, err := over(os.Args[1]).Do(req)
			if err != nil {
				fmt.Println(err)
				return
			}
			b, _ := io.ReadAll(resp.Body)
			fmt.Println(resp.StatusCode, strings.TrimSpace(string(b)))
		}
		ask("GET", "", "")
		ask("POST", "/"+os.Args[2], `{"approve":true}`)
	case "session": // open one, print its environment, and wait to be killed
		s, err := client.New(client.Config{Socket: os.Args[1]}).OpenSession(context.Background(), os.Args[2:], 0)
		if err != nil {
			fmt.Println(err)
			return
		}
		b, _ := json.Marshal(s.Environment)
		fmt.Println(string(b))
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

// over is a plain HTTP client of a socket.
func over(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

// issuer is a source that counts.
type issuer struct {
	calls atomic.Int64
	keys  bool // gives AWS keys
	wait  chan struct{}
	mu    sync.Mutex
	err   error
}

func (s *issuer) Varies() freshet.Fields { return freshet.FieldTenant | freshet.FieldScopes }

const secretPrefix = "planted-secret-"

func (s *issuer) Retrieve(ctx context.Context, _ freshet.Request) (*freshet.Credential, error) {
	n := s.calls.Add(1)
	if s.wait != nil {
		select {
		case <-s.wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	v := freshet.Validity{Lifetime: time.Hour}
	if s.keys {
		return freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "AKIA", SecretAccessKey: freshet.Secret(fmt.Sprint(secretPrefix, n))}, v)
	}
	return freshet.NewBearer(fmt.Sprint(secretPrefix, n), "", v)
}

func identity(name string, s freshet.Source, p broker.Policy) broker.Identity {
	return broker.Identity{IdentityConfig: freshet.IdentityConfig{Name: name, Version: "1", Kind: "test", Source: s}, Policy: p}
}

// served is an API on a real socket.
type served struct {
	*testing.T
	path   string
	audit  string // path of the record
	broker *broker.Broker
	ending chan struct{}
	api    *localapi.API
}

// serve answers at a socket of this mode, in a folder that everybody can enter, until the test ends.
func serve(t *testing.T, mode os.FileMode, change func(*localapi.Config), ids ...broker.Identity) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &served{T: t, path: filepath.Join(dir, "s"), audit: filepath.Join(dir, "audit"), ending: make(chan struct{})}
	audit, err := broker.OpenAudit(s.audit, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.broker, err = broker.New(broker.Config{Identities: ids, Owner: uint32(os.Getuid()), Audit: audit}); err != nil {
		t.Fatal(err)
	}
	sessions := &daemon.Sessions{Broker: s.broker, Socket: s.path}
	cfg := localapi.Config{Broker: s.broker, OpenSession: sessions.Open, Ending: s.ending, Running: func() wire.Running {
		return wire.Running{Version: "v1", Config: "/etc/freshet.yaml", Digest: "abc"}
	}}
	if change != nil {
		change(&cfg)
	}
	s.api = localapi.New(cfg)
	l, err := socket.Listen(s.path, mode, -1)
	if err != nil {
		t.Fatal(err)
	}
	server, done := s.api.Server(), make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.broker.Close(ctx)
	})
	return s
}

// answer is a reply with its document.
type answer struct {
	status int
	header http.Header
	text   string
	doc    map[string]any
}

func (s *served) send(method, path, body string, header ...string) answer {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, "http://freshet"+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := over(s.path).Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(b)}
	_ = json.Unmarshal(b, &a.doc)
	return a
}

// record is the audit log once the broker has ended.
func (s *served) record() string {
	s.Helper()
	if err := s.broker.Close(s.Context()); err != nil {
		s.Fatal(err)
	}
	b, err := os.ReadFile(s.audit)
	if err != nil {
		s.Fatal(err)
	}
	return string(b)
}

// another starts a copy of this program, as another user where cred says so.
func (s *served) another(what string, cred *syscall.Credential, args ...string) (*bufio.Scanner, *exec.Cmd) {
	s.Helper()
	exe := filepath.Join(filepath.Dir(s.path), "program") // where another user can run it
	if _, err := os.Stat(exe); err != nil {
		this, err1 := os.Executable()
		program, err2 := os.ReadFile(this)
		if err := errors.Join(err1, err2, os.WriteFile(exe, program, 0o755)); err != nil {
			s.Fatal(err)
		}
	}
	cmd := exec.Command(exe, append([]string{s.path}, args...)...)
	cmd.Env, cmd.Dir = append(os.Environ(), role+"="+what), "/"
	if cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	}
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return bufio.NewScanner(out), cmd
}

func asRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can run programs as another user")
	}
}
