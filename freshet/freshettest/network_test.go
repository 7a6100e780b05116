package freshettest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet/freshettest"
)

func TestServerInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network freshettest.Network
		network.Serve(t, "issuer:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(time.Hour): // virtual: only a bubble that sees every wait as durable gets there
			case <-r.Context().Done():
				t.Error("the client left")
			}
			_, _ = io.WriteString(w, "late")
		}))
		began := time.Now()
		resp, err := network.Client(t).Get("http://issuer/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "late" {
			t.Errorf("got %q, %v", body, err)
		}
		if took := time.Since(began); took != time.Hour {
			t.Errorf("took %v of virtual time, want 1h", took)
		}
	})
}

func TestClientThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network freshettest.Network
		left := make(chan struct{})
		network.Serve(t, "issuer:80", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			close(left)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://issuer/", nil)
		if _, err := network.Client(t).Do(req); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		<-left
	})
}

func TestNobodyListens(t *testing.T) {
	var network freshettest.Network
	if _, err := network.DialContext(t.Context(), "tcp", "issuer:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("before: got %v, want connection refused", err)
	}
	l, err := network.Listen("issuer:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := network.Listen("issuer:80"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second listener: got %v, want address in use", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := network.DialContext(ctx, "tcp", "issuer:80"); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody accepts: got %v, want the context's error", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: got %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: got %v", err)
	}
	if _, err := network.DialContext(t.Context(), "tcp", "issuer:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after: got %v, want connection refused", err)
	}
}
