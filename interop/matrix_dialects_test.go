package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"freshet.dev/interop/internal/party"
)

// asExec is the set-up of freshet exec.
const asExec = "`freshet exec`"

func (m *matrix) azure(t *testing.T, c party.Asker) {
	for _, setup := range []struct {
		name, credential, exec string
		situations             []string
	}{
		{asExec + ", ManagedIdentityCredential", "ManagedIdentityCredential", "azure", situations},
		{asExec + ", DefaultAzureCredential", "DefaultAzureCredential", "azure", situations},
		{"no AZURE_TOKEN_CREDENTIALS, DefaultAzureCredential", "DefaultAzureCredential", "", []string{granted, denied, issuerDown}},
	} {
		for _, situation := range setup.situations {
			seen, az := newTally(t, m.endpoints["azure-app-service "+identityOf(situation)]), decoyAz(t)
			m.try(t, trial{
				row: row{dialect: "azure-app-service", client: c, setup: setup.name, situation: situation},
				env: bareEnv(t, az.folder), point: []string{"IDENTITY_ENDPOINT=" + seen.url + "/msi/token", "IDENTITY_HEADER=" + m.secretIn(situation)},
				exec: setup.exec, args: []string{setup.credential}, read: readLine, held: heldToken, seen: seen,
				own: map[string]string{azToken: "az's login"}, stray: az.asked,
			})
		}
	}
	t.Run("decoy", func(t *testing.T) {
		t.Parallel()
		name := "AzureCliCredential"
		if strings.HasSuffix(c.Name, "(Go)") {
			name = "AzureCLICredential"
		}
		got := readLine(runAsker(t, bareEnv(t, decoyAz(t).folder), append(slices.Clone(c.Argv), name)))
		if got.got != azToken {
			t.Errorf("the decoy az gives %s nothing: %+v", c.Name, got)
		}
	})
}

func (m *matrix) aws(t *testing.T, c party.Asker) {
	read := readLine
	if c.Name == "awscli" {
		read = readKeys
	}
	own := map[string]string{profileKeys: "the default profile", metadataKeys: "the machine's role"}
	for _, setup := range []struct {
		name, exec string
		situations []string
	}{
		{asExec, "keys-granted", situations}, {"the two variables, beside a default profile", "", []string{granted}},
	} {
		for _, situation := range setup.situations {
			seen, role := newTally(t, m.endpoints["aws-container "+identityOf(situation)]), decoyMetadata(t)
			m.try(t, trial{
				row: row{dialect: "aws-container", client: c, setup: setup.name, situation: situation}, env: append(bareEnv(t, ""), role.env),
				point: []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + seen.url + "/creds", "AWS_CONTAINER_AUTHORIZATION_TOKEN=" + m.secretIn(situation)},
				exec:  setup.exec, read: read, held: heldKeys, seen: seen, own: own, stray: role.asked,
			})
		}
	}
	for _, setup := range []struct {
		name       string
		more       []string
		situations []string
	}{
		{"a profile", nil, []string{granted, denied, issuerDown}},
		{"a profile, and AWS_EC2_METADATA_DISABLED", []string{"AWS_EC2_METADATA_DISABLED=true"}, []string{denied}},
	} {
		for _, situation := range setup.situations {
			helper, seen := m.helper(t, "keys-"+identityOf(situation), "aws-process")
			role := decoyMetadata(t)
			profile := privateAWS(t, "[default]\nregion = us-east-1\ncredential_process = "+helper+"\n")
			m.try(t, trial{
				row: row{dialect: "credential_process", client: c, setup: setup.name, situation: situation},
				env: slices.Concat(bareEnv(t, ""), []string{role.env}, setup.more, profile), read: read, held: heldKeys, seen: seen, own: own, stray: role.asked,
			})
		}
	}
	for _, situation := range []string{granted, gone} {
		role, point := decoyMetadata(t), []string{"AWS_PROFILE=keys-second"}
		if situation == gone {
			nowhere := filepath.Join(t.TempDir(), "nowhere")
			point = append(point, "FRESHET_SOCKET="+nowhere, "FRESHET_CONFIG="+nowhere)
		}
		m.try(t, trial{
			row: row{dialect: "credential_process", client: c, setup: asExec + " of two, the second's profile", situation: situation},
			env: append(bareEnv(t, ""), role.env), point: point, exec: "keys-granted,keys-second", read: read, held: secondKeys,
			own:   map[string]string{profileKeys: "the default profile", metadataKeys: "the machine's role", heldKeys: "the first identity"},
			known: strings.HasSuffix(c.Name, "(Node)"), stray: role.asked,
		})
	}
	t.Run("decoys", func(t *testing.T) {
		t.Parallel()
		role := decoyMetadata(t)
		for want, env := range map[string][]string{
			profileKeys: bareEnv(t, ""), metadataKeys: append(append(bareEnv(t, ""), role.env), privateAWS(t, "")...),
		} {
			if got := read(runAsker(t, env, c.Argv)); got.got != want {
				t.Errorf("%s gets nothing from a decoy: %+v, want %q", c.Name, got, want)
			}
		}
	})
}

