package lab

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"freshet.dev/freshet"
)

// vault makes AWS session keys and knows them again, without keeping any: a session token says what it is of, under a MAC, and
// the secret key follows from the access key's id.
type vault struct{ key [sha256.Size]byte }

func newVault() (v vault) {
	_, _ = rand.Read(v.key[:]) // it never fails (crypto/rand)
	return v
}

// session is whom keys belong to.
type session struct {
	AccessKeyID string `json:"k"`
	Expires     int64  `json:"e"` // Unix time
	ARN         string `json:"a"` // of the assumed role's session
}

// keys are a session's.
type keys struct {
	session
	secret, token string
}

func (v vault) mac(use, of string) []byte {
	m := hmac.New(sha256.New, v.key[:])
	m.Write([]byte(use + "\x00" + of))
	return m.Sum(nil)
}

// secret is the secret key of a session's access key.
func (v vault) secret(accessKeyID string) string {
	return base64.StdEncoding.EncodeToString(v.mac("secret", accessKeyID))[:40]
}

// issue makes keys.
func (v vault) issue(arn string, expires time.Time) keys {
	s := session{AccessKeyID: "ASIA" + rand.Text()[:16], Expires: expires.Unix(), ARN: arn}
	text, _ := json.Marshal(s) // two strings and a number
	payload := base64.RawURLEncoding.EncodeToString(text)
	token := payload + "." + base64.RawURLEncoding.EncodeToString(v.mac("token", payload))
	return keys{s, v.secret(s.AccessKeyID), token}
}

// open reads a session token; false for one that was not issued here.
func (v vault) open(token string) (s session, ok bool) {
	payload, sum, _ := strings.Cut(token, ".")
	presented, err := base64.RawURLEncoding.DecodeString(sum)
	if err != nil || !hmac.Equal(presented, v.mac("token", payload)) {
		return session{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(text, &s) != nil {
		return session{}, false
	}
	return s, true
}

func (s session) expired() bool { return freshet.Now().Wall().Unix() >= s.Expires }
