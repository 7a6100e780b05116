package childenv

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	plain := []string{
		"PATH=/bin", "EMPTY=", "WITH=a=b", "AWS_REGION=eu-north-1", "AWS_ENDPOINT_URL=http://localhost", "AWS_CA_BUNDLE=/ca", "AWS_MAX_ATTEMPTS=2",
		"AZURE_AUTHORITY_HOST=https://login", "AZURE_SUBSCRIPTION_ID=s", "FRESHET_CONFIG=/c.yaml", "FRESHET_ANCESTRY=a",
	}
	aws := []string{
		"AWS_ACCESS_KEY_ID=x", "AWS_ACCESS_KEY=x", "AWS_SECRET_KEY=x", "AWS_PROFILE=x", "AWS_CREDENTIAL_FILE=x", "BOTO_CONFIG=x",
		"AWS_BEARER_TOKEN_BEDROCK=x", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=x", "AWS_WEB_IDENTITY_TOKEN_FILE=x",
	}
	azure := []string{
		"AZURE_CLIENT_ID=x", "AZURE_FEDERATED_TOKEN_FILE=x", "AZURE_CLIENT_SECRET=x", "IDENTITY_SERVER_THUMBPRINT=x", "IMDS_ENDPOINT=x",
		"MSI_ENDPOINT=x", "AZURE_TENANT_ID=x",
	}
	outer := []string{"FRESHET_CLIENT_SECRET=x", "FRESHET_TOKEN_URL=x", "REPLACED=x"}
	environ := slices.Concat(plain, aws, azure, outer)
	for name, test := range map[string]struct {
		add  map[string]string
		kept []string
	}{
		"neither": {map[string]string{}, slices.Concat(plain, aws, azure)},
		"aws":     {map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "u"}, slices.Concat(plain, azure)},
		"azure":   {map[string]string{"IDENTITY_ENDPOINT": "u", "AZURE_TOKEN_CREDENTIALS": "m"}, slices.Concat(plain, aws)},
		"both":    {map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "u", "IDENTITY_ENDPOINT": "u"}, plain},
	} {
		test.add["REPLACED"], test.add["FRESHET_IDENTITY"] = "new", "prod"
		want := test.kept
		for _, k := range slices.Sorted(maps.Keys(test.add)) {
			want = append(slices.Clip(want), k+"="+test.add[k])
		}
		if got := Merge(environ, test.add); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, want)
		}
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
	helper := []Helper{{Profile: "second", Command: `"/bin/freshet" token second --format aws-process`}}
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
		if got := string(AWSConfig([]byte(test.users), Place{Profile: test.profile}, test.helpers)); got != test.want {
			t.Errorf("profile %q of %d bytes: got\n%s\nwant\n%s", test.profile, len(test.users), got, test.want)
		}
	}
}

func TestRegionIsTheIdentitys(t *testing.T) {
	const users = "[default]\nregion = us-west-2\noutput = json\n[profile prod]\nregion = eu-north-1\nrole_arn = mine\n[profile bare]\noutput = text\n"
	for _, test := range []struct {
		place Place
		want  string
	}{
		{Place{}, "region = us-west-2\noutput = json\n"},
		{Place{Profile: "prod", Own: true}, "region = eu-north-1\n"},
		{Place{Profile: "prod", Own: true, Region: "ap-south-1"}, "region = eu-north-1\n"}, // that one is for STS
		{Place{Profile: "bare", Own: true, Region: "ap-south-1"}, "output = text\nregion = ap-south-1\n"},
		{Place{Region: "ap-south-1"}, "output = json\nregion = ap-south-1\n"},
		{Place{Fallback: "us-east-1"}, "region = us-west-2\noutput = json\n"},
		{Place{Profile: "none", Fallback: "us-east-1"}, "region = us-east-1\n"},
	} {
		if got, want := string(AWSConfig([]byte(users), test.place, nil)), "[default]\n"+test.want; got != want {
			t.Errorf("%+v: got\n%s\nwant\n%s", test.place, got, want)
		}
	}
	got := string(AWSConfig([]byte(users), Place{}, []Helper{{Profile: "second", Command: "cmd", Place: Place{Profile: "prod", Own: true}}}))
	if want := "[default]\nregion = us-west-2\noutput = json\n\n[profile second]\nregion = eu-north-1\ncredential_process = cmd\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
