package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// daemon is a running `freshet serve` and what it was started with.
type daemon struct {
	binary, config, audit, home, socket string

	proc *party.Process
}

// serve builds freshet, writes its configuration and starts it. The configuration is completed with a socket and an
// audit file.
func serve(t *testing.T, configuration string) *daemon {
	t.Helper()
	dir := t.TempDir()
	d := &daemon{
		binary: build(t),
		config: filepath.Join(dir, "freshet.yaml"),
		audit:  filepath.Join(dir, "audit.jsonl"),
		home:   filepath.Join(dir, "home"),
		socket: filepath.Join(socketDir(t), "f.sock"),
	}
	if err := os.Mkdir(d.home, 0o700); err != nil {
		t.Fatal(err)
	}
	configuration = fmt.Sprintf("version: 1\nsocket: {path: %s}\naudit: {file: %s}\n%s",
		d.socket, d.audit, configuration)
	writeSecret(t, d.config, configuration)

	cmd := exec.Command(d.binary, "serve", "--config", d.config)
	cmd.Env = callerEnv(d.home)
	var err error
	if d.proc, err = party.Start(t, cmd); err != nil {
		t.Fatal(err)
	}
	err = d.proc.Poll(10*time.Second, func() error {
		if !strings.Contains(d.proc.Log(), "ready") {
			return errors.New("no ready line")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// socketDir is a folder with a name short enough for a socket: sun_path holds 108 bytes, and a temporary folder that is
// named after a subtest can use up most of them.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// command is a caller: the client, run by `freshet exec` for the identity.
func (d *daemon) command(identity string, argv []string) *exec.Cmd {
	cmd := exec.Command(d.binary, append([]string{"exec", "--config", d.config, identity, "--"}, argv...)...)
	cmd.Env = callerEnv(d.home)
	return cmd
}

// stop has the daemon drain and leave, after which the audit file is complete.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	if err := d.proc.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.proc.Wait(30 * time.Second); err != nil {
		t.Errorf("freshet serve at SIGTERM: %v\n%s", err, d.proc.Log())
	}
}

// record is a line of the audit file, as far as the tests read it.
type record struct {
	Event       string `json:"event"`
	Identity    string `json:"identity"`
	Fingerprint string `json:"fingerprint"`
	Outcome     string `json:"outcome"`
}

// ledger is what an audit file says.
type ledger struct {
	fingerprints map[string][]string // identity → those of its successful retrievals
	failed       map[string]int      // identity → its other retrievals
	handOuts     int
}

// readAudit reads the audit file as far as it is written.
func (d *daemon) readAudit() (ledger, error) {
	l := ledger{fingerprints: map[string][]string{}, failed: map[string]int{}}
	content, err := os.ReadFile(d.audit)
	if err != nil {
		return l, err
	}
	// Without its line feed, the last line is still being written.
	content = content[:bytes.LastIndexByte(content, '\n')+1]
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return l, fmt.Errorf("audit: %q: %w", lines.Text(), err)
		}
		switch {
		case r.Event == "retrieval" && r.Outcome == "ok":
			l.fingerprints[r.Identity] = append(l.fingerprints[r.Identity], r.Fingerprint)
		case r.Event == "retrieval":
			l.failed[r.Identity]++
		case r.Event == "hand_out":
			l.handOuts++
		}
	}
	return l, lines.Err()
}

// callerEnv is the environment of freshet and of its callers: nothing of the machine's own configuration, and no
// metadata service to fall back to, so that a client either gets what freshet serves or fails.
func callerEnv(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + home,
		"LANG=C.UTF-8",
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// workload has clients read the server's object.
func workload(server *party.S3, length time.Duration) party.Workload {
	return party.Workload{Endpoint: server.URL, Bucket: server.Bucket, Key: server.Key, For: length}
}

// writeSecret writes a file that nobody else may read, as freshet demands of its configuration and of secrets.
func writeSecret(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
