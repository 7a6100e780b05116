package oauth2

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"freshet.dev/freshet"
)

const (
	// assertionBack is how far back an assertion says it was made: oidc-provider refuses one from a second ahead of its own
	// clock.
	assertionBack = 10 * time.Second
	// assertionLife keeps exp under the five minutes that strict issuers allow, with room for their clock to be behind.
	assertionLife = 4 * time.Minute
)

// claims are an assertion's: RFC 7523 §3, OpenID Connect Core §9. There is no nbf, which would say iat again. aud is a string,
// since some issuers take no list.
type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// keys makes assertions. It keeps the key it parsed last, as parsing an RSA key costs more than signing with it.
type keys struct{ last atomic.Pointer[parsed] }

type parsed struct {
	sum    [sha256.Size]byte // of the PEM text
	signer jose.Signer
}

// assertion is a new one, signed with the key that text holds.
func (k *keys) assertion(text string, cfg *Config) (string, error) {
	sum := sha256.Sum256([]byte(text))
	key := k.last.Load()
	if key == nil || key.sum != sum {
		signer, err := newSigner([]byte(text), cfg.KeyID)
		if err != nil {
			return "", err
		}
		key = &parsed{sum, signer}
		k.last.Store(key)
	}
	now := freshet.Now().Wall()
	payload, err := json.Marshal(claims{
		Issuer: cfg.ClientID, Subject: cfg.ClientID, Audience: cfg.AssertionAudience, ID: rand.Text(),
		IssuedAt: now.Add(-assertionBack).Unix(), Expires: now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return "", freshet.Errorf(freshet.Bug, "assertion: claims cannot be written")
	}
	signed, err := key.signer.Sign(payload)
	if err != nil {
		return "", &freshet.Error{Kind: freshet.Invalid, Why: "private_key: cannot sign with it", Cause: err}
	}
	return signed.CompactSerialize()
}

func newSigner(text []byte, keyID string) (jose.Signer, error) {
	key, err := parseKey(text)
	if err != nil {
		return nil, err
	}
	alg, err := algorithm(key)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: keyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, &freshet.Error{Kind: freshet.Invalid, Why: "private_key: cannot sign with it", Cause: err}
	}
	return signer, nil
}

// algorithm is the one that fits a key (RFC 7518 §3.1, RFC 8037 §3.1). RSA signs RS256, which every issuer must take for
// OpenID Connect.
func algorithm(key crypto.PrivateKey) (jose.SignatureAlgorithm, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return jose.RS256, nil
	case ed25519.PrivateKey:
		return jose.EdDSA, nil
	case *ecdsa.PrivateKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return jose.ES256, nil
		case 384:
			return jose.ES384, nil
		case 521:
			return jose.ES512, nil
		}
	}
	return "", freshet.Errorf(freshet.Invalid, "private_key: of a kind that signs no assertions").
		WithHint("use an RSA, EC (P-256, P-384, P-521) or Ed25519 key")
}

// parseKey finds the private key in PEM text. What else is in it, such as certificates or the EC PARAMETERS that openssl
// writes first, is passed over.
func parseKey(text []byte) (crypto.PrivateKey, error) {
	for rest := bytes.TrimSpace(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return nil, freshet.Errorf(freshet.Invalid, "private_key: no PEM private key in it").
				WithHint("it starts with -----BEGIN PRIVATE KEY-----, EC PRIVATE KEY or RSA PRIVATE KEY")
		}
		var key crypto.PrivateKey
		var err error
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["Proc-Type"] != "": // PKCS #8; RFC 1421's, as openssl's of old
			return nil, freshet.Errorf(freshet.Invalid, "private_key: encrypted with a pass phrase").
				WithHint("name a command that prints it decrypted: {command: [openssl, pkey, …]}")
		case block.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, &freshet.Error{Kind: freshet.Invalid, Why: "private_key: not a valid key", Cause: err}
		}
		return key, nil
	}
}
