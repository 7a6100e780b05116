package party

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// minioVersion is the last one that `go install` builds; it takes nine minutes on two cores, once.
const minioVersion = "v0.0.0-20260212201848-7aac2a2c5b7c"

// MinIOConfig names the issuer whose tokens an S3 server trades for credentials.
type MinIOConfig struct {
	// OIDCConfigURL is the issuer's discovery document.
	OIDCConfigURL string
	// ClientID has to be the aud (or the azp) of a token. What its bearer may do is the token's claim "policy".
	ClientID string
}

// S3 is a running S3 server with one object to read. Its STS answers at the same address.
type S3 struct {
	URL, Region, Bucket, Key string
	// AccessKey and SecretKey are its owner's, who may assume roles.
	AccessKey, SecretKey string
}

// MinIO starts a MinIO server that trusts the issuer, for the length of the test. The issuer has to be up: the server
// reads its discovery document and its keys at start.
func MinIO(t testing.TB, cfg MinIOConfig) *S3 {
	t.Helper()
	dir, err := installOnce("minio-"+minioVersion, func(dir string) error {
		cmd := exec.Command("go", "install", "github.com/minio/minio@"+minioVersion)
		cmd.Env = append(os.Environ(), "GOBIN="+dir)
		return run(cmd)
	})
	if err != nil {
		unavailable(t, "minio", "go install github.com/minio/minio@"+minioVersion, err)
	}
	// MinIO does not say which port the kernel gave it, so it is told one that was free a moment ago.
	address := FreeAddress(t)
	user, password := rand.Text(), rand.Text()
	cmd := exec.Command(filepath.Join(dir, "minio"), "server", "--quiet", "--address", address, t.TempDir())
	cmd.Env = append(withoutAWS(os.Environ()),
		"HOME="+t.TempDir(), // ~/.minio/certs would turn TLS on
		"MINIO_ROOT_USER="+user,
		"MINIO_ROOT_PASSWORD="+password,
		"MINIO_BROWSER=off",
		"MINIO_UPDATE=off", // or it asks its makers for a newer release
		"MINIO_IDENTITY_OPENID_CONFIG_URL="+cfg.OIDCConfigURL,
		"MINIO_IDENTITY_OPENID_CLIENT_ID="+cfg.ClientID,
		// MinIO accepts HS256 tokens made with the client's secret, hence with an empty one from anybody.
		"MINIO_IDENTITY_OPENID_CLIENT_SECRET="+rand.Text(),
	)
	proc, err := Start(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	server := &S3{URL: "http://" + address, Region: "us-east-1", Bucket: "interop", Key: "object", AccessKey: user, SecretKey: password}
	if err := proc.Poll(60*time.Second, server.ready); err != nil {
		t.Fatal(err)
	}
	// The health page is green before the object layer takes writes, so the bucket is polled for as well.
	root := server.Client(aws.Credentials{AccessKeyID: user, SecretAccessKey: password})
	if err := proc.Poll(60*time.Second, func() error { return server.fill(t, root) }); err != nil {
		t.Fatal(err)
	}
	return server
}

func (s *S3) ready() error {
	resp, err := http.Get(s.URL + "/minio/health/ready")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("minio: %s", resp.Status)
	}
	return nil
}

// fill creates the bucket and the object that clients read.
func (s *S3) fill(t testing.TB, root *s3.Client) error {
	if _, err := root.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &s.Bucket}); err != nil {
		return err
	}
	_, err := root.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &s.Bucket, Key: &s.Key, Body: strings.NewReader(strings.Repeat("freshet ", 128)),
	})
	return err
}

// Client is an SDK client for the server that signs with the credentials and tries once.
func (s *S3) Client(creds aws.Credentials) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint:     &s.URL,
		Region:           s.Region,
		UsePathStyle:     true,
		RetryMaxAttempts: 1,
		Credentials:      credentials.StaticCredentialsProvider{Value: creds},
	})
}

// withoutAWS is an environment free of what would configure an AWS client behind a test's back.
func withoutAWS(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, variable := range env {
		if !strings.HasPrefix(variable, "AWS_") && !strings.HasPrefix(variable, "MINIO_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// FreeAddress is a loopback address that nothing listened on a moment ago, for programs that have to be told one.
func FreeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
