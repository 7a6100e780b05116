// Bareproxy passes every request on to an upstream by httputil.ReverseProxy, and signs nothing: what a proxy cannot be quicker than
// that is made of it. It ends with its standard input.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"sync"
	"time"
)

func main() {
	to := flag.String("upstream", "", "URL")
	flag.Parse()
	upstream, err := url.Parse(*to)
	if err == nil {
		err = serve(upstream)
	}
	fmt.Fprintln(os.Stderr, "bareproxy:", err)
	os.Exit(1)
}

// What freshet's proxies have too: connections that are kept, buffers that are used again, and room for garbage. Net/http keeps two
// connections to a host by default, and makes a buffer for each answer; a process without anything on its heap collects garbage
// twice as often.
const (
	kept       = 100
	bufferSize = 32 << 10
	ballast    = 7 << 20
)

func serve(upstream *url.URL) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listens at", l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	untouched := make([]byte, ballast)
	defer runtime.KeepAlive(untouched)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(upstream) },
		Transport: &http.Transport{
			MaxIdleConnsPerHost: kept, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
			WriteBufferSize: bufferSize, ReadBufferSize: bufferSize,
		},
		BufferPool: new(buffers),
	}
	s := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	return s.Serve(l)
}

type buffers struct{ sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.Pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(p []byte) { b.Pool.Put((*[bufferSize]byte)(p)) }
