package interop

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"freshet.dev/interop/internal/party"
)

// plan is what a program of clients/*/objects does.
type plan struct {
	Prefix string   `json:"prefix"`
	Keys   []string `json:"keys"`
	Lists  []string `json:"lists"` // prefixes
	Large  int      `json:"large"`
	Stream int      `json:"stream"`
}

// oddKeys are keys whose signatures go wrong where somebody cleans a path, or escapes it once too often or too seldom.
func oddKeys() []string {
	return []string{"plain", "two words", "plus+sign", "semi;colon", "a//b", "ünï/日本語", "%20", "100%/+%2B", "a=b&c?d#e", "it's (a) *star*!", "~tilde@:$,", "trailing/"}
}

func oddPrefixes() []string {
	return []string{"", "two ", "plus+", "semi;", "ünï/", "%2", "a=b&", "it's (", "none of that name"}
}

// TestProxySignsForS3Clients has the clients of three vendors do what programs do with S3, with no credentials but the proxy's local
// secret for a secret access key, and curl without even that, over a Unix socket. Two S3 servers of different makers verify what the
// proxy signs.
func TestProxySignsForS3Clients(t *testing.T) {
	gateway := party.Versitygw(t)
	boto3, node, cli, curl := party.ObjectsBoto3(t), party.ObjectsNode(t), party.AWSCLI(t), party.Curl(t)
	keys, err := json.Marshal(map[string]any{"Version": 1, "AccessKeyId": gateway.AccessKey, "SecretAccessKey": gateway.SecretKey})
	if err != nil {
		t.Fatal(err)
	}
	dir, sockets, listen := t.TempDir(), socketDir(t), party.FreeAddress(t)
	secret := rand.Text() + rand.Text()
	mine, others := filepath.Join(sockets, "mine.sock"), filepath.Join(sockets, "others.sock")
	s := newSigned(t, 20*time.Second, fmt.Sprintf(`
  keys: {source: process, command: [cat, %q], release: false}`, writeSecret(t, filepath.Join(dir, "keys"), string(keys))), fmt.Sprintf(`
  - {signer: sigv4, listen: %[1]q, upstream: %[2]s, identity: keys, service: s3, region: us-east-1, secret: {file: %[3]q}}
  - {signer: sigv4, listen: "unix:%[4]s", upstream: "@UPSTREAM@", identity: minio, service: s3, region: us-east-1, allow: {uids: [%[5]d]}}
  - {signer: sigv4, listen: "unix:%[6]s", upstream: "@UPSTREAM@", identity: minio, service: s3, region: us-east-1, allow: {uids: [65533]}}`,
		listen, gateway.URL, writeSecret(t, filepath.Join(dir, "secret"), secret), mine, os.Getuid(), others))

	t.Run("boto3/MinIO", func(t *testing.T) { s.fares(t, boto3, s.server, s.url, s.secret, 100<<20) })
	t.Run("Node/MinIO", func(t *testing.T) { s.fares(t, node, s.server, s.url, s.secret, 100<<20) })
	t.Run("boto3/versitygw", func(t *testing.T) { s.fares(t, boto3, gateway, "http://"+listen, secret, 0) })
	t.Run("Node/versitygw", func(t *testing.T) { s.fares(t, node, gateway, "http://"+listen, secret, 0) })
	t.Run("awscli", func(t *testing.T) { s.awscli(t, cli, curl) })
	t.Run("curl", func(t *testing.T) { s.sockets(t, curl, mine, others) })
	t.Run("exec", func(t *testing.T) { s.exec(t, node) })
	t.Run("proxy", func(t *testing.T) { s.once(t, curl) })
	s.daemon.stop(t)
	t.Run("proxy without a daemon", func(t *testing.T) { s.once(t, curl) })
}

// exec has a program find the proxy in the environment that freshet exec --proxy gives it, and its key too.
func (s *signed) exec(t *testing.T, argv []string) {
	text, err := json.Marshal(plan{Prefix: "exec/", Keys: oddKeys(), Lists: []string{""}})
	if err != nil {
		t.Fatal(err)
	}
	command := slices.Concat([]string{s.daemon.binary, "exec", "--config", s.daemon.config, "--proxy", "s3+" + s.server.URL + "=minio,region=us-east-1", "--",
		"/bin/sh", "-c", `exec "$0" "$1" "$AWS_ENDPOINT_URL_S3" "$2" "$3"`}, argv, []string{s.server.Bucket, string(text)})
	var said struct{ Outcomes map[string]string }
	runJSON(t, time.Minute, callerEnv(s.daemon.home), command, &said)
	for step, got := range said.Outcomes {
		if got != "ok" && step != "key a//b" { // which MinIO does not take
			t.Errorf("%s: %s", step, got)
		}
	}
	if len(said.Outcomes) < len(oddKeys()) {
		t.Errorf("got %v", said.Outcomes)
	}
}

