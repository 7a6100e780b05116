package oauth2

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"freshet.dev/freshet"
	"freshet.dev/internal/secret"
)

// newKey makes a key in PKCS #8.
func newKey(t testing.TB, kind string) (text string, public crypto.PublicKey) {
	t.Helper()
	key := generate(t, kind)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("PRIVATE KEY", der), key.Public()
}

func generate(t testing.TB, kind string) (key crypto.Signer) {
	t.Helper()
	var err error
	switch kind {
	case "RSA":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "EC224":
		key, err = ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	case "EC256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EC384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "EC521":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "Ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func block(typ string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
}

func TestAssertion(t *testing.T) {
	i := newIssuer(t, good)
	for kind, alg := range map[string]jose.SignatureAlgorithm{
		"RSA": jose.RS256, "EC256": jose.ES256, "EC384": jose.ES384, "EC521": jose.ES512, "Ed25519": jose.EdDSA,
	} {
		t.Run(kind, func(t *testing.T) {
			text, public := newKey(t, kind)
			src := newSource(t, Config{
				TokenURL: i.URL + "/token", ClientID: "me", PrivateKey: secretRef(t, "KEY", text), KeyID: "key-1",
				AssertionAudience: "https://issuer.example",
			})
			seen := make(map[string]bool)
			for range 2 {
				if _, err := src.Retrieve(t.Context(), freshet.Request{}); err != nil {
					t.Fatal(err)
				}
				form := i.forms[len(i.forms)-1]
				if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Get("client_id") != "me" ||
					form.Has("client_secret") || i.requests[len(i.requests)-1].Header.Get("Authorization") != "" {
					t.Errorf("form is %v", form)
				}
				c := verify(t, form.Get("client_assertion"), alg, public)
				if c.Issuer != "me" || c.Subject != "me" || c.Audience != "https://issuer.example" {
					t.Errorf("claims are %+v", c)
				}
				now := freshet.Now().Wall().Unix()
				if c.IssuedAt > now-5 || c.IssuedAt < now-30 {
					t.Errorf("iat is %d s from now, want a few seconds back", c.IssuedAt-now)
				}
				if life := c.Expires - c.IssuedAt; c.Expires <= now+60 || life > 300 {
					t.Errorf("exp is %d s from iat, want at most 300", life)
				}
				if c.ID == "" || seen[c.ID] {
					t.Errorf("jti %q was used before", c.ID)
				}
				seen[c.ID] = true
			}
		})
	}
}

func verify(t *testing.T, assertion string, alg jose.SignatureAlgorithm, public crypto.PublicKey) claims {
	t.Helper()
	signed, err := jose.ParseSignedCompact(assertion, []jose.SignatureAlgorithm{alg})
	if err != nil {
		t.Fatal(err)
	}
	header := signed.Signatures[0].Header
	if header.KeyID != "key-1" || header.ExtraHeaders[jose.HeaderType] != "JWT" || header.JSONWebKey != nil {
		t.Errorf("header is %+v", header)
	}
	payload, err := signed.Verify(public)
	if err != nil {
		t.Fatal(err)
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil { // aud must be a string
		t.Fatal(err)
	}
	return c
}

func TestAssertionAudienceDefaultsToTheTokenURL(t *testing.T) {
	i := newIssuer(t, good)
	text, public := newKey(t, "EC256")
	retrieve(t, Config{TokenURL: i.URL + "/token", ClientID: "me", PrivateKey: secretRef(t, "KEY", text), KeyID: "key-1"}, freshet.Request{})
	if c := verify(t, i.forms[0].Get("client_assertion"), jose.ES256, public); c.Audience != i.URL+"/token" {
		t.Errorf("aud is %q", c.Audience)
	}
}

func TestRotatedKeyIsPickedUp(t *testing.T) {
	i := newIssuer(t, good)
	path := filepath.Join(t.TempDir(), "key.pem")
	src := newSource(t, Config{TokenURL: i.URL, ClientID: "me", PrivateKey: secret.Ref{File: path}, KeyID: "key-1"})
	for range 2 {
		text, public := newKey(t, "EC256")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := src.Retrieve(t.Context(), freshet.Request{}); err != nil {
			t.Fatal(err)
		}
		verify(t, i.forms[len(i.forms)-1].Get("client_assertion"), jose.ES256, public)
	}
}

func TestKeyIsParsedOnce(t *testing.T) {
	text, _ := newKey(t, "EC256")
	var k keys
	if _, err := k.assertion(text, &Config{}); err != nil {
		t.Fatal(err)
	}
	first := k.last.Load()
	if _, err := k.assertion(text, &Config{}); err != nil {
		t.Fatal(err)
	}
	if first == nil || k.last.Load() != first {
		t.Error("the same text was parsed twice")
	}
}

func TestParseKey(t *testing.T) {
	ec := generate(t, "EC256").(*ecdsa.PrivateKey)
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := generate(t, "RSA").(*rsa.PrivateKey)
	pkcs8, _ := newKey(t, "EC384")
	for name, text := range map[string]string{
		"SEC 1":                 block("EC PRIVATE KEY", sec1),
		"SEC 1 with parameters": block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}) + block("EC PRIVATE KEY", sec1),
		"PKCS #1":               block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)),
		"PKCS #8":               pkcs8,
		"after words":           "Bag Attributes\n  friendlyName: x\n" + pkcs8,
	} {
		if _, err := newSigner([]byte(text), ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	small, _ := newKey(t, "EC224")
	for text, want := range map[string]string{
		"":                                     "no PEM private key",
		"nothing":                              "no PEM private key",
		block("CERTIFICATE", []byte{1}):        "no PEM private key",
		block("PRIVATE KEY", []byte("broken")): "not a valid key",
		block("ENCRYPTED PRIVATE KEY", []byte{1}): "pass phrase",
		"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n": "pass phrase",
		small: "of a kind that signs no assertions",
	} {
		_, err := newSigner([]byte(text), "")
		if !errors.Is(err, freshet.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	text, _ := newKey(f, "EC256")
	f.Add([]byte(text))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if signer, err := newSigner(text, "kid"); (signer == nil) == (err == nil) || err != nil && !errors.Is(err, freshet.Invalid) {
			t.Errorf("got %v, %v", signer, err)
		}
	})
}

// sourceFunc is a source that needs nothing.
func sourceFunc(f func() (*freshet.Credential, error)) freshet.Source {
	return freshet.SourceFunc(func(context.Context, freshet.Request) (*freshet.Credential, error) { return f() })
}