func (m *matrix) oauthGo(t *testing.T) {
	c := party.GoModule(t, "x/oauth2 clientcredentials (Go)", "golang.org/x/oauth2")
	for _, situation := range []string{granted, wrongSecret, denied, issuerDown} {
		m.plan()
		seen := newTally(t, m.endpoints["oauth-token"])
		token, err := (&clientcredentials.Config{
			ClientID: "token-" + identityOf(situation), ClientSecret: m.secretIn(situation), TokenURL: seen.url + "/token",
		}).Token(t.Context())
		var r reply
		if failure, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			r.kind, r.text = "RetrieveError: "+failure.ErrorCode, err.Error()
		} else if err != nil {
			r.kind, r.text = fmt.Sprintf("%T", err), err.Error()
		} else {
			r.got = token.AccessToken
		}
		m.keep(t, trial{row: row{dialect: "oauth-token", client: c, setup: "its defaults", situation: situation}, held: heldToken, seen: seen}, r)
	}
}

func (m *matrix) oauthCurl(t *testing.T) {
	c := party.CurlAsker(t)
	for _, setup := range []struct {
		name       string
		more       []string
		situations []string
	}{
		{"--fail-with-body", nil, situations}, {"--fail-with-body --retry 2", []string{"--retry", "2"}, []string{denied, issuerDown}},
	} {
		for _, situation := range setup.situations {
			seen := newTally(t, m.endpoints["oauth-token"])
			m.try(t, trial{
				row: row{dialect: "oauth-token", client: c, setup: setup.name, situation: situation}, env: bareEnv(t, ""),
				args: append([]string{"--silent", "--fail-with-body", "--user", "token-" + identityOf(situation) + ":" + m.secretIn(situation),
					"--data", "grant_type=client_credentials", seen.url + "/token"}, setup.more...),
				read: func(e ended) reply {
					var o struct {
						AccessToken string `json:"access_token"`
					}
					if e.code != 0 || json.Unmarshal([]byte(e.stdout), &o) != nil {
						return reply{kind: fmt.Sprintf("exit %d", e.code), text: e.stdout}
					}
					return reply{got: o.AccessToken}
				},
				held: heldToken, seen: seen,
			})
		}
	}
}

func (m *matrix) kubectl(t *testing.T) {
	c := party.KubectlAsker(t)
	for _, situation := range []string{granted, denied, issuerDown} {
		server := shownTokens{newCluster(t, heldToken)}
		helper, seen := m.helper(t, "token-"+identityOf(situation), "kube-exec")
		m.try(t, trial{
			row: row{dialect: "kube-exec", client: c, setup: "a v1beta1 plugin", situation: situation}, env: bareEnv(t, ""),
			args: []string{"--kubeconfig", server.kubeconfig(t, "v1beta1", helper), "get", "--raw", "/readyz"},
			read: func(e ended) reply {
				if e.code != 0 {
					return reply{kind: fmt.Sprintf("exit %d", e.code), text: e.stderr}
				}
				return reply{got: strings.TrimPrefix(strings.Join(server.tokens(), ", "), "Bearer ")}
			},
			held: heldToken, own: map[string]string{}, seen: seen,
			stray: func() string {
				if len(server.tokens()) > 0 {
					return "the server without a token"
				}
				return ""
			},
		})
	}
}

// shownTokens is a cluster that can be asked what it was shown.
type shownTokens struct{ *cluster }

func (c shownTokens) tokens() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.shown)
}

// readLine reads what the programs under clients print.
func readLine(e ended) reply {
	var line struct{ Got, Error, Text string }
	if err := json.Unmarshal([]byte(e.stdout), &line); err != nil {
		return reply{kind: fmt.Sprintf("exit %d", e.code), text: e.stdout + e.stderr}
	}
	return reply{line.Got, line.Error, line.Text, e.stderr}
}

// readKeys reads what aws configure export-credentials prints.
func readKeys(e ended) reply {
	var keys struct {
		AccessKeyID                   string `json:"AccessKeyId"`
		SecretAccessKey, SessionToken string
	}
	if e.code != 0 || json.Unmarshal([]byte(e.stdout), &keys) != nil {
		return reply{kind: fmt.Sprintf("exit %d", e.code), text: e.stderr}
	}
	return reply{got: keys.AccessKeyID + " " + keys.SecretAccessKey + " " + keys.SessionToken}
}
