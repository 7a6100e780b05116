package main

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a bridge's session whose call goes on for as long as it may.
type stuck struct{ ended chan struct{} }

func (s *stuck) Serve(ctx context.Context, rw io.ReadWriteCloser) error {
	_, _ = io.Copy(io.Discard, rw)
	<-ctx.Done()
	close(s.ended)
	return ctx.Err()
}

func (s *stuck) Close() {}

// TestBridgeOfItsOwnDoesNotHoldTheProcess: clients kill what has not ended within two seconds, and one of them has gone by then.
func TestBridgeOfItsOwnDoesNotHoldTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{ended: make(chan struct{})}
		l := serveHere(t.Context(), s, slog.New(slog.DiscardHandler))
		began := time.Now()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		select {
		case <-s.ended:
		default:
			t.Error("the call goes on")
		}
		if took := time.Since(began); lingering+took >= 2*time.Second {
			t.Errorf("closing took %v", took)
		}
	})
}
