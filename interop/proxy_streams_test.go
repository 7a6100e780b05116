package interop

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// tokenProxy is a daemon whose proxy puts a token on requests to an upstream.
func tokenProxy(t *testing.T, upstream, settings string) (d *daemon, url, secret, token string) {
	t.Helper()
	listen := party.FreeAddress(t)
	secret, token = rand.Text()+rand.Text(), "real-"+rand.Text()+rand.Text()
	d = serve(t, fmt.Sprintf(`
identities:
  token: {source: process, command: [echo, %q], lifetime: 1h}
proxies:
  - {signer: bearer, listen: %q, upstream: %q, identity: token, secret: {file: %q}%s}
`, token, listen, upstream, writeSecret(t, filepath.Join(t.TempDir(), "secret"), secret), settings))
	return d, "http://" + listen, secret, token
}

// TestProxyCarriesWebSockets has ws speak to a server of its own through the proxy: both sides send when they like, as much as they
// like, and say why they close. The end of the daemon is the end of a socket that is open.
func TestProxyCarriesWebSockets(t *testing.T) {
	t.Parallel()
	argv := party.SocketNode(t)
	cmd := exec.Command(argv[0], append(argv[1:], "serve")...)
	stdin, err := cmd.StdinPipe() // it leaves when this ends
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	server, err := party.Start(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	port, err := server.ReadyLine("ready ", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	port = strings.TrimSpace(port)
	d, url, secret, token := tokenProxy(t, "http://127.0.0.1:"+port+"/live", "")

	var said struct {
		Said   struct{ Authorization, Host, URL, Extensions string }
		Echoes []int
		Code   int
		Reason string
		Error  string
	}
	runJSON(t, time.Minute, callerEnv(d.home), append(argv, "ask", strings.Replace(url, "http:", "ws:", 1)+"/chat?room=1", secret), &said)
	if said.Error != "" || said.Said.Authorization != "Bearer "+token || said.Said.Host != "127.0.0.1:"+port || said.Said.URL != "/live/chat?room=1" ||
		!strings.Contains(said.Said.Extensions, "permessage-deflate") || fmt.Sprint(said.Echoes) != "[5 0 1048576 140000]" || said.Code != 4001 || said.Reason != "as you wish" {
		t.Errorf("got %+v", said)
	}
	runJSON(t, time.Minute, callerEnv(d.home), append(argv, "ask", strings.Replace(url, "http:", "ws:", 1)+"/chat", "wrong"), &said)
	if !strings.Contains(said.Error, "401") {
		t.Errorf("with a wrong secret: got %+v", said)
	}

	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /chat HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		strings.TrimPrefix(url, "http://"), secret)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %v, %v", resp, err)
	}
	began := time.Now()
	d.stop(t)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, in); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("after the daemon's end: %v", err)
	}
	t.Logf("the daemon ended within %v", time.Since(began).Round(time.Millisecond))
}

// message frames a message as gRPC does (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
func message(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

func readMessage(r io.Reader) (string, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	text := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err := io.ReadFull(r, text)
	return string(text), err
}

// echoRPC is a service of gRPC's kind that answers each message when it comes, and ends with a status in the trailer.
type echoRPC struct {
	seen chan *http.Request
	left chan struct{} // one for each caller that left in the middle
}

func (e *echoRPC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.seen <- r.Clone(context.Background())
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex()
	_ = control.Flush()
	for {
		text, err := readMessage(r.Body)
		if err == io.EOF {
			break
		}
		if err != nil {
			e.left <- struct{}{}
			return
		}
		_, _ = w.Write(message("echo of " + text))
		_ = control.Flush()
	}
	w.Header().Set("Grpc-Status", "0")
	w.Header().Set(http.TrailerPrefix+"Grpc-Message", "done")
}

// TestProxyCarriesGRPC has a caller and an upstream that speak HTTP/2 without TLS send messages in turn over one request, as gRPC does,
// with the call's status in the trailer.
func TestProxyCarriesGRPC(t *testing.T) {
	t.Parallel()
	rpc := &echoRPC{make(chan *http.Request, 10), make(chan struct{}, 10)}
	server := &http.Server{Handler: rpc, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
	server.Protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	d, url, secret, token := tokenProxy(t, "http://"+l.Addr().String(), ", http2: true")

	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	call := func() (*http.Response, *io.PipeWriter) {
		t.Helper()
		body, send := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/echo.Echo/Chat", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Authorization": {"Bearer " + secret}}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp, send
	}
	resp, send := call()
	defer resp.Body.Close()
	for _, text := range []string{"one", "", strings.Repeat("long ", 50_000)} {
		if _, err := send.Write(message(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := readMessage(resp.Body); err != nil || got != "echo of "+text {
			t.Fatalf("got %.40q, %v, want the echo of %.40q", got, err, text)
		}
	}
	send.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("after the last message: got %q, %v", rest, err)
	}
	if resp.ProtoMajor != 2 || resp.Header.Get("Content-Type") != "application/grpc" || resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Grpc-Message") != "done" {
		t.Errorf("got %v with trailer %v", resp, resp.Trailer)
	}
	if seen := <-rpc.seen; seen.ProtoMajor != 2 || seen.Header.Get("Te") != "trailers" || seen.Header.Get("Authorization") != "Bearer "+token || seen.URL.Path != "/echo.Echo/Chat" {
		t.Errorf("the upstream saw %s %v", seen.Proto, seen.Header)
	}

	// Who leaves in the middle leaves the upstream too.
	resp, send = call()
	if _, err := send.Write(message("one")); err != nil {
		t.Fatal(err)
	}
	if _, err := readMessage(resp.Body); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() // net/http looks at the context no more while it waits for a body to send
	select {
	case <-rpc.left:
	case <-time.After(20 * time.Second):
		t.Error("the upstream's call goes on")
	}

	// A caller that speaks HTTP/1.1 is served too.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/echo.Echo/Chat", strings.NewReader(string(message("old"))))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	old, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Body.Close()
	if got, err := readMessage(old.Body); err != nil || got != "echo of old" || old.ProtoMajor != 1 {
		t.Errorf("HTTP/1.1: got %q, %v, by %s", got, err, old.Proto)
	}
	_, _ = io.Copy(io.Discard, old.Body)
	if old.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("HTTP/1.1: got trailer %v", old.Trailer)
	}
	d.stop(t)
}
