// Package guard stands before every TCP endpoint. What it refuses reaches no source.
//
// Any program on the machine, and any page in a browser on it, can send requests to a loopback port. The guard refuses what
// comes from pages (Origin, Sec-Fetch-*), through proxies (X-Forwarded-For, Forwarded), and under another host's name (DNS
// rebinding), and bounds header, body and time. The dialect's secret is checked by the dialect, with [Secret.Equal].
package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Bounds of a request to an endpoint: every dialect's is a few hundred bytes.
const (
	MaxHeader = 16 << 10
	MaxBody   = 64 << 10
)

// Handler passes on what may be meant for one of the server's own names: loopback addresses, "localhost", the address that the
// connection came to, and hosts, given without port; *.example.com is one of any first label. deny answers the others in the dialect's own way, with status 403 or 413.
func Handler(hosts []string, deny func(w http.ResponseWriter, status int, why string), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !Addressed(r, hosts):
			deny(w, http.StatusForbidden, "the Host header names another server")
		case FromPage(r.Header):
			deny(w, http.StatusForbidden, "requests from web pages are refused")
		case has(r.Header, "X-Forwarded-For", "Forwarded"):
			deny(w, http.StatusForbidden, "forwarded requests are refused")
		case r.ContentLength > MaxBody:
			deny(w, http.StatusRequestEntityTooLarge, "the body is too large")
		default:
			if r.ContentLength != 0 { // it is -1 where the length is not known
				r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
			}
			next.ServeHTTP(w, r)
		}
	})
}

// Addressed reports whether a request is meant for one of the server's own names: see [Handler].
func Addressed(r *http.Request, hosts []string) bool { return known(r.Host, hosts) || named(r) }

func known(host string, hosts []string) bool {
	if port, ok := strings.CutPrefix(host, "127.0.0.1:"); ok && !strings.ContainsAny(port, ":[]") {
		return true // what nearly everybody sends
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsLoopback() {
		return true
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	if host == "" {
		return false // HTTP/1.0 without the header; a host of "" would come of an address such as ":9911"
	}
	for _, h := range hosts {
		if strings.EqualFold(host, h) {
			return true
		}
		// *.example.com, as certificates have it, stands for one label.
		if name, rest, ok := strings.Cut(host, "."); ok && name != "" && strings.HasPrefix(h, "*.") && strings.EqualFold(rest, h[2:]) {
			return true
		}
	}
	return false
}

// named reports whether the Host header is the very address that the connection came to. A name that was made to mean this
// machine is no address, so a page cannot send it.
func named(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap() == local.AddrPort().Addr().Unmap().WithZone("")
}

// FromPage reports whether a browser sent this for a page (Fetch standard: Origin; Fetch Metadata: Sec-Fetch-*).
func FromPage(h http.Header) bool {
	return has(h, "Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User")
}

// has reports whether one of the headers is there, even if it is empty.
func has(h http.Header, names ...string) bool {
	for _, name := range names {
		if _, ok := h[name]; ok {
			return true
		}
	}
	return false
}

// Server returns a server with the bounds that every endpoint has. A request whose retrieval takes longer than write is cut.
func Server(h http.Handler, write time.Duration) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      write,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    MaxHeader,
	}
}

// MinSecret is the least length of an endpoint's secret, in bytes.
const MinSecret = 32

// Secret is an endpoint's secret, kept as a hash, so that comparing takes the same time whatever is presented.
type Secret [sha256.Size]byte

// NewSecret hashes a secret.
func NewSecret(s string) Secret { return sha256.Sum256([]byte(s)) }

// Equal reports whether the secret was presented.
func (s Secret) Equal(presented string) bool {
	sum := sha256.Sum256([]byte(presented))
	return subtle.ConstantTimeCompare(s[:], sum[:]) == 1
}
