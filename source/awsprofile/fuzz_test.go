package awsprofile

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sso"

	"freshet.dev/freshet"
	"freshet.dev/internal/awsapi/ststest"
	"freshet.dev/internal/child"
	"freshet.dev/internal/corpus"
	"freshet.dev/internal/fetch"
)

// fuzzed is a source whose files are in a folder of the fuzzer's own.
func fuzzed(f *testing.F) *Source {
	f.Helper()
	dir := f.TempDir()
	client, err := fetch.New(fetch.Config{})
	if err != nil {
		f.Fatal(err)
	}
	return &Source{cfg: Config{Profile: "prod"}, runner: child.NewRunner(0), client: client, places: places{
		config: filepath.Join(dir, "config"), credentials: filepath.Join(dir, "credentials"), sso: dir, login: dir, given: true,
	}}
}

// put makes a file anew: file systems write one that is cut to nothing to the disk as soon as it is closed.
func put(t *testing.T, path string, content []byte) {
	t.Helper()
	_ = os.Remove(path)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkError holds that an error is of a kind, and one short printable line without secrets.
func checkError(t *testing.T, err error, kinds ...freshet.Kind) {
	t.Helper()
	e, ok := err.(*freshet.Error)
	if !ok || !slices.Contains(kinds, e.Kind) {
		t.Fatalf("got %#v, kind %v, want one of %q", err, freshet.AsError(err).Kind, kinds)
	}
	text := e.Error() + e.Hint
	if len(text) > 3000 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("the error is %q", text)
	}
	for _, secret := range []string{staticSecret, staticSession, ssoAccessToken, ststest.SecretKey, ststest.SessionToken} {
		if strings.Contains(text, secret) {
			t.Errorf("the error is %q", text)
		}
	}
}

// FuzzProfiles has AWS's two files be anything. Nothing is asked or run: a profile is resolved to its end, or refused.
func FuzzProfiles(f *testing.F) {
	const https = "https://portal.example"
	f.Add("[profile prod]\nregion = eu-north-1\n", "[prod]\n"+staticKeys)
	f.Add(ssoProfile(https), "")
	f.Add(legacyProfile(https), "")
	f.Add("[profile prod]\nrole_arn = "+role+"\nsource_profile = base\nmfa_serial = x\nduration_seconds = 1\n", "[base]\n"+staticKeys)
	f.Add("[profile prod]\nrole_arn = "+role+"\nweb_identity_token_file = /run/t\n[services s]\nsts =\n  endpoint_url = http://127.0.0.1:1\n", "")
	f.Add("[profile prod]\ncredential_process = /bin/helper "+staticSecret+"\nca_bundle = x\n", "[default]\n")
	f.Add("[profile prod]\nsource_profile = \u202ea\u0085b\nrole_arn = "+role, "")
	f.Add("[profile prod]\nsource_profile = a\x01b\x7f\nrole_arn = "+role, "[a\x1b]\n")
	f.Add("[profile prod]\nregion = \xc3\n", "[prod")
	f.Add("[profile prod]\nlogin_session = arn\nendpoint_url = "+staticSecret, "\x00")
	f.Add("[profile prod]\nrole_arn="+role+"\nsource_profile=prod\n", "[prod]\naws_access_key_id = x\n")
	f.Add("", "[prod]\naws_access_key_id=C\naws_secret_access_key=\x10")
	f.Add("", "=\"")
	s := fuzzed(f)
	f.Fuzz(func(t *testing.T, users, keys string) {
		put(t, s.places.config, []byte(users))
		put(t, s.places.credentials, []byte(keys))
		files := s.Files()
		if len(files) < 2 || slices.ContainsFunc(files, func(path string) bool { return !filepath.IsAbs(path) }) {
			t.Errorf("the files are %q", files)
		}
		profile, err := s.load(t.Context())
		if err != nil {
			checkError(t, err, freshet.Invalid)
			return
		}
		for p, n := profile, 0; p != nil; p, n = p.Source, n+1 {
			if n > 100 {
				t.Fatal("the profiles go round in a circle")
			}
		}
		if profile.CustomCABundle != "" {
			return // it is a file of this machine's
		}
		c, err := s.chain(profile)
		if err != nil {
			checkError(t, err, freshet.Invalid, freshet.LoginNeeded)
			return
		}
		base := profile
		for base.Source != nil {
			base = base.Source
		}
		switch baseOf(base) {
		case none:
			t.Error("a profile without credentials is accepted")
		case static:
			cred, err := c.obtain(t.Context(), base, static)
			if err != nil {
				checkError(t, err, freshet.Malformed) // characters that no keys have
			} else if cred.AWS().AccessKeyID == "" || cred.AWS().SecretAccessKey == "" {
				t.Errorf("got %v", cred)
			}
		}
	})
}

// FuzzPrinted reads what a credential_process printed: keys that live, or an error that shows none of it.
func FuzzPrinted(f *testing.F) {
	for _, golden := range corpus.Of(f, "../../format/awsprocess/testdata/*.json") {
		f.Add([]byte(golden))
	}
	f.Add([]byte(keysJSON(expiring(time.Hour))))
	f.Add([]byte(keysJSON(expiring(-time.Hour))))
	f.Add([]byte(keysJSON(`, "Expiration": "` + staticSecret + `"`)))
	f.Add([]byte(`{"Version": 1.0, "AccessKeyId": null}`))
	f.Add([]byte(`{"Version": "` + staticSecret + `"}`))
	f.Fuzz(func(t *testing.T, out []byte) {
		cred, err := printed(out, freshet.Now())
		if (cred == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cred, err)
		}
		if err != nil {
			checkError(t, err, freshet.Malformed)
		} else if cred.Remaining() <= 0 || cred.AWS().AccessKeyID == "" || cred.AWS().SecretAccessKey == "" {
			t.Errorf("%q: got %v", out, cred)
		}
	})
}

