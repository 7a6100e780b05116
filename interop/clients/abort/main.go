// Abort asks the AWS container credentials endpoint in its environment for credentials over raw sockets, and resets
// most of them on the way: after connecting, in the middle of the request's head, after the request, in the middle of
// the reply. Every fourth request is let through, and has to be answered with 200.
//
//	abort ENDPOINT BUCKET KEY SECONDS PAUSE
//
// The first three arguments are the other clients' and are not used. The summary counts every request, and as failures
// those to which the endpoint could not be reached and those let through that it did not answer with 200.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"freshet.dev/interop/internal/loop"
)

func main() {
	log.SetFlags(0)
	work, err := loop.Parse(os.Args[1:])
	if err != nil {
		log.Fatalf("usage: abort ENDPOINT BUCKET KEY SECONDS PAUSE: %v", err)
	}
	endpoint, err := url.Parse(os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
	if err != nil || endpoint.Host == "" {
		log.Fatalf("AWS_CONTAINER_CREDENTIALS_FULL_URI: want an address: %v", err)
	}
	request := "GET " + endpoint.RequestURI() + " HTTP/1.1\r\n" +
		"Host: " + endpoint.Host + "\r\n" +
		"Authorization: " + os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN") + "\r\n" +
		"Accept: application/json\r\n\r\n"

	running, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	turn := 0
	summary := loop.Run(running, "abort", work.For, work.Pause, func() error {
		turn++
		return visit(endpoint.Host, request, turn)
	})
	if err := summary.Print(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// visit makes one request and, but for every fourth, leaves it at a point that the turn decides.
func visit(host, request string, turn int) error {
	conn, err := net.DialTimeout("tcp", host, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if turn%4 == 0 {
		return complete(conn, request)
	}
	// With no time to linger, closing sends a reset instead of an orderly end (SO_LINGER, socket(7)).
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	sent := request
	if turn%4 == 1 {
		sent = request[:turn%len(request)] // ever another part of the head
	}
	if _, err := io.Copy(conn, strings.NewReader(sent)); err != nil {
		return nil // the endpoint may well hang up first on half a request
	}
	if turn%4 == 3 {
		// Wait for the first byte of the reply, and leave the rest.
		_, _ = conn.Read(make([]byte, 1))
	}
	return nil
}

func complete(conn net.Conn, request string) error {
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("container endpoint: %s", reply.Status)
	}
	_, err = io.Copy(io.Discard, reply.Body)
	return err
}
