package lab_test

import (
	"context"
	"crypto"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"freshet.dev/freshet"
	"freshet.dev/lab"
)

// patience is how long anything may take that has no reason to.
const patience = 30 * time.Second

// TestMain lets the test binary be the program that the lab's az runs.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "lab" && os.Args[2] == "az" {
		os.Exit(lab.RunAzureCLI(context.Background(), os.Args[3:], os.Getenv, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// cloud is a running lab.
type cloud struct {
	*lab.Cloud
	t    *testing.T
	base string
	lab.Endpoints
	lab.Credentials
}

func start(t *testing.T, issuers map[string]lab.Settings) *cloud {
	t.Helper()
	c := newCloud(t, lab.Config{Issuers: issuers})
	server := httptest.NewServer(c.Handler())
	t.Cleanup(server.Close)
	return c.at(server.URL)
}

func newCloud(t *testing.T, cfg lab.Config) *cloud {
	t.Helper()
	c, err := lab.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &cloud{Cloud: c, t: t, Credentials: c.Credentials()}
}

func (c *cloud) at(base string) *cloud {
	c.base, c.Endpoints = base, c.Paths(base)
	return c
}

// answer is a whole answer.
type answer struct {
	status int
	header http.Header
	body   string
	doc    map[string]any // of a body in JSON
}

func (c *cloud) do(req *http.Request) answer {
	c.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	if resp.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(body, &a.doc); err != nil {
			c.t.Fatalf("%s: %v: %s", req.URL.Path, err, body)
		}
	}
	return a
}

func (c *cloud) request(method, url, body string) *http.Request {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	return req
}

func (c *cloud) get(url string) answer {
	c.t.Helper()
	return c.do(c.request(http.MethodGet, url, ""))
}

// post sends a form of names and values in turn; an empty value is left out.
func (c *cloud) post(url string, form ...string) answer {
	c.t.Helper()
	return c.do(c.form(url, form...))
}

func (c *cloud) form(to string, form ...string) *http.Request {
	c.t.Helper()
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		if form[i+1] != "" {
			values.Add(form[i], form[i+1])
		}
	}
	req := c.request(http.MethodPost, to, values.Encode())
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

// verified reads a token with the keys that an issuer's metadata leads to.
func (c *cloud) verified(token string) (jwt.Claims, map[string]any) {
	c.t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil {
		c.t.Fatalf("not a JWT: %v", err)
	}
	var unverified jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&unverified); err != nil {
		c.t.Fatal(err)
	}
	metadata := c.get(unverified.Issuer + "/.well-known/openid-configuration")
	if metadata.doc["issuer"] != unverified.Issuer {
		c.t.Fatalf("metadata of %s: got %v", unverified.Issuer, metadata)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(c.get(metadata.doc["jwks_uri"].(string)).body), &set); err != nil {
		c.t.Fatal(err)
	}
	var claims jwt.Claims
	all := make(map[string]any)
	if err := parsed.Claims(set, &claims, &all); err != nil {
		c.t.Fatalf("the published keys do not verify it: %v", err)
	}
	if err := claims.ValidateWithLeeway(jwt.Expected{Time: freshet.Now().Wall()}, 0); err != nil {
		c.t.Fatal(err)
	}
	return claims, all
}

// await waits for a condition.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, patience)
		}
		<-time.After(time.Millisecond)
	}
}

// assertion is a client's own, signed with its key.
func assertion(t *testing.T, key crypto.Signer, alg jose.SignatureAlgorithm, claims jwt.Claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func in(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(freshet.Now().Wall().Add(d)) }