// FuzzSaid has a credential_process fail with any words in any way.
func FuzzSaid(f *testing.F) {
	f.Add("aws sso login --profile x", "", 1, 0)
	f.Add("freshet: identity a "+circle, "az login", 3, 0)
	f.Add("sh: 1: helper: not found\x1b[2J", staticSecret, 127, 0)
	f.Add("secret="+staticSecret, "", 0, 9)
	f.Fuzz(func(t *testing.T, stderr, stdout string, code, signal int) {
		c := &child.Error{Program: "/bin/sh", Reason: child.Exited, Code: code}
		if signal > 0 {
			c.Reason, c.Signal = child.Signaled, syscall.Signal(signal)
		}
		checkError(t, processFailure(child.Output{Stdout: []byte(stdout), Stderr: stderr}, c), freshet.Invalid, freshet.LoginNeeded, freshet.Unavailable)
	})
}

// FuzzCaches has the caches of aws sso login and aws login be anything: a token that a header can carry and keys that live, or word
// that a person has to log in.
func FuzzCaches(f *testing.F) {
	soon := time.Now().Add(24 * time.Hour).UTC()
	f.Add([]byte(ssoToken(soon.Format(time.RFC3339))))
	f.Add([]byte(ssoToken(soon.Format("2006-01-02T15:04:05") + "UTC")))
	f.Add([]byte(ssoToken("UTC" + staticSecret)))
	f.Add([]byte(`{"accessToken":"a\r\nX-Injected: b","expiresAt":"` + soon.Format(time.RFC3339) + `"}`))
	f.Add([]byte(`{"accessToken":{"accessKeyId":"A","secretAccessKey":"` + staticSecret + `","sessionToken":"T","expiresAt":"` + soon.Format(time.RFC3339) + `"}}`))
	f.Add([]byte(`{"accessToken":{"accessKeyId":"A","secretAccessKey":"S","sessionToken":"T","expiresAt":"9999-01-01T00:00:00Z"}}`))
	f.Add([]byte("null"))
	f.Add([]byte(""))
	c := &chain{Source: fuzzed(f)}
	p := &config.SharedConfig{Profile: "prod", SSOSession: &config.SSOSession{Name: "corp"}, LoginSession: "arn"}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, path := range []string{c.places.ssoFile("corp"), c.places.loginFile("arn")} {
			put(t, path, text)
		}
		token, err := c.ssoToken(p)
		switch {
		case err != nil:
			checkError(t, err, freshet.LoginNeeded)
		case token == "" || strings.ContainsFunc(token, unicode.IsControl):
			t.Errorf("the token is %q", token)
		}
		cred, err := c.login(p)
		if (cred == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cred, err)
		}
		if err != nil {
			checkError(t, err, freshet.LoginNeeded, freshet.Malformed)
		} else if cred.Remaining() <= 0 || cred.Static() || cred.AWS().SessionToken == "" {
			t.Errorf("got %v", cred)
		}
	})
}

// exchange is an HTTP client that a test answers for.
type exchange func(*http.Request) (*http.Response, error)

func (e exchange) Do(req *http.Request) (*http.Response, error) { return e(req) }

// FuzzPortal reads answers of an SSO portal: keys that live, or an error that shows nothing of the answer but a code.
func FuzzPortal(f *testing.F) {
	f.Add(portalAnswer(time.Now().Add(24*time.Hour)), 200, "", "")
	f.Add(portalAnswer(time.Unix(1e9, 0)), 200, "", "")
	f.Add(`{"roleCredentials":{"accessKeyId":"A","secretAccessKey":"`+ststest.SecretKey+`","sessionToken":"T","expiration":9223372036854775807}}`, 200, "", "")
	f.Add(strings.Replace(portalAnswer(time.Now().Add(24*time.Hour)), "sessionToken", "other", 1), 200, "", "")
	f.Add(`{"message":"`+ststest.SecretKey+`"}`, 401, "UnauthorizedException", "")
	f.Add(`{"__type":"x#TooManyRequestsException"}`, 429, "", "7")
	f.Add("", 503, ststest.SecretKey, "")
	var answer func(*http.Request) *http.Response
	client := sso.New(sso.Options{Region: "us-east-1", Retryer: aws.NopRetryer{}, HTTPClient: exchange(func(r *http.Request) (*http.Response, error) {
		return answer(r), nil
	})})
	p := &config.SharedConfig{Profile: "prod", SSOAccountID: "123456789012", SSORoleName: "Admin"}
	f.Fuzz(func(t *testing.T, body string, status int, kind, wait string) {
		if status < 200 || status > 599 || len(body) > 64<<10 {
			return
		}
		answer = func(r *http.Request) *http.Response {
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r,
				Header: http.Header{"X-Amzn-Errortype": {kind}, "Retry-After": {wait}}}
		}
		cred, err := portal(context.Background(), client, ssoAccessToken, p)
		if (cred == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cred, err)
		}
		if err != nil {
			checkError(t, err, freshet.LoginNeeded, freshet.Denied, freshet.Unavailable, freshet.Malformed)
		} else if cred.Remaining() <= 0 || cred.Static() || cred.AWS().SessionToken == "" || status/100 != 2 {
			t.Errorf("%d %q: got %v", status, body, cred)
		}
	})
}
