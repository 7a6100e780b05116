package awsprofile

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/awsapi/ststest"
)

const (
	ssoAccessToken  = "planted-sso-access-token-0123456789"
	ssoRefreshToken = "planted-sso-refresh-token-0123456789"
)

func ssoProfile(portal string) string {
	return "[profile prod]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Admin\n" + endpoint(portal) +
		"[sso-session corp]\nsso_region = eu-central-1\nsso_start_url = https://corp.awsapps.example/start\n"
}

func legacyProfile(portal string) string {
	return "[profile prod]\nsso_start_url = https://corp.awsapps.example/start\nsso_region = eu-central-1\nsso_account_id = 123456789012\nsso_role_name = Admin\n" +
		endpoint(portal)
}

func sha(key string) string {
	sum := sha1.Sum([]byte(key))
	return hex.EncodeToString(sum[:])
}

func (f folder) ssoCache() string { return f.path(".aws/sso/cache/" + sha("corp") + ".json") }

// login is what aws sso login leaves, refresh token and all.
func (f folder) login(t *testing.T, expires time.Time) {
	t.Helper()
	f.write(t, ".aws/sso/cache/"+sha("corp")+".json", ssoToken(expires.UTC().Format(time.RFC3339)))
}

func ssoToken(expires string) string {
	return fmt.Sprintf(`{"startUrl": "https://corp.awsapps.example/start", "region": "eu-central-1", "accessToken": %q, "expiresAt": %q,
		"clientId": "c", "clientSecret": "planted-client-secret", "registrationExpiresAt": "2099-01-01T00:00:00Z", "refreshToken": %q}`,
		ssoAccessToken, expires, ssoRefreshToken)
}

// newPortal is an SSO portal, or an OIDC endpoint that must not be asked.
func newPortal(t *testing.T, reply http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/federation/credentials" {
			t.Errorf("asked for %s %s", r.Method, r.URL.Path)
		}
		if got := r.Header.Get("X-Amz-Sso_bearer_token"); got != ssoAccessToken {
			t.Errorf("bearer token has %d bytes, want the cached one", len(got))
		}
		if got := r.URL.RawQuery; got != "account_id=123456789012&role_name=Admin" {
			t.Errorf("query is %q", got)
		}
		reply(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func portalAnswer(expires time.Time) string {
	return fmt.Sprintf(`{"roleCredentials": {"accessKeyId": "ASIASSO", "secretAccessKey": %q, "sessionToken": %q, "expiration": %d}}`,
		ststest.SecretKey, ststest.SessionToken, expires.UnixMilli())
}

func givePortal(life time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, portalAnswer(freshet.Now().Wall().Add(life)))
	}
}

func TestSSOProfiles(t *testing.T) {
	expires := freshet.Now().Wall().Add(time.Hour).Truncate(time.Millisecond)
	portal := newPortal(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, portalAnswer(expires)) })
	for name, test := range map[string]struct{ config, key, cached string }{
		"session":       {ssoProfile(portal.URL), "corp", ssoToken(expires.UTC().Format(time.RFC3339))},
		"legacy":        {legacyProfile(portal.URL), "https://corp.awsapps.example/start", ssoToken(expires.UTC().Format(time.RFC3339))},
		"written early": {legacyProfile(portal.URL), "https://corp.awsapps.example/start", ssoToken(expires.UTC().Format("2006-01-02T15:04:05") + "UTC")},
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t, test.config, "")
			dir.write(t, ".aws/sso/cache/"+sha(test.key)+".json", test.cached)
			cred, err := retrieve(t, "prod")
			if err != nil {
				t.Fatal(err)
			}
			want := freshet.AWSKeys{AccessKeyID: "ASIASSO", SecretAccessKey: ststest.SecretKey, SessionToken: ststest.SessionToken, AccountID: "123456789012"}
			if got := cred.AWS(); got != want || !cred.Expires().Equal(expires) {
				t.Errorf("got %q, expiring %v, want %v", got.AccessKeyID, cred.Expires(), expires)
			}
		})
	}
}

