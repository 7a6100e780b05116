package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// signedAs signs a request as AWS's SDK for Go does, with a secret of the proxy's.
func signedAs(t *testing.T, secret, service, body string, at time.Time) func(*http.Request) {
	return func(r *http.Request) {
		delete(r.Header, "Authorization")
		sum := sha256.Sum256([]byte(body))
		hash := hex.EncodeToString(sum[:])
		if service == "s3" {
			r.Header.Set("X-Amz-Content-Sha256", hash)
		}
		keys := aws.Credentials{AccessKeyID: "freshet", SecretAccessKey: secret}
		if err := v4.NewSigner().SignHTTP(t.Context(), keys, r, hash, service, "us-east-1", at); err != nil {
			t.Fatal(err)
		}
	}
}

func presignedAs(t *testing.T, secret string, expires time.Duration, at time.Time) func(*http.Request) {
	return func(r *http.Request) {
		delete(r.Header, "Authorization")
		q := r.URL.Query()
		q.Set("X-Amz-Expires", strconv.Itoa(int(expires.Seconds())))
		r.URL.RawQuery = q.Encode()
		u, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: "freshet", SecretAccessKey: secret}, r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", at)
		if err == nil {
			r.URL, err = r.URL.Parse(u)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestCallersSignatureTakesTheSecretsPlace(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d %v", r.RequestURI, r.Header.Get("Authorization"), len(b), r.Header["X-Amz-Date"])
	})
	big := strings.Repeat("x", spoolMemory+5)
	for name, c := range map[string]struct {
		method, path, body string
		sign               func(*http.Request)
		want               string
	}{
		"S3":                    {"PUT", "/b/k", "hello", signedAs(t, localSecret, "s3", "hello", time.Now()), "/b/k Bearer token-0 5 []"},
		"another service":       {"POST", "/model/m/invoke", "hello", signedAs(t, localSecret, "bedrock", "hello", time.Now()), "/model/m/invoke Bearer token-0 5 []"},
		"its body is large":     {"POST", "/", big, signedAs(t, localSecret, "bedrock", big, time.Now()), fmt.Sprintf("/ Bearer token-0 %d []", len(big))},
		"no body":               {"GET", "/b?list-type=2", "", signedAs(t, localSecret, "sts", "", time.Now()), "/b?list-type=2 Bearer token-0 0 []"},
		"a presigned URL":       {"GET", "/b/k?versionId=7", "", presignedAs(t, localSecret, time.Minute, time.Now()), "/b/k?versionId=7 Bearer token-0 0 []"},
		"a presigned URL, used": {"GET", "/b/k", "", presignedAs(t, localSecret, time.Hour, time.Now().Add(-50*time.Minute)), "/b/k Bearer token-0 0 []"},
	} {
		resp, got := g.send(c.method, c.path, c.body, c.sign)
		if resp.StatusCode != 200 || got != c.want {
			t.Errorf("%s: got %d %.200s, want %s", name, resp.StatusCode, got, c.want)
		}
	}
	for name, c := range map[string]struct {
		sign func(*http.Request)
		code string
	}{
		"another secret":        {signedAs(t, localSecret+"x", "s3", "hello", time.Now()), "SignatureDoesNotMatch"},
		"another body":          {signedAs(t, localSecret, "bedrock", "other", time.Now()), "SignatureDoesNotMatch"},
		"of another time":       {signedAs(t, localSecret, "s3", "hello", time.Now().Add(-time.Hour)), "RequestTimeTooSkewed"},
		"another path":          {func(r *http.Request) { signedAs(t, localSecret, "s3", "hello", time.Now())(r); r.URL.Path = "/other" }, "SignatureDoesNotMatch"},
		"presigned with it not": {presignedAs(t, "x"+localSecret, time.Minute, time.Now()), "SignatureDoesNotMatch"},
		"expired":               {presignedAs(t, localSecret, time.Minute, time.Now().Add(-time.Hour)), "AccessDenied"},
		"a header more": {func(r *http.Request) {
			presignedAs(t, localSecret, time.Minute, time.Now())(r)
			r.Header.Set("X-Amz-Copy-Source", "/b/other")
		}, "SignatureDoesNotMatch"},
		"malformed": {func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x") }, "IncompleteSignature"},
	} {
		resp, body := g.send("PUT", "/b/k", "hello", c.sign)
		if resp.StatusCode != 403 || resp.Header.Get("Freshet-Error") != c.code {
			t.Errorf("%s: got %d %s %s", name, resp.StatusCode, resp.Header.Get("Freshet-Error"), body)
		}
	}
	if len(g.vault.wants) != 6 {
		t.Errorf("the broker was asked %d times, want 6", len(g.vault.wants))
	}
}

// TestStrangersBodyIsBounded: who signs without saying the body's hash makes the proxy read it first.
func TestStrangersBodyIsBounded(t *testing.T) {
	g := start(t, echo, func(c *Config) { c.MaxSpool = 1000 })
	body := strings.Repeat("x", 1001)
	g.route.cfg.Methods = []string{"PUT"}
	if resp, _ := g.send("POST", "/", body, signedAs(t, localSecret+"x", "bedrock", body, time.Now())); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a method that is not forwarded: got %d", resp.StatusCode)
	}
	g.route.cfg.Methods = nil
	if resp, _ := g.send("POST", "/", body, signedAs(t, localSecret, "bedrock", body, time.Now())); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d", resp.StatusCode)
	}
}
