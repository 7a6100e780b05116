package oauth2

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/secret"
)

const (
	clientSecret = "a+b %2B c:d/e=f&g?h%" // arrives whole by Basic only if form-encoded once
	token        = "opaque-access-token-0123456789"
	gossip       = "gossip-of-the-issuer-0123456789"
)

func secretRef(t *testing.T, name, value string) secret.Ref {
	t.Helper()
	t.Setenv(name, value)
	return secret.Ref{Env: name}
}

// issuer answers every request with what reply says, and keeps the last request and its form.
type issuer struct {
	*httptest.Server
	requests []*http.Request
	forms    []url.Values
}

func newIssuer(t *testing.T, reply http.HandlerFunc) *issuer {
	t.Helper()
	i := &issuer{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		i.requests, i.forms = append(i.requests, r), append(i.forms, r.PostForm)
		reply(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

func good(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":3600}`, token)
}

func newSource(t *testing.T, cfg Config) *Source {
	t.Helper()
	src, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func retrieve(t *testing.T, cfg Config, req freshet.Request) *freshet.Credential {
	t.Helper()
	cred, err := newSource(t, cfg).Retrieve(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

func TestForm(t *testing.T) {
	i := newIssuer(t, good)
	cred := retrieve(t, Config{
		TokenURL: i.URL + "/token?tenant=x", ClientID: "me", Auth: "post", ClientSecret: secretRef(t, "SECRET", clientSecret),
		Resource: "urn:thing", Params: map[string]string{"organization": "org 1"},
	}, freshet.Request{Scopes: []string{"a.read", "b"}, Audience: "api://x"})
	if cred.Token() != token || cred.TokenType() != "Bearer" || cred.Type() != freshet.Bearer {
		t.Errorf("got %v of type %q", cred, cred.TokenType())
	}
	if d := cred.Lifetime(); d != time.Hour {
		t.Errorf("lifetime is %v, want 1h", d)
	}
	r := i.requests[0]
	if got := r.Method + " " + r.URL.String(); got != "POST /token?tenant=x" {
		t.Errorf("request line is %q", got)
	}
	if got := r.Header.Get("Accept"); got != "application/json" {
		t.Errorf("Accept is %q", got)
	}
	const want = "audience=api%3A%2F%2Fx&client_id=me&client_secret=a%2Bb+%252B+c%3Ad%2Fe%3Df%26g%3Fh%25" +
		"&grant_type=client_credentials&organization=org+1&resource=urn%3Athing&scope=a.read+b"
	if got := i.forms[0].Encode(); got != want {
		t.Errorf("form is\n%s, want\n%s", got, want)
	}
}

func TestBasic(t *testing.T) {
	i := newIssuer(t, good)
	retrieve(t, Config{TokenURL: i.URL, ClientID: "a:b c", ClientSecret: secretRef(t, "SECRET", clientSecret)}, freshet.Request{})
	const pair = "a%3Ab+c:a%2Bb+%252B+c%3Ad%2Fe%3Df%26g%3Fh%25"
	if got, want := i.requests[0].Header.Get("Authorization"), "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := i.forms[0].Encode(); got != "grant_type=client_credentials" {
		t.Errorf("form is %q", got)
	}
}

func TestRotatedSecretIsPickedUp(t *testing.T) {
	i := newIssuer(t, good)
	path := filepath.Join(t.TempDir(), "secret")
	src := newSource(t, Config{TokenURL: i.URL, ClientID: "me", Auth: "post", ClientSecret: secret.Ref{File: path}})
	for _, value := range []string{"first", "second"} {
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := src.Retrieve(t.Context(), freshet.Request{}); err != nil {
			t.Fatal(err)
		}
		if got := i.forms[len(i.forms)-1].Get("client_secret"); got != value {
			t.Errorf("sent %q, want %q", got, value)
		}
	}
}

func TestSecretThatCannotBeRead(t *testing.T) {
	i := newIssuer(t, good)
	for name, test := range map[string]struct {
		ref  secret.Ref
		kind freshet.Kind
		want string
	}{
		"unset":   {secret.Ref{Env: "NOT_SET_ANYWHERE"}, freshet.Invalid, "client_secret.env: NOT_SET_ANYWHERE"},
		"absent":  {secret.Ref{File: filepath.Join(t.TempDir(), "no")}, freshet.Invalid, "does not exist"},
		"failing": {secret.Ref{Command: []string{"/bin/sh", "-c", "echo " + gossip + " >&2; exit 3"}}, freshet.Unavailable, "exit status 3"},
		"missing": {secret.Ref{Command: []string{"/no/such/program"}}, freshet.Invalid, "no such program"},
	} {
		_, err := newSource(t, Config{TokenURL: i.URL, ClientID: "me", ClientSecret: test.ref}).Retrieve(t.Context(), freshet.Request{})
		e, ok := err.(*freshet.Error)
		if !ok || e.Kind != test.kind || !strings.Contains(e.Why, test.want) {
			t.Errorf("%s: got %v, want %q %q", name, err, test.kind, test.want)
			continue
		}
		freshettest.LeakedSecrets(t, e.Error()+e.Hint, gossip)
	}
	if len(i.requests) != 0 {
		t.Error("the issuer was asked without a secret")
	}
}

func TestScopeThatIsNone(t *testing.T) {
	i := newIssuer(t, good)
	src := newSource(t, Config{TokenURL: i.URL, ClientID: "me", ClientSecret: secretRef(t, "SECRET", clientSecret)})
	for _, scope := range []string{"", "a b", "a\nb", `a"b`, `a\b`, "ä"} {
		_, err := src.Retrieve(t.Context(), freshet.Request{Scopes: []string{"ok", scope}})
		if e, ok := err.(*freshet.Error); !ok || e.Kind != freshet.Invalid {
			t.Errorf("scope %q: got %v, want it refused", scope, err)
		}
	}
	if len(i.requests) != 0 {
		t.Error("the issuer was asked")
	}
}

// bearerJWT is a token whose only claim is its expiry; its signature is nonsense.
func bearerJWT(exp time.Time) string {
	payload := fmt.Sprintf(`{"exp":%d}`, exp.Unix())
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2lnbmF0dXJl"
}

func TestConformance(t *testing.T) {
	private, _ := newKey(t, "EC256")
	t.Setenv("SUITE_SECRET", clientSecret)
	t.Setenv("SUITE_KEY", private)
	for _, auth := range []string{"basic", "post", "private_key_jwt"} {
		t.Run(auth, func(t *testing.T) {
			freshettest.Source(t, freshettest.SourceSuite{
				New: func(t *testing.T, u freshettest.Upstream) (freshet.Source, any) {
					cfg := Config{TokenURL: upstream(t, u) + "/token", ClientID: "me", Auth: auth}
					if auth == "private_key_jwt" {
						cfg.PrivateKey = secret.Ref{Env: "SUITE_KEY"}
					} else {
						cfg.ClientSecret = secret.Ref{Env: "SUITE_SECRET"}
					}
					return newSource(t, cfg), cfg
				},
				Request: freshet.Request{Scopes: []string{"b", "a"}, Audience: "api://x"},
				Secrets: []string{clientSecret, private, strings.Split(private, "\n")[1], token, gossip},
			})
		})
	}
}

// upstream is the address of an issuer that behaves so.
func upstream(t *testing.T, u freshettest.Upstream) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer := map[string]any{"access_token": token, "token_type": "Bearer", "note": gossip}
		switch u {
		case freshettest.Good:
			answer["expires_in"] = 3600
		case freshettest.Hang:
			<-r.Context().Done()
			return
		case freshettest.Garbage:
			_, _ = io.WriteString(w, "<html>"+gossip)
			return
		case freshettest.Empty:
			return
		case freshettest.Huge:
			freshettest.WriteHuge(w, `{"access_token":"`+token+gossip)
			return
		case freshettest.Expired:
			answer["access_token"], answer["expires_in"] = bearerJWT(freshet.Now().Wall().Add(-time.Minute)), 3600
		case freshettest.Century:
			answer["expires_in"] = "3153600000"
		case freshettest.Failing:
			w.WriteHeader(http.StatusServiceUnavailable)
			answer = map[string]any{"error": "server_error", "error_description": gossip}
		case freshettest.Throttled:
			now := freshet.Now().Wall() // whose whole second counts for both
			w.Header().Set("Date", now.Format(http.TimeFormat))
			w.Header().Set("Retry-After", now.Add(freshettest.ThrottledFor).Format(http.TimeFormat))
			w.WriteHeader(http.StatusTooManyRequests)
			answer = map[string]any{"error": "slow_down", "error_description": gossip}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
