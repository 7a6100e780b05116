package interop

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// check stands before a server and lets in only requests that are signed, each with one version of a credential that has been issued
// and has not expired. It can refuse some that are.
type check struct {
	URL string

	mu       sync.Mutex
	judge    func(r *http.Request, body []byte) (version string, err error)
	stage    func(w http.ResponseWriter, r *http.Request, m rpc) bool // answers a request that is signed, and says so; or not
	requests int
	refused  []string       // why
	versions map[string]int // version of the credential → requests signed with it
	methods  map[string]int // JSON-RPC method → requests
	deletes  int
	headers  []http.Header // those of the last requests
	bodies   []string
}

// rpc is a message to a server, as far as the check reads it.
type rpc struct {
	ID     json.RawMessage
	Method string
	Params struct {
		Name string
		Meta map[string]any `json:"_meta"`
	}
}

// newCheck starts one before a server.
func newCheck(t *testing.T, server string, judge func(r *http.Request, body []byte) (string, error)) *check {
	t.Helper()
	base, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	c := &check{judge: judge, versions: map[string]int{}, methods: map[string]int{}}
	forward := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: base.Scheme, Host: base.Host})
			r.Out.Header.Del("Authorization")
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { w.WriteHeader(http.StatusBadGateway) },
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller has left
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if c.serve(w, r, body) {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
	})
	c.URL = front.URL + base.Path
	return c
}

// serve judges a request and counts it; true says that it is the server's.
func (c *check) serve(w http.ResponseWriter, r *http.Request, body []byte) bool {
	c.mu.Lock()
	judge := c.judge
	c.mu.Unlock()
	version, err := judge(r, body)
	var m rpc
	_ = json.Unmarshal(body, &m)
	c.mu.Lock()
	c.requests++
	if err != nil {
		if len(c.refused) < 100 {
			c.refused = append(c.refused, fmt.Sprintf("%s %s: %v", r.Method, m.Method, err))
		}
		c.mu.Unlock()
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		http.Error(w, "who is this?", http.StatusUnauthorized)
		return false
	}
	c.versions[version]++
	if m.Method != "" {
		c.methods[m.Method]++
	}
	if r.Method == http.MethodDelete {
		c.deletes++
	}
	if c.headers = append(c.headers, r.Header.Clone()); len(c.headers) > 200 {
		c.headers = c.headers[100:]
	}
	if c.bodies = append(c.bodies, string(body)); len(c.bodies) > 200 {
		c.bodies = c.bodies[100:]
	}
	stage := c.stage
	c.mu.Unlock()
	return stage == nil || !stage(w, r, m)
}

// stages has requests answered otherwise from now on; nil: no more.
func (c *check) stages(f func(w http.ResponseWriter, r *http.Request, m rpc) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stage = f
}

// judges has requests judged otherwise from now on.
func (c *check) judges(f func(r *http.Request, body []byte) (string, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.judge = f
}

// count is how many requests of a method there were; "" is all of them.
func (c *check) count(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if method == "" {
		return c.requests
	}
	return c.methods[method]
}

// last is the session and the body of the last request of a method.
func (c *check) last(method string) (session, body string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, body := range slices.Backward(c.bodies) {
		if strings.Contains(body, `"method":"`+method+`"`) {
			return c.headers[i].Get("Mcp-Session-Id"), body
		}
	}
	return "", ""
}

// strangers are the requests that were not signed as they should be.
func (c *check) strangers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.refused)
}

// signedWith is how many versions have signed requests.
func (c *check) signedWith() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.versions)
}

