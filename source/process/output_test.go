package process

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// asJWT is a token with only an expiry; its signature is nonsense.
func asJWT(exp time.Time) string {
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, exp.Unix())) + ".c2ln"
}

func TestParse(t *testing.T) {
	now := freshet.Now()
	hour := now.Wall().Add(time.Hour).Truncate(time.Second)
	lifetime := now.Wall().Add(time.Minute)
	rfc := hour.Format(time.RFC3339)
	offset := hour.In(time.FixedZone("", 2*3600)).Format(time.RFC3339)
	az := func(rest string) string { return `{"accessToken":"tok",` + rest + `"tenant":"x","tokenType":"Bearer"}` }
	for name, test := range map[string]struct {
		out  string
		typ  freshet.Type
		want time.Time // zero: static
	}{
		"aws":            {`{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":"T","Expiration":"` + rfc + `"}`, freshet.AWS, hour},
		"aws offset":     {`{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":"T","Expiration":"` + offset + `"}`, freshet.AWS, hour},
		"aws no session": {`{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","Expiration":"` + rfc + `"}`, freshet.AWS, hour},
		"aws lifetime":   {`{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":"T"}`, freshet.AWS, lifetime},
		"az":             {az(`"expires_on":` + fmt.Sprint(hour.Unix()) + `,"expiresOn":"2001-01-01 00:00:00.000000",`), freshet.Bearer, hour},
		"az string":      {az(`"expires_on":"` + fmt.Sprint(hour.Unix()) + `",`), freshet.Bearer, hour},
		"az zero":        {az(`"expires_on":0,"expiresOn":"` + hour.Local().Format("2006-01-02 15:04:05.000000") + `",`), freshet.Bearer, hour},
		"az old":         {az(`"expiresOn":"` + hour.Local().Format("2006-01-02 15:04:05.000000") + `",`), freshet.Bearer, hour},
		"az neither":     {az(``), freshet.Bearer, lifetime},
		"azd":            {`{"token":"tok","expiresOn":"` + rfc + `"}`, freshet.Bearer, hour},
		"azd no expiry":  {`{"token":"tok"}`, freshet.Bearer, lifetime},
		"oauth":          {`{"access_token":"tok","expires_in":3600,"token_type":"bearer"}`, freshet.Bearer, now.Wall().Add(time.Hour)},
		"oauth string":   {`{"access_token":"tok","expires_in":"3600"}`, freshet.Bearer, now.Wall().Add(time.Hour)},
		"oauth JWT":      {`{"access_token":"` + asJWT(hour) + `"}`, freshet.Bearer, hour},
		"JWT":            {asJWT(hour) + "\n", freshet.Bearer, hour},
		"text":           {"tok|en:1\r\n", freshet.Bearer, lifetime},
		"marked UTF-8":   {"\xef\xbb\xbf \n{\"token\":\"tok\"}\n", freshet.Bearer, lifetime},
		"more members":   {`{"token":"tok","Token":7,"x":{"y":[]}}`, freshet.Bearer, lifetime},
	} {
		cred, err := parse([]byte(test.out), now, time.Minute)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if cred.Type() != test.typ || !cred.Expires().Equal(test.want) || cred.Issued() != now {
			t.Errorf("%s: got %v, want %v until %v", name, cred, test.typ, test.want)
		}
		if test.typ == freshet.Bearer && cred.TokenType() != "Bearer" {
			t.Errorf("%s: token type %q", name, cred.TokenType())
		}
	}
}

func TestParseAWSParts(t *testing.T) {
	cred, err := parse([]byte(`{"Version": 1,"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":"T","AccountId":"123","Expiration":null}`), freshet.Now(), time.Minute)
	want := freshet.AWSKeys{AccessKeyID: "A", SecretAccessKey: "S", SessionToken: "T", AccountID: "123"}
	if err != nil || cred.AWS() != want {
		t.Errorf("got %v, %v", cred, err)
	}
	cred, err = parse([]byte(`{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S"}`), freshet.Now(), 0)
	if err != nil || !cred.Static() {
		t.Errorf("long-term keys: got %v, %v, want them static", cred, err)
	}
}

func TestParseRefuses(t *testing.T) {
	year := fmt.Sprint(freshet.Now().Wall().AddDate(100, 0, 0).Unix())
	for out, want := range map[string]string{
		"":                      "printed nothing",
		" \n":                   "printed nothing",
		"two words":             "neither JSON nor",
		"tok\nen":               "neither JSON nor",
		"<html>":                "neither JSON nor",
		`["token"]`:             "neither JSON nor",
		"{":                     "JSON that is broken",
		`{"token":"x"} {"y":1}`: "JSON that is broken",
		`{}`:                    "no credential of a form",
		`{"Token":"x"}`:         "no credential of a form",
		`{"token":""}`:          "no token",
		`{"token":7}`:           "token that is no string",
		`{"token":"x"}`:         "does not say when it expires",
		`{"token":"x","expiresOn":"2026-01-01 00:00:00"}`:                                           "expiresOn that is no RFC 3339",
		`{"token":"x","expiresOn":"2001-01-01T00:00:00Z"}`:                                          "expired already",
		`{"accessToken":"x","expires_on":` + year + `}`:                                             "10 years",
		`{"accessToken":"x","expires_on":1e300}`:                                                    "10 years",
		`{"accessToken":"x","expires_on":"soon"}`:                                                   "expires_on that is no number",
		`{"accessToken":"x","expiresOn":"2001-01-01 00:00:00.000000"}`:                              "expired already",
		`{"accessToken":"x","expiresOn":"2026-01-01T00:00:00Z"}`:                                    "expiresOn that is no local time",
		`{"access_token":"x","expires_in":0}`:                                                       "expired already",
		`{"access_token":"x","expires_in":1e300}`:                                                   "10 years",
		`{"access_token":"x","expires_in":true}`:                                                    "expires_in that is no number",
		`{"access_token":"x","expires_in":5,"token_type":"DPoP"}`:                                   "another type than Bearer",
		`{"AccessKeyId":"A","SecretAccessKey":"S"}`:                                                 "Version is not 1",
		`{"Version":"1","AccessKeyId":"A","SecretAccessKey":"S"}`:                                   "Version is not 1",
		`{"Version":2,"AccessKeyId":"A","SecretAccessKey":"S"}`:                                     "Version is not 1",
		`{"Version":1,"AccessKeyId":"A"}`:                                                           "lacks an access key id or",
		`{"Version":1,"SecretAccessKey":"A"}`:                                                       "lacks an access key id or",
		`{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":"T"}`:                  "does not say when it expires",
		`{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":7}`:                    "SessionToken that is no string",
		`{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","Expiration":"tomorrow"}`:             "Expiration that is no RFC 3339",
		`{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","Expiration":"2001-01-01T00:00:00Z"}`: "expired already",
	} {
		_, err := parse([]byte(out), freshet.Now(), 0)
		if !errors.Is(err, freshet.Malformed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", out, err, want)
		}
	}
	if _, err := parse([]byte(asJWT(freshet.Now().Wall().Add(-time.Second))), freshet.Now(), time.Hour); !errors.Is(err, freshet.Malformed) {
		t.Errorf("an expired JWT with a lifetime: got %v, want it refused", err)
	}
}
