package interop

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"freshet.dev/interop/internal/party"
)

// TestClientsCount proves that each client reads what it is let read, and that it notices when it is not: a client that
// swallowed or retried refusals would report a perfect rotation whatever freshet did.
func TestClientsCount(t *testing.T) {
	idp := party.OIDC(t, party.OIDCConfig{
		TTL:       10 * time.Minute,
		Clients:   []party.OIDCClient{party.PostClient("minio", "secret")},
		Audiences: map[string]string{resource: audience},
		Claims:    map[string]any{"policy": "readwrite"},
	})
	server := party.MinIO(t, party.MinIOConfig{OIDCConfigURL: idp.ConfigURL(), ClientID: audience})
	good := trade(t, server.URL, requestToken(t, idp, map[string][]string{
		"client_id": {"minio"}, "client_secret": {"secret"}, "resource": {resource},
	}, nil))
	bad := good
	bad.SecretAccessKey += "x"

	for _, client := range []party.Client{
		party.GoClient(t), party.Boto3Client(t), party.NodeClient(t), party.AWSCLIClient(t),
	} {
		t.Run(client.Name, func(t *testing.T) {
			got := runClient(t, client, server, good)
			if got.Client != client.Name || got.Calls == 0 || got.Failures != 0 {
				t.Errorf("with credentials: got %+v, want calls and no failure", got)
			}
			t.Logf("%d calls", got.Calls)
			got = runClient(t, client, server, bad)
			if got.Calls == 0 || got.Failures != got.Calls || len(got.Errors) == 0 {
				t.Errorf("with wrong credentials: got %+v, want every call failed", got)
			}
		})
	}
}

// runClient runs the client for two seconds with the credentials in its environment.
func runClient(t *testing.T, client party.Client, server *party.S3, creds aws.Credentials) party.Summary {
	t.Helper()
	argv := client.Args(workload(server, 2*time.Second))
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(callerEnv(t.TempDir()),
		"AWS_ACCESS_KEY_ID="+creds.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY="+creds.SecretAccessKey,
		"AWS_SESSION_TOKEN="+creds.SessionToken,
	)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	proc, err := party.Start(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Wait(time.Minute); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	summary, err := party.ReadSummary(stdout.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(stderr.String(), "failure: "); got != summary.Failures {
		t.Errorf("failures on stderr: got %d, want %d", got, summary.Failures)
	}
	return summary
}
