package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// runAsker runs a client to its end, which has to come: the slowest retries for half a minute.
func runAsker(t *testing.T, env, argv []string) ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &stdout, &stderr
	proc, err := party.Start(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Wait(3 * time.Minute); errors.Is(err, party.ErrRunning) {
		t.Fatal(err)
	}
	return ended{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// bareEnv is the environment of a client on a machine whose user has AWS keys in a default profile. Programs in folder, if it is
// not "", are found first.
func bareEnv(t *testing.T, folder string) []string {
	t.Helper()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	keys := strings.Fields(profileKeys)
	writeSecret(t, filepath.Join(home, ".aws", "credentials"), fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", keys[0], keys[1]))
	path := os.Getenv("PATH")
	if folder != "" {
		path = folder + ":" + path
	}
	return []string{"PATH=" + path, "HOME=" + home, "LANG=C.UTF-8", "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1"}
}

// privateAWS is the variables with which freshet exec hides the user's AWS files, and the configuration that it puts there.
func privateAWS(t *testing.T, config string) []string {
	t.Helper()
	dir := t.TempDir()
	credentials := writeSecret(t, filepath.Join(dir, "credentials"), "")
	return []string{"AWS_CONFIG_FILE=" + writeSecret(t, filepath.Join(dir, "config"), config),
		"AWS_SHARED_CREDENTIALS_FILE=" + credentials, "BOTO_CONFIG=" + credentials}
}

// tally counts what a client asked of freshet, and how that was answered.
type tally struct {
	url string // in place of the endpoint's

	mu      sync.Mutex
	answers []answer
	log     string // file of a helper's runs; "" for an endpoint
}

type answer struct {
	at   time.Time
	said string // a status, or an exit status
}

// newTally counts the requests to an endpoint.
func newTally(t *testing.T, address string) *tally {
	t.Helper()
	y := &tally{}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			y.mu.Lock()
			defer y.mu.Unlock()
			y.answers = append(y.answers, answer{time.Now(), strconv.Itoa(r.StatusCode)})
			return nil
		},
	}
	s := httptest.NewServer(forward)
	t.Cleanup(s.Close)
	y.url = s.URL
	return y
}

// helper is a program that prints an identity's credential in a format, and the tally of its runs.
func (m *matrix) helper(t *testing.T, identity, format string) (path string, seen *tally) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	dir := script(t, "helper", fmt.Sprintf(`%s token --config %s %s --format %s
code=$?
echo "$(date +%%s.%%N) exit $code" >>%s
exit $code
`, m.daemon.binary, m.daemon.config, identity, format, log))
	return filepath.Join(dir, "helper"), &tally{log: log}
}

// sum is the answers, those alike in one, how long it was from the first to the last, and how many.
func (y *tally) sum() (answers, over string, n int) {
	if y == nil {
		return "–", "–", 0
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.log != "" {
		text, _ := os.ReadFile(y.log) // there is none if the helper was not run
		for line := range strings.Lines(string(text)) {
			at, said, _ := strings.Cut(strings.TrimSpace(line), " ")
			seconds, _ := strconv.ParseFloat(at, 64)
			y.answers = append(y.answers, answer{time.Unix(0, int64(seconds*1e9)), said})
		}
	}
	n = len(y.answers)
	if n == 0 {
		return "not asked", "–", 0
	}
	var parts []string
	for i := 0; i < n; {
		j := i
		for j < n && y.answers[j].said == y.answers[i].said {
			j++
		}
		part := y.answers[i].said
		if j-i > 1 {
			part += fmt.Sprintf(" × %d", j-i)
		}
		parts = append(parts, part)
		i = j
	}
	return strings.Join(parts, ", "), coarse(y.answers[n-1].at.Sub(y.answers[0].at)), n
}

// coarse is a duration as a reader needs it, and so that two runs seldom differ.
func coarse(d time.Duration) string {
	switch {
	case d < time.Second/2:
		return "–"
	case d < 2*time.Second:
		return "1 s"
	case d < 5*time.Second:
		return "2 to 5 s"
	}
	return "over 5 s"
}

// decoy is another identity, which a client could take instead.
type decoy struct {
	folder string // on PATH
	env    string
	asked  func() string // its name, if it was asked
}

// decoyAz is an az that somebody has logged in.
func decoyAz(t *testing.T) decoy {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	folder := script(t, "az", `echo "$@" >>`+log+`
in=$(($(date +%s) + 3600))
echo '{"accessToken": "`+azToken+`", "expires_on": '$in', "expiresOn": "'$(date -d @$in '+%Y-%m-%d %H:%M:%S.000000')'", "tokenType": "Bearer"}'
`)
	return decoy{folder: folder, asked: func() string {
		if _, err := os.Stat(log); err == nil {
			return "az"
		}
		return ""
	}}
}

// decoyMetadata is EC2's metadata service, on a machine that has a role.
func decoyMetadata(t *testing.T) decoy {
	t.Helper()
	var requests atomic.Int64
	keys := strings.Fields(metadataKeys)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		const roles = "/latest/meta-data/iam/security-credentials/"
		switch path := "/" + strings.TrimLeft(r.URL.Path, "/"); {
		case path == "/latest/api/token" && r.Method == http.MethodPut:
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
			fmt.Fprint(w, "metadata-token")
		case path == roles || path+"/" == roles:
			fmt.Fprint(w, "role")
		case path == roles+"role":
			fmt.Fprintf(w, `{"Code": "Success", "LastUpdated": %q, "Type": "AWS-HMAC", "AccessKeyId": %q, "SecretAccessKey": %q, "Token": %q, "Expiration": %q}`,
				time.Now().UTC().Format(time.RFC3339), keys[0], keys[1], keys[2], time.Now().UTC().Add(6*time.Hour).Format(time.RFC3339))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	// Debian's awscli wants the slash.
	return decoy{env: "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + s.URL + "/", asked: func() string {
		if requests.Load() > 0 {
			return "the metadata service"
		}
		return ""
	}}
}
