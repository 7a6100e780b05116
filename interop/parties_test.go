package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"freshet.dev/interop/internal/party"
)

// resource is what a client asks a token for, and audience what MinIO wants to find in it.
const (
	resource = "urn:freshet:interop:s3"
	audience = "minio"
)

// TestTrade proves the parties of the rotation run without freshet: that a token buys credentials, that those are
// verified, and that they end when the token does. A test of freshet against an S3 server that lets anybody in, at any
// time, would prove nothing.
func TestTrade(t *testing.T) {
	const ttl = 8 * time.Second
	idp := party.OIDC(t, party.OIDCConfig{
		TTL:       ttl,
		Clients:   []party.OIDCClient{party.PostClient("minio", "secret")},
		Audiences: map[string]string{resource: audience},
		Claims:    map[string]any{"policy": "readwrite"},
	})
	server := party.MinIO(t, party.MinIOConfig{OIDCConfigURL: idp.ConfigURL(), ClientID: audience})
	proxy := party.CountingProxy(t, server.URL)

	token := requestToken(t, idp, url.Values{
		"client_id": {"minio"}, "client_secret": {"secret"}, "resource": {resource},
	}, nil)
	claims := verify(t, idp, token)
	if want := (jwt.Audience{audience}); !claims.Audience.Contains(audience) || len(claims.Audience) != 1 {
		t.Errorf("aud: got %v, want %v", claims.Audience, want)
	}
	if got := claims.Expiry.Time().Sub(claims.IssuedAt.Time()); got != ttl {
		t.Errorf("life of the token: got %v, want %v", got, ttl)
	}

	creds := trade(t, proxy.URL, token)
	if got, want := creds.Expires, claims.Expiry.Time(); !got.Equal(want) {
		t.Errorf("expiry of the credentials: got %v, want the token's, %v", got, want)
	}
	if got, want := [2]int{proxy.Requests(), proxy.Successes()}, [2]int{1, 1}; got != want {
		t.Errorf("STS requests and successes: got %v, want %v", got, want)
	}

	if err := get(t, server, creds); err != nil {
		t.Errorf("signed GET: %v", err)
	}
	forged := creds
	forged.SecretAccessKey = strings.Repeat("x", len(creds.SecretAccessKey))
	if got, want := code(get(t, server, forged)), "SignatureDoesNotMatch"; got != want {
		t.Errorf("GET with another secret key: got %q, want %q", got, want)
	}

	// Within the last instant the server may refuse a little early or late, hence the second on either side.
	err := party.Poll(time.Until(creds.Expires)+2*time.Second, func() error {
		if get(t, server, creds) == nil {
			return errors.New("still served")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("credentials past their expiry: %v", err)
	}
	if early := time.Until(creds.Expires); early > time.Second {
		t.Errorf("credentials refused %v before their expiry", early)
	}
	t.Logf("refused %v after the expiry, with %q", -time.Until(creds.Expires), code(get(t, server, creds)))
}

func TestTokensAreDistinctAndCounted(t *testing.T) {
	idp := party.OIDC(t, party.OIDCConfig{Clients: []party.OIDCClient{
		party.PostClient("post", "secret"), party.PostClient("idle", "secret"),
	}})
	form := url.Values{"client_id": {"post"}, "client_secret": {"secret"}}
	seen := map[string]bool{}
	for range 3 {
		seen[requestToken(t, idp, form, nil)] = true
	}
	if len(seen) != 3 {
		t.Errorf("tokens: got %d distinct of 3", len(seen))
	}
	idp.Inject(party.Fault{For: time.Minute, RetryAfter: 3 * time.Second})
	resp, body := postForm(t, idp.TokenURL(), form, nil)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "3" {
		t.Errorf("during the fault: got %s, Retry-After %q, %s", resp.Status, resp.Header.Get("Retry-After"), body)
	}
	idp.Inject(party.Fault{}) // which ends it
	resp, body = postForm(t, idp.TokenURL(), url.Values{"client_id": {"post"}, "client_secret": {"wrong"}}, nil)
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a wrong secret: got %s, %s", resp.Status, body)
	}
	counts := idp.Counts()
	if got, want := counts["post"], (party.Count{Requests: 4, Successes: 3}); got != want {
		t.Errorf("count: got %+v, want %+v", got, want)
	}
	if got, want := counts["idle"], (party.Count{}); got != want {
		t.Errorf("count of a client that asked for nothing: got %+v, want %+v", got, want)
	}
}

// TestBasicSecretIsFormEncoded holds the provider to RFC 6749, section 2.3.1, which is what makes it a judge of clients.
func TestBasicSecretIsFormEncoded(t *testing.T) {
	idp := party.OIDC(t, party.OIDCConfig{Clients: []party.OIDCClient{
		party.BasicClient("basic", party.SpecialSecret),
	}})
	requestToken(t, idp, nil, func(r *http.Request) {
		r.SetBasicAuth("basic", url.QueryEscape(party.SpecialSecret))
	})
	resp, body := postForm(t, idp.TokenURL(), nil, func(r *http.Request) {
		r.SetBasicAuth("basic", party.SpecialSecret)
	})
	if resp.StatusCode == http.StatusOK {
		t.Errorf("a secret that was not encoded: got %s, want a refusal: %s", resp.Status, body)
	}
}

func TestAssertionIsAcceptedOnce(t *testing.T) {
	keys := map[string]party.Key{"pkjwt-ec": party.NewECKey(t), "pkjwt-rsa": party.NewRSAKey(t)}
	var clients []party.OIDCClient
	for id, key := range keys {
		clients = append(clients, party.KeyClient(id, key))
	}
	idp := party.OIDC(t, party.OIDCConfig{Clients: clients})
	for id, key := range keys {
		t.Run(id, func(t *testing.T) {
			for name, audience := range map[string]string{"token endpoint": idp.TokenURL(), "issuer": idp.Issuer} {
				form := assertion(t, id, key, audience, name)
				requestToken(t, idp, form, nil)
				resp, body := postForm(t, idp.TokenURL(), form, nil)
				if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "invalid_client") {
					t.Errorf("%s: replayed assertion: got %s %s, want 401 invalid_client", name, resp.Status, body)
				}
			}
			resp, body := postForm(t, idp.TokenURL(), assertion(t, id, key, "http://elsewhere.invalid", "other"), nil)
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("assertion for somebody else: got %s %s, want 401", resp.Status, body)
			}
		})
	}
}

