// Package load asks a server again and again, as many clients at once, and tells how many answers a second came and how long each
// took.
//
// Servers are asked over TCP by wrk where it is installed, and otherwise, and over Unix sockets, by a client of this package's own
// (Linux alone), which like wrk waits for many connections in one thread. A client on net/http would take more of the processors
// than the servers that are compared, and make them look alike.
package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"freshet.dev/bench/internal/measure"
)

// Target is what is asked, and of whom.
type Target struct {
	Network string // "tcp" or "unix"
	Address string
	Method  string
	Path    string
	Header  []string // lines such as "Host: localhost", without their ends
	Body    string
	Want    string // what has to be in the body of every answer
}

// Shape is how a server is asked.
type Shape struct {
	Connections int
	Fresh       bool // each request has a connection of its own
	For         time.Duration
	Own         bool // by this package's own client, even where there is wrk
}

// Result is what came of it.
type Result struct {
	Answers   int
	PerSecond float64
	P50, P99  float64 // in nanoseconds
}

// Client names what asks the servers of a network, and how it knows that it was answered.
func Client(network string) string {
	if network == "tcp" {
		if out, _ := exec.Command("wrk", "-v").Output(); len(out) > 0 { // it exits with 1
			version, _, _ := strings.Cut(string(out), " [")
			return "The client " + strings.TrimSpace(version) + ", which checks each answer's status and the size of all,"
		}
	}
	return "A client of this program's own, which looks for the credential in each answer,"
}

// Missing says what has to be installed to ask the servers of a network; "" if nothing.
func Missing(network string) string {
	switch {
	case ownClient:
		return ""
	case network == "tcp" && haveWrk():
		return ""
	case network == "tcp":
		return "install wrk: this program's own client is for Linux"
	}
	return "this program's client of Unix sockets is for Linux"
}

func haveWrk() bool {
	_, err := exec.LookPath("wrk")
	return err == nil
}

// Run asks. It is an error that wraps [measure.ErrWrong] if an answer is not what was wanted.
func Run(ctx context.Context, t Target, s Shape) (Result, error) {
	one, err := t.Ask(ctx, s.Fresh)
	if err != nil {
		return Result{}, err
	}
	if t.Network == "tcp" && !s.Own && haveWrk() {
		return runWrk(ctx, t, s, one.Size)
	}
	return runOwn(ctx, t, s)
}

// Answer is one answer.
type Answer struct {
	Body []byte
	Size int // in bytes, with its head
}

// Ask asks once, on a connection of its own. With last the server is told that nothing else will be asked on it.
func (t *Target) Ask(ctx context.Context, last bool) (Answer, error) {
	c, a, err := t.ask(ctx, last)
	if err != nil {
		return Answer{}, err
	}
	return a, c.Close()
}

// Connect is Ask for who keeps the connection.
func (t *Target) Connect(ctx context.Context) (net.Conn, error) {
	c, _, err := t.ask(ctx, false)
	return c, err
}

func (t *Target) ask(ctx context.Context, last bool) (_ net.Conn, a Answer, err error) {
	c, err := new(net.Dialer).DialContext(ctx, t.Network, t.Address)
	if err != nil {
		return nil, a, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, t.request(last)); err != nil {
		return nil, a, err
	}
	counted := &counter{r: c}
	r, err := http.ReadResponse(bufio.NewReader(counted), &http.Request{Method: t.Method})
	if err != nil {
		return nil, a, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, a, err
	}
	if r.StatusCode != http.StatusOK || !strings.Contains(string(body), t.Want) {
		return nil, a, fmt.Errorf("%w: status %d", measure.ErrWrong, r.StatusCode)
	}
	return c, Answer{Body: body, Size: counted.n}, nil
}

// request is what goes over the wire. With last the server is asked to close the connection after its answer.
func (t *Target) request(last bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", t.Method, t.Path)
	for _, line := range t.Header {
		b.WriteString(line + "\r\n")
	}
	if t.Body != "" {
		b.WriteString("Content-Length: " + strconv.Itoa(len(t.Body)) + "\r\n")
	}
	if last {
		b.WriteString("Connection: close\r\n")
	}
	return b.String() + "\r\n" + t.Body
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}

// resultOf sums up the times of all answers that came in a while. It sorts them.
func resultOf(times []time.Duration, took time.Duration) (Result, error) {
	if len(times) == 0 {
		return Result{}, errors.New("there was no answer")
	}
	slices.Sort(times)
	at := func(q float64) float64 { return float64(times[int(q*float64(len(times)-1))]) }
	return Result{Answers: len(times), PerSecond: float64(len(times)) / took.Seconds(), P50: at(0.5), P99: at(0.99)}, nil
}
