package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"freshet.dev/bench/internal/daemon"
	"freshet.dev/bench/internal/measure"
)

const notInstalled = "nginx is not installed"

func nginxNote() string {
	const how = "two workers; `return` of the same bytes, without a log"
	if out, err := exec.Command("nginx", "-v").CombinedOutput(); err == nil {
		return strings.TrimSpace(strings.TrimPrefix(string(out), "nginx version: ")) + ", " + how
	}
	return "not installed; " + how
}

// A connection has a thousand requests by default, which would have some clients connect in the midst of what is measured.
const nginxConfiguration = `daemon off;
worker_processes 2;
pid %[1]s/pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  server {
    listen %[2]s;
    location / {
      default_type application/json;
      add_header Cache-Control no-store;
      return 200 '%[3]s';
    }
  }
}
`

// nginx starts nginx at an address of its own.
func (w *world) nginx(s *measure.Setup) (measure.Round, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		return nil, errors.New(notInstalled)
	}
	dir, err1 := s.Tools.Dir()
	body, err2 := os.ReadFile(w.body)
	address, err3 := freeAddress()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	if strings.ContainsAny(string(body), `'$\`) {
		return nil, errors.New("the answer cannot be written in nginx's configuration")
	}
	listen := address
	if w.network == "unix" {
		address = filepath.Join(dir, "socket")
		listen = "unix:" + address
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfiguration, dir, listen, body), 0o600); err != nil {
		return nil, err
	}
	p, err := daemon.Start(s.Context, daemon.Command{Args: []string{program, "-e", "stderr", "-p", dir, "-c", file}, Until: func(ctx context.Context) error {
		return listening(ctx, w.network, address)
	}})
	if err != nil {
		return nil, err
	}
	s.Cleanup(p.Stop)
	return w.round(s, p, w.target(w.network, address)), nil
}

// freeAddress is one where nobody listens now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// listening returns once somebody does.
func listening(ctx context.Context, network, address string) error {
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until) && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		if c, err := net.Dial(network, address); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("nobody listens at %s", address)
}
