// Package serve has freshet's daemon answer, beside servers that write the same bytes and do nothing else.
//
// Each dialect is a case, asked on many connections and on one; a new connection for each request is a case by itself, on TCP and on
// the Unix socket. What the floors answer is what freshet answered just before, so that they move the same bytes.
package serve

import (
	"errors"
	"fmt"
	"os"
	"time"

	"freshet.dev/bench/internal/daemon"
	"freshet.dev/bench/internal/load"
	"freshet.dev/bench/internal/measure"
)

// Cases are those of this family.
func Cases() []measure.Case {
	all := []measure.Case{startCase(), idleCase()}
	for i := range dialects {
		d := &dialects[i]
		all = append(all, d.testcase("serve/"+d.name, d.title, "On many connections that are kept, and on one.", many, one))
	}
	const anew = "Sixteen clients, each with a connection for every request."
	tcp, unix := &dialects[0], &dialects[len(dialects)-1]
	return append(all,
		tcp.testcase("serve/new-connections", "Endpoint for AWS SDKs: a connection for every request", anew, fresh),
		unix.testcase("serve/new-connections-unix", "Local API: a connection for every request", anew, fresh))
}

// dialect is how freshet is asked for a credential.
type dialect struct {
	name    string
	title   string
	asked   string // how, in a sentence
	network string
	method  string
	path    string
	header  []string
	body    string
	want    string
}

var dialects = []dialect{
	{
		name: "aws-container", title: "Endpoint for AWS SDKs: answers a second",
		asked:   "The dialect of `AWS_CONTAINER_CREDENTIALS_FULL_URI`: `GET /creds` with the secret in a header.",
		network: "tcp", method: "GET", path: "/creds", header: []string{"Authorization: " + daemon.Secret}, want: daemon.AccessKeyID,
	},
	{
		name: "azure-app-service", title: "Endpoint for Azure SDKs: answers a second",
		asked:   "The dialect of `IDENTITY_ENDPOINT`: `GET /msi/token` with a resource, and the secret in a header.",
		network: "tcp", method: "GET", path: "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net",
		header: []string{"X-IDENTITY-HEADER: " + daemon.Secret}, want: daemon.TokenText(),
	},
	{
		name: "oauth-token", title: "Endpoint for OAuth clients: answers a second",
		asked:   "RFC 6749 §4.4: `POST /token` with the client's id and secret in the body.",
		network: "tcp", method: "POST", path: "/token", header: []string{"Content-Type: application/x-www-form-urlencoded"},
		body: "grant_type=client_credentials&client_id=" + daemon.Token + "&client_secret=" + daemon.Secret, want: daemon.TokenText(),
	},
	{
		name: "local-api", title: "Local API on the Unix socket: answers a second",
		asked:   "What the command and the Go client ask: `POST /v1/identities/NAME/credential`. The kernel says who asks.",
		network: "unix", method: "POST", path: "/v1/identities/" + daemon.Token + "/credential",
		header: []string{"Content-Type: application/json"}, body: "{}", want: daemon.TokenText(),
	},
}

// shape is a way to ask a server: a group of columns.
type shape struct {
	name string
	load load.Shape
}

var (
	many  = shape{"64 connections", load.Shape{Connections: 64}}
	one   = shape{"1 connection", load.Shape{Connections: 1}}
	fresh = shape{"new connections", load.Shape{Connections: 16, Fresh: true}}
)