// snapshot is every file below a folder with its content and time.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		all[path] = fmt.Sprintf("%x %v %v", sha256.Sum256(b), info.ModTime(), info.Mode())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestSSOCacheIsNeverWritten: a token that has expired is not redeemed, although it could be, and the login command is named.
func TestSSOCacheIsNeverWritten(t *testing.T) {
	now := freshet.Now().Wall()
	for name, test := range map[string]struct {
		cached string
		config func(string) string
		hint   string
	}{
		"expired":         {ssoToken(now.Add(-time.Minute).UTC().Format(time.RFC3339)), ssoProfile, "run aws sso login --sso-session corp"},
		"expired, legacy": {ssoToken(now.Add(-time.Minute).UTC().Format(time.RFC3339)), legacyProfile, "run aws sso login --profile prod"},
		"no expiry":       {ssoToken(""), ssoProfile, "run aws sso login --sso-session corp"},
		"no token":        {`{"refreshToken": "` + ssoRefreshToken + `"}`, ssoProfile, "run aws sso login --sso-session corp"},
		"not JSON":        {ssoRefreshToken, ssoProfile, "run aws sso login --sso-session corp"},
	} {
		t.Run(name, func(t *testing.T) {
			never := newPortal(t, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
			dir := home(t, test.config(never.URL), "")
			dir.write(t, ".aws/sso/cache/"+sha("corp")+".json", test.cached)
			dir.write(t, ".aws/sso/cache/"+sha("https://corp.awsapps.example/start")+".json", test.cached)
			before := snapshot(t, string(dir))
			_, err := retrieve(t, "prod")
			wantFailure(t, err, freshet.LoginNeeded, "profile prod: ", test.hint)
			if after := snapshot(t, string(dir)); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("files changed:\n%v\n%v", before, after)
			}
		})
	}
}

func TestPortalRefusals(t *testing.T) {
	for _, test := range []struct {
		status     int
		code       string
		kind       freshet.Kind
		text, hint string
		after      time.Duration
	}{
		{401, "UnauthorizedException", freshet.LoginNeeded, "profile prod: sso: UnauthorizedException", "aws sso login --sso-session corp", 0},
		{401, "", freshet.LoginNeeded, "profile prod: sso: answered 401", "aws sso login --sso-session corp", 0},
		{403, "ForbiddenException", freshet.Denied, "profile prod: sso: ForbiddenException", "sso_role_name", 0},
		{404, "ResourceNotFoundException", freshet.Denied, "profile prod: sso: ResourceNotFoundException", "sso_role_name", 0},
		{429, "TooManyRequestsException", freshet.Unavailable, "profile prod: sso: TooManyRequestsException", "", 7 * time.Second},
		{500, "", freshet.Unavailable, "profile prod: sso: answered 500", "", 7 * time.Second},
	} {
		n := 0
		portal := newPortal(t, func(w http.ResponseWriter, _ *http.Request) {
			n++
			w.Header().Set("Retry-After", "7")
			if test.code != "" {
				w.Header().Set("X-Amzn-Errortype", test.code)
			}
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, `{"message": "`+ststest.Gossip+`"}`)
		})
		dir := home(t, ssoProfile(portal.URL), "")
		dir.login(t, freshet.Now().Wall().Add(time.Hour))
		_, err := retrieve(t, "prod")
		if e := wantFailure(t, err, test.kind, test.text, test.hint); e.RetryAfter != test.after || n != 1 {
			t.Errorf("%s: retry after %v, want %v; %d requests, want 1", test.text, e.RetryAfter, test.after, n)
		}
	}
}

func TestRoleOverSSO(t *testing.T) {
	keys := freshet.AWSKeys{AccessKeyID: "ASIASSO", SecretAccessKey: ststest.SecretKey, SessionToken: ststest.SessionToken}
	s := ststest.New(t, []freshet.AWSKeys{keys}, ststest.Give(time.Hour))
	portal := newPortal(t, givePortal(time.Hour))
	dir := home(t, "[profile over]\nrole_arn = "+role+"\nsource_profile = prod\nservices = both\n"+
		"[services both]\nsts =\n  endpoint_url = "+s.URL+"\nsso =\n  endpoint_url = "+portal.URL+"\n"+ssoProfile("http://127.0.0.1:1"), "")
	dir.login(t, freshet.Now().Wall().Add(time.Hour))
	if _, err := retrieve(t, "over"); err != nil {
		t.Fatal(err)
	}
	if got := s.Calls()[0].Signer; got != "ASIASSO" {
		t.Errorf("signed by %q", got)
	}
}

