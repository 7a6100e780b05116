package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"freshet.dev/interop/internal/party"
)

// TestMCPChecks proves the parties of the bridge's tests without freshet: that clients and servers of both eras get along, that the checks
// let in what is signed, and nothing else. A test of freshet before a server that anybody may use would prove nothing.
func TestMCPChecks(t *testing.T) {
	t.Parallel()
	b := newBridge(t, 8*time.Second, true)
	t.Run("bearer", func(t *testing.T) {
		everything := party.MCPEverything(t)
		for _, c := range []struct {
			sdk, version string
			server       *party.MCPServer
			expire       bool
		}{
			{"sdk", "", everything, true}, {"client", "auto", everything, false}, {"client", stateless, party.MCPStateless(t, false), false}, {"sdk", "", party.MCPStateless(t, true), false},
		} {
			check := b.bearer(t, c.server.URL)
			form := url.Values{"client_id": {"agent"}, "client_secret": {"secret"}, "resource": {mcpResource}}
			began, token := time.Now(), requestToken(t, b.idp, form, nil)
			a := startAgent(t, c.sdk, agentSettings{URL: check.URL, Version: c.version, Headers: map[string]string{"Authorization": "Bearer " + token}})
			if o := a.call(t, "echo", map[string]any{"message": "hi"}); o.text() != "Echo: hi" {
				t.Errorf("%s: %s", c.sdk, o.text())
			}
			if got := check.strangers(); len(got) > 0 || check.signedWith() != 1 {
				t.Errorf("%s: %d versions; refused %q", c.sdk, check.signedWith(), got)
			}
			if c.expire {
				<-time.After(time.Until(began.Add(b.life + 1500*time.Millisecond)))
				if o := a.call(t, "echo", map[string]any{"message": "hi"}); o.Error == nil || len(check.strangers()) == 0 {
					t.Errorf("%s, with a token that has expired: %s", c.sdk, o.text())
				}
			}
			a.stdin.Close()
			_, failed := tryAgent(t, c.sdk, agentSettings{URL: check.URL, Version: c.version, Headers: map[string]string{"Authorization": "Bearer " + token[:len(token)-8] + "AAAAAAAA"}})
			if failed == nil {
				t.Errorf("%s: a token that is forged is let in", c.sdk)
			}
		}
	})
	t.Run("sigv4", func(t *testing.T) {
		check := b.sigv4(t, party.MCPStateless(t, true).URL)
		one := trade(t, b.sts.URL, requestToken(t, b.idp, url.Values{"client_id": {"minio"}, "client_secret": {"secret"}, "resource": {resource}}, nil))
		two := trade(t, b.sts.URL, requestToken(t, b.idp, url.Values{"client_id": {"minio"}, "client_secret": {"secret"}, "resource": {resource}}, nil))
		const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
		send := func(keys aws.Credentials, region, body string, edit func(*http.Request)) int {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, check.URL, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Accept", "application/json, text/event-stream")
			sum := sha256.Sum256([]byte(ping))
			if err := v4.NewSigner().SignHTTP(t.Context(), keys, req, hex.EncodeToString(sum[:]), mcpService, region, time.Now()); err != nil {
				t.Fatal(err)
			}
			if edit != nil {
				edit(req)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var read bytes.Buffer
			_, _ = read.ReadFrom(resp.Body)
			return resp.StatusCode
		}
		if got := send(one, mcpRegion, ping, nil); got != http.StatusOK {
			t.Errorf("signed: got %d; refused %q", got, check.strangers())
		}
		forged := one
		forged.SecretAccessKey = two.SecretAccessKey
		for name, got := range map[string]int{
			"with another secret":          send(forged, mcpRegion, ping, nil),
			"for another region":           send(one, "us-east-1", ping, nil),
			"over another body":            send(one, mcpRegion, ping+" ", nil),
			"with another path":            send(one, mcpRegion, ping, func(r *http.Request) { r.URL.Path = "/mcp/" }),
			"with another content type":    send(one, mcpRegion, ping, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }),
			"with another version's token": send(one, mcpRegion, ping, func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", two.SessionToken) }),
			"without a signature":          send(one, mcpRegion, ping, func(r *http.Request) { r.Header.Del("Authorization") }),
		} {
			if got != http.StatusUnauthorized {
				t.Errorf("%s: got %d, want 401", name, got)
			}
		}
		<-time.After(time.Until(one.Expires) + 100*time.Millisecond)
		if got := send(one, mcpRegion, ping, nil); got != http.StatusUnauthorized {
			t.Errorf("expired: got %d, want 401", got)
		}
	})
}
