// Package awsprocess is the output that AWS SDKs read of a credential_process: {"Version":1,"AccessKeyId","SecretAccessKey",
// "SessionToken","Expiration","AccountId"}.
//
// Without Expiration an SDK keeps the keys for as long as it lives, so there always is one. The Go SDK uses no margin of its
// own, so what is told is early; the JavaScript SDK rejects an expiry that is past.
package awsprocess

import (
	"encoding/json"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/expiry"
)

// Render prints AWS keys, as one line.
func Render(a freshet.Answer) ([]byte, error) {
	c := a.Credential
	if c.Type() != freshet.AWS {
		return nil, freshet.Errorf(freshet.Invalid, "a credential of type %s cannot be printed as aws-process", c.Type()).
			WithHint("use --format raw or json")
	}
	k := c.AWS()
	b, err := json.Marshal(struct {
		Version         int
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string `json:",omitempty"`
		Expiration      string
		AccountID       string `json:"AccountId,omitempty"`
	}{1, k.AccessKeyID, string(k.SecretAccessKey), string(k.SessionToken), expiry.Advertised(c).Format(time.RFC3339), k.AccountID})
	return append(b, '\n'), err
}