// once has curl, which signs by itself, use a route that freshet proxy opens, for as long as that runs.
func (s *signed) once(t *testing.T, curl string) {
	file := filepath.Join(t.TempDir(), "secret")
	secret := rand.Text() + rand.Text()
	cmd := exec.Command(s.daemon.binary, "proxy", "--config", s.daemon.config, "--to", s.server.URL, "--as", "minio", "--service", "s3", "--region", "us-east-1",
		"--secret-file", writeSecret(t, file, secret), "--method", "GET")
	cmd.Env = callerEnv(s.daemon.home)
	proc, err := party.Start(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := proc.ReadyLine("http://", 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	at := "http://" + strings.TrimSpace(rest) + "/" + s.server.Bucket + "/" + s.server.Key
	for _, test := range []struct{ secret, method, status, has string }{
		{secret, "GET", "200", "freshet freshet"}, {"wrong", "GET", "403", "SignatureDoesNotMatch"}, {secret, "DELETE", "405", "MethodNotAllowed"},
	} {
		status, body := curlAt(t, curl, at, "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "freshet:"+test.secret, "--request", test.method)
		if status != test.status || !strings.Contains(body, test.has) {
			t.Errorf("%s with %s: got %s %.200q, want %s and %q", test.method, test.secret[:5], status, body, test.status, test.has)
		}
	}
	if err := proc.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := proc.Wait(20 * time.Second); errors.Is(err, party.ErrRunning) {
		t.Error("it does not end")
	}
	if conn, err := net.Dial("tcp", strings.TrimSpace(rest)); err == nil {
		conn.Close()
		t.Error("the route is open after its end")
	}
	if strings.Contains(proc.Log(), secret) {
		t.Errorf("it says the secret: %s", proc.Log())
	}
}

// fares has a program work through the proxy, and holds it to how it fares with the server itself, with keys of its own.
func (s *signed) fares(t *testing.T, argv []string, server *party.S3, url, secret string, stream int) {
	name, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), "TestProxySignsForS3Clients/"), "/")
	root := aws.Credentials{AccessKeyID: server.AccessKey, SecretAccessKey: server.SecretKey}
	p := plan{Prefix: name + "-direct/", Keys: oddKeys(), Lists: oddPrefixes()}
	direct := do(t, argv, server.URL, server.Bucket, keysEnv(s.daemon.home, root), p)
	p.Prefix, p.Large, p.Stream = name+"/", 12<<20, stream
	proxied := do(t, argv, url, server.Bucket, keysEnv(s.daemon.home, placeholder(secret)), p)
	if proxied["large"] != "ok" || stream > 0 && proxied["stream"] != "ok" {
		t.Errorf("large: %s; stream: %s", proxied["large"], proxied["stream"])
	}
	delete(proxied, "large")
	delete(proxied, "stream")
	ok := 0
	for step, want := range direct {
		if got := proxied[step]; word(got) != word(want) {
			t.Errorf("%s: got %q through the proxy, want %q as without it", step, got, want)
		}
		if want == "ok" {
			ok++
		} else {
			t.Logf("%s: %s, with the proxy and without", step, word(want))
		}
	}
	// MinIO takes no "//" in a key; versitygw takes it for "/", and a key with a slash at its end for a folder.
	if len(proxied) != len(direct) || ok < len(direct)-2 {
		t.Errorf("%d of %d steps went well without the proxy, and %d were taken with it", ok, len(direct), len(proxied))
	}
	stored(t, server, p, proxied)
}

// word is an outcome without what goes into detail.
func word(outcome string) string {
	w, _, _ := strings.Cut(outcome, ":")
	return w
}

// do runs a program.
func do(t *testing.T, argv []string, endpoint, bucket string, env []string, p plan) map[string]string {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var said struct{ Outcomes map[string]string }
	runJSON(t, 3*time.Minute, env, slices.Concat(argv, []string{endpoint, bucket, string(text)}), &said)
	return said.Outcomes
}

// stored asks the server itself what there is under a plan's prefix: just the keys that were put, with what was put.
func stored(t *testing.T, server *party.S3, p plan, outcomes map[string]string) {
	t.Helper()
	client := server.Client(aws.Credentials{AccessKeyID: server.AccessKey, SecretAccessKey: server.SecretKey})
	for _, key := range p.Keys {
		if outcomes["key "+key] != "ok" {
			continue
		}
		full := p.Prefix + key
		object, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &server.Bucket, Key: &full})
		if err != nil {
			t.Errorf("%q: %v", full, err)
			continue
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(object.Body)
		object.Body.Close()
		if want := "this is " + full; err != nil || body.String() != want {
			t.Errorf("%q: got %q, %v, want %q", full, body.String(), err, want)
		}
	}
}

