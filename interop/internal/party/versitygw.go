package party

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// versitygwVersion takes two minutes to build, once.
const versitygwVersion = "v1.8.0"

// Versitygw starts an S3 server over a folder, for the length of the test. It verifies signatures and is another's work than MinIO; it
// has no STS, so its owner's keys are all there are.
func Versitygw(t testing.TB) *S3 {
	t.Helper()
	const module = "github.com/versity/versitygw/cmd/versitygw@" + versitygwVersion
	dir, err := installOnce("versitygw-"+versitygwVersion, func(dir string) error {
		cmd := exec.Command("go", "install", module)
		cmd.Env = append(os.Environ(), "GOBIN="+dir)
		return run(cmd)
	})
	if err != nil {
		unavailable(t, "versitygw", "go install "+module, err)
	}
	address := FreeAddress(t)
	server := &S3{URL: "http://" + address, Region: "us-east-1", Bucket: "interop", Key: "object", AccessKey: rand.Text(), SecretKey: rand.Text()}
	// What it knows of objects lies beside them: extended attributes are not to be had in every folder for temporary files.
	cmd := exec.Command(filepath.Join(dir, "versitygw"), "--port", address, "--region", server.Region, "--quiet",
		"posix", "--sidecar", t.TempDir(), t.TempDir())
	cmd.Env = append(withoutAWS(os.Environ()), "HOME="+t.TempDir(), "ROOT_ACCESS_KEY="+server.AccessKey, "ROOT_SECRET_KEY="+server.SecretKey)
	proc, err := Start(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	err = proc.Poll(60*time.Second, func() error {
		resp, err := http.Get(server.URL)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	if err == nil {
		err = server.fill(t, server.Client(aws.Credentials{AccessKeyID: server.AccessKey, SecretAccessKey: server.SecretKey}))
	}
	if err != nil {
		t.Fatal(fmt.Errorf("versitygw: %w\n%s", err, proc.Log()))
	}
	return server
}
