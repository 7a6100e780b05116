package daemon

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestRequestThatComesAfterTheEndIsAborted asks a listener whose last front is closed, as a request may that was read just before its
// connection was cut.
func TestRequestThatComesAfterTheEndIsAborted(t *testing.T) {
	l, f := new(listener), newFront()
	l.front.Store(f)
	f.leave()
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("got %v", v)
		}
	}()
	l.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}
