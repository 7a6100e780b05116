package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"freshet.dev/freshet"
)

// signer signs an issuer's tokens: ES256, since a P-256 key is made in microseconds, and an RSA key in up to a second.
type signer struct {
	public jose.JSONWebKey
	sign   jose.Signer
}

func newSigner(id string) (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, &freshet.Error{Kind: freshet.Bug, Why: "lab: no key", Cause: err}
	}
	s := &signer{public: jose.JSONWebKey{Key: &key.PublicKey, KeyID: id + "-" + rand.Text()[:8], Algorithm: string(jose.ES256), Use: "sig"}}
	s.sign, err = jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: s.public.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, &freshet.Error{Kind: freshet.Bug, Why: "lab: no signer", Cause: err}
	}
	return s, nil
}

// claims are a token's.
type claims map[string]any

// token signs claims, with the times and the id that every token has.
func (s *signer) token(c claims, now, expires time.Time) (string, error) {
	c["iat"], c["nbf"], c["exp"], c["jti"] = now.Unix(), now.Unix(), expires.Unix(), rand.Text()
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	signed, err := s.sign.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// algorithms are those of the assertions that are taken: every one with a public key.
var algorithms = []jose.SignatureAlgorithm{
	jose.ES256, jose.ES384, jose.ES512, jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
}

// verify reads a token that one of some keys signed; ok says that one did. It leaves what is claimed to the caller.
func verify(token string, keys ...crypto.PublicKey) (got jwt.Claims, ok bool) {
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return jwt.Claims{}, false
	}
	for _, key := range keys {
		if parsed.Claims(key, &got) == nil {
			return got, true
		}
	}
	return jwt.Claims{}, false
}

// alive says whether a token's times are right at a time, and that it has an end at all.
func alive(c jwt.Claims, at time.Time) error {
	if c.Expiry == nil {
		return jwt.ErrExpired
	}
	return c.ValidateWithLeeway(jwt.Expected{Time: at}, 0)
}

// WorkloadToken is a workload's identity token from the OAuth issuer of a cloud served at base, as a CI system or a cluster
// hands them to its jobs. It may have expired: life may be negative.
func (c *Cloud) WorkloadToken(base, subject, audience string, life time.Duration) (string, error) {
	now := freshet.Now().Wall()
	return c.oidc.token(claims{"iss": c.Paths(base).Issuer, "sub": subject, "aud": audience}, now, now.Add(life))
}