// bearerJudge takes the tokens of an issuer, by the keys that it publishes.
func bearerJudge(keys jose.JSONWebKeySet, issuer string) func(*http.Request, []byte) (string, error) {
	return func(r *http.Request, _ []byte) (string, error) {
		if len(r.Header.Values("Authorization")) != 1 {
			return "", fmt.Errorf("%d headers Authorization", len(r.Header.Values("Authorization")))
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return "", errors.New("no bearer token")
		}
		parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			return "", err
		}
		var claims jwt.Claims
		if err := parsed.Claims(keys, &claims); err != nil {
			return "", err
		}
		return cmp.Or(claims.ID, token), claims.ValidateWithLeeway(jwt.Expected{Issuer: issuer, Time: time.Now()}, 0)
	}
}

// issued are keys that an STS has handed out, by access key id.
type issued struct {
	URL string // of the STS, by way of this

	mu   sync.Mutex
	keys map[string]aws.Credentials
}

// watchSTS starts a proxy before an STS that learns the keys it issues. Host is passed on as it came.
func watchSTS(t *testing.T, target string) *issued {
	t.Helper()
	base, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	s := &issued{keys: map[string]aws.Credentials{}}
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(base)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			var reply struct {
				Credentials struct {
					AccessKeyID     string `xml:"AccessKeyId"`
					SecretAccessKey string
					SessionToken    string
					Expiration      time.Time
				} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
			}
			if xml.Unmarshal(body, &reply) == nil && reply.Credentials.AccessKeyID != "" {
				k := reply.Credentials
				s.mu.Lock()
				defer s.mu.Unlock()
				s.keys[k.AccessKeyID] = aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken, CanExpire: true, Expires: k.Expiration}
			}
			return nil
		},
	})
	t.Cleanup(front.Close)
	s.URL = front.URL
	return s
}

// count is how many keys have been issued.
func (s *issued) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys)
}

// secrets are all parts of keys that nobody else may see.
func (s *issued) secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, k := range s.keys {
		all = append(all, k.SecretAccessKey, k.SessionToken)
	}
	return all
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$`)

// judge makes a request's signature anew, with AWS's own signer, and compares.
func (s *issued) judge(service, region string) func(*http.Request, []byte) (string, error) {
	return func(r *http.Request, body []byte) (string, error) {
		m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
		if m == nil || len(r.Header.Values("Authorization")) != 1 {
			return "", errors.New("not signed")
		}
		if m[3] != region || m[4] != service {
			return "", fmt.Errorf("signed for %s in %s", m[4], m[3])
		}
		s.mu.Lock()
		keys, ok := s.keys[m[1]]
		s.mu.Unlock()
		switch at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date")); {
		case !ok:
			return "", errors.New("no such key")
		case keys.SessionToken != r.Header.Get("X-Amz-Security-Token"):
			return "", errors.New("the session token is another version's")
		case err != nil || time.Since(at).Abs() > time.Minute:
			return "", fmt.Errorf("signed at %v: %v", at, err)
		case time.Now().After(keys.Expires):
			return "", errors.New("the key has expired")
		default:
			sum := sha256.Sum256(body)
			hash := hex.EncodeToString(sum[:])
			if said := r.Header.Get("X-Amz-Content-Sha256"); said != "" && said != hash {
				return "", fmt.Errorf("the body's hash is not %q", said)
			}
			copied, err := http.NewRequestWithContext(context.Background(), r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
			if err != nil {
				return "", err
			}
			signed := strings.Split(m[5], ";")
			for _, name := range signed {
				switch name {
				case "host", "x-amz-date", "x-amz-security-token":
				case "content-length":
					copied.ContentLength = int64(len(body))
				default:
					copied.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
				}
			}
			if !slices.Contains(signed, "content-type") && r.Header.Get("Content-Type") != "" || !slices.Contains(signed, "host") {
				return "", fmt.Errorf("signed headers: %v", signed)
			}
			if err := v4.NewSigner().SignHTTP(context.Background(), keys, copied, hash, service, region, at); err != nil {
				return "", err
			}
			want := authorization.FindStringSubmatch(copied.Header.Get("Authorization"))
			if want == nil || want[6] != m[6] {
				return "", fmt.Errorf("the signature is wrong: %v", signed)
			}
			return m[1], nil
		}
	}
}
