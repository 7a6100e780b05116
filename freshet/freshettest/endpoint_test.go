package freshettest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

// endpointModel is an endpoint that does everything right but for its fault: GET or POST /token, with the secret as the
// Authorization header.
type endpointModel struct {
	door   *Door
	secret string
	method string
	fault  string
	once   *sync.Once // for the fault that keeps a mark with its version
	mark   *bool
}

// marks reports whether the answer is to be marked stale.
func (m endpointModel) marks(a freshet.Answer) bool {
	switch m.fault {
	case "stale":
		return false
	case "always stale":
		return true
	case "stale as at first":
		m.once.Do(func() { *m.mark = a.Stale })
		return *m.mark
	}
	return a.Stale
}

func (m endpointModel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	host = strings.Trim(strings.ToLower(host), "[]")
	ip := net.ParseIP(host)
	page := false
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User", "X-Forwarded-For", "Forwarded"} {
		_, there := r.Header[name]
		page = page || there
	}
	has := func(fault string) bool { return m.fault == fault }
	switch {
	case !has("any host") && host != "localhost" && (ip == nil || !ip.IsLoopback()):
		m.fail(w, 403, "host")
	case !has("pages") && page:
		m.fail(w, 403, "page")
	case !has("huge bodies") && r.ContentLength > 64<<10:
		m.fail(w, 413, "large")
	case !has("any path") && r.URL.Path != "/token":
		m.fail(w, 404, "path")
	case !has("any method") && r.Method != m.method:
		w.Header().Set("Allow", m.method)
		m.fail(w, 405, "method")
	case !has("no secret") && r.Header.Get("Authorization") != m.secret:
		m.fail(w, 403, map[bool]string{true: "want " + m.secret, false: "secret"}[has("tells the secret")])
	default:
		m.answer(w, r)
	}
}

func (m endpointModel) answer(w http.ResponseWriter, r *http.Request) {
	if _, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10)); err != nil && m.fault != "half bodies" {
		m.fail(w, 400, "body")
		return
	}
	ctx := r.Context()
	if m.fault == "detached" {
		ctx = context.Background()
	}
	name := EndpointIdentity
	if m.fault == "another identity" {
		name = "other"
	}
	req := freshet.Request{Hold: 20 * time.Second}
	switch m.fault {
	case "no hold":
		req.Hold = 0
	case "endless hold":
		req.Hold = time.Minute
	}
	a, err := m.door.Get(ctx, name, req)
	if err == nil && a.Credential.Type() != freshet.Bearer && m.fault != "any type" {
		err = freshet.Errorf(freshet.Invalid, "type")
	}
	if err != nil {
		e := freshet.AsError(err)
		text := e.Error()
		if m.fault == "tells causes" {
			text = fmt.Sprint(text, e.Cause)
		}
		if e.RetryAfter > 0 && m.fault != "no retry time" && (e.Kind == freshet.Unavailable || m.fault == "a time to retry what will not pass") {
			w.Header().Set("Retry-After", fmt.Sprint(int((e.RetryAfter+time.Second-1)/time.Second)))
		}
		status := map[freshet.Kind]int{freshet.Invalid: 400, freshet.Unavailable: 503}[e.Kind]
		if status == 0 {
			status = 500
		}
		if m.fault == "stale refusals" {
			w.Header().Set("Freshet-Stale", "true")
		}
		m.fail(w, status, text)
		return
	}
	if m.marks(a) {
		w.Header().Set("Freshet-Stale", "true")
	}
	doc := map[string]string{"token": a.Credential.Token() + string(a.Credential.AWS().SecretAccessKey)}
	if m.fault == "torn answers" {
		doc["at"] = fmt.Sprintf("%p", r)
	}
	m.write(w, 200, doc)
}

func (m endpointModel) fail(w http.ResponseWriter, status int, why string) {
	m.write(w, status, map[string]string{"error": why})
}

func (m endpointModel) write(w http.ResponseWriter, status int, doc map[string]string) {
	if m.fault != "no type" {
		w.Header().Set("Content-Type", "application/json")
	}
	if m.fault != "caches" {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	if m.fault == "no JSON" {
		_, _ = io.WriteString(w, "token=")
	}
	_ = json.NewEncoder(w).Encode(doc)
}

func modelSuite(method, fault string) EndpointSuite {
	return EndpointSuite{
		New: func(d *Door, secret string) *http.Server {
			s := &http.Server{Handler: endpointModel{d, secret, method, fault, new(sync.Once), new(bool)}, ReadTimeout: 10 * time.Second, WriteTimeout: 90 * time.Second, MaxHeaderBytes: 16 << 10}
			switch fault {
			case "patient":
				s.ReadTimeout = 0
			case "huge headers":
				s.MaxHeaderBytes = 1 << 20
			case "hasty":
				s.WriteTimeout = 5 * time.Second
			}
			return s
		},
		Request: func(base, secret string) *http.Request {
			var body io.Reader
			if method == "POST" {
				body = strings.NewReader("a=b&c=d")
			}
			r, _ := http.NewRequest(method, base+"/token", body)
			if secret != "" {
				r.Header.Set("Authorization", secret)
			}
			return r
		},
		Type: freshet.Bearer, Unauthorized: 403,
		Statuses: map[freshet.Kind]int{freshet.Invalid: 400, freshet.LoginNeeded: 500, freshet.Denied: 500, freshet.Unavailable: 503, freshet.Malformed: 500, freshet.Bug: 500},
	}
}

func TestEndpointSuite(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) { Endpoint(t, modelSuite(method, "")) })
	}
}

func TestEndpointSuiteFindsFaults(t *testing.T) {
	for fault, want := range map[string]string{
		"any host": "foreign host", "pages": "web page or proxy", "huge bodies": "huge", "huge headers": "huge", "any path": "wrong path",
		"any method": "wrong method", "no secret": "without the secret", "tells the secret": "without the secret", "half bodies": "slow",
		"patient": "slow", "hasty": "slow door", "detached": "client that leaves", "another identity": "hands out", "any type": "another type",
		"tells causes": "failures", "no retry time": "failures", "a time to retry what will not pass": "failures", "stale": "stale", "always stale": "stale", "stale as at first": "stale", "stale refusals": "stale",
		"no hold": "holds", "endless hold": "holds", "torn answers": "twenty at once",
		"no type": "hands out", "caches": "hands out", "no JSON": "hands out",
	} {
		t.Run(fault, func(t *testing.T) {
			s := modelSuite("POST", fault)
			for _, c := range endpointCases {
				if c.name != want {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					if problems := s.judge(t, c.try); len(problems) == 0 {
						t.Errorf("%q finds nothing wrong", c.name)
					}
				})
				return
			}
			t.Fatalf("there is no case %q", want)
		})
	}
}
