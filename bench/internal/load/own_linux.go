package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"freshet.dev/bench/internal/measure"
)

const ownClient = true

// runOwn asks from two threads, each with its half of the connections.
func runOwn(ctx context.Context, t Target, s Shape) (Result, error) {
	threads := min(2, s.Connections)
	loops := make([]*loop, threads)
	errs := make([]error, threads)
	var wg sync.WaitGroup
	began := time.Now()
	until := began.Add(s.For)
	for i := range loops {
		to, family, err := t.sockaddr() // its own: connecting writes to it
		if err != nil {
			return Result{}, err
		}
		share := (s.Connections + threads - 1 - i) / threads
		l := &loop{to: to, family: family, fresh: s.Fresh, request: []byte(t.request(s.Fresh)), want: []byte(t.Want)}
		loops[i] = l
		wg.Go(func() { errs[i] = l.run(ctx, share, until) })
	}
	wg.Wait()
	took := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return Result{}, err
	}
	var times []time.Duration
	for _, l := range loops {
		times = append(times, l.times...)
	}
	return resultOf(times, took)
}

func (t *Target) sockaddr() (syscall.Sockaddr, int, error) {
	if t.Network == "unix" {
		return &syscall.SockaddrUnix{Name: t.Address}, syscall.AF_UNIX, nil
	}
	a, err := netip.ParseAddrPort(t.Address)
	if err != nil || !a.Addr().Is4() {
		return nil, 0, fmt.Errorf("%s is no address of this client's", t.Address)
	}
	return &syscall.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, syscall.AF_INET, nil
}

// patience is how much longer the first answer is waited for, on a machine that is busy with something else.
const patience = 10 * time.Second

// loop is a thread that waits for the answers of many connections at once, by epoll(7).
type loop struct {
	to      syscall.Sockaddr
	family  int
	fresh   bool
	request []byte
	want    []byte

	poll  int
	conns map[int32]*conn // descriptor → connection
	times []time.Duration
}

// conn is a connection with a request on the way.
type conn struct {
	fd   int
	sent time.Time
	in   []byte // of the answer so far
}

func (l *loop) run(ctx context.Context, n int, until time.Time) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if l.poll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return err
	}
	defer syscall.Close(l.poll)
	l.conns = make(map[int32]*conn)
	defer func() {
		for _, c := range l.conns {
			syscall.Close(c.fd)
		}
	}()
	for range n {
		if err := l.connect(&conn{in: make([]byte, 0, 16<<10)}); err != nil {
			return err
		}
	}
	events := make([]syscall.EpollEvent, n)
	for now := time.Now(); ctx.Err() == nil && (now.Before(until) || len(l.times) == 0 && now.Before(until.Add(patience))); now = time.Now() {
		ready, err := syscall.EpollWait(l.poll, events, 100)
		if err != nil && err != syscall.EINTR {
			return err
		}
		for _, e := range events[:max(ready, 0)] {
			if err := l.receive(l.conns[e.Fd]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *loop) connect(c *conn) error {
	c.sent = time.Now() // who asks anew for each request waits for the connection too
	fd, err := syscall.Socket(l.family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.fd = fd
	l.conns[int32(fd)] = c
	if err := syscall.Connect(fd, l.to); err != nil {
		return err
	}
	if l.family == syscall.AF_INET {
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
			return err
		}
	}
	if err := syscall.EpollCtl(l.poll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}); err != nil {
		return err
	}
	return l.send(c)
}

// send sends the request, which fits the socket's buffer.
func (l *loop) send(c *conn) error {
	c.in = c.in[:0]
	n, err := syscall.Write(c.fd, l.request)
	if err == nil && n < len(l.request) {
		err = errors.New("the request was cut")
	}
	return err
}

// receive reads what has come of an answer, and asks again when that is all.
func (l *loop) receive(c *conn) error {
	n, err := syscall.Read(c.fd, c.in[len(c.in):cap(c.in)])
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%w: the server closed a connection before it had answered", measure.ErrWrong)
	}
	c.in = c.in[:len(c.in)+n]
	whole, err := complete(c.in, l.want)
	if !whole || err != nil {
		return err
	}
	now := time.Now()
	l.times = append(l.times, now.Sub(c.sent))
	if !l.fresh {
		c.sent = now
		return l.send(c)
	}
	delete(l.conns, int32(c.fd))
	if err := syscall.Close(c.fd); err != nil {
		return err
	}
	return l.connect(c)
}

var (
	ok          = []byte("HTTP/1.1 200 ")
	headEnd     = []byte("\r\n\r\n")
	lengthField = []byte("\r\nContent-Length: ")
)

// complete reports whether an answer has come whole. One that is not 200 with what is wanted in it is an error.
func complete(answer, want []byte) (bool, error) {
	head, body, whole := bytes.Cut(answer, headEnd)
	if !whole {
		return false, nil
	}
	if !bytes.HasPrefix(head, ok) {
		return false, fmt.Errorf("%w: %.40q", measure.ErrWrong, head)
	}
	_, rest, found := bytes.Cut(head, lengthField)
	if !found {
		return false, fmt.Errorf("%w: an answer without Content-Length", measure.ErrWrong)
	}
	digits, _, _ := bytes.Cut(rest, headEnd[:2])
	length, err := strconv.Atoi(string(digits))
	if err != nil || len(body) > length || len(answer)-len(body)+length > 16<<10 {
		return false, fmt.Errorf("%w: an answer of %q bytes", measure.ErrWrong, digits)
	}
	if len(body) < length {
		return false, nil
	}
	if !bytes.Contains(body, want) {
		return false, fmt.Errorf("%w: an answer without the credential", measure.ErrWrong)
	}
	return true, nil
}
