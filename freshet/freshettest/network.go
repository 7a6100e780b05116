package freshettest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Network is a network in memory: addresses of the form "host:port", none of which exists outside. Connections are pairs of
// [net.Pipe], so a goroutine that waits for one is durably blocked and the clock of a testing/synctest bubble moves on, which it
// does not while a real socket is read. Everything that uses a Network within a bubble must have been made in that bubble.
//
// The zero Network is ready to use. Its methods may be called by many goroutines.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener // address → who listens there
}

// Listen opens an address, until the listener is closed. An address that is taken is an error, as with a real network.
func (n *Network) Listen(addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "memory", Addr: address(addr), Err: syscall.EADDRINUSE}
	}
	l := &listener{network: n, addr: address(addr), conns: make(chan net.Conn), closed: make(chan struct{})}
	if n.listeners == nil {
		n.listeners = make(map[string]*listener)
	}
	n.listeners[addr] = l
	return l, nil
}

// DialContext connects to an address that is listened on. It has the signature of net.Dialer's method; the name of the network
// is ignored. Where nobody listens the connection is refused.
func (n *Network) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, refused(addr)
	}
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, refused(addr)
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: address(addr), Err: ctx.Err()}
	}
}

// Transport is an HTTP transport over the network, without proxies. Its idle connections are closed when the test ends.
func (n *Network) Transport(t testing.TB) *http.Transport {
	t.Helper()
	transport := &http.Transport{DialContext: n.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// Client is an HTTP client over [Network.Transport].
func (n *Network) Client(t testing.TB) *http.Client {
	t.Helper()
	return &http.Client{Transport: n.Transport(t)}
}

// Serve answers HTTP at an address until the test ends. The server's goroutines have ended by then, and so must handler's
// requests: their contexts are cancelled.
func (n *Network) Serve(t testing.TB, addr string, handler http.Handler) *http.Server {
	t.Helper()
	l, err := n.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return server
}

type listener struct {
	network *Network
	addr    address
	conns   chan net.Conn
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "memory", Addr: l.addr, Err: net.ErrClosed}
	}
}

func (l *listener) Close() error {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	if l.network.listeners[string(l.addr)] != l {
		return &net.OpError{Op: "close", Net: "memory", Addr: l.addr, Err: net.ErrClosed}
	}
	delete(l.network.listeners, string(l.addr))
	close(l.closed)
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }

// address is a place in a Network.
type address string

func (address) Network() string  { return "memory" }
func (a address) String() string { return string(a) }

func refused(addr string) error {
	return &net.OpError{Op: "dial", Net: "memory", Addr: address(addr), Err: syscall.ECONNREFUSED}
}
