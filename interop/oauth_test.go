package interop

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"freshet.dev/interop/internal/party"
)

// TestOAuthToken has an OAuth client and curl get tokens from the oauth-token endpoint, whose identities authenticate to
// a certified provider in each way there is. Asked four times for one identity, freshet asks the provider once.
func TestOAuthToken(t *testing.T) {
	ec, rsa := party.NewECKey(t), party.NewRSAKey(t)
	idp := party.OIDC(t, party.OIDCConfig{
		TTL: 10 * time.Minute,
		Clients: []party.OIDCClient{
			party.PostClient("client-post", party.SpecialSecret),
			party.BasicClient("client-basic", party.SpecialSecret),
			party.KeyClient("client-ec", ec),
			party.KeyClient("client-rsa", rsa),
		},
	})
	dir := t.TempDir()
	file := func(name, content string) string { return writeSecret(t, filepath.Join(dir, name), content) }
	secret := rand.Text() + rand.Text() // 32 random bytes and more
	listen := party.FreeAddress(t)
	clientSecret := file("client-secret", party.SpecialSecret)
	d := serve(t, fmt.Sprintf(`
identities:
  post:  {source: oauth2, token_url: %[1]q, client_id: client-post, auth: post, client_secret: {file: %[2]q}, resource: %[3]q}
  basic: {source: oauth2, token_url: %[1]q, client_id: client-basic, auth: basic, client_secret: {file: %[2]q}, resource: %[3]q}
  ec:    {source: oauth2, token_url: %[1]q, client_id: client-ec, auth: private_key_jwt, private_key: {file: %[4]q}, resource: %[3]q}
  rsa:   {source: oauth2, token_url: %[1]q, client_id: client-rsa, auth: private_key_jwt, private_key: {file: %[5]q}, resource: %[3]q}
endpoints:
  - {endpoint: oauth-token, listen: %[6]q, identities: [post, basic, ec, rsa], secret: {file: %[7]q}}
`, idp.TokenURL(), clientSecret, resource,
		file("ec.pem", string(ec.PEM(t))), file("rsa.pem", string(rsa.PEM(t))), listen, file("endpoint-secret", secret)))
	tokenURL := "http://" + listen + "/token"

	for _, identity := range []string{"post", "basic", "ec", "rsa"} {
		t.Run(identity, func(t *testing.T) {
			tokens := map[string]string{} // client → the token it got
			for name, style := range map[string]oauth2.AuthStyle{
				"x/oauth2 with Basic": oauth2.AuthStyleInHeader, "x/oauth2 with a form": oauth2.AuthStyleInParams,
			} {
				token, err := (&clientcredentials.Config{
					ClientID: identity, ClientSecret: secret, TokenURL: tokenURL, AuthStyle: style,
				}).Token(t.Context())
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if !token.Valid() || token.Type() != "Bearer" || token.Expiry.After(time.Now().Add(10*time.Minute)) {
					t.Errorf("%s: got a %s token until %v, want a valid Bearer within its life", name, token.Type(), token.Expiry)
				}
				tokens[name] = token.AccessToken
			}
			tokens["curl with Basic"] = curl(t, tokenURL, "--user", identity+":"+secret)
			tokens["curl with a form"] = curl(t, tokenURL,
				"--data-urlencode", "client_id="+identity, "--data-urlencode", "client_secret="+secret)
			for name, token := range tokens {
				claims := verify(t, idp, token)
				if got, want := claims.Subject, "client-"+identity; got != want || !claims.Audience.Contains(resource) {
					t.Errorf("%s: got a token for %q with aud %v, want %q with %q", name, got, claims.Audience, want, resource)
				}
			}
			if got, want := idp.Counts()["client-"+identity], (party.Count{Requests: 1, Successes: 1}); got != want {
				t.Errorf("token requests at the provider: got %+v, want %+v", got, want)
			}
		})
	}

	t.Run("wrong secret", func(t *testing.T) {
		_, err := (&clientcredentials.Config{
			ClientID: "post", ClientSecret: secret + "x", TokenURL: tokenURL, AuthStyle: oauth2.AuthStyleInHeader,
		}).Token(t.Context())
		if err == nil {
			t.Error("got a token, want a refusal")
		}
	})
	d.stop(t)
}

// curl makes the request as a shell script would, and returns the token.
func curl(t *testing.T, tokenURL string, args ...string) string {
	t.Helper()
	cmd := exec.Command(party.Curl(t), append([]string{
		"--silent", "--show-error", "--fail-with-body", "--noproxy", "*", "--max-time", "30",
		"--data", "grant_type=client_credentials", tokenURL,
	}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("curl: %v: %s", err, out)
	}
	var reply struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   *int   `json:"expires_in"`
	}
	if err := json.Unmarshal(out, &reply); err != nil {
		t.Fatalf("curl: %q: %v", out, err)
	}
	if reply.AccessToken == "" || reply.TokenType != "Bearer" || reply.ExpiresIn == nil || *reply.ExpiresIn <= 0 {
		t.Errorf("curl: got %+v, want a Bearer with expires_in", reply)
	}
	return reply.AccessToken
}
