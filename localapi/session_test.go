package localapi_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"freshet.dev/broker"
	"freshet.dev/client"
	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

// try asks a session's two doors as an OAuth client and an AWS SDK would, and reports whether both answer with a credential.
func try(t *testing.T, env map[string]string) bool {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {env["FRESHET_CLIENT_ID"]}, "client_secret": {env["FRESHET_CLIENT_SECRET"]}}
	token, err := http.PostForm(env["FRESHET_TOKEN_URL"], form)
	if err != nil {
		return false
	}
	defer token.Body.Close()
	r, err := http.NewRequest("GET", env["AWS_CONTAINER_CREDENTIALS_FULL_URI"], nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", env["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
	keys, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	defer keys.Body.Close()
	b1, _ := io.ReadAll(token.Body)
	b2, _ := io.ReadAll(keys.Body)
	return token.StatusCode == 200 && keys.StatusCode == 200 && strings.Contains(string(b1), secretPrefix) && strings.Contains(string(b2), secretPrefix)
}

// closed waits until nothing listens at a session's address any more.
func closed(t *testing.T, env map[string]string) {
	t.Helper()
	u, err := url.Parse(env["FRESHET_TOKEN_URL"])
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			return
		}
		c.Close()
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the session's port is still open")
		}
	}
}

func sessionServer(t *testing.T) *served {
	return serve(t, 0o600, nil, identity("token", new(issuer), broker.Policy{}), identity("keys", &issuer{keys: true}, broker.Policy{}))
}

func TestSessionLastsUntilItsBodyIsClosed(t *testing.T) {
	s := sessionServer(t)
	c := client.New(client.Config{Socket: s.path})
	one, err := c.OpenSession(t.Context(), []string{"token", "keys"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.OpenSession(t.Context(), []string{"keys", "token"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	env := one.Environment
	if env["FRESHET_SOCKET"] != s.path || env["FRESHET_IDENTITY"] != "token" || one.Types["keys"] != freshet.AWS || one.Types["token"] != freshet.Bearer || one.ID == two.ID {
		t.Errorf("session %s of types %v", one.ID, one.Types)
	}
	if !try(t, env) || !try(t, two.Environment) {
		t.Error("a session's doors do not answer")
	}
	mixed := map[string]string{}
	for k, v := range env {
		mixed[k] = v
	}
	mixed["FRESHET_CLIENT_SECRET"] = two.Environment["FRESHET_CLIENT_SECRET"]
	if try(t, mixed) {
		t.Error("one session's door takes another's secret")
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	closed(t, env)
	if !try(t, two.Environment) {
		t.Error("the end of one session ended another")
	}
	two.Close()
	closed(t, two.Environment)
	record := s.record()
	for _, want := range []string{`"caller":"session:` + one.ID + `"`, `"caller":"session:` + two.ID + `"`} {
		if !strings.Contains(record, want) {
			t.Errorf("the record lacks %s: %s", want, record)
		}
	}
	freshettest.LeakedSecrets(t, record, secretPrefix, env["FRESHET_CLIENT_SECRET"])
}

func TestSessionEndsWhenItsClientIsKilled(t *testing.T) {
	s := sessionServer(t)
	out, cmd := s.another("session", nil, "token", "keys")
	if !out.Scan() {
		t.Fatal("the client says nothing")
	}
	var env map[string]string
	if err := json.Unmarshal(out.Bytes(), &env); err != nil {
		t.Fatalf("%v: %s", err, out.Text())
	}
	if !try(t, env) {
		t.Fatal("the session's doors do not answer")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	closed(t, env)
}

func TestSessionEndsWithTheDaemon(t *testing.T) {
	s := sessionServer(t)
	one, err := client.New(client.Config{Socket: s.path}).OpenSession(t.Context(), []string{"token", "keys"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	close(s.ending)
	one.Wait()
	closed(t, one.Environment)
}

func TestSessionWhoseClientLeavesEarlyIsNotOpened(t *testing.T) {
	src := &issuer{wait: make(chan struct{})}
	s := serve(t, 0o600, nil, identity("token", src, broker.Policy{}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.New(client.Config{Socket: s.path}).OpenSession(ctx, []string{"token"}, 0); freshet.AsError(err) == nil || freshet.AsError(err).Why != "timed out" {
		t.Errorf("got %v, want that it timed out", err)
	}
	close(src.wait)
}