// assertion is the form of private_key_jwt (RFC 7523, section 2.2).
func assertion(t *testing.T, id string, key party.Key, audience, jti string) url.Values {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: key.Algorithm, Key: key.Signer}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	signed, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: id, Subject: id, Audience: jwt.Audience{audience}, ID: jti,
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute)),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {signed},
	}
}

// requestToken asks the provider itself for a token, which has to be granted.
func requestToken(t *testing.T, idp *party.IdP, form url.Values, edit func(*http.Request)) string {
	t.Helper()
	resp, body := postForm(t, idp.TokenURL(), form, edit)
	var reply struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
	}
	if err := json.Unmarshal([]byte(body), &reply); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("token request: %s, %s (%v)", resp.Status, body, err)
	}
	return reply.AccessToken
}

// verify checks the token against the provider's published keys and returns its claims.
func verify(t *testing.T, idp *party.IdP, token string) jwt.Claims {
	t.Helper()
	resp, err := http.Get(idp.JWKSURL())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var keys jose.JSONWebKeySet
	if err := json.NewDecoder(resp.Body).Decode(&keys); err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatalf("token: %v", err)
	}
	var claims jwt.Claims
	if err := parsed.Claims(keys, &claims); err != nil {
		t.Fatalf("token's signature: %v", err)
	}
	if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: idp.Issuer, Time: time.Now()}, 0); err != nil {
		t.Fatalf("token: %v", err)
	}
	return claims
}

// trade trades the token for credentials at the STS, which have its life: no DurationSeconds is sent.
func trade(t *testing.T, endpoint, token string) aws.Credentials {
	t.Helper()
	client := sts.New(sts.Options{BaseEndpoint: &endpoint, Region: "us-east-1", RetryMaxAttempts: 1})
	out, err := client.AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          aws.String("arn:minio:iam:::role/dummy"),
		RoleSessionName:  aws.String("interop"),
		WebIdentityToken: &token,
	})
	if err != nil {
		t.Fatal(err)
	}
	return aws.Credentials{
		AccessKeyID:     *out.Credentials.AccessKeyId,
		SecretAccessKey: *out.Credentials.SecretAccessKey,
		SessionToken:    *out.Credentials.SessionToken,
		CanExpire:       true,
		Expires:         *out.Credentials.Expiration,
	}
}

func get(t *testing.T, server *party.S3, creds aws.Credentials) error {
	t.Helper()
	object, err := server.Client(creds).GetObject(t.Context(), &s3.GetObjectInput{
		Bucket: &server.Bucket, Key: &server.Key,
	})
	if err != nil {
		return err
	}
	return object.Body.Close()
}

// code is the error's code on the wire.
func code(err error) string {
	if apiErr := smithy.APIError(nil); errors.As(err, &apiErr) {
		return apiErr.ErrorCode()
	}
	return fmt.Sprint(err)
}
