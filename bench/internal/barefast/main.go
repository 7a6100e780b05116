// Barefast answers every request with the bytes of a file, by fasthttp: what another HTTP server in Go can do. It ends with its
// standard input.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/valyala/fasthttp"
)

func main() {
	network := flag.String("network", "tcp", "tcp or unix")
	address := flag.String("listen", "127.0.0.1:0", "address, or path of a socket")
	file := flag.String("body", "", "file of what is answered")
	flag.Parse()
	body, err := os.ReadFile(*file)
	if err == nil {
		err = serve(*network, *address, body)
	}
	fmt.Fprintln(os.Stderr, "barefast:", err)
	os.Exit(1)
}

func serve(network, address string, body []byte) error {
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	fmt.Println("listens at", l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	s := &fasthttp.Server{
		ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		Handler: func(c *fasthttp.RequestCtx) {
			c.SetContentType("application/json")
			c.Response.Header.Set("Cache-Control", "no-store")
			c.SetBody(body)
		},
	}
	return s.Serve(l)
}
