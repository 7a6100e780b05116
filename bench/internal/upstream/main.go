// Upstream is what proxies of the benchmarks forward to, by net/http. It checks nothing, and ends with its standard input.
//
//	GET  /authorization       the Authorization header that came, so that a case can see who signed
//	GET  /events              an event that says when it was sent, and a while later another one
//	PUT  /upload              how many bytes came
//	GET  /download?bytes=N    N bytes
//	any  other path           1.6 KB
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	fmt.Fprintln(os.Stderr, "upstream:", serve())
	os.Exit(1)
}

func serve() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listens at", l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorization", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Authorization")) })
	mux.HandleFunc("GET /events", events)
	mux.HandleFunc("PUT /upload", upload)
	mux.HandleFunc("GET /download", download)
	mux.HandleFunc("/", answer)
	return http.Serve(l, mux)
}

var (
	contentType = []string{"application/json"}
	text        = fmt.Appendf(nil, `{"answer":%q}`, bytes.Repeat([]byte("answer-"), 225))
)

func answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header()["Content-Type"] = contentType
	_, _ = w.Write(text)
}

// apart is how long the second event comes after the first: somebody who collects events before passing them on shows it.
const apart = 10 * time.Millisecond

func events(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "data: %d\n\n", time.Now().UnixNano())
	_ = http.NewResponseController(w).Flush()
	time.Sleep(apart)
	_, _ = io.WriteString(w, "data: end\n\n")
}

const bufferSize = 64 << 10

func upload(w http.ResponseWriter, r *http.Request) {
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, make([]byte, bufferSize))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprint(w, n)
}

func download(w http.ResponseWriter, r *http.Request) {
	left, err := strconv.Atoi(r.FormValue("bytes"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(left))
	for b := make([]byte, bufferSize); left > 0 && err == nil; left -= len(b) {
		b = b[:min(left, len(b))]
		_, err = w.Write(b)
	}
}
