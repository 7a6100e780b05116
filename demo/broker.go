package demo

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"freshet.dev/freshet"
	"freshet.dev/lab"
)

// configuration is that of the demo's daemon. Every identity has the lab as its issuer; secrets come from the environment.
const configuration = `version: 1
socket: {path: "$SOCKET"}
log: {level: warn}
identities:
  azure: {source: oauth2, token_url: "$ENTRA", client_id: $CLIENT, client_secret: {env: DEMO_CLIENT_SECRET}, auth: post}
  orders: {source: oauth2, token_url: "$OAUTH", client_id: $CLIENT, client_secret: {env: DEMO_CLIENT_SECRET}}
  workload: {source: oauth2, token_url: "$OAUTH", client_id: $CLIENT, client_secret: {env: DEMO_CLIENT_SECRET}, audience: $AUDIENCE}
  storage: {source: aws-web-identity, from: workload, role_arn: "$ROLE", endpoint: "$STS", region: us-east-1}
endpoints:
  - {endpoint: aws-container, listen: "127.0.0.1:0", identity: storage, secret: {env: DEMO_DOOR_SECRET}}
  - {endpoint: azure-app-service, listen: "127.0.0.1:0", identity: azure, secret: {env: DEMO_DOOR_SECRET}}
  - {endpoint: oauth-token, listen: "127.0.0.1:0", identities: [orders], secret: {env: DEMO_DOOR_SECRET}}
`

// identity is the one whose callers give up, or are refused.
const identity = "orders"

// writeConfiguration writes the daemon's configuration into the stage's folder.
func (s *stage) writeConfiguration() error {
	text := strings.NewReplacer(
		"$SOCKET", s.socket(), "$ENTRA", s.paths.Entra(lab.Tenant), "$OAUTH", s.paths.OAuthToken, "$STS", s.paths.STS,
		"$CLIENT", s.cloud.Credentials().ClientID, "$AUDIENCE", lab.AudienceSTS, "$ROLE", lab.Role,
	).Replace(configuration)
	return os.WriteFile(s.config(), []byte(text), 0o600)
}

func (s *stage) config() string { return filepath.Join(s.dir, "freshet.yaml") }
func (s *stage) socket() string { return filepath.Join(s.dir, "sock") }

// daemon starts a daemon that has retrieved nothing yet, and returns the address of its endpoints.
func (s *stage) daemon(ctx context.Context) (c *child, base string, err error) {
	c, err = s.start(ctx, []string{"DEMO_CLIENT_SECRET=" + s.cloud.Credentials().ClientSecret, "DEMO_DOOR_SECRET=" + s.door},
		"demo", "daemon", "--config", s.config())
	if err != nil {
		return nil, "", err
	}
	line, err := c.await(ctx)
	if err != nil {
		return nil, "", err
	}
	at := strings.LastIndex(line, " at ") // endpoints that ask for the same address share a server, and come last
	if at < 0 {
		c.end()
		return nil, "", freshet.Errorf(freshet.Bug, "demo: the daemon has no endpoints: %s", line)
	}
	return c, "http://" + line[at+len(" at "):], nil
}
