package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"freshet.dev/interop/internal/party"
)

// readOnly is a session policy for what `aws s3 ls` and a read need, and no more.
const readOnly = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:ListBucket","s3:ListAllMyBuckets","s3:GetObject"],"Resource":["arn:aws:s3:::*"]}]}`

// TestProfileAndRole has a real STS give a role's keys for those of a profile, and S3 take them: by a credential_process of
// one's own, by aws under exec, and by the SDK. The role may less than the profile, which tells the two apart. Asked by five
// programs, freshet asks the STS once.
func TestProfileAndRole(t *testing.T) {
	idp := party.OIDC(t, party.OIDCConfig{TTL: time.Minute, Clients: []party.OIDCClient{party.PostClient("minio", "secret")}})
	server := party.MinIO(t, party.MinIOConfig{OIDCConfigURL: idp.ConfigURL(), ClientID: audience})
	sts := countAssumeRole(t, server.URL)
	cli := party.AWSCLI(t)
	dir := t.TempDir()
	credentials := writeSecret(t, filepath.Join(dir, "credentials"),
		fmt.Sprintf("[prod]\naws_access_key_id = %s\naws_secret_access_key = %s\n", server.AccessKey, server.SecretKey))
	config := writeSecret(t, filepath.Join(dir, "config"), fmt.Sprintf(
		"[profile prod]\nregion = %[1]s\n\n[profile chained]\nregion = %[1]s\nrole_arn = arn:minio:iam:::role/dummy\nsource_profile = prod\nendpoint_url = %[2]s\n"+
			"\n[profile wrong]\naws_access_key_id = %[3]s\naws_secret_access_key = not-the-secret-of-it\n", server.Region, sts.URL, server.AccessKey))
	d := serve(t, fmt.Sprintf(`
identities:
  prod:     {source: aws-profile, profile: prod, config_file: %[1]q, credentials_file: %[2]q}
  deployer: {source: aws-role, role_arn: 'arn:minio:iam:::role/dummy', from: prod, endpoint: %[3]q, duration: 15m, policy: '%[4]s'}
  chained:  {source: aws-profile, profile: chained, config_file: %[1]q, credentials_file: %[2]q}
  wrong:    {source: aws-profile, profile: wrong, config_file: %[1]q, credentials_file: %[2]q}
  refused:  {source: aws-role, role_arn: 'arn:minio:iam:::role/dummy', from: wrong, endpoint: %[3]q}
`, config, credentials, sts.URL, readOnly))

	var keys aws.Credentials
	for range 2 {
		got := tokenKeys(t, d, "deployer")
		if keys.AccessKeyID != "" && got != keys {
			t.Error("token gave other keys the second time")
		}
		keys = got
	}
	if left := time.Until(keys.Expires); left > 15*time.Minute || left < 12*time.Minute {
		t.Errorf("the role's keys live for another %v, want 15 min less the margin", left)
	}
	if err := get(t, server, keys); err != nil {
		t.Errorf("the role reads: %v", err)
	}
	if got, want := code(put(t, server, keys)), "AccessDenied"; got != want {
		t.Errorf("the role writes, which its policy forbids: got %q, want %q", got, want)
	}
	if err := put(t, server, tokenKeys(t, d, "prod")); err != nil {
		t.Errorf("the profile writes: %v", err)
	}

	for range 2 {
		cmd := d.command("deployer", []string{cli, "--endpoint-url", server.URL, "--region", server.Region, "s3", "ls", "s3://" + server.Bucket})
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), " "+server.Key+"\n") {
			t.Errorf("aws s3 ls under exec: %v\n%s", err, out)
		}
	}
	if got := sts.requests.Load(); got != 1 {
		t.Errorf("%d requests at the STS, want 1", got)
	}

	if err := put(t, server, tokenKeys(t, d, "chained")); err != nil {
		t.Errorf("a profile's own role writes: %v", err)
	}

	out, err := d.token("refused")
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 4 || !strings.Contains(out, "sts: AccessDenied") { // MinIO's word for a wrong signature
		t.Errorf("a wrong secret key: got %v\n%s", err, out)
	}
	if strings.Contains(out, "not-the-secret-of-it") {
		t.Error("the error holds the secret")
	}
	d.stop(t)
	log, err := d.readAudit()
	if err != nil {
		t.Fatal(err)
	}
	for _, identity := range []string{"deployer", "chained"} { // prod's file is read again each minute
		if got := len(log.fingerprints[identity]); got != 1 {
			t.Errorf("%d retrievals of %s, want 1", got, identity)
		}
	}
}

// TestProfileThatLeadsBackToItself has a profile's credential_process ask freshet for the identity made of that profile: with
// the daemon and without, that fails at once and prints the circle.
func TestProfileThatLeadsBackToItself(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config")
	d := serve(t, fmt.Sprintf("identities:\n  circle: {source: aws-profile, profile: circle, config_file: %[1]q, credentials_file: %[1]q}\n", config))
	writeSecret(t, config, fmt.Sprintf("[profile circle]\ncredential_process = %s token circle --config %s\n", d.binary, d.config))
	for _, mode := range []string{"daemon", "private"} {
		if mode == "private" {
			d.stop(t)
		}
		began := time.Now()
		out, err := d.token("circle")
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 || !strings.Contains(out, "leads back to itself: circle → circle") {
			t.Errorf("%s: got %v\n%s", mode, err, out)
		}
		if took := time.Since(began); took > 20*time.Second { // a waiter's own time is 60 s
			t.Errorf("%s: failed after %v", mode, took)
		}
	}
}

// token runs `freshet token` and returns what it printed on either stream.
func (d *daemon) token(identity string, args ...string) (string, error) {
	cmd := exec.Command(d.binary, append([]string{"token", "--config", d.config, identity}, args...)...)
	cmd.Env = callerEnv(d.home)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// tokenKeys is the AWS keys that `freshet token` prints, in its default format.
func tokenKeys(t *testing.T, d *daemon, identity string) aws.Credentials {
	t.Helper()
	out, err := d.token(identity)
	if err != nil {
		t.Fatalf("token %s: %v\n%s", identity, err, out)
	}
	var o struct {
		Version                                   int
		AccessKeyID                               string `json:"AccessKeyId"`
		SecretAccessKey, SessionToken, Expiration string
	}
	if err := json.Unmarshal([]byte(out), &o); err != nil || o.Version != 1 {
		t.Fatalf("token %s: not the output of a credential_process: %v", identity, err)
	}
	expires, err := time.Parse(time.RFC3339, o.Expiration)
	if err != nil {
		t.Fatal(err)
	}
	return aws.Credentials{AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey, SessionToken: o.SessionToken, CanExpire: true, Expires: expires}
}

// put writes an object beside the one that is read.
func put(t *testing.T, server *party.S3, creds aws.Credentials) error {
	t.Helper()
	key := "another"
	_, err := server.Client(creds).PutObject(t.Context(), &s3.PutObjectInput{Bucket: &server.Bucket, Key: &key, Body: strings.NewReader("x")})
	return err
}

// assumeRoleCounter stands before an STS and counts the AssumeRole requests that pass.
type assumeRoleCounter struct {
	URL      string
	requests atomic.Int64
}

func countAssumeRole(t *testing.T, target string) *assumeRoleCounter {
	t.Helper()
	base, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	c := &assumeRoleCounter{}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(base)
		r.Out.Host = r.In.Host // it is signed
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if form, _ := url.ParseQuery(string(body)); form.Get("Action") == "AssumeRole" {
			c.requests.Add(1)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	c.URL = s.URL
	return c
}
