package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"freshet.dev/bench/internal/measure"
)

func TestSmoke(t *testing.T) {
	t.Chdir("..") // where programs are built
	tools, err := measure.NewTools()
	if err != nil {
		t.Fatal(err)
	}
	defer tools.Close()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			res, err := measure.Run(t.Context(), c, measure.Options{Smoke: true, Tools: tools})
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range res.Rows {
				if row.Err != "" {
					t.Errorf("%s: %s", row.Subject, row.Err)
				}
			}
		})
	}
}

// serve is a caller of a handler, as if that were a proxy.
func serve(t *testing.T, y *way, h http.HandlerFunc) (*client, *measure.Setup) {
	t.Helper()
	up := httptest.NewServer(h)
	t.Cleanup(up.Close)
	c := (&server{way: y, address: up.Listener.Addr().String()}).client()
	t.Cleanup(c.close)
	return c, &measure.Setup{Context: t.Context(), Smoke: true}
}

func TestProxyThatDoesNotSignIsNotMeasured(t *testing.T) {
	for _, y := range []*way{direct, bare, bearer, signature} {
		for name, test := range map[string]struct {
			came string
			want error
		}{
			"as wanted":         {y.signed, nil},
			"nothing":           {"", measure.ErrWrong},
			"the secret":        {"Bearer " + bearer.secret, measure.ErrWrong},
			"another signature": {"AWS4-HMAC-SHA256 Credential=AKIAOTHER/", measure.ErrWrong},
		} {
			c, s := serve(t, y, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != y.prefix+"/authorization" || r.Header.Get("Authorization") != "Bearer "+y.secret {
					t.Errorf("%s: %s is asked for with %q", y.name, r.URL, r.Header.Get("Authorization"))
				}
				_, _ = io.WriteString(w, test.came)
			})
			if err := c.check(s); !errors.Is(err, test.want) {
				t.Errorf("%s: %s: %v, want %v", y.name, name, err, test.want)
			}
		}
	}
}

func TestFirstEventIsTimedFromWhenItWasSent(t *testing.T) {
	const held = 30 * time.Millisecond
	for name, test := range map[string]struct {
		events, next string
		late         time.Duration // after what it says
		want         error
	}{
		"at once":          {"data: %d\n\n", "data: end\n\n", 0, nil},
		"held":             {"data: %d\n\n", "data: end\n\n", held, nil},
		"cut":              {"data: %d\n\n", "", 0, measure.ErrWrong},
		"without a time":   {"data: x%d\n\n", "data: end\n\n", 0, measure.ErrWrong},
		"before it was":    {"data: %d\n\n", "data: end\n\n", -time.Hour, measure.ErrWrong},
		"with another end": {"data: %d\n\n", "data: more\n\n", 0, measure.ErrWrong},
	} {
		c, s := serve(t, bearer, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, test.events, time.Now().Add(-test.late).UnixNano())
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, test.next)
		})
		took, err := c.event(s)
		if !errors.Is(err, test.want) || err == nil && took < test.late {
			t.Errorf("%s: %v, %v, want %v", name, took, err, test.want)
		}
	}
}

func TestStreamsThatLoseBytesAreNotMeasured(t *testing.T) {
	const size = 100_000
	for name, lost := range map[string]int64{"all came": 0, "one is lost": 1} {
		c, s := serve(t, signature, func(w http.ResponseWriter, r *http.Request) {
			switch r.Method + " " + r.URL.Path {
			case "PUT /keys/upload":
				n, _ := io.Copy(io.Discard, r.Body)
				if n != size || len(r.Header.Get("X-Amz-Content-Sha256")) != 64 {
					t.Errorf("%s: %d bytes came, %v", name, n, r.Header)
				}
				fmt.Fprint(w, n-lost)
			case "GET /keys/download":
				if got := r.FormValue("bytes"); got != strconv.Itoa(size) {
					t.Errorf("%s: %s bytes are asked for", name, got)
				}
				_, _ = io.WriteString(w, strings.Repeat("x", int(size-lost)))
			default:
				t.Errorf("%s: %s %s", name, r.Method, r.URL)
			}
		})
		for which, err := range map[string]error{"upload": c.upload(s, size), "download": c.download(s, size)} {
			if errors.Is(err, measure.ErrWrong) != (lost > 0) || lost == 0 && err != nil {
				t.Errorf("%s: %s: %v", name, which, err)
			}
		}
	}
}

func TestAnswerOtherThan200IsNotMeasured(t *testing.T) {
	c, s := serve(t, bearer, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
		switch r.URL.Path { // all else is right
		case "/token/events":
			fmt.Fprintf(w, "data: %d\n\ndata: end\n\n", time.Now().UnixNano())
		case "/token/upload":
			fmt.Fprint(w, n)
		default:
			_, _ = io.WriteString(w, strings.Repeat("x", 10))
		}
	})
	_, err := c.event(s)
	for _, err := range []error{err, c.upload(s, 10), c.download(s, 10)} {
		if !errors.Is(err, measure.ErrWrong) {
			t.Errorf("%v, want %v", err, measure.ErrWrong)
		}
	}
}
