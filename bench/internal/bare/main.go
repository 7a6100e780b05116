// Bare answers every request with the bytes of a file, by net/http: what a server cannot be quicker than. It ends with its
// standard input.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
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
	fmt.Fprintln(os.Stderr, "bare:", err)
	os.Exit(1)
}

var (
	contentType = []string{"application/json"}
	noStore     = []string{"no-store"}
)

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
	// The time limits are those of a server that strangers can reach, freshet's among them. Each costs a timer a request.
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	if network == "tcp" {
		s.WriteTimeout = time.Minute
	}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		h := w.Header()
		h["Content-Type"], h["Cache-Control"] = contentType, noStore
		_, _ = w.Write(body)
	})
	return s.Serve(l)
}