// awscli has Debian's aws copy, list, presign and remove.
func (s *signed) awscli(t *testing.T, cli, curl string) {
	dir := t.TempDir()
	aws := func(env []string, args ...string) ended {
		t.Helper()
		return runToEnd(t, env, slices.Concat([]string{cli, "--endpoint-url", s.url}, args)...)
	}
	good := keysEnv(s.daemon.home, placeholder(s.secret))
	works := func(args ...string) string {
		t.Helper()
		e := aws(good, args...)
		if e.code != 0 {
			t.Errorf("aws %s: exit code %d: %s", strings.Join(args, " "), e.code, e.stderr)
		}
		return e.stdout
	}
	bucket := "s3://" + s.server.Bucket + "/"

	empty, large := filepath.Join(dir, "empty"), filepath.Join(dir, "large")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("0123456789abcde\n"), 12<<16) // 12 MiB: aws sends it in parts of 8
	if err := os.WriteFile(large, content, 0o600); err != nil {
		t.Fatal(err)
	}
	works("s3", "cp", "--quiet", empty, bucket+"cli/empty; +ü")
	works("s3", "cp", "--quiet", large, bucket+"cli/large; +ü")
	works("s3", "cp", "--quiet", bucket+"cli/large; +ü", filepath.Join(dir, "back"))
	if back, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || !bytes.Equal(back, content) {
		t.Errorf("what comes back has %d bytes, want the %d that were sent (%v)", len(back), len(content), err)
	}
	works("s3api", "get-object", "--bucket", s.server.Bucket, "--key", "cli/large; +ü", "--range", "bytes=16-31", filepath.Join(dir, "range"))
	if got, err := os.ReadFile(filepath.Join(dir, "range")); err != nil || string(got) != "0123456789abcde\n" {
		t.Errorf("range: got %q, %v", got, err)
	}
	if list := works("s3", "ls", bucket+"cli/"); !strings.Contains(list, " 0 empty; +ü\n") || !strings.Contains(list, " 12582912 large; +ü\n") {
		t.Errorf("list: got %q", list)
	}
	if code, body := curlAt(t, curl, strings.TrimSpace(works("s3", "presign", bucket+"cli/empty; +ü"))); code != "200" || body != "" {
		t.Errorf("presigned: got %s %q", code, body)
	}
	works("s3", "rm", "--quiet", bucket+"cli/large; +ü")

	// Who does not know the secret is refused in the words that its client prints.
	wrong := keysEnv(s.daemon.home, placeholder(rand.Text()+rand.Text()))
	if e := aws(wrong, "s3", "ls", bucket); e.code == 0 || !strings.Contains(e.stderr, "SignatureDoesNotMatch") {
		t.Errorf("a wrong secret: got exit code %d, %q", e.code, e.stderr)
	}
	if e := aws(callerEnv(s.daemon.home), "--region", "us-east-1", "--no-sign-request", "s3", "ls", bucket); e.code == 0 || !strings.Contains(e.stderr, "MissingAuthenticationToken") {
		t.Errorf("no secret: got exit code %d, %q", e.code, e.stderr)
	}
	signedFor := strings.TrimSpace(runToEnd(t, wrong, cli, "--endpoint-url", s.url, "s3", "presign", bucket+"object").stdout)
	if code, body := curlAt(t, curl, signedFor); code != "403" || !strings.Contains(body, "SignatureDoesNotMatch") {
		t.Errorf("presigned with a wrong secret: got %s %q", code, body)
	}
}

// curlAt is the status and the body of what curl gets.
func curlAt(t *testing.T, curl, url string, args ...string) (status, body string) {
	t.Helper()
	e := runToEnd(t, callerEnv(t.TempDir()), slices.Concat([]string{curl, "--silent", "--show-error", "--noproxy", "*", "--max-time", "30",
		"--write-out", "\n%{http_code}", url}, args)...)
	if e.code != 0 {
		t.Errorf("curl: exit code %d: %s", e.code, e.stderr)
	}
	i := strings.LastIndexByte(e.stdout, '\n')
	if i < 0 {
		return "", e.stdout
	}
	return e.stdout[i+1:], e.stdout[:i]
}

// sockets has curl use S3 with neither a signature nor a secret, since the kernel says who it is. A socket for somebody else refuses it.
func (s *signed) sockets(t *testing.T, curl, mine, others string) {
	at := "http://localhost/" + s.server.Bucket + "/" + "by%20curl%3B%2B"
	if code, body := curlAt(t, curl, at, "--unix-socket", mine, "--upload-file", "doc.go"); code != "200" {
		t.Errorf("put: got %s %s", code, body)
	}
	want, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	if code, body := curlAt(t, curl, at, "--unix-socket", mine); code != "200" || body != string(want) {
		t.Errorf("get: got %s %q", code, body)
	}
	if code, body := curlAt(t, curl, at, "--unix-socket", others); code != "403" || !strings.Contains(body, "AccessDenied") {
		t.Errorf("another's socket: got %s %q", code, body)
	}
}
