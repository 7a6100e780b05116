package awsprofile

import (
	"encoding/json"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"

	"freshet.dev/freshet"
)

// login reads the keys that aws login cached, and their expiry. aws renews them, at most every 15 minutes, with a refresh token
// that rotates; that is left to it, so nothing but its own commands keeps such a profile alive.
func (c *chain) login(p *config.SharedConfig) (*freshet.Credential, error) {
	path := c.places.loginFile(p.LoginSession)
	needed := func(why string) error {
		return &freshet.Error{Kind: freshet.LoginNeeded, Why: why, Hint: "run aws login --profile " + quote(p.Profile)}
	}
	b, err := read(path)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, needed("no login")
	}
	var cached struct {
		AccessToken struct {
			AccessKeyID     string    `json:"accessKeyId"`
			SecretAccessKey string    `json:"secretAccessKey"`
			SessionToken    string    `json:"sessionToken"`
			AccountID       string    `json:"accountId"`
			ExpiresAt       time.Time `json:"expiresAt"`
		} `json:"accessToken"`
	}
	t := &cached.AccessToken
	if json.Unmarshal(b, &cached) != nil || t.AccessKeyID == "" || t.SecretAccessKey == "" || t.SessionToken == "" || t.ExpiresAt.IsZero() {
		return nil, needed(path + ": holds no keys")
	}
	if !freshet.Now().Wall().Before(t.ExpiresAt) {
		return nil, needed("the login's keys have expired")
	}
	return freshet.NewAWS(freshet.AWSKeys{
		AccessKeyID: t.AccessKeyID, SecretAccessKey: freshet.Secret(t.SecretAccessKey), SessionToken: freshet.Secret(t.SessionToken),
		AccountID: t.AccountID,
	}, freshet.Validity{Expires: t.ExpiresAt})
}
