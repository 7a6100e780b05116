// Package proxy has freshet's daemon put credentials on requests and forward them, beside a direct connection and a proxy that is
// made of the same httputil.ReverseProxy and signs nothing.
//
// Upstream, proxies and callers are processes of one machine, and nothing is encrypted: what is left is what a proxy takes by
// itself.
package proxy

import (
	"errors"

	"freshet.dev/bench/internal/daemon"
	"freshet.dev/bench/internal/load"
	"freshet.dev/bench/internal/measure"
)

// Cases are those of this family.
func Cases() []measure.Case {
	return []measure.Case{
		addedCase("proxy/added", "What a proxy adds to a request", "A `GET`.", "GET", ""),
		addedCase("proxy/added-post", "What a proxy adds to a request with a body", "A `POST` of 1 KB, which Signature Version 4 hashes.", "POST", kilobyte),
		eventCase(),
		streamCase(),
	}
}

// way is how an upstream is reached.
type way struct {
	name, note string
	role       measure.Role
	prefix     string // of its paths
	secret     string // what callers show
	signed     string // in the Authorization header that comes to the upstream
	prepare    func(s *measure.Setup, upstream string) (start, error)
}

// start starts a process that listens at an address.
type start func() (*daemon.Process, string, error)

// Who holds no freshet holds the token, and sends it: the upstream reads as much from all of them.
var (
	direct = &way{name: "direct", role: measure.Floor, secret: daemon.TokenText(), signed: "Bearer " + daemon.TokenText(),
		note: "no proxy: the caller holds the token, and sends it"}
	bare = &way{name: "httputil.ReverseProxy", role: measure.Floor, secret: daemon.TokenText(), signed: "Bearer " + daemon.TokenText(), prepare: prepareBare,
		note: "a program of its own, which passes on the token that its caller sends; as many connections kept, buffers used again and " +
			"room for garbage as freshet has"}
	bearer = &way{name: "freshet, bearer", role: measure.Freshet, prefix: "/token", secret: daemon.Secret, signed: "Bearer " + daemon.TokenText(), prepare: prepareFreshet,
		note: "`freshet serve`; a token of 1.5 KB in place of the caller's secret"}
	signature = &way{name: "freshet, sigv4", role: measure.Freshet, prefix: "/keys", secret: daemon.Secret,
		signed: "AWS4-HMAC-SHA256 Credential=" + daemon.AccessKeyID + "/", prepare: prepareFreshet,
		note: "the same daemon; AWS keys with a session token of 1.4 KB, for S3"}
)

func prepareBare(s *measure.Setup, upstream string) (start, error) {
	return program(s, "bareproxy", "-upstream", upstream)
}

func prepareFreshet(s *measure.Setup, upstream string) (start, error) {
	home, err := daemon.NewProxy(s, upstream)
	if err != nil {
		return nil, err
	}
	return func() (*daemon.Process, string, error) { return listening(home.Serve(s.Context)) }, nil
}

// program starts one of this module's programs.
func program(s *measure.Setup, name string, args ...string) (start, error) {
	path, err := s.Tools.Program(s.Context, name)
	if err != nil {
		return nil, err
	}
	return func() (*daemon.Process, string, error) {
		return listening(daemon.Start(s.Context, daemon.Command{Args: append([]string{path}, args...), Ready: "listens at "}))
	}, nil
}

func listening(p *daemon.Process, err error) (*daemon.Process, string, error) {
	if err != nil {
		return nil, "", err
	}
	address, err := daemon.Address(p)
	if err != nil {
		p.Stop()
	}
	return p, address, err
}

// world is what the subjects of a case share.
type world struct {
	upstream *server
	plain    *server // ReverseProxy
}

// server is a process that callers ask.
type server struct {
	*way
	process *daemon.Process
	address string
}

// run starts what a way leads through, for as long as the case takes.
func (w *world) run(s *measure.Setup, on *way) (*server, error) {
	if err := w.begin(s); err != nil {
		return nil, err
	}
	if on.prepare == nil {
		return w.upstream, nil
	}
	begin, err := on.prepare(s, w.url())
	if err != nil {
		return nil, err
	}
	v, err := on.server(begin)
	if err != nil {
		return nil, err
	}
	s.Cleanup(v.process.Stop)
	return v, v.check(s)
}

// begin starts the upstream, once.
func (w *world) begin(s *measure.Setup) error {
	if w.upstream != nil {
		return nil
	}
	begin, err := program(s, "upstream")
	if err != nil {
		return err
	}
	v, err := direct.server(begin)
	if err != nil {
		return err
	}
	w.upstream = v
	s.Cleanup(func() {
		v.process.Stop()
		w.upstream = nil
	})
	return nil
}

func (w *world) url() string { return "http://" + w.upstream.address }

func (y *way) server(begin start) (*server, error) {
	p, address, err := begin()
	return &server{y, p, address}, err
}

func (v *server) target(method, path, body, want string) load.Target {
	return load.Target{
		Network: "tcp", Address: v.address, Method: method, Path: v.prefix + path, Body: body, Want: want,
		Header: []string{"Host: " + v.address, "Authorization: Bearer " + v.secret},
	}
}

// check is an error that wraps [measure.ErrWrong] unless what comes to the upstream has the credential on it that belongs there.
func (v *server) check(s *measure.Setup) error {
	t := v.target("GET", "/authorization", "", v.signed)
	if _, err := t.Ask(s.Context, true); err != nil {
		return errors.Join(errors.New("the upstream gets no credential, or another one"), err)
	}
	return nil
}
