package awsprofile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/awsapi/ststest"
	"freshet.dev/internal/child"
)

const (
	staticSecret  = "planted-secret-key-of-the-profile-012345"
	staticSession = "planted-session-token-of-the-profile-012"
	role          = "arn:aws:iam::123456789012:role/deploy"
)

// folder is a home with AWS's files in it.
type folder string

// home makes one, and clears the environment of what could have a say.
func home(t *testing.T, config, credentials string) folder {
	t.Helper()
	dir := folder(t.TempDir())
	t.Setenv("HOME", string(dir))
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	dir.write(t, ".aws/config", config)
	dir.write(t, ".aws/credentials", credentials)
	return dir
}

func (f folder) path(name string) string { return filepath.Join(string(f), name) }

// write puts a file in place at once, as editors and tools do.
func (f folder) write(t *testing.T, name, content string) {
	t.Helper()
	path := f.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func newSource(t *testing.T, cfg Config) *Source {
	t.Helper()
	src, err := New(cfg, child.NewRunner(0))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func retrieve(t *testing.T, profile string) (*freshet.Credential, error) {
	t.Helper()
	return newSource(t, Config{Profile: profile}).Retrieve(t.Context(), freshet.Request{})
}

// wantFailure checks an error's kind, its text and its hint for what is in them, and all for secrets.
func wantFailure(t *testing.T, err error, kind freshet.Kind, text, hint string) *freshet.Error {
	t.Helper()
	e, ok := errors.AsType[*freshet.Error](err)
	if !ok {
		t.Fatalf("got %v, want an error of ours", err)
	}
	if e.Kind != kind || !strings.Contains(e.Error(), text) || !strings.Contains(e.Hint, hint) {
		t.Errorf("got %q %q (hint %q), want %q %q (hint %q)", e.Kind, e, e.Hint, kind, text, hint)
	}
	freshettest.LeakedSecrets(t, fmt.Sprintf("%v %+v %#v %s", e, e, e, e.Hint), staticSecret, staticSession, ssoAccessToken, ssoRefreshToken,
		ststest.Gossip, ststest.SecretKey, ststest.SessionToken)
	return e
}

const staticKeys = "aws_access_key_id = AKIASTATIC\naws_secret_access_key = " + staticSecret + "\n"

var staticAWS = freshet.AWSKeys{AccessKeyID: "AKIASTATIC", SecretAccessKey: staticSecret}

func TestStaticKeysWinOverTheEnvironment(t *testing.T) {
	home(t, "[profile prod]\nregion = eu-central-1\naws_account_id = 123456789012\n", "[prod]\n"+staticKeys+"aws_session_token = "+staticSession+"\n")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "of-the-environment")
	t.Setenv("AWS_PROFILE", "other")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/none")
	t.Setenv("AWS_ROLE_ARN", role)
	cred, err := retrieve(t, "prod")
	if err != nil {
		t.Fatal(err)
	}
	want := freshet.AWSKeys{AccessKeyID: "AKIASTATIC", SecretAccessKey: staticSecret, SessionToken: staticSession, AccountID: "123456789012"}
	if got := cred.AWS(); got != want || !cred.Static() {
		t.Errorf("got %v, static %v", got.AccessKeyID, cred.Static())
	}
}

func TestDefaultProfileAndFilesNamedInTheEnvironment(t *testing.T) {
	dir := home(t, "", "")
	dir.write(t, "else/config", "[default]\n"+staticKeys)
	t.Setenv("AWS_CONFIG_FILE", dir.path("else/config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", dir.path("else/credentials"))
	if _, err := retrieve(t, "default"); err != nil {
		t.Error(err)
	}
	// Settings win over it.
	src := newSource(t, Config{Profile: "default", ConfigFile: dir.path(".aws/config"), CredentialsFile: dir.path(".aws/credentials")})
	_, err := src.Retrieve(t.Context(), freshet.Request{})
	wantFailure(t, err, freshet.Invalid, "no profile default in "+dir.path(".aws/config"), "there are no profiles")
}

// TestEditedProfileIsInUseAtTheNextRetrieval is for every way that a profile changes: rewritten, replaced, made at last, gone.
func TestEditedProfileIsInUseAtTheNextRetrieval(t *testing.T) {
	dir := home(t, "", "[prod]\n"+staticKeys)
	src := newSource(t, Config{Profile: "prod"})
	get := func() (string, error) {
		cred, err := src.Retrieve(t.Context(), freshet.Request{})
		if err != nil {
			return "", err
		}
		return cred.AWS().AccessKeyID, nil
	}
	for _, step := range []struct {
		edit func()
		want string
	}{
		{func() {}, "AKIASTATIC"},
		{func() {
			dir.write(t, ".aws/credentials", "[prod]\naws_access_key_id=AKIATWO\naws_secret_access_key=two\n")
		}, "AKIATWO"},
		{func() {
			if err := os.WriteFile(dir.path(".aws/credentials"), []byte("[prod]\naws_access_key_id=AKIATHREE\naws_secret_access_key=three\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "AKIATHREE"},
		{func() { dir.write(t, ".aws/credentials", "") }, ""},
		{func() {
			dir.write(t, ".aws/config", "[profile prod]\naws_access_key_id=AKIAFOUR\naws_secret_access_key=four\n")
		}, "AKIAFOUR"},
	} {
		step.edit()
		if got, err := get(); got != step.want || (err == nil) != (step.want != "") {
			t.Errorf("got %q, %v, want %q", got, err, step.want)
		}
	}
}

func TestKeysOfAFileAreLookedAtAgainAMinuteLater(t *testing.T) {
	home(t, "", "[prod]\n"+staticKeys)
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(t.Context())
	id, err := cache.Add(freshet.IdentityConfig{Name: "prod", Source: newSource(t, Config{Profile: "prod"})})
	if err != nil {
		t.Fatal(err)
	}
	a, err := id.Get(t.Context(), freshet.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if in := a.RefreshAt().Sub(a.Credential.Issued().Wall()); in != time.Minute {
		t.Errorf("due after %v, want a minute", in)
	}
}

func TestMissingProfileNamesThoseThatAreThere(t *testing.T) {
	dir := home(t, "[default]\n[profile  dev]\n[sso-session corp]\n[profile 'odd]\n", "[prod]\n"+staticKeys)
	_, err := retrieve(t, "pord")
	wantFailure(t, err, freshet.Invalid, "no profile pord in "+dir.path(".aws/config")+" or "+dir.path(".aws/credentials"), "dev, prod")
	if strings.Contains(freshet.AsError(err).Hint, "corp") {
		t.Errorf("an sso-session is no profile: %s", freshet.AsError(err).Hint)
	}
	many := ""
	for i := range 12 {
		many += fmt.Sprintf("[p%02d]\n", i)
	}
	dir.write(t, ".aws/config", "")
	dir.write(t, ".aws/credentials", many)
	_, err = retrieve(t, "pord")
	wantFailure(t, err, freshet.Invalid, "no profile pord", "p06, p07 and 4 more: aws configure list-profiles")
}

func TestFilesThatCannotBeUnderstood(t *testing.T) {
	for name, test := range map[string]struct{ config, credentials, file, text string }{
		"unclosed section": {"[profile a]\n\n[profile b\n" + staticKeys, "", "config", ":3: a section's name without its ]"},
		"not a setting":    {"[default]\n" + staticKeys + staticSecret + "\n", "", "config", ":4: neither a section nor a setting"},
		"binary":           {"", "[default]\n\x00\x01" + staticSecret, "credentials", ":2: not text"},
		"not UTF-8":        {"", "[default]\nregion = \xff\xfe", "credentials", ":2: not text"},
		"over the size":    {"", strings.Repeat("# filler\n", 1<<17), "credentials", ": over 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t, test.config, test.credentials)
			_, err := retrieve(t, "default")
			wantFailure(t, err, freshet.Invalid, dir.path(".aws/"+test.file)+test.text, "")
		})
	}
	t.Run("a folder", func(t *testing.T) {
		dir := home(t, "", "")
		if err := os.Remove(dir.path(".aws/config")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir.path(".aws/config"), 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := retrieve(t, "default")
		wantFailure(t, err, freshet.Invalid, dir.path(".aws/config")+": not a regular file", "")
	})
	t.Run("a circle of links", func(t *testing.T) {
		dir := home(t, "", "")
		if err := os.Remove(dir.path(".aws/credentials")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("credentials", dir.path(".aws/credentials")); err != nil {
			t.Fatal(err)
		}
		_, err := retrieve(t, "default")
		wantFailure(t, err, freshet.Invalid, dir.path(".aws/credentials")+": cannot be read", "")
	})
	t.Run("no permission", func(t *testing.T) {
		dir := home(t, "[default]\n"+staticKeys, "")
		if err := os.Chmod(dir.path(".aws/config"), 0); err != nil {
			t.Fatal(err)
		}
		if f, err := os.Open(dir.path(".aws/config")); err == nil {
			_ = f.Close()
			t.Skip("this user may read everything")
		}
		_, err := retrieve(t, "default")
		wantFailure(t, err, freshet.Invalid, dir.path(".aws/config")+": cannot be read", "let the user")
	})
}

// TestNothingElseIsTakenForAProfileThatCannotBeResolved: not the environment's keys, not the machine's role.
func TestNothingElseIsTakenForAProfileThatCannotBeResolved(t *testing.T) {
	imds := ststest.New(t, nil, func(http.ResponseWriter, *http.Request, ststest.Call) { t.Error("the metadata service was asked") })
	for name, test := range map[string]struct {
		profile    string
		kind       freshet.Kind
		text, hint string
	}{
		"nothing":         {"region = eu-west-1\n", freshet.Invalid, "profile p: names no credentials", "aws configure --profile p"},
		"role alone":      {"role_arn = " + role + "\n", freshet.Invalid, "profile p: names no credentials", ""},
		"instance's role": {"role_arn = " + role + "\ncredential_source = Ec2InstanceMetadata\n", freshet.Invalid, "credential_source is not supported", "source_profile"},
		"task's role":     {"role_arn = " + role + "\ncredential_source = EcsContainer\n", freshet.Invalid, "credential_source is not supported", "source_profile"},
		"half a pair":     {"aws_access_key_id = AKIAX\n", freshet.Invalid, "only one of aws_access_key_id and aws_secret_access_key", ""},
		"two ways": {"role_arn = " + role + "\nsource_profile = s\ncredential_process = /bin/true\n", freshet.Invalid,
			"profile p: more than one of", ""},
		"no source":       {"role_arn = " + role + "\nsource_profile = none\n", freshet.Invalid, "its source_profile, none, has no credentials or does not exist", "s"},
		"no role":         {"source_profile = s\n", freshet.Invalid, "profile p: source_profile without role_arn", ""},
		"itself":          {"role_arn = " + role + "\nsource_profile = p\n", freshet.Invalid, "its source_profile, p, has no credentials", ""},
		"odd role":        {"role_arn = deploy\nsource_profile = s\n", freshet.Invalid, "profile p: role_arn: not the ARN of a role", ""},
		"odd region":      {"role_arn = " + role + "\nsource_profile = s\nregion = evil.example/\n", freshet.Invalid, "profile p: region: not a region", ""},
		"other's region":  {"role_arn = arn:aws-cn:iam::123456789012:role/x\nsource_profile = s\n", freshet.Invalid, "profile p: no region", "region"},
		"odd endpoint":    {"role_arn = " + role + "\nsource_profile = s\nendpoint_url = http://sts.example\n", freshet.Invalid, "endpoint_url: http to another host", ""},
		"odd duration":    {"role_arn = " + role + "\nsource_profile = s\nduration_seconds = 1h\n", freshet.Invalid, "duration_seconds is not 900 to 43200", ""},
		"short duration":  {"role_arn = " + role + "\nsource_profile = s\nduration_seconds = 60\n", freshet.Invalid, "duration_seconds is not 900 to 43200", ""},
		"odd session":     {"role_arn = " + role + "\nsource_profile = s\nrole_session_name = a b\n", freshet.Invalid, "role_session_name: want 2 to 64", ""},
		"second factor":   {"role_arn = " + role + "\nsource_profile = s\nmfa_serial = arn:aws:iam::1:mfa/x\n", freshet.LoginNeeded, "mfa_serial asks for a code", "get-session-token"},
		"relative token":  {"role_arn = " + role + "\nweb_identity_token_file = token\n", freshet.Invalid, "web_identity_token_file: not an absolute path", ""},
		"relative bundle": {staticKeys + "ca_bundle = ca.pem\n", freshet.Invalid, "ca_bundle: not an absolute path", ""},
		"missing bundle":  {staticKeys + "ca_bundle = /none/ca.pem\n", freshet.Invalid, "ca_bundle: /none/ca.pem cannot be read", ""},
		"no SSO session":  {"sso_session = none\nsso_account_id = 1\nsso_role_name = r\n", freshet.Invalid, "no [sso-session] section", ""},
		"half an SSO":     {"sso_start_url = https://x.example\n", freshet.Invalid, "profile p: SSO without sso_region", "aws configure sso"},
		"odd SSO region":  {"sso_start_url = https://x.example\nsso_region = a.b\nsso_account_id = 1\nsso_role_name = r\n", freshet.Invalid, "sso_region: not a region", ""},
		"own FIPS":        {"role_arn = " + role + "\nsource_profile = s\nendpoint_url = https://sts.example\nuse_fips_endpoint = true\n", freshet.Invalid, "profile p: endpoint_url: given together with use_fips_endpoint", "remove one"},
		"own dual stack":  {"role_arn = " + role + "\nsource_profile = s\nendpoint_url = https://sts.example\nuse_dualstack_endpoint = true\n", freshet.Invalid, "profile p: endpoint_url: given together with", "remove one"},
		"SSO's own FIPS":  {"sso_start_url = https://x.example\nsso_region = eu-west-1\nsso_account_id = 1\nsso_role_name = r\nendpoint_url = https://sso.example\nuse_fips_endpoint = true\n", freshet.Invalid, "profile p: endpoint_url: given together with", "remove one"},
		"environment":     {"role_arn = " + role + "\ncredential_source = Environment\n", freshet.Invalid, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set", ""},
	} {
		t.Run(name, func(t *testing.T) {
			home(t, "[profile p]\n"+test.profile+"[profile s]\n"+staticKeys, "")
			t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.URL)
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", imds.URL)
			if name != "environment" {
				t.Setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
				t.Setenv("AWS_SECRET_ACCESS_KEY", "of-the-environment")
			}
			_, err := retrieve(t, "p")
			wantFailure(t, err, test.kind, test.text, test.hint)
		})
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "profile: missing"},
		{Config{Profile: " "}, "profile: missing"},
		{Config{Profile: "a\nb"}, "profile: not the name of a profile"},
		{Config{Profile: "a]b"}, "profile: not the name of a profile"},
		{Config{Profile: "a", Region: "x/y"}, "region: not a region"},
		{Config{Profile: "a", ConfigFile: "config"}, "config_file: not an absolute path"},
		{Config{Profile: "a", CredentialsFile: "credentials"}, "credentials_file: not an absolute path"},
	} {
		if _, err := New(test.cfg, child.NewRunner(0)); !errors.Is(err, freshet.Invalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v, want %q", test.cfg, err, test.want)
		}
	}
	if err := (Config{Profile: "With Space é"}).Check(); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{Profile: "a"}, nil); !errors.Is(err, freshet.Bug) {
		t.Errorf("no runner: got %v", err)
	}
}

// TestLogoutElsewhereDoesNotBreakALiveCredential: what was retrieved before lives on, and only a new retrieval needs the login.
func TestLogoutElsewhereDoesNotBreakALiveCredential(t *testing.T) {
	portal := newPortal(t, givePortal(time.Hour))
	dir := home(t, ssoProfile(portal.URL), "")
	dir.login(t, freshet.Now().Wall().Add(time.Hour))
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(t.Context())
	id, err := cache.Add(freshet.IdentityConfig{Name: "prod", Source: newSource(t, Config{Profile: "prod"})})
	if err != nil {
		t.Fatal(err)
	}
	first, err := id.Get(t.Context(), freshet.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir.ssoCache()); err != nil {
		t.Fatal(err)
	}
	// More life than there is makes this caller wait for a retrieval, which fails.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	second, err := id.Get(ctx, freshet.Request{MinTTL: 2 * time.Hour})
	if err != nil || second.Credential.Fingerprint() != first.Credential.Fingerprint() || !second.Short {
		t.Errorf("got %v, %v, want the live credential", second.Credential, err)
	}
	_, err = id.Get(ctx, freshet.Request{Rejected: first.Credential.Fingerprint()})
	wantFailure(t, err, freshet.LoginNeeded, "no SSO login", "aws sso login --sso-session corp")
}
