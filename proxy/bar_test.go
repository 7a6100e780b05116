package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"freshet.dev/internal/bar"
)

const (
	addedBar   = 1.15
	addedSlack = 1.6 // what fails the test: the bar is for an idle machine
)

// TestAddedTimeBar compares what the proxy adds to a request with what httputil.ReverseProxy adds that signs nothing: all of them
// in this process, so that the upstream's own time is in each. What signing itself takes is its signers' to measure.
func TestAddedTimeBar(t *testing.T) {
	bar.Skip(t)
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Date"] = nil // answers are of one length then
		_, _ = w.Write(make([]byte, 1600))
	})
	up := httptest.NewServer(answer)
	defer up.Close()
	u, err := url.Parse(up.URL)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Name: "test", Upstream: u, Identity: "id", Signer: new(plain), Door: &vault{forgets: true}, Callers: Callers{Secret: localSecret}, Observe: func(Event) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	bare := &httputil.ReverseProxy{
		Rewrite:      func(p *httputil.ProxyRequest) { p.SetURL(u) },
		Transport:    &http.Transport{MaxIdleConnsPerHost: keptConnections, DisableCompression: true},
		BufferPool:   &buffers,
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { t.Error(err) },
	}
	for name, request := range map[string]string{
		"GET":  "GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:9920\r\nUser-Agent: test\r\nAuthorization: Bearer " + localSecret + "\r\n\r\n",
		"POST": "POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1:9920\r\nUser-Agent: test\r\nAuthorization: Bearer " + localSecret + "\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n0123456789abcdef",
	} {
		added := func(best []time.Duration) float64 {
			return (best[2] - best[0]).Seconds() / (best[1] - best[0]).Seconds()
		}
		best := bar.Times(t, request, func(best []time.Duration) bool { return added(best) <= addedBar },
			&http.Server{Handler: answer}, &http.Server{Handler: bare}, Server(NewMux(nil, r)))
		t.Logf("%s: direct %v, through ReverseProxy %v, through freshet %v", name, best[0], best[1], best[2])
		t.Logf("%s: freshet adds %.2f × what ReverseProxy adds; the bar is %.2f", name, added(best), addedBar)
		if added(best) > addedSlack {
			t.Errorf("%s: %.2f ×, want at most %.2f", name, added(best), addedSlack)
		}
	}
}
