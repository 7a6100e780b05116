package childenv

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const local = "http://127.0.0.1:4711"

// TestChildFindsItsProxy is the table of what each kind of client is told, and what of the user's it must not see.
func TestChildFindsItsProxy(t *testing.T) {
	const secret = "the-local-secret"
	aws := map[string]string{"AWS_ACCESS_KEY_ID": "freshet", "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "eu-north-1"}
	awsDrop := []string{
		"AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ROLE_ARN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_BEARER_TOKEN_BEDROCK", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "BOTO_CONFIG",
	}
	with := func(a, b map[string]string) map[string]string {
		a = maps.Clone(a)
		maps.Copy(a, b)
		return a
	}
	table := map[string]struct {
		path string
		want map[string]string
		drop []string
		kept []string
	}{
		"anthropic": {"", map[string]string{"ANTHROPIC_BASE_URL": local, "ANTHROPIC_API_KEY": secret},
			[]string{"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK"}, []string{"ANTHROPIC_MODEL", "OPENAI_BASE_URL"}},
		"azure-openai": {"", map[string]string{"AZURE_OPENAI_ENDPOINT": local, "AZURE_OPENAI_API_KEY": secret},
			[]string{"AZURE_OPENAI_AD_TOKEN", "OPENAI_BASE_URL", "OPENAI_API_BASE"}, []string{"OPENAI_API_VERSION", "OPENAI_API_KEY"}},
		"bedrock": {"", with(aws, map[string]string{"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": local, "ANTHROPIC_BEDROCK_BASE_URL": local}),
			awsDrop, []string{"AWS_CA_BUNDLE", "CLAUDE_CODE_USE_BEDROCK", "AWS_ENDPOINT_URL_S3"}},
		"npm": {"/api/npm", map[string]string{
			"npm_config_registry": local + "/api/npm/", "npm_config_globalconfig": "/run/file", "npm_config_replace_registry_host": "always"},
			[]string{"NPM_CONFIG_REGISTRY", "NPM_CONFIG_GLOBALCONFIG", "npm_config_Replace_Registry_Host", "npm_config_//npm.pkg.github.com/:_authToken", "NPM_CONFIG_//a/:_auth"},
			[]string{"npm_config_cache", "NPM_CONFIG_USERCONFIG"}},
		"openai": {"/v1", map[string]string{"OPENAI_BASE_URL": local + "/v1", "OPENAI_API_KEY": secret},
			[]string{"OPENAI_API_BASE", "OPENAI_API_TYPE", "OPENAI_ADMIN_KEY"}, []string{"OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "AZURE_OPENAI_ENDPOINT"}},
		"pip": {"/simple", map[string]string{
			"PIP_INDEX_URL": "http://freshet:" + secret + "@127.0.0.1:4711/simple", "UV_DEFAULT_INDEX": "http://freshet:" + secret + "@127.0.0.1:4711/simple"},
			[]string{"UV_INDEX_URL"}, []string{"PIP_EXTRA_INDEX_URL", "PIP_NO_CACHE_DIR", "UV_CACHE_DIR"}},
		"s3": {"", with(aws, map[string]string{"AWS_ENDPOINT_URL_S3": local}), awsDrop, []string{"AWS_CA_BUNDLE", "AWS_ENDPOINT_URL", "AWS_MAX_ATTEMPTS"}},
	}
	if names := slices.Sorted(maps.Keys(table)); !slices.Equal(names, KindNames()) {
		t.Errorf("the table has %v, and there are %v", names, KindNames())
	}
	for name, test := range table {
		p := Proxy{Identity: "my-id", Kind: KindNamed(name), URL: local + test.path, Secret: secret, Region: "eu-north-1", File: "/run/file"}
		environ := []string{"PATH=/bin", "FRESHET_SOCKET=x", "FRESHET_PROXY_URL_OUTER=x"}
		for _, v := range slices.Concat(test.drop, slices.Collect(maps.Keys(test.want))) {
			environ = append(environ, v+"=users")
		}
		want := []string{"PATH=/bin"}
		for _, v := range test.kept {
			environ, want = append(environ, v+"=users"), append(want, v+"=users")
		}
		all := with(test.want, map[string]string{"FRESHET_PROXY_URL": local + test.path, "FRESHET_PROXY_URL_MY_ID": local + test.path, "FRESHET_PROXY_SECRET": secret})
		for _, v := range slices.Sorted(maps.Keys(all)) {
			want = append(want, v+"="+all[v])
		}
		if got := Merge(environ, nil, p); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, want)
		}
	}
}

func TestKindsThatShareVariablesClash(t *testing.T) {
	for _, a := range Kinds() {
		for _, b := range Kinds() {
			want := a == b || strings.HasSuffix(a.Name, "openai") && strings.HasSuffix(b.Name, "openai")
			if got := a.Clashes(b); got != want {
				t.Errorf("%s and %s: %v", a.Name, b.Name, got)
			}
		}
	}
}

// TestFilesNameTheSecretOnly: npm alone has one, and replaces the variable when it reads it.
func TestFilesNameTheSecretOnly(t *testing.T) {
	for _, k := range Kinds() {
		want, variable := "", ""
		if k.Name == "npm" {
			want, variable = "//127.0.0.1:4711/api/npm/:_authToken=${FRESHET_PROXY_SECRET}\n", "npm_config_globalconfig"
		}
		text, beside := Proxy{Kind: k, URL: "http://127.0.0.1:4711/api/npm", Secret: "planted"}.Text()
		if text != want || beside != variable {
			t.Errorf("%s: got %q beside %q", k.Name, text, beside)
		}
	}
	if text, _ := (Proxy{}).Text(); text != "" {
		t.Errorf("of no kind: %q", text)
	}
}

func TestHostTellsTheKindAndTheTarget(t *testing.T) {
	for _, test := range []struct {
		url, kind string // kind: as it is found; "x+" before the URL names one
		want      Target
	}{
		{"https://api.openai.com/v1", "openai", Target{Upstream: "https://api.openai.com", Path: "/v1"}},
		{"https://API.openai.com/", "openai", Target{Upstream: "https://API.openai.com", Path: "/v1"}},
		{"https://api.openai.com.evil.example/v1", "", Target{Upstream: "https://api.openai.com.evil.example", Path: "/v1"}},
		{"https://notapi-openai.com/v1", "", Target{Upstream: "https://notapi-openai.com", Path: "/v1"}},
		{"openai+http://127.0.0.1:8000", "openai", Target{Upstream: "http://127.0.0.1:8000"}},
		{"https://api.anthropic.com", "anthropic", Target{Upstream: "https://api.anthropic.com"}},
		{"https://api.anthropic.com/v1/", "anthropic", Target{Upstream: "https://api.anthropic.com"}},
		{"anthropic+https://gate.example/a/v1", "anthropic", Target{Upstream: "https://gate.example", Path: "/a"}},
		{"https://mine.openai.azure.com/", "azure-openai", Target{Upstream: "https://mine.openai.azure.com"}},
		{"https://mine.cognitiveservices.azure.com/openai", "azure-openai", Target{Upstream: "https://mine.cognitiveservices.azure.com"}},
		{"https://mine.services.ai.azure.com", "azure-openai", Target{Upstream: "https://mine.services.ai.azure.com"}},
		{"https://bedrock-runtime.eu-west-1.amazonaws.com", "bedrock", Target{Upstream: "https://bedrock-runtime.eu-west-1.amazonaws.com", Region: "eu-west-1"}},
		{"https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "bedrock",
			Target{Upstream: "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", Region: "us-gov-west-1"}},
		{"https://bedrock.eu-west-1.amazonaws.com", "", Target{Upstream: "https://bedrock.eu-west-1.amazonaws.com"}},
		{"https://s3.amazonaws.com", "s3", Target{Upstream: "https://s3.amazonaws.com"}},
		{"https://s3.eu-north-1.amazonaws.com/", "s3", Target{Upstream: "https://s3.eu-north-1.amazonaws.com", Region: "eu-north-1"}},
		{"https://s3.dualstack.eu-north-1.amazonaws.com", "s3", Target{Upstream: "https://s3.dualstack.eu-north-1.amazonaws.com", Region: "eu-north-1"}},
		{"https://s3-fips.us-east-1.amazonaws.com", "s3", Target{Upstream: "https://s3-fips.us-east-1.amazonaws.com", Region: "us-east-1"}},
		{"https://s3.cn-north-1.amazonaws.com.cn", "s3", Target{Upstream: "https://s3.cn-north-1.amazonaws.com.cn", Region: "cn-north-1"}},
		{"https://my.bucket.s3.eu-north-1.amazonaws.com", "s3",
			Target{Upstream: "https://s3.eu-north-1.amazonaws.com", Region: "eu-north-1", Paths: []string{"/my.bucket", "/my.bucket/*"}}},
		{"https://s3-control.eu-north-1.amazonaws.com", "", Target{Upstream: "https://s3-control.eu-north-1.amazonaws.com"}},
		{"s3+http://127.0.0.1:9000/", "s3", Target{Upstream: "http://127.0.0.1:9000"}},
		{"pip+https://pkgs.example/feed/simple/", "pip", Target{Upstream: "https://pkgs.example", Path: "/feed/simple"}},
		{"https://api.example/a%20b/", "", Target{Upstream: "https://api.example", Path: "/a%20b"}},
	} {
		name, address, named := strings.Cut(test.url, "+")
		if !named {
			address = name
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		kind := KindNamed(name)
		if !named {
			kind = KindOf(u.Hostname())
		}
		got := ""
		if kind != nil {
			got = kind.Name
		}
		target := TargetOf(kind, u)
		if got != test.kind || target.Upstream != test.want.Upstream || target.Path != test.want.Path || target.Region != test.want.Region || !slices.Equal(target.Paths, test.want.Paths) {
			t.Errorf("%s: got kind %q and %+v, want %q and %+v", test.url, got, target, test.kind, test.want)
		}
	}
}

// TestFirstRouteIsTheOneWithoutAName: and of an identity's, its first.
func TestFirstRouteIsTheOneWithoutAName(t *testing.T) {
	got := Merge(nil, nil, Proxy{Identity: "a.b", URL: "u1", Secret: "s"}, Proxy{Identity: "ü", URL: "u2", Secret: "s"}, Proxy{Identity: "A-b", URL: "u3", Secret: "s"})
	want := []string{"FRESHET_PROXY_SECRET=s", "FRESHET_PROXY_URL=u1", "FRESHET_PROXY_URL_A_B=u1", "FRESHET_PROXY_URL__=u2"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestChildOfAProxyAloneHasNoOtherDoor runs within an outer exec, whose session is not the child's.
func TestChildOfAProxyAloneHasNoOtherDoor(t *testing.T) {
	outer := []string{"FRESHET_SOCKET=x", "FRESHET_IDENTITY=x", "FRESHET_TOKEN_URL=x", "FRESHET_CLIENT_ID=x", "FRESHET_CLIENT_SECRET=x", "FRESHET_PROXY_SECRET=x",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=x", "AWS_CONTAINER_AUTHORIZATION_TOKEN=x", "AWS_CONFIG_FILE=x", "IDENTITY_ENDPOINT=x", "IDENTITY_HEADER=x"}
	route := Proxy{Identity: "id", URL: local, Secret: "s"}
	own := []string{"FRESHET_PROXY_SECRET=s", "FRESHET_PROXY_URL=" + local, "FRESHET_PROXY_URL_ID=" + local}
	if got := Merge(append(outer, "PATH=/bin"), nil, route); !slices.Equal(got, append([]string{"PATH=/bin"}, own...)) {
		t.Errorf("got %q", got)
	}
	// The user's own, and those of an outer session beside one of its own, stay.
	users := []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=x", "IDENTITY_ENDPOINT=x"}
	if got := Merge(users, nil, route); !slices.Equal(got, slices.Concat(users, own)) {
		t.Errorf("got %q", got)
	}
	if got := Merge(append(users, "FRESHET_IDENTITY=x"), map[string]string{"FRESHET_IDENTITY": "mine"}); !slices.Equal(got, append(users, "FRESHET_IDENTITY=mine")) {
		t.Errorf("got %q", got)
	}
}

func TestNetworksProxyIsGoneRound(t *testing.T) {
	route := Proxy{Identity: "id", URL: local, Secret: "s"}
	for _, test := range []struct{ environ, want []string }{
		{[]string{"A=b"}, nil},
		{[]string{"NO_PROXY=x"}, []string{"NO_PROXY=x"}},
		{[]string{"HTTP_PROXY="}, nil},
		{[]string{"HTTP_PROXY=p"}, []string{"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1"}},
		{[]string{"https_proxy=p"}, []string{"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1"}},
		{[]string{"ALL_PROXY=p", "no_proxy=a,b"}, []string{"no_proxy=a,b,127.0.0.1"}},
		{[]string{"HTTPS_PROXY=p", "NO_PROXY=a", "no_proxy="}, []string{"NO_PROXY=a,127.0.0.1", "no_proxy=127.0.0.1"}},
		{[]string{"HTTPS_PROXY=p", "NO_PROXY=a, 127.0.0.1"}, []string{"NO_PROXY=a, 127.0.0.1"}},
		{[]string{"HTTPS_PROXY=p", "NO_PROXY=*"}, []string{"NO_PROXY=*"}},
	} {
		var got []string
		for _, kv := range Merge(test.environ, nil, route) {
			if strings.HasPrefix(strings.ToUpper(kv), "NO_PROXY=") {
				got = append(got, kv)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.environ, got, test.want)
		}
	}
	if got := Merge([]string{"HTTP_PROXY=p"}, map[string]string{"X": "y"}); slices.ContainsFunc(got, func(kv string) bool { return strings.HasPrefix(kv, "NO_PROXY") }) {
		t.Errorf("without a route: %q", got)
	}
}

func TestRegionOfAPlace(t *testing.T) {
	const users = "[default]\nregion = us-west-2\n[profile prod]\nREGION=eu-north-1\n[profile bare]\noutput = text\n"
	for _, test := range []struct {
		place Place
		want  string
	}{
		{Place{}, "us-west-2"},
		{Place{Profile: "prod", Own: true}, "eu-north-1"},
		{Place{Profile: "bare", Own: true}, ""},
		{Place{Profile: "bare", Region: "ap-south-1"}, "ap-south-1"},
		{Place{Profile: "none", Fallback: "us-east-1"}, "us-east-1"},
	} {
		if got := Region([]byte(users), test.place); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.place, got, test.want)
		}
	}
}
