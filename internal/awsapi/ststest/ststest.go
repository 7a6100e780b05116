// Package ststest is an STS for tests: it verifies signatures with the SDK's own signer, and answers as its test wants.
package ststest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

// What answers have in them that must not get out.
const (
	SecretKey    = "planted-secret-access-key-of-the-role-01"
	SessionToken = "planted-session-token-of-the-role-012345"
	Gossip       = "gossip-of-the-sts-0123456789"
)

// Call is one request that arrived.
type Call struct {
	Form   url.Values
	Header http.Header
	// Signer is the access key id it is signed with, and Region that of its signature; both empty where it is not signed.
	Signer, Region string
}

// Server is an STS. Its methods may be called by many goroutines.
type Server struct {
	URL string

	keys  map[string]aws.Credentials // access key id → keys
	mu    sync.Mutex
	calls []Call
}

// New starts an STS that knows the keys and answers each of its calls with reply; a signature that is none of theirs is
// refused as AWS does, without asking reply.
func New(t *testing.T, keys []freshet.AWSKeys, reply func(http.ResponseWriter, *http.Request, Call)) *Server {
	t.Helper()
	s := &Server{keys: make(map[string]aws.Credentials)}
	for _, k := range keys {
		s.keys[k.AccessKeyID] = aws.Credentials{
			AccessKeyID: k.AccessKeyID, SecretAccessKey: string(k.SecretAccessKey), SessionToken: string(k.SessionToken),
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone
		}
		c := Call{Header: r.Header.Clone()}
		c.Form, _ = url.ParseQuery(string(body))
		if why := s.verify(r, body, &c); why != "" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, Failing(why))
			return
		}
		s.mu.Lock()
		s.calls = append(s.calls, c)
		s.mu.Unlock()
		reply(w, r, c)
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Calls are those that arrived, and were not signed wrongly.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// verify makes the signature again, over what the caller says it signed.
func (s *Server) verify(r *http.Request, body []byte, c *Call) (code string) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return ""
	}
	scope, rest, ok := strings.Cut(strings.TrimPrefix(header, "AWS4-HMAC-SHA256 Credential="), ", SignedHeaders=")
	part := strings.Split(scope, "/")
	if !ok || len(part) != 5 || part[3] != "sts" {
		return "IncompleteSignature"
	}
	keys, ok := s.keys[part[0]]
	if !ok || r.Header.Get("X-Amz-Security-Token") != keys.SessionToken {
		return "InvalidClientTokenId"
	}
	signed, _, _ := strings.Cut(rest, ",")
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return "IncompleteSignature"
	}
	for name := range strings.SplitSeq(signed, ";") {
		if v := r.Header.Values(name); name != "x-amz-date" && len(v) > 0 {
			again.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || at.Sub(freshet.Now().Wall()).Abs() > 15*time.Minute {
		return "RequestExpired"
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(r.Context(), keys, again, hex.EncodeToString(sum[:]), "sts", part[2], at); err != nil {
		return "IncompleteSignature"
	}
	if again.Header.Get("Authorization") != header {
		return "SignatureDoesNotMatch"
	}
	c.Signer, c.Region = part[0], part[2]
	return ""
}

// Answer is a successful one to an action.
func Answer(action, id string, expires time.Time) string {
	return fmt.Sprintf(`<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <%[1]sResult>
    <AssumedRoleUser><Arn>arn:aws:sts::210987654321:assumed-role/deploy/%[2]s</Arn><AssumedRoleId>X:freshet</AssumedRoleId></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>%[3]s</AccessKeyId><SecretAccessKey>%[4]s</SecretAccessKey><SessionToken>%[5]s</SessionToken>
      <Expiration>%[6]s</Expiration>
    </Credentials>
  </%[1]sResult>
  <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>
</%[1]sResponse>`, action, Gossip, id, SecretKey, SessionToken, expires.UTC().Format(time.RFC3339))
}

// Failing is an answer with an error code.
func Failing(code string) string {
	return `<ErrorResponse><Error><Type>Sender</Type><Code>` + code + `</Code><Message>` + Gossip + `</Message></Error><RequestId>1</RequestId></ErrorResponse>`
}

// Give answers every call with keys that live so long.
func Give(life time.Duration) func(http.ResponseWriter, *http.Request, Call) {
	return func(w http.ResponseWriter, _ *http.Request, c Call) {
		_, _ = io.WriteString(w, Answer(c.Form.Get("Action"), "ASIAROLE", freshet.Now().Wall().Add(life)))
	}
}

// Behave answers as an upstream of the conformance suite does.
func Behave(u freshettest.Upstream) func(http.ResponseWriter, *http.Request, Call) {
	switch u {
	case freshettest.Good:
		return Give(time.Hour)
	case freshettest.Expired:
		return Give(-time.Minute)
	case freshettest.Century:
		return Give(100 * 365 * 24 * time.Hour)
	}
	return func(w http.ResponseWriter, r *http.Request, c Call) {
		switch u {
		case freshettest.Hang:
			<-r.Context().Done()
		case freshettest.Garbage:
			_, _ = io.WriteString(w, `{"token":"`+Gossip+`"}`)
		case freshettest.Huge:
			action := c.Form.Get("Action")
			freshettest.WriteHuge(w, "<"+action+"Response><"+action+"Result>"+Gossip)
		case freshettest.Failing:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, Failing("ServiceUnavailable"))
		case freshettest.Throttled: // STS says so with status 400
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, Failing("Throttling"))
		}
	}
}