func TestConformanceOfSSO(t *testing.T) {
	freshettest.Source(t, freshettest.SourceSuite{
		New: func(t *testing.T, u freshettest.Upstream) (freshet.Source, any) {
			portal := newPortal(t, func(w http.ResponseWriter, r *http.Request) {
				switch u {
				case freshettest.Good:
					_, _ = io.WriteString(w, portalAnswer(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)))
				case freshettest.Hang:
					<-r.Context().Done()
				case freshettest.Garbage:
					_, _ = io.WriteString(w, `{"token":"`+ststest.Gossip+`"}`)
				case freshettest.Huge:
					freshettest.WriteHuge(w, `{"roleCredentials": {"accessKeyId": "`+ststest.Gossip)
				case freshettest.Expired:
					givePortal(-time.Minute)(w, r)
				case freshettest.Century:
					givePortal(100*365*24*time.Hour)(w, r)
				case freshettest.Failing:
					w.WriteHeader(http.StatusServiceUnavailable)
					_, _ = io.WriteString(w, ststest.Gossip)
				case freshettest.Throttled: // as it is documented
					w.Header().Set("Retry-After", "7")
					w.Header().Set("X-Amzn-Errortype", "TooManyRequestsException")
					w.WriteHeader(http.StatusTooManyRequests)
					_, _ = io.WriteString(w, `{"message": "`+ststest.Gossip+`"}`)
				}
			})
			dir := home(t, ssoProfile(portal.URL), "")
			dir.login(t, freshet.Now().Wall().Add(time.Hour))
			cfg := Config{Profile: "prod"}
			return newSource(t, cfg), cfg
		},
		Secrets: []string{ststest.SecretKey, ststest.SessionToken, ststest.Gossip, ssoAccessToken, ssoRefreshToken},
	})
}

func TestLoginSession(t *testing.T) {
	const session = "arn:aws:sts::123456789012:assumed-role/Admin/ada"
	dir := home(t, "[profile prod]\nlogin_session = "+session+"\n", "")
	sum := sha256.Sum256([]byte(session))
	name := ".aws/login/cache/" + hex.EncodeToString(sum[:]) + ".json"
	_, err := retrieve(t, "prod")
	wantFailure(t, err, freshet.LoginNeeded, "profile prod: no login", "run aws login --profile prod")
	put := func(expires time.Time) {
		dir.write(t, name, fmt.Sprintf(`{"accessToken": {"accessKeyId": "ASIALOGIN", "secretAccessKey": %q, "sessionToken": %q, "accountId": "123456789012",
			"expiresAt": %q}, "refreshToken": %q, "clientId": "c", "dpopKey": "k"}`, staticSecret, staticSession, expires.Format(time.RFC3339), ssoRefreshToken))
	}
	expires := freshet.Now().Wall().Add(15 * time.Minute).Truncate(time.Second)
	put(expires)
	before := snapshot(t, string(dir))
	cred, err := retrieve(t, "prod")
	if err != nil {
		t.Fatal(err)
	}
	if got := cred.AWS(); got.AccessKeyID != "ASIALOGIN" || got.AccountID != "123456789012" || !cred.Expires().Equal(expires) {
		t.Errorf("got %q, expiring %v", got.AccessKeyID, cred.Expires())
	}
	if after := snapshot(t, string(dir)); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("files changed")
	}
	put(freshet.Now().Wall().Add(-time.Second))
	_, err = retrieve(t, "prod")
	wantFailure(t, err, freshet.LoginNeeded, "profile prod: the login's keys have expired", "run aws login --profile prod")
}
