package process

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/expiry"
	"freshet.dev/internal/fetch/jwt"
)

// parse reads what a program printed. lifetime is the configured one.
func parse(out []byte, sent freshet.Instant, lifetime time.Duration) (*freshet.Credential, error) {
	text := bytes.TrimSpace(bytes.TrimPrefix(out, []byte("\xef\xbb\xbf")))
	switch {
	case len(text) == 0:
		return nil, freshet.Errorf(freshet.Malformed, "printed nothing")
	case text[0] == '{':
		var o object
		if json.Unmarshal(text, &o) != nil {
			return nil, freshet.Errorf(freshet.Malformed, "printed JSON that is broken")
		}
		return o.credential(sent, lifetime)
	// No token has these, and a page of HTML or a sentence does.
	case bytes.ContainsAny(text, "<>{}[]\"' \t\r\n"):
		return nil, freshet.Errorf(freshet.Malformed, "printed neither JSON nor one line with a token")
	}
	return bearer(string(text), "", freshet.Validity{Sent: sent}, lifetime)
}

// object is a JSON object. Its names are compared exactly, which decoding into a struct would not do.
type object map[string]json.RawMessage

func (o object) credential(sent freshet.Instant, lifetime time.Duration) (*freshet.Credential, error) {
	has := func(name string) bool { _, ok := o[name]; return ok }
	switch {
	case has("AccessKeyId"), has("SecretAccessKey"):
		return o.aws(sent, lifetime)
	case has("accessToken"):
		return o.az(sent, lifetime)
	case has("token"):
		return o.azd(sent, lifetime)
	case has("access_token"):
		return o.oauth(sent, lifetime)
	}
	return nil, freshet.Errorf(freshet.Malformed, "printed JSON that is no credential of a form that is known")
}

// text is a member that must be a string if it is there; null is as good as absent.
func (o object) text(name string) (string, error) {
	var s string
	if raw, ok := o[name]; ok && json.Unmarshal(raw, &s) != nil {
		return "", freshet.Errorf(freshet.Malformed, "printed a %s that is no string", name)
	}
	return s, nil
}

// texts are several such members.
func (o object) texts(names ...string) ([]string, error) {
	all := make([]string, len(names))
	for i, name := range names {
		var err error
		if all[i], err = o.text(name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// number is a member that must be a number, or a string of one, if it is there.
func (o object) number(name string) (n float64, ok bool, err error) {
	raw := strings.Trim(string(o[name]), `"`)
	if raw == "" || raw == "null" {
		return 0, false, nil
	}
	n, err = strconv.ParseFloat(raw, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, false, freshet.Errorf(freshet.Malformed, "printed an %s that is no number", name)
	}
	return n, true, nil
}

// aws reads the output of an AWS credential_process.
func (o object) aws(sent freshet.Instant, lifetime time.Duration) (*freshet.Credential, error) {
	if string(o["Version"]) != "1" {
		return nil, freshet.Errorf(freshet.Malformed, "printed AWS keys whose Version is not 1")
	}
	t, err := o.texts("AccessKeyId", "SecretAccessKey", "SessionToken", "AccountId", "Expiration")
	if err != nil {
		return nil, err
	}
	keys := freshet.AWSKeys{AccessKeyID: t[0], SecretAccessKey: freshet.Secret(t[1]), SessionToken: freshet.Secret(t[2]), AccountID: t[3]}
	v := freshet.Validity{Sent: sent}
	switch expiration := t[4]; {
	case expiration != "":
		if v.Expires, err = time.Parse(time.RFC3339, expiration); err != nil {
			return nil, freshet.Errorf(freshet.Malformed, "printed an Expiration that is no RFC 3339 time")
		}
	case lifetime > 0:
		v.Lifetime = lifetime
	case keys.SessionToken == "":
		v.Static = true // long-term keys
	}
	return freshet.NewAWS(keys, v)
}

// az reads the output of az account get-access-token.
func (o object) az(sent freshet.Instant, lifetime time.Duration) (*freshet.Credential, error) {
	t, err := o.texts("accessToken", "tokenType", "expiresOn")
	if err != nil {
		return nil, err
	}
	v := freshet.Validity{Sent: sent}
	epoch, ok, err := o.number("expires_on")
	switch {
	case err != nil:
		return nil, err
	case ok && epoch > 0: // azidentity too takes 0 for absent
		v.Expires = time.Unix(int64(min(epoch, math.MaxInt32*1000)), 0)
	case t[2] != "":
		if v.Expires, err = expiry.Local(t[2]); err != nil {
			return nil, freshet.Errorf(freshet.Malformed, "printed an expiresOn that is no local time")
		}
	}
	return bearer(t[0], t[1], v, lifetime)
}

// azd reads the output of azd auth token.
func (o object) azd(sent freshet.Instant, lifetime time.Duration) (*freshet.Credential, error) {
	t, err := o.texts("token", "expiresOn")
	if err != nil {
		return nil, err
	}
	v := freshet.Validity{Sent: sent}
	if t[1] != "" {
		if v.Expires, err = time.Parse(time.RFC3339, t[1]); err != nil {
			return nil, freshet.Errorf(freshet.Malformed, "printed an expiresOn that is no RFC 3339 time")
		}
	}
	return bearer(t[0], "", v, lifetime)
}

// oauth reads a token response of RFC 6749 §5.1.
func (o object) oauth(sent freshet.Instant, lifetime time.Duration) (*freshet.Credential, error) {
	t, err := o.texts("access_token", "token_type")
	if err != nil {
		return nil, err
	}
	v := freshet.Validity{Sent: sent}
	seconds, ok, err := o.number("expires_in")
	switch {
	case err != nil:
		return nil, err
	case ok && seconds <= 0:
		return nil, freshet.Errorf(freshet.Malformed, "answer had expired already")
	case ok:
		const century = 100 * 365 * 24 * 3600 // more than 10 years is refused further on; a duration holds 292
		v.Lifetime = time.Duration(min(seconds, century) * float64(time.Second))
	}
	return bearer(t[0], t[1], v, lifetime)
}

// bearer makes a token. Where nothing was said of its life its own exp counts, and the configured lifetime where it has none.
func bearer(token, tokenType string, v freshet.Validity, lifetime time.Duration) (*freshet.Credential, error) {
	if tokenType != "" && !strings.EqualFold(tokenType, "Bearer") {
		return nil, freshet.Errorf(freshet.Malformed, "printed a token of another type than Bearer")
	}
	if v.Expires.IsZero() && v.Lifetime == 0 {
		if _, ok := jwt.Expiry(token); !ok {
			v.Lifetime = lifetime
		}
	}
	return freshet.NewBearer(token, "Bearer", v)
}
