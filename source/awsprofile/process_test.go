package awsprofile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/awsapi/ststest"
	"freshet.dev/internal/child"
)

// script writes a program and returns the profile that runs it.
func (f folder) script(t *testing.T, text string) {
	t.Helper()
	f.write(t, "helper", "#!/bin/sh\n"+text+"\n")
	if err := os.Chmod(f.path("helper"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.write(t, ".aws/config", "[profile prod]\ncredential_process = "+f.path("helper")+" --for 'a b'\n")
}

func keysJSON(expiration string) string {
	return fmt.Sprintf(`{"Version": 1, "AccessKeyId": "ASIAPROCESS", "SecretAccessKey": "%s", "SessionToken": "%s", "AccountId": "123456789012"%s}`,
		staticSecret, staticSession, expiration)
}

func expiring(in time.Duration) string {
	return `, "Expiration": "` + freshet.Now().Wall().Add(in).UTC().Format(time.RFC3339) + `"`
}

// TestCredentialProcess: arguments, null standard input, a listed environment with the ancestry, and keys as printed.
func TestCredentialProcess(t *testing.T) {
	dir := home(t, "", "")
	dir.script(t, `[ "$1$2" = "--fora b" ] || exit 9; cat; env > "$HOME/seen"; echo '`+keysJSON(expiring(time.Hour))+`'`)
	t.Setenv("AWS_SECRET_ACCESS_KEY", staticSecret)
	t.Setenv("CLIENT_SECRET", staticSecret)
	ctx := freshet.WithAncestry(t.Context(), "outer", "prod")
	cred, err := newSource(t, Config{Profile: "prod"}).Retrieve(ctx, freshet.Request{})
	if err != nil {
		t.Fatal(err)
	}
	want := freshet.AWSKeys{AccessKeyID: "ASIAPROCESS", SecretAccessKey: staticSecret, SessionToken: staticSession, AccountID: "123456789012"}
	if got := cred.AWS(); got != want || cred.Static() {
		t.Errorf("got %q, static %v", got.AccessKeyID, cred.Static())
	}
	seen, err := os.ReadFile(dir.path("seen"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(seen), "FRESHET_ANCESTRY=outer,prod\n") || strings.Contains(string(seen), "AWS_") {
		t.Errorf("environment is\n%s", seen)
	}
	freshettest.LeakedSecrets(t, string(seen), staticSecret)
}

func TestCredentialProcessReadsTheSameFiles(t *testing.T) {
	dir := home(t, "", "")
	dir.script(t, `echo "$AWS_CONFIG_FILE" "$AWS_SHARED_CREDENTIALS_FILE" > "$HOME/seen"; echo '`+keysJSON(expiring(time.Hour))+`'`)
	if err := os.Rename(dir.path(".aws/config"), dir.path("mine")); err != nil {
		t.Fatal(err)
	}
	if _, err := newSource(t, Config{Profile: "prod", ConfigFile: dir.path("mine")}).Retrieve(t.Context(), freshet.Request{}); err != nil {
		t.Fatal(err)
	}
	if seen, _ := os.ReadFile(dir.path("seen")); string(seen) != dir.path("mine")+" "+dir.path(".aws/credentials")+"\n" {
		t.Errorf("got %s", seen)
	}
}

// TestCredentialProcessWithoutExpiration: SDKs keep such keys for ever; here they are asked for again.
func TestCredentialProcessWithoutExpiration(t *testing.T) {
	dir := home(t, "", "")
	dir.script(t, `echo '`+keysJSON("")+`'`)
	cred, err := retrieve(t, "prod")
	if err != nil || !cred.Static() {
		t.Errorf("got %v, %v", cred, err)
	}
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(t.Context())
	id, err := cache.Add(freshet.IdentityConfig{Name: "prod", Source: newSource(t, Config{Profile: "prod"})})
	if err != nil {
		t.Fatal(err)
	}
	a, err := id.Get(t.Context(), freshet.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if in := a.RefreshAt().Sub(a.Credential.Issued().Wall()); in != 15*time.Minute {
		t.Errorf("due after %v, want 15 min", in)
	}
}

func TestCredentialProcessFailures(t *testing.T) {
	for name, test := range map[string]struct {
		script     string
		kind       freshet.Kind
		text, hint string
	}{
		"exit":       {`echo '` + keysJSON("") + `'; echo "no luck: ` + ssoAccessToken + `" >&2; exit 3`, freshet.Unavailable, "profile prod: credential_process: exit status 3: no luck: [redacted]", ""},
		"login":      {`echo "Error: run: aws sso login --profile x" >&2; exit 255`, freshet.LoginNeeded, "credential_process: exit status 255", "run aws sso login"},
		"circle":     {`echo "freshet: identity prod (aws-profile): its retrieval leads back to itself: prod → prod" >&2; exit 2`, freshet.Invalid, "leads back to itself: prod → prod", "another way"},
		"no program": {`exec no-such-program-here`, freshet.Invalid, "credential_process: exit status 127", "full path"},
		"nothing":    {`:`, freshet.Malformed, "credential_process: printed nothing", ""},
		"no JSON":    {`echo ` + ssoAccessToken, freshet.Malformed, "credential_process: printed what is not the JSON of keys", ""},
		"version":    {`echo '{"Version": "1", "AccessKeyId": "A", "SecretAccessKey": "` + staticSecret + `"}'`, freshet.Malformed, "printed keys whose Version is not 1", ""},
		"half":       {`echo '{"Version": 1, "AccessKeyId": "A"}'`, freshet.Malformed, "lacks an access key id or a secret", ""},
		"odd expiry": {`echo '{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "` + staticSecret + `", "Expiration": "soon"}'`, freshet.Malformed, "an Expiration that is no RFC 3339 time", ""},
		"expired":    {`echo '` + keysJSON(expiring(-time.Minute)) + `'`, freshet.Malformed, "had expired already", ""},
		"killed":     {`kill -TERM $$`, freshet.Unavailable, "credential_process: killed: terminated", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t, "", "")
			dir.script(t, test.script)
			dir.write(t, ".aws/config", "[profile prod]\ncredential_process = exec "+dir.path("helper")+"\n")
			_, err := retrieve(t, "prod")
			wantFailure(t, err, test.kind, test.text, test.hint)
		})
	}
}

func TestConformanceOfAProcess(t *testing.T) {
	freshettest.Source(t, freshettest.SourceSuite{
		New: func(t *testing.T, u freshettest.Upstream) (freshet.Source, any) {
			dir := home(t, "", "")
			dir.script(t, map[freshettest.Upstream]string{
				freshettest.Good:    `echo '` + keysJSON(expiring(time.Hour)) + `'`,
				freshettest.Hang:    `exec sleep 1000`,
				freshettest.Garbage: `echo '{"token": "` + ststest.Gossip + `"}'`,
				freshettest.Empty:   `:`,
				freshettest.Huge:    `echo '` + ststest.Gossip + `'; exec head -c 104857600 /dev/zero`,
				freshettest.Expired: `echo '` + keysJSON(expiring(-time.Minute)) + `'`,
				freshettest.Century: `echo '` + keysJSON(expiring(100*365*24*time.Hour)) + `'`,
				freshettest.Failing: `echo "token=` + ststest.Gossip + `" >&2; exit 1`,
			}[u])
			cfg := Config{Profile: "prod"}
			return newSource(t, cfg), cfg
		},
		Secrets: []string{staticSecret, staticSession, ststest.Gossip},
		Absent:  map[freshettest.Upstream]string{freshettest.Throttled: "a program has no way to say so"},
	})
}

// TestProcessesRunAtOnceUpToTheRunnersLimit: of twenty retrievals as many processes run at once as the runner allows, each
// until it is let go, and no more.
func TestProcessesRunAtOnceUpToTheRunnersLimit(t *testing.T) {
	const limit, n = 4, 20
	dir := home(t, "", "")
	gate, started := dir.path("gate"), dir.path("started")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(started, 0o700); err != nil {
		t.Fatal(err)
	}
	// Each run leaves a mark, waits until the gate opens, and takes its mark away again.
	dir.script(t, `: > "`+started+`/$$"; cat "`+gate+`"; ls "`+started+`" | wc -l >> "`+dir.path("seen")+`"; rm "`+started+`/$$"; echo '`+keysJSON(expiring(time.Hour))+`'`)
	src, err := New(Config{Profile: "prod"}, child.NewRunner(limit))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	errs := make(chan error, n)
	for range n {
		go func() {
			_, err := src.Retrieve(ctx, freshet.Request{})
			errs <- err
		}()
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for running := 0; running < limit; {
		select {
		case <-tick.C:
			marks, _ := filepath.Glob(started + "/*")
			running = len(marks)
		case <-ctx.Done():
			t.Fatalf("%d run at once, want %d", running, limit)
		}
	}
	// A reader and writer of its own keeps the pipe from blocking either side; it is closed for the readers to see its end, and
	// then replaced by a file that ends at once.
	w, err := os.OpenFile(gate, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir.write(t, "gate", "")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	seen, err := os.ReadFile(dir.path("seen"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(seen)) {
		if ran, err := strconv.Atoi(strings.TrimSpace(line)); err != nil || ran > limit {
			t.Errorf("%d ran at once, want at most %d (%v)", ran, limit, err)
		}
	}
}
