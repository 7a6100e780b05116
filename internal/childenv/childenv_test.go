package childenv

import (
	"slices"
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	environ := []string{
		"PATH=/bin", "EMPTY=", "WITH=a=b", "AWS_REGION=eu-north-1", "AWS_ENDPOINT_URL=http://localhost", "AWS_CA_BUNDLE=/ca", "AWS_MAX_ATTEMPTS=2",
		"AWS_ACCESS_KEY_ID=x", "AWS_ACCESS_KEY=x", "AWS_SECRET_KEY=x", "AWS_PROFILE=x", "AWS_CREDENTIAL_FILE=x", "BOTO_CONFIG=x",
		"AWS_BEARER_TOKEN_BEDROCK=x", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=x", "AWS_WEB_IDENTITY_TOKEN_FILE=x",
		"FRESHET_CLIENT_SECRET=x", "FRESHET_TOKEN_URL=x", "FRESHET_CONFIG=/c.yaml", "FRESHET_ANCESTRY=a", "REPLACED=x",
	}
	add := map[string]string{"REPLACED": "new", "FRESHET_IDENTITY": "prod", "ADDED": "1"}
	kept := []string{"PATH=/bin", "EMPTY=", "WITH=a=b", "AWS_REGION=eu-north-1", "AWS_ENDPOINT_URL=http://localhost", "AWS_CA_BUNDLE=/ca", "AWS_MAX_ATTEMPTS=2"}
	rest := []string{"FRESHET_CONFIG=/c.yaml", "FRESHET_ANCESTRY=a", "ADDED=1", "FRESHET_IDENTITY=prod", "REPLACED=new"}
	if got, want := Merge(environ, true, add), slices.Concat(kept, rest); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	users := environ[7:16] // without AWS keys in the session, the user's own stay
	if got, want := Merge(environ, false, add), slices.Concat(kept, users, rest); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAWSConfig(t *testing.T) {
	const users = `
# a comment
[default]
region = us-east-1
aws_access_key_id = AKIAMINE
credential_process = mine

[profile work]
REGION = eu-central-1
role_arn=mine
s3 =
	addressing_style = path
sso_session = mine
sso =
  nested = mine
services = local
endpoint_url = http://localhost:9000
[profile "quoted name"]
region = ap-south-1
[work]
region = wrong
[sso-session mine]
sso_start_url = mine
[services local]
s3 =
  endpoint_url = http://localhost:9000
[plugins]
x = mine
`
	services := "\n[services local]\ns3 =\n  endpoint_url = http://localhost:9000\n"
	helper := []Helper{{"second", `"/bin/freshet" token second --format aws-process`}}
	profile := "\n[profile second]\ncredential_process = \"/bin/freshet\" token second --format aws-process\n"
	for _, test := range []struct {
		users, profile string
		helpers        []Helper
		want           string
	}{
		{"", "", nil, "[default]\n"},
		{"", "work", helper, "[default]\n" + profile},
		{users, "", nil, "[default]\nregion = us-east-1\n" + services},
		{
			users, "work", helper,
			"[default]\nREGION = eu-central-1\ns3 =\n\taddressing_style = path\nservices = local\nendpoint_url = http://localhost:9000\n" + profile + services,
		},
		{users, "quoted name", nil, "[default]\nregion = ap-south-1\n" + services},
		{users, "no such", nil, "[default]\n" + services},
		{strings.ReplaceAll(users, "\n", "\r\n"), "", nil, "[default]\nregion = us-east-1\n" + services},
		{"region = before any section\n[default]\nregion = us-east-1", "default", nil, "[default]\nregion = us-east-1\n"},
	} {
		if got := string(AWSConfig([]byte(test.users), test.profile, test.helpers)); got != test.want {
			t.Errorf("profile %q of %d bytes: got\n%s\nwant\n%s", test.profile, len(test.users), got, test.want)
		}
	}
}

// FuzzAWSConfig holds that no line leads to credentials but those of the helpers, whatever the user's file is.
func FuzzAWSConfig(f *testing.F) {
	f.Add("[default]\nregion = x\ncredential_process = mine\n", "default")
	f.Add("[profile a]\ns3 =\n  x = y\nrole_arn = mine\n[services s]\n", "a")
	f.Fuzz(func(t *testing.T, users, profile string) {
		out := string(AWSConfig([]byte(users), profile, nil))
		if !strings.HasPrefix(out, "[default]\n") {
			t.Fatalf("got %q", out)
		}
		services := false
		for line := range strings.Lines(out) {
			services = services && line[0] != '[' || strings.HasPrefix(line, "[services ")
			key, _, _ := strings.Cut(line, "=")
			switch strings.ToLower(strings.TrimSpace(key)) {
			case "credential_process", "role_arn", "source_profile", "sso_session", "aws_access_key_id", "web_identity_token_file":
				if !services && line[0] != ' ' && line[0] != '\t' {
					t.Errorf("%q is kept", line)
				}
			}
		}
	})
}
