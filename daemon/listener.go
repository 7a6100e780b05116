package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/socket"
	"freshet.dev/proxy"
)

// listener is an address that the daemon listens at, and the front it shows there at present.
type listener struct {
	net.Listener
	manner manner
	mode   fs.FileMode // of a Unix socket
	front  atomic.Pointer[front]
	server *server // nil until it serves
}

// manner is how a listener's connections are served before anything is asked over them. A server has one; another takes another
// server, at the same socket.
type manner struct {
	proxy bool
	tls   digest // of what it shows and asks for; zero: no TLS
}

// ServeHTTP answers as the front at present, which the request keeps to its end.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := l.front.Load()
	for !f.enter() { // it was replaced, and the last of its requests has left
		next := l.front.Load()
		if next == f {
			panic(http.ErrAbortHandler) // nothing is shown here any more
		}
		f = next
	}
	defer f.leave()
	f.ServeHTTP(w, r)
}

// serve begins to answer as its front does.
func (l *listener) serve(s *servers) {
	h := guard.Server(l, writeTimeout)
	if l.manner.proxy {
		h = proxy.Server(l)
		h.TLSConfig = l.front.Load().tls
	}
	l.server = s.start(h, l.Listener)
}

// again is the same socket, to be served by another server: at no time is the address free for somebody else to take. Only those
// of TCP are served in more than one manner.
func (l *listener) again(m manner) (*listener, error) {
	f, err := l.Listener.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	same, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return &listener{Listener: same, manner: m}, nil
}

// retire ends a listener that takes no connections any more, once its requests have, or with ctx.
func (l *listener) retire(ctx context.Context) {
	l.server.stop(ctx)
	f := l.front.Load()
	f.leave()
	select {
	case <-f.gone:
	case <-ctx.Done():
		f.cut() // those whose connection is none of the server's any more, such as a WebSocket's
	}
}

// allow lets those connect to a Unix socket whom its proxies may know.
func (l *listener) allow(mode fs.FileMode) error {
	path, unix := unixPath(l.Addr())
	if !unix || l.mode == mode {
		return nil
	}
	l.mode = mode
	return os.Chmod(path, mode)
}

func unixPath(a net.Addr) (path string, unix bool) {
	u, unix := a.(*net.UnixAddr)
	if !unix {
		return "", false
	}
	return u.Name, true
}

// canonical is an address to listen at, "127.0.0.1:9911" or "unix:/path", the same however it was written. Errors are [field.Error]s.
func canonical(listen string) (string, error) {
	path, unix, err := field.Socket("listen", listen)
	if unix || err != nil {
		return "unix:" + path, err
	}
	addr, err := field.Listen("listen", listen)
	return addr.String(), err
}

// listen takes an address.
func listen(address string, mode fs.FileMode) (net.Listener, error) {
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		l, err := socket.Listen(path, mode, -1)
		if err != nil {
			return nil, &field.Error{Field: "listen", Why: freshet.AsError(err).Why,
				Help: "its folder must exist and be writable, and nothing else may have it: stop what has, or set another path"}
		}
		return l, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &field.Error{Field: "listen", Why: fmt.Sprintf("cannot listen at %s: %v", address, reason(err)),
			Help: "stop what listens there, or set another address"}
	}
	return l, nil
}

// listenFor takes the addresses of sites that have is without, or has in another manner: all of them, or none.
func listenFor(sites []*site, have map[string]*listener) (_ map[string]*listener, err error) {
	taken := make(map[string]*listener)
	defer func() {
		if err != nil {
			closeAll(taken)
		}
	}()
	for _, s := range sites {
		before := have[s.address]
		if before != nil && before.manner == s.manner {
			continue
		}
		if before != nil {
			l, err := before.again(s.manner)
			if err != nil {
				return nil, s.explain(&field.Error{Field: "listen", Why: "cannot be served in another way: " + reason(err).Error()})
			}
			taken[s.address] = l
			continue
		}
		l, err := listen(s.address, s.mode)
		if err != nil {
			if own := neighbour(s.address, have); own != "" {
				err.(*field.Error).Help = fmt.Sprintf("the daemon itself listens at %s: restart it to change that", own)
			}
			return nil, s.explain(err)
		}
		taken[s.address] = &listener{Listener: l, manner: s.manner, mode: s.mode}
	}
	return taken, nil
}

// neighbour is another address with the same port that is listened at; "" if there is none.
func neighbour(address string, have map[string]*listener) string {
	wanted, err := netip.ParseAddrPort(address)
	if err != nil {
		return ""
	}
	for own := range have {
		if other, err := netip.ParseAddrPort(own); err == nil && other.Port() == wanted.Port() {
			return own
		}
	}
	return ""
}

func closeAll(listeners map[string]*listener) {
	for _, l := range listeners {
		l.Close()
	}
}
