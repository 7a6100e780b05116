package party

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Key is a client's signing key, whose public half its registration holds.
type Key struct {
	// Algorithm is what it signs with.
	Algorithm jose.SignatureAlgorithm
	// Signer is the private half.
	Signer crypto.Signer
}

// NewECKey makes a P-256 key, which signs with ES256.
func NewECKey(t testing.TB) Key {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Key{Algorithm: jose.ES256, Signer: key}
}

// NewRSAKey makes a 2048-bit key, which signs with RS256.
func NewRSAKey(t testing.TB) Key {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return Key{Algorithm: jose.RS256, Signer: key}
}

// JWKS is the set with its public half. It carries no kid, as many a registration does not: the issuer then tries every
// key that fits the assertion's alg.
func (k Key) JWKS() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: k.Signer.Public(), Algorithm: string(k.Algorithm), Use: "sig"},
	}}
}

// PEM is the private half as PKCS #8.
func (k Key) PEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