func (d *dialect) testcase(name, title, how string, shapes ...shape) measure.Case {
	c := measure.Case{
		Name: name, Title: title, Rounds: 7, Missing: load.Missing(d.network),
		About: d.asked + " " + how + " Every subject is a process of its own and answers the same bytes, some 1.6 KB. " + load.Client(d.network) +
			" asks, on the same processors, so that the figures are of both; processor is the server's own time for an answer, the kernel's " +
			"part included.",
	}
	for _, s := range shapes {
		c.Columns = append(c.Columns,
			measure.Column{Name: s.name, Unit: measure.PerSecond, More: true, Compare: true},
			measure.Column{Name: "p50", Unit: measure.Nanoseconds},
			measure.Column{Name: "p99", Unit: measure.Nanoseconds})
		if s.load.Connections > 1 {
			c.Columns = append(c.Columns, measure.Column{Name: "processor", Unit: measure.Nanoseconds, Compare: true})
		}
	}
	w := &world{dialect: d, shapes: shapes}
	c.Subjects = []measure.Subject{
		{Name: "freshet", Role: measure.Freshet, Start: w.freshet, Note: "`freshet serve`; the credential is in memory"},
		{Name: "net/http", Role: measure.Floor, Start: w.program("bare"),
			Note: "a handler that reads the body and writes the same bytes, with the same time limits on its connections"},
		{Name: "fasthttp", Role: measure.Floor, Start: w.program("barefast"), Modules: []string{"github.com/valyala/fasthttp"},
			Note: "the same"},
		{Name: "nginx", Role: measure.Floor, Start: w.nginx, Note: nginxNote()},
	}
	return c
}

// world is what the subjects of a case share: freshet's answer, which the others repeat.
type world struct {
	*dialect
	shapes []shape
	body   string // path of the file that holds it
}

func (w *world) target(network, address string) load.Target {
	host := "Host: freshet"
	if network == "tcp" {
		host = "Host: " + address
	}
	header := append([]string{host}, w.header...)
	return load.Target{Network: network, Address: address, Method: w.method, Path: w.path, Header: header, Body: w.dialect.body, Want: w.want}
}

// freshet starts the daemon, and keeps what it answers.
func (w *world) freshet(s *measure.Setup) (measure.Round, error) {
	home, err := daemon.New(s)
	if err != nil {
		return nil, err
	}
	p, err := home.Serve(s.Context)
	if err != nil {
		return nil, err
	}
	s.Cleanup(p.Stop)
	address := home.Socket
	if w.network == "tcp" {
		if address, err = daemon.Address(p); err != nil {
			return nil, err
		}
	}
	target := w.target(w.network, address)
	if _, err := target.Ask(s.Context, true); err != nil { // the first is retrieved, and the local API says so
		return nil, err
	}
	a, err := target.Ask(s.Context, true)
	if err != nil {
		return nil, err
	}
	w.body = home.Dir + "/answer"
	if err := os.WriteFile(w.body, a.Body, 0o600); err != nil {
		return nil, err
	}
	return w.round(s, p, target), nil
}

// program starts one of this module's servers.
func (w *world) program(name string) func(*measure.Setup) (measure.Round, error) {
	return func(s *measure.Setup) (measure.Round, error) {
		p, address, err := w.start(s, name)
		if err != nil {
			return nil, err
		}
		s.Cleanup(p.Stop)
		return w.round(s, p, w.target(w.network, address)), nil
	}
}

func (w *world) start(s *measure.Setup, name string) (*daemon.Process, string, error) {
	path, err1 := s.Tools.Program(s.Context, name)
	dir, err2 := s.Tools.Dir()
	if err := errors.Join(err1, err2); err != nil {
		return nil, "", err
	}
	listen := "127.0.0.1:0"
	if w.network == "unix" {
		listen = dir + "/socket"
	}
	p, err := daemon.Start(s.Context, daemon.Command{Args: []string{path, "-network", w.network, "-listen", listen, "-body", w.body}, Ready: "listens at "})
	if err != nil {
		return nil, "", err
	}
	address, err := daemon.Address(p)
	return p, address, err
}

// round asks in each way in turn.
func (w *world) round(s *measure.Setup, p *daemon.Process, t load.Target) measure.Round {
	return func() ([]float64, error) {
		var values []float64
		for _, shape := range w.shapes {
			l := shape.load
			l.For, l.Own = time.Duration(s.Size(600, 20))*time.Millisecond, s.Smoke
			before := p.Processor()
			r, err := load.Run(s.Context, t, l)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", shape.name, err)
			}
			values = append(values, r.PerSecond, r.P50, r.P99)
			if l.Connections > 1 {
				values = append(values, float64(p.Processor()-before)/float64(r.Answers))
			}
		}
		return values, nil
	}
}
