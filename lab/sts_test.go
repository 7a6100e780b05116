package lab_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"freshet.dev/freshet/freshettest"
	"freshet.dev/lab"
)

// signed is a request to STS with these keys, as another signer than the lab's own might make it; alter changes it afterwards.
func (c *cloud) signed(keys aws.Credentials, service string, at time.Time, alter func(*http.Request)) answer {
	c.t.Helper()
	req := c.form(c.STS+"/", "Action", "AssumeRole", "Version", "2011-06-15", "RoleArn", lab.Role, "RoleSessionName", "me")
	body, err := io.ReadAll(req.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Body = io.NopCloser(strings.NewReader(string(body)))
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(c.t.Context(), keys, req, hex.EncodeToString(sum[:]), service, "us-east-1", at); err != nil {
		c.t.Fatal(err)
	}
	if alter != nil {
		alter(req)
	}
	return c.do(req)
}

// stsAnswer is what matters of STS's answers.
type stsAnswer struct {
	Keys struct {
		AccessKeyID     string `xml:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string
		Expiration      time.Time
	} `xml:"AssumeRoleResult>Credentials"`
	Error     struct{ Type, Code, Message string }
	RequestID string `xml:"RequestId"`
}

func (a answer) sts(t *testing.T) stsAnswer {
	t.Helper()
	var s stsAnswer
	if err := xml.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return s
}

func TestSTSVerifiesSignatures(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.STS: {Lifetime: 10 * time.Minute}})
	good := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey}
	issued := c.signed(good, "sts", time.Now(), nil).sts(t).Keys
	session := aws.Credentials{AccessKeyID: issued.AccessKeyID, SecretAccessKey: issued.SecretAccessKey, SessionToken: issued.SessionToken}
	with := func(keys aws.Credentials, change func(*aws.Credentials)) aws.Credentials { change(&keys); return keys }
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, test := range []struct {
		name   string
		keys   aws.Credentials
		signed string
		off    time.Duration
		alter  func(*http.Request)
		status int
		code   string
	}{
		{name: "long-term keys", keys: good, status: 200},
		{name: "session keys", keys: session, status: 200},
		{name: "clock a little off", keys: good, off: -10 * time.Minute, status: 200},
		{name: "headers that are not signed", keys: good, alter: set("X-Trace", "x"), status: 200},
		{name: "unsigned", keys: good, alter: func(r *http.Request) { r.Header.Del("Authorization") }, status: 403, code: "MissingAuthenticationToken"},
		{name: "another scheme", keys: good, alter: set("Authorization", "Bearer x"), status: 400, code: "IncompleteSignature"},
		{name: "half a header", keys: good, alter: set("Authorization", "AWS4-HMAC-SHA256 Credential=x"), status: 400, code: "IncompleteSignature"},
		{name: "no date", keys: good, alter: func(r *http.Request) { r.Header.Del("X-Amz-Date") }, status: 400, code: "IncompleteSignature"},
		{name: "another day", keys: good, alter: set("X-Amz-Date", "20200101T000000Z"), status: 400, code: "IncompleteSignature"},
		{name: "for another service", keys: good, signed: "s3", status: 400, code: "IncompleteSignature"},
		{name: "unknown key", keys: with(good, func(k *aws.Credentials) { k.AccessKeyID = "AKIDUNKNOWN" }), status: 403, code: "InvalidClientTokenId"},
		{name: "session keys without token", keys: with(session, func(k *aws.Credentials) { k.SessionToken = "" }), status: 403, code: "InvalidClientTokenId"},
		{name: "another's token", keys: with(session, func(k *aws.Credentials) { k.AccessKeyID = "ASIAOTHER" }), status: 403, code: "InvalidClientTokenId"},
		{name: "garbage for a token", keys: with(session, func(k *aws.Credentials) { k.SessionToken = "x" }), status: 403, code: "InvalidClientTokenId"},
		{name: "long-term keys with a token", keys: with(good, func(k *aws.Credentials) { k.SessionToken = issued.SessionToken }), status: 403, code: "InvalidClientTokenId"},
		{name: "wrong secret", keys: with(good, func(k *aws.Credentials) { k.SecretAccessKey = "x" }), status: 403, code: "SignatureDoesNotMatch"},
		{name: "wrong session secret", keys: with(session, func(k *aws.Credentials) { k.SecretAccessKey = c.SecretAccessKey }), status: 403, code: "SignatureDoesNotMatch"},
		{name: "altered body", keys: good, alter: func(r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(string(b), "SessionName=me", "SessionName=ME", 1)))
		}, status: 403, code: "SignatureDoesNotMatch"},
		{name: "altered query", keys: good, alter: func(r *http.Request) { r.URL.RawQuery = "x=y" }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "altered header", keys: good, alter: set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "long ago", keys: good, off: -20 * time.Minute, status: 403, code: "SignatureDoesNotMatch"},
		{name: "far ahead", keys: good, off: 20 * time.Minute, status: 403, code: "SignatureDoesNotMatch"},
	} {
		t.Run(test.name, func(t *testing.T) {
			service := test.signed
			if service == "" {
				service = "sts"
			}
			before := c.Count(lab.STS)
			a := c.signed(test.keys, service, time.Now().Add(test.off), test.alter)
			s := a.sts(t)
			if a.status != test.status || s.Error.Code != test.code {
				t.Fatalf("got %d %s, want %d %s", a.status, a.body, test.status, test.code)
			}
			if a.status == 200 == (s.Keys.SessionToken == "") {
				t.Errorf("got keys of %q", s.Keys.AccessKeyID)
			}
			if a.status != 200 && (s.Error.Type != "Sender" || s.Error.Message == "" || s.RequestID == "") {
				t.Errorf("got %s", a.body)
			}
			freshettest.LeakedSecrets(t, a.body, c.SecretAccessKey)
			after := c.Count(lab.STS)
			if granted := after.Granted-before.Granted == 1; granted != (a.status == 200) || after.Refused-before.Refused == 1 == granted {
				t.Errorf("counts went from %+v to %+v", before, after)
			}
		})
	}
}

func TestSTSRefusesExpiredKeys(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.STS: {Lifetime: time.Minute}})
	good := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey}
	issued := c.signed(good, "sts", time.Now(), nil).sts(t).Keys
	keys := aws.Credentials{AccessKeyID: issued.AccessKeyID, SecretAccessKey: issued.SecretAccessKey, SessionToken: issued.SessionToken}
	provider := credentials.StaticCredentialsProvider{Value: keys}
	if who, err := c.whoami(provider); err != nil {
		t.Fatalf("got %q, %v", who, err)
	}
	freshettest.SetWallClock(t, 2*time.Minute)
	if a := c.signed(keys, "sts", time.Now(), nil); a.status != 403 || a.sts(t).Error.Code != "ExpiredToken" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	_, err := c.whoami(provider)
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "ExpiredToken" {
		t.Errorf("GetCallerIdentity: got %v", err)
	}
}

func TestSTSVerifiesWebIdentities(t *testing.T) {
	c := start(t, nil)
	token := func(base, audience string, life time.Duration) string {
		s, err := c.WorkloadToken(base, "job", audience, life)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	other := start(t, nil)
	foreign, err := other.WorkloadToken(c.base, "job", lab.AudienceSTS, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	good := token(c.base, lab.AudienceSTS, time.Minute)
	azures := c.post(c.Entra(lab.Tenant), "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret,
		"scope", lab.AudienceSTS+"/.default").doc["access_token"].(string)
	for _, test := range []struct {
		name, token, role, session, seconds, action string
		status                                      int
		code                                        string
	}{
		{name: "good", token: good, status: 200},
		{name: "role of another account and path", token: good, role: "arn:aws:iam::210987654321:role/a/b", status: 200},
		{name: "with a duration", token: good, seconds: "900", status: 200},
		{name: "expired", token: token(c.base, lab.AudienceSTS, -time.Second), status: 400, code: "ExpiredTokenException"},
		{name: "for another", token: token(c.base, "x", time.Minute), status: 400, code: "InvalidIdentityToken"},
		{name: "of another issuer", token: token("http://x", lab.AudienceSTS, time.Minute), status: 400, code: "InvalidIdentityToken"},
		{name: "of another cloud", token: foreign, status: 400, code: "InvalidIdentityToken"},
		{name: "of Entra", token: azures, status: 400, code: "InvalidIdentityToken"},
		{name: "garbage", token: "x", status: 400, code: "InvalidIdentityToken"},
		{name: "none", status: 400, code: "ValidationError"},
		{name: "no role", token: good, role: "lab", status: 400, code: "ValidationError"},
		{name: "a user", token: good, role: "arn:aws:iam::123456789012:user/lab", status: 400, code: "ValidationError"},
		{name: "no account", token: good, role: "arn:aws:iam::12:role/lab", status: 400, code: "ValidationError"},
		{name: "bad session name", token: good, session: "a b", status: 400, code: "ValidationError"},
		{name: "short session name", token: good, session: "a", status: 400, code: "ValidationError"},
		{name: "too short", token: good, seconds: "899", status: 400, code: "ValidationError"},
		{name: "too long", token: good, seconds: "43201", status: 400, code: "ValidationError"},
		{name: "unknown action", token: good, action: "GetSessionToken", status: 400, code: "InvalidAction"},
	} {
		t.Run(test.name, func(t *testing.T) {
			given := func(s, otherwise string) string {
				if s == "" {
					return otherwise
				}
				return s
			}
			a := c.post(c.STS, "Action", given(test.action, "AssumeRoleWithWebIdentity"), "Version", "2011-06-15", "RoleArn", given(test.role, lab.Role),
				"RoleSessionName", given(test.session, "me"), "DurationSeconds", test.seconds, "WebIdentityToken", test.token)
			if got := a.sts(t).Error.Code; a.status != test.status || got != test.code {
				t.Errorf("got %d %s, want %d %s", a.status, a.body, test.status, test.code)
			}
		})
	}
}

// TestSTSLifetimes: what a client asks for counts, unless the issuer's own lifetime is shorter.
func TestSTSLifetimes(t *testing.T) {
	for _, test := range []struct {
		setting time.Duration
		asked   int32
		want    time.Duration
	}{
		{0, 0, time.Hour}, {0, 7200, 2 * time.Hour}, {20 * time.Second, 900, 20 * time.Second}, {2 * time.Hour, 900, 15 * time.Minute}, {2 * time.Hour, 0, 2 * time.Hour},
	} {
		c := start(t, map[string]lab.Settings{lab.STS: {Lifetime: test.setting}})
		role, name := lab.Role, "me"
		in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: &name}
		if test.asked != 0 {
			in.DurationSeconds = &test.asked
		}
		before := time.Now()
		out, err := c.stsClient(c.longTerm()).AssumeRole(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		if life := out.Credentials.Expiration.Sub(before); life < test.want || life > test.want+patience {
			t.Errorf("%v of %v: live %v, want %v", test.asked, test.setting, life, test.want)
		}
	}
}

func TestContainerKeysNeedTheToken(t *testing.T) {
	c := start(t, nil)
	for _, header := range []string{"", "x", "Bearer " + c.ContainerToken} {
		req := c.request("GET", c.Container, "")
		req.Header.Set("Authorization", header)
		if a := c.do(req); a.status != 403 || a.doc["code"] == nil || a.doc["Message"] == nil {
			t.Errorf("%q: got %d %s", header, a.status, a.body)
		}
	}
	if got, want := c.Count(lab.Container), (lab.Count{Requests: 3, Refused: 3, Peak: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
