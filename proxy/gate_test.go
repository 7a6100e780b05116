package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// gated serves a gate, whose handlers say who came and what headers they were shown.
func gated(t *testing.T, network, address string, behind ...Behind) (url string, c *http.Client, refused chan string) {
	t.Helper()
	refused = make(chan string, 100)
	for i := range behind {
		b := &behind[i]
		b.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%s %s %v %d %v", b.Path, CallerOf(r), len(r.Header["Authorization"])+len(r.Header["X-Api-Key"]), n, err)
		})
		b.Refused = func(code string) { refused <- b.Path + " " + code }
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := Server(NewGate(nil, behind...))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	c = client(t)
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}
	return "http://127.0.0.1", c, refused
}

func get(t *testing.T, c *http.Client, url string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest("POST", url, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func shows(secret string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }
}

func TestGateLetsInWhoShowsTheSecret(t *testing.T) {
	url, c, refused := gated(t, "tcp", "127.0.0.1:0", Behind{Path: "/mcp", Callers: Callers{Secret: localSecret}})
	for name, change := range map[string]func(*http.Request){
		"bearer": shows(localSecret), "key": func(r *http.Request) { r.Header.Set("X-Api-Key", localSecret) },
	} {
		if resp, body := get(t, c, url+"/mcp", change); resp.StatusCode != 200 || body != "/mcp secret 0 4 <nil>" {
			t.Errorf("%s: got %d %s", name, resp.StatusCode, body)
		}
	}
	if len(refused) > 0 {
		t.Errorf("refused: %s", <-refused)
	}
	for name, test := range map[string]struct {
		change func(*http.Request)
		status int
		code   string
	}{
		"nothing shown": {nil, 401, "AccessDenied"}, "another": {shows(localSecret + "x"), 401, "AccessDenied"},
		"a page":          {func(r *http.Request) { shows(localSecret)(r); r.Header.Set("Origin", "https://page.example") }, 403, "FromPage"},
		"another's name":  {func(r *http.Request) { shows(localSecret)(r); r.Host = "rebound.example" }, 403, "WrongHost"},
		"another's proxy": {func(r *http.Request) { shows(localSecret)(r); r.Header.Set("X-Forwarded-For", "192.0.2.1") }, 403, "Forwarded"},
	} {
		resp, _ := get(t, c, url+"/mcp", test.change)
		if resp.StatusCode != test.status || resp.Header.Get("Freshet-Error") != test.code {
			t.Errorf("%s: got %d %s", name, resp.StatusCode, resp.Header.Get("Freshet-Error"))
		}
		if got := <-refused; got != "/mcp "+test.code {
			t.Errorf("%s: told of %s", name, got)
		}
	}
}

// TestGateDoesNotTellStrangersItsPaths: what they are answered is the same, byte for byte, wherever they knock.
func TestGateDoesNotTellStrangersItsPaths(t *testing.T) {
	url, c, _ := gated(t, "tcp", "127.0.0.1:0", Behind{Path: "/a", Callers: Callers{Secret: localSecret}}, Behind{Path: "/b", Callers: Callers{Secret: localSecret + "b"}})
	for _, secret := range []string{"", "wrong", localSecret + "b"} {
		said := ""
		for _, path := range []string{"/a", "/none", "/a/", "/A", "/a/../b", "/%61"} {
			if path == "/%61" && secret == "" || secret == localSecret+"b" && path != "/a" {
				continue
			}
			resp, body := get(t, c, url+path, shows(secret))
			delete(resp.Header, "Date")
			got := fmt.Sprint(resp.StatusCode, resp.Header, body)
			if said == "" {
				said = got
			}
			if got != said || resp.StatusCode != 401 {
				t.Errorf("%q at %s: got %s, elsewhere %s", secret, path, got, said)
			}
		}
	}
	if _, body := get(t, c, url+"/none", shows(localSecret)); !strings.Contains(body, `"kind":"invalid request"`) {
		t.Errorf("a path where there is nothing: got %s", body)
	}
	for path, want := range map[string]int{"/a": 200, "/b": 401, "/none": 404} {
		if resp, body := get(t, c, url+path, shows(localSecret)); resp.StatusCode != want {
			t.Errorf("%s: got %d %s, want %d", path, resp.StatusCode, body, want)
		}
	}
}

func TestGateKnowsUsersOfAUnixSocket(t *testing.T) {
	self := uint32(os.Getuid())
	url, c, _ := gated(t, "unix", filepath.Join(t.TempDir(), "s"),
		Behind{Path: "/mine", Callers: Callers{Owner: self}}, Behind{Path: "/others", Callers: Callers{UIDs: []uint32{self + 1}, Owner: self}},
		Behind{Path: "/both", Callers: Callers{Owner: self, Secret: localSecret}})
	for path, want := range map[string]string{"/mine": fmt.Sprintf("200 /mine uid:%d 0 4 <nil>", self), "/others": "401", "/both": "401", "/none": "404"} {
		resp, body := get(t, c, url+path, nil)
		if got := fmt.Sprint(resp.StatusCode, " ", body); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	if resp, body := get(t, c, url+"/both", shows(localSecret)); body != fmt.Sprintf("/both uid:%d 0 4 <nil>", self) {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
}

func TestGateNamesCertificatesOwners(t *testing.T) {
	g := NewGate(nil, Behind{Path: "/", Callers: Callers{Certificates: true}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, CallerOf(r)) })})
	for _, verified := range []bool{true, false} {
		r := httptest.NewRequest("POST", "http://127.0.0.1/", nil)
		r.TLS = &tls.ConnectionState{}
		leaf := &x509.Certificate{Subject: pkix.Name{CommonName: "agent"}}
		if r.TLS.PeerCertificates = []*x509.Certificate{leaf}; verified {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{leaf}}
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if verified && (w.Code != 200 || w.Body.String() != "cert:agent") || !verified && w.Code != 403 {
			t.Errorf("verified %v: got %d %s", verified, w.Code, w.Body)
		}
	}
}
