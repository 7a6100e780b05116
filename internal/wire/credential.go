// Package wire is the local API's JSON: the documents that the daemon and its clients exchange, and that `--format json` prints.
package wire

import (
	"time"

	"freshet.dev/freshet"
)

// Credential is a credential with its state. Times are RFC 3339 in UTC; one that does not expire has none.
type Credential struct {
	Type            freshet.Type `json:"type"`
	AccessToken     string       `json:"access_token,omitempty"`
	TokenType       string       `json:"token_type,omitempty"`
	AccessKeyID     string       `json:"access_key_id,omitempty"`
	SecretAccessKey string       `json:"secret_access_key,omitempty"`
	SessionToken    string       `json:"session_token,omitempty"`
	AccountID       string       `json:"account_id,omitempty"`
	Username        string       `json:"username,omitempty"`
	Password        string       `json:"password,omitempty"`
	Token           string       `json:"token,omitempty"`
	ExpiresAt       *time.Time   `json:"expires_at,omitempty"`
	RefreshAt       *time.Time   `json:"refresh_at,omitempty"`
	Fingerprint     string       `json:"fingerprint"`
	Stale           bool         `json:"stale"`
	Short           bool         `json:"short,omitempty"`
	ServedFrom      string       `json:"served_from"` // memory, store or issuer
}

// Of renders an answer.
func Of(a freshet.Answer) Credential {
	c := a.Credential
	d := Credential{Type: c.Type(), Fingerprint: c.Fingerprint(), Stale: a.Stale, Short: a.Short, ServedFrom: "memory"}
	if a.Retrieved {
		d.ServedFrom = "issuer"
	}
	switch c.Type() {
	case freshet.Bearer:
		d.AccessToken, d.TokenType = c.Token(), c.TokenType()
	case freshet.IDToken:
		d.Token = c.Token()
	case freshet.AWS:
		k := c.AWS()
		d.AccessKeyID, d.SecretAccessKey, d.SessionToken, d.AccountID = k.AccessKeyID, string(k.SecretAccessKey), string(k.SessionToken), k.AccountID
	case freshet.Basic:
		d.Username, d.Password = c.Basic()
	}
	if !c.Static() {
		at := c.Expires()
		d.ExpiresAt = &at
	}
	if at := a.RefreshAt(); !at.IsZero() {
		d.RefreshAt = &at
	}
	return d
}

// Answer is the inverse of [Of]. The credential's life is taken from the document; sent is when it was asked for.
func (d Credential) Answer(sent freshet.Instant) (freshet.Answer, error) {
	v := freshet.Validity{Sent: sent, Static: d.ExpiresAt == nil}
	if d.ExpiresAt != nil {
		v.Expires = *d.ExpiresAt
	}
	a := freshet.Answer{Stale: d.Stale, Short: d.Short, Retrieved: d.ServedFrom == "issuer"}
	if d.RefreshAt != nil {
		v.RefreshIn = d.RefreshAt.Sub(sent.Wall())
	}
	var err error
	switch d.Type {
	case freshet.Bearer:
		a.Credential, err = freshet.NewBearer(d.AccessToken, d.TokenType, v)
	case freshet.IDToken:
		a.Credential, err = freshet.NewIDToken(d.Token, v)
	case freshet.AWS:
		a.Credential, err = freshet.NewAWS(freshet.AWSKeys{AccessKeyID: d.AccessKeyID, SecretAccessKey: freshet.Secret(d.SecretAccessKey),
			SessionToken: freshet.Secret(d.SessionToken), AccountID: d.AccountID}, v)
	case freshet.Basic:
		a.Credential, err = freshet.NewBasic(d.Username, d.Password, v)
	default:
		err = freshet.Errorf(freshet.Malformed, "answer is a credential of an unknown type")
	}
	return a, err
}
