package awsprofile

import (
	"slices"
	"testing"

	"freshet.dev/freshet/freshettest"
)

func TestFilesAreThoseAnAnswerIsReadFrom(t *testing.T) {
	dir := home(t, "", "")
	two := []string{dir.path(".aws/config"), dir.path(".aws/credentials")}
	login := "arn:aws:sts::123456789012:assumed-role/Admin/ada"
	for name, test := range map[string]struct {
		config string
		more   []string
	}{
		"no profile": {"", nil},
		"static":     {"[profile prod]\n" + staticKeys, nil},
		"process":    {"[profile prod]\ncredential_process = /bin/helper " + staticSecret + "\n", nil},
		"session":    {ssoProfile("https://x.example"), []string{dir.ssoCache()}},
		"legacy":     {legacyProfile("https://x.example"), []string{dir.path(".aws/sso/cache/" + sha("https://corp.awsapps.example/start") + ".json")}},
		"login":      {"[profile prod]\nlogin_session = " + login + "\n", []string{(&places{login: dir.path(".aws/login/cache")}).loginFile(login)}},
		"token":      {"[profile prod]\nrole_arn = " + role + "\nweb_identity_token_file = /run/token\n", []string{"/run/token"}},
		"no path":    {"[profile prod]\nrole_arn = " + role + "\nweb_identity_token_file = " + staticSecret + "\n", nil},
		"chain": {"[profile prod]\nrole_arn = " + role + "\nsource_profile = base\nca_bundle = /etc/ca.pem\n" +
			"[profile base]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = r\n[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://x.example\n",
			[]string{"/etc/ca.pem", dir.ssoCache()}},
	} {
		dir.write(t, ".aws/config", test.config)
		got := newSource(t, Config{Profile: "prod"}).Files()
		want := slices.Concat(two, test.more)
		slices.Sort(want[2:])
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		for _, path := range got {
			freshettest.LeakedSecrets(t, path, staticSecret)
		}
	}
}

// TestFilesFollowTheProfile: a profile that is edited to be of another kind depends on other files from then on.
func TestFilesFollowTheProfile(t *testing.T) {
	dir := home(t, "[profile prod]\n"+staticKeys, "")
	src := newSource(t, Config{Profile: "prod"})
	if got := src.Files(); len(got) != 2 {
		t.Errorf("got %q", got)
	}
	dir.write(t, ".aws/config", ssoProfile("https://x.example"))
	if got := src.Files(); !slices.Contains(got, dir.ssoCache()) {
		t.Errorf("got %q, want the SSO cache's file among them", got)
	}
}
