// Package awscontainer speaks the AWS container credential dialect, which every AWS SDK reads from
// AWS_CONTAINER_CREDENTIALS_FULL_URI.
//
// A request is GET with the secret as the whole Authorization header, no scheme before it. The answer is
// {"AccessKeyId","SecretAccessKey","Token","Expiration","AccountId"} with Expiration in UTC ending in Z: the JavaScript SDK
// rejects an offset, and all of its strings must be there (credential-provider-http 3.972). Errors carry both spellings of
// code and message: Go reads the lower-case ones, and only under a Content-Type of exactly application/json
// (aws-sdk-go-v2 credentials 1.20), JavaScript the upper-case ones.
package awscontainer

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/expiry"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/wire"
)

// Path is where credentials are.
const Path = "/creds"

// Config has no settings of its own.
type Config struct{}

// Door hands out the identity's credential.
type Door interface {
	Get(ctx context.Context, identity string, req freshet.Request) (freshet.Answer, error)
}

// Handler serves one identity.
type Handler struct {
	door     Door
	identity string
	secret   guard.Secret
	last     atomic.Pointer[rendered]
}

// rendered is a version's answer: it is the same for every caller until the advertised expiry comes near.
type rendered struct {
	credential *freshet.Credential
	body       []byte
}

// New makes a handler for one identity.
func New(door Door, identity string, secret guard.Secret) *Handler {
	return &Handler{door: door, identity: identity, secret: secret}
}

// Environment is what points an SDK at the handler, served at base, such as "http://127.0.0.1:9911". Debian's botocore (1.29)
// and awscli (2.9) know the plain token alone, not the variable that names a file.
func Environment(base, secret string) map[string]string {
	return map[string]string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": base + Path,
		"AWS_CONTAINER_AUTHORIZATION_TOKEN":  secret,
	}
}

// ServeHTTP answers GET /creds.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != Path:
		Deny(w, http.StatusNotFound, "there is nothing at this path")
		return
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		Deny(w, http.StatusMethodNotAllowed, "only GET is answered")
		return
	case !h.secret.Equal(r.Header.Get("Authorization")):
		Deny(w, http.StatusForbidden, "the Authorization header is not this endpoint's secret")
		return
	}
	a, err := h.door.Get(r.Context(), h.identity, freshet.Request{Hold: hold(r.UserAgent())})
	if err != nil {
		e := freshet.AsError(err)
		wire.TellRetryAfter(w.Header(), e)
		fail(w, status(e.Kind), string(e.Kind), wire.Message(e))
		return
	}
	body, err := h.render(a.Credential)
	if err != nil {
		fail(w, http.StatusForbidden, string(freshet.Invalid), err.Error())
		return
	}
	header := w.Header()
	header["Content-Type"] = contentType
	header["Cache-Control"] = noStore
	if a.Stale {
		header.Set("Freshet-Stale", "true")
	}
	_, _ = w.Write(body)
}

const (
	// patience is how long to wait for another attempt at an issuer that fails: Go and JavaScript set no time for an answer
	// (aws-sdk-go-v2 credentials 1.20, credential-provider-http 3.972), and ask again within a second or two of a refusal.
	patience = 20 * time.Second
	// pythonPatience is what Python's leave: botocore gives up after two seconds, and tries three times a second apart (1.29 to
	// 1.43). A refusal in time tells it why, where a timeout would not.
	pythonPatience = 1500 * time.Millisecond
)

// hold is how long the client bears to wait. botocore, and so boto3 and awscli, fetches by a session that names its HTTP library
// alone (python-urllib3/1.26.12); the other names are those of their requests to AWS.
func hold(agent string) time.Duration {
	agent = strings.ToLower(agent)
	for _, python := range []string{"python", "boto", "aws-cli"} {
		if strings.Contains(agent, python) {
			return pythonPatience
		}
	}
	return patience
}

var (
	contentType = []string{"application/json"}
	noStore     = []string{"no-store"}
)

// render renders a version once. In the last part of its life, when the advertised expiry would be past, the true one is
// given, and rendered every time, as is one that does not expire.
func (h *Handler) render(c *freshet.Credential) ([]byte, error) {
	once := !c.Static() && expiry.Early(c)
	if r := h.last.Load(); once && r != nil && r.credential == c {
		return r.body, nil
	}
	if c.Type() != freshet.AWS {
		return nil, freshet.Errorf(freshet.Invalid, "identity %s: its credential is %s, which this dialect cannot carry", h.identity, c.Type())
	}
	k := c.AWS()
	doc := struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		Expiration      string
		AccountID       string `json:"AccountId,omitempty"`
	}{k.AccessKeyID, string(k.SecretAccessKey), string(k.SessionToken), expiry.Advertised(c).Format(time.RFC3339), k.AccountID}
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(doc); err != nil {
		return nil, err
	}
	if once {
		h.last.Store(&rendered{c, buf.Bytes()})
	}
	return buf.Bytes(), nil
}

// status maps a failure's kind. Go retries 429 and 5xx alone; JavaScript and Python retry whatever they get, three or four
// times, a second apart.
func status(k freshet.Kind) int {
	if k == freshet.Invalid {
		return http.StatusForbidden // it is the configuration's fault, not the request's
	}
	return wire.Status(k)
}

// Deny answers in the dialect what the guard refuses.
func Deny(w http.ResponseWriter, status int, why string) {
	fail(w, status, string(freshet.Denied), why)
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header()["Content-Type"] = contentType
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "message": message, "Code": code, "Message": message})
}
