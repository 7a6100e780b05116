package interop

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"freshet.dev/interop/internal/party"
)

// signed is a daemon whose proxy signs for MinIO with credentials that live for some seconds, and what stands behind it.
type signed struct {
	life   time.Duration
	idp    *party.IdP
	server *party.S3
	sts    *party.STSProxy
	daemon *daemon
	url    string // of the proxy, in place of the server's
	secret string // that its callers sign with

	clients []party.Client // that run as programs
}

// newSigned starts it all. identities and proxies are further ones of the configuration; @UPSTREAM@ stands for the server's URL in them.
func newSigned(t *testing.T, life time.Duration, identities, proxies string) *signed {
	t.Helper()
	s := &signed{life: life, secret: rand.Text() + rand.Text()}
	s.idp = party.OIDC(t, party.OIDCConfig{
		TTL:       life,
		Clients:   []party.OIDCClient{party.PostClient("minio", "secret")},
		Audiences: map[string]string{resource: audience},
		Claims:    map[string]any{"policy": "readwrite"},
	})
	s.server = party.MinIO(t, party.MinIOConfig{OIDCConfigURL: s.idp.ConfigURL(), ClientID: audience})
	s.sts = party.CountingProxy(t, s.server.URL)
	dir, listen := t.TempDir(), party.FreeAddress(t)
	s.url = "http://" + listen
	s.daemon = serve(t, fmt.Sprintf(`
identities:
  idp:   {source: oauth2, token_url: %[1]s, client_id: minio, auth: post, client_secret: {file: %[2]q}, resource: %[3]s}
  minio: {source: aws-web-identity, role_arn: "arn:minio:iam:::role/dummy", from: idp, endpoint: %[4]s, region: us-east-1, release: false}
%[8]s
proxies:
  - {signer: sigv4, listen: %[5]q, upstream: %[6]s, identity: minio, service: s3, region: us-east-1, secret: {file: %[7]q}}
%[9]s`, s.idp.TokenURL(), writeSecret(t, filepath.Join(dir, "client-secret"), "secret"), resource, s.sts.URL,
		listen, s.server.URL, writeSecret(t, filepath.Join(dir, "proxy-secret"), s.secret), identities, strings.ReplaceAll(proxies, "@UPSTREAM@", s.server.URL)))
	return s
}

// placeholder are keys as the proxy's callers have them: of an id that means nothing, and the secret.
func placeholder(secret string) aws.Credentials {
	return aws.Credentials{AccessKeyID: "freshet", SecretAccessKey: secret}
}

// via is the server as clients see it that go through the proxy.
func (s *signed) via() *party.S3 {
	server := *s.server
	server.URL = s.url
	return &server
}

// keysEnv is the environment of an AWS client that has keys, and nowhere else to look for some.
func keysEnv(home string, keys aws.Credentials) []string {
	return append(callerEnv(home), "AWS_ACCESS_KEY_ID="+keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+keys.SecretAccessKey,
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1")
}

// runJSON runs a program that has to succeed, and reads the line of JSON that it prints.
func runJSON(t *testing.T, limit time.Duration, env, argv []string, v any) {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &stdout, &stderr
	proc, err := party.Start(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Wait(limit); errors.Is(err, party.ErrRunning) {
		t.Fatal(err)
	} else if err != nil {
		t.Fatalf("%s: %v\n%s%s", filepath.Base(argv[len(argv)-1]), err, stdout.String(), stderr.String())
	}
	if err := json.Unmarshal([]byte(stdout.String()), v); err != nil {
		t.Fatalf("%v: %q\n%s", err, stdout.String(), stderr.String())
	}
}

// accept has a listener's connections answered, each in a goroutine of its own, for the length of the test.
func accept(t *testing.T, answer func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	return l.Addr().String()
}
