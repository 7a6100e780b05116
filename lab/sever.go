package lab

import (
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
)

// ending is how an answer ends.
type ending int

const (
	whole ending = iota
	short        // halfway; the connection is closed as at any end
	reset        // halfway; the connection is reset
)

// writeHalf writes half of an answer whose length was told, and ends as it shall.
func (a reply) writeHalf(w http.ResponseWriter) {
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	a.writeHeader(w)
	_, _ = w.Write(a.body[:len(a.body)/2])
	if a.ending == reset {
		_ = http.NewResponseController(w).Flush()
		sever(w)
	}
	// Otherwise net/http closes the connection, as the handler has written less than it said.
}

// sever resets a request's connection. A port that issuers share cannot refuse connections for one of them, so this is as near
// to that as an issuer comes.
func sever(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2, which resets the stream
	}
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // a reset, in place of an orderly end
	}
	_ = conn.Close()
}
