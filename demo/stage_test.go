package demo

import (
	"net/http"
	"os"
	"testing"
	"time"

	"freshet.dev/lab"
)

// TestLateRequestsAreNotCounted asks the cloud of one phase, and begins the next: that one's figures are its own.
func TestLateRequestsAreNotCounted(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	s, err := set(Config{Program: "/bin/true", Callers: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	asked := func(url string) chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if resp, err := http.Get(url); err == nil {
				resp.Body.Close()
			}
		}()
		return done
	}
	if err := s.cloud.Set(lab.ManagedIdentity, lab.Settings{Latency: time.Minute}); err != nil {
		t.Fatal(err)
	}
	url := s.paths.MSI
	early := asked(url)
	if err := s.asked(t.Context(), lab.ManagedIdentity); err != nil {
		t.Fatal(err)
	}
	if got := s.calls(); got != 1 {
		t.Errorf("first phase: got %d calls, want 1", got)
	}
	if err := s.newCloud(); err != nil {
		t.Fatal(err)
	}
	<-early // a cloud's end is its requests' end
	<-asked(url)
	if got := s.calls(); got != 0 {
		t.Errorf("second phase: got %d calls, want none", got)
	}
	<-asked(s.paths.MSI)
	if got := s.calls(); got != 1 {
		t.Errorf("second phase: got %d calls, want its own", got)
	}
	http.DefaultClient.CloseIdleConnections()
	s.close()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}
