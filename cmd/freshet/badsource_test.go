package main

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unsigned is a JWT that says these claims.
func unsigned(claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"RS256"}`)) + "." + enc([]byte(claims)) + "." + enc([]byte("signature"))
}

// TestBadSource runs a program that answers badly, in every way it can: the error names identity and source, nothing is kept,
// and no process is left.
func TestBadSource(t *testing.T) {
	for _, test := range []struct {
		name, script string
		settings     string // more of the identity's
		args         []string
		code         int
		want         string // in the error
	}{
		{name: "garbage", script: `printf '\377\376\001\200 garbage'`, code: 5, want: "bad.sh: printed neither JSON nor one line with a token"},
		{name: "page", script: "echo '<html>hunter2</html>'", code: 5, want: "bad.sh: printed neither JSON nor one line with a token"},
		{name: "broken", script: `echo '{"access_token": "hunter2'`, code: 5, want: "bad.sh: printed JSON that is broken"},
		{name: "huge", script: "head -c 104857600 /dev/zero | tr '\\0' x", code: 5, want: "bad.sh: output over 1 MiB"},
		{name: "endless", script: "yes hunter2", code: 5, want: "bad.sh: output over 1 MiB"},
		{name: "nothing", script: "true", code: 5, want: "bad.sh: printed nothing"},
		{name: "hangs", script: "sleep 1000 & echo $! >>DIR/pids; wait", settings: "refresh: {timeout: 2s}", code: 5, want: "timed out"},
		{name: "ignores", script: "trap '' TERM INT HUP; while :; do sleep 1000 & echo $! >>DIR/pids; wait; done", settings: "timeout: 2s", code: 5, want: "bad.sh: timed out"},
		{
			name: "fails", script: `echo 'error: password=hunter2 Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.c2ln was refused' >&2
			printf 'x%.0s' $(seq 9999) >&2; exit 3`, code: 5, want: "bad.sh: exit status 3: error: password=[redacted]",
		},
		{name: "killed", script: "kill -KILL $$", code: 5, want: "bad.sh: killed"},
		{name: "grandchild", script: "sleep 1000 & echo $! >>DIR/pids; exit 4", code: 5, want: "bad.sh: exit status 4"},
		{name: "expired", script: `echo '{"access_token":"hunter2","expires_in":0}'`, code: 5, want: "expired"},
		{
			name: "expired keys", code: 5, want: "expired",
			script: `echo '{"Version":1,"AccessKeyId":"AKID","SecretAccessKey":"hunter2","SessionToken":"hunter2","Expiration":"2020-01-01T00:00:00Z"}'`,
		},
		{name: "expired JWT", script: "echo " + unsigned(`{"exp":1577836800}`), code: 5, want: "expired"},
		{name: "century", script: `echo '{"access_token":"hunter2","expires_in":3153600000}'`, code: 5, want: "more than 10 years ahead"},
		{name: "no life", script: `echo hunter2`, code: 5, want: "does not say when it expires"},
		{
			name: "another audience", script: "echo " + unsigned(fmt.Sprintf(`{"aud":"https://other.example","exp":%d}`, time.Now().Add(time.Hour).Unix())),
			args: []string{"--audience", "https://mine.example"}, code: 5, want: "audience",
		},
		{name: "no credential", script: `echo '{"status":"ok"}'`, code: 5, want: "bad.sh: printed JSON that is no credential"},
		{name: "empty credential", script: `echo '{"access_token":"","expires_in":600}'`, code: 5, want: "identity bad"},
		{name: "half the keys", script: `echo '{"Version":1,"AccessKeyId":"AKID"}'`, code: 5, want: "identity bad"},
		{name: "two tokens", script: `printf 'hunter2\nhunter2\n'`, code: 5, want: "bad.sh: printed neither JSON nor one line with a token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("bad.sh", "#!/bin/sh\necho run >>DIR/runs\necho $$ >>DIR/pids\n"+test.script+"\n")
			w.executable("bad.sh")
			w.write("c.yaml", "version: 1\nidentities:\n  bad:\n    source: process\n    command: [DIR/bad.sh]\n    "+test.settings+"\n")
			once := func(least, most int) {
				t.Helper()
				stdout, stderr := w.freshet(test.code, append([]string{"token", "bad"}, test.args...)...)
				if stdout != "" {
					t.Errorf("printed %q", stdout)
				}
				if !strings.HasPrefix(stderr, "freshet: identity bad (process): ") || !strings.Contains(stderr, test.want) {
					t.Errorf("got %q, want an error of identity bad (process) with %q", stderr, test.want)
				}
				if lines := strings.Count(stderr, "\n"); lines > 2 || len(stderr) > 600 {
					t.Errorf("the error is %d lines, %d bytes: %q", lines, len(stderr), stderr)
				}
				if strings.Contains(stderr, "hunter2") || strings.Contains(stderr, "eyJ") {
					t.Errorf("the error shows what was printed: %q", stderr)
				}
				if got := w.lines("runs"); got < least || got > most {
					t.Errorf("got %d runs, want %d to %d", got, least, most)
				}
				for _, word := range strings.Fields(w.read("pids")) {
					pid, err := strconv.Atoi(word)
					if err != nil {
						t.Fatal(err)
					}
					// A grandchild was sent its signal before the answer; the kernel may take a moment to end it.
					w.await("the end of process "+word, func() bool { return !alive(pid) })
				}
			}
			once(1, 1)
			d := w.serve()
			once(2, 2)
			once(2, 3) // the failure is remembered for a second, and told as it was
			d.signal(syscall.SIGTERM)
			if code := d.wait(); code != 0 {
				t.Errorf("serve: got exit code %d", code)
			}
			if log := d.stderr.String(); strings.Contains(log, "hunter2") || strings.Contains(log, "eyJ") {
				t.Errorf("the log shows what was printed:\n%s", log)
			}
		})
	}
}

// TestGrandchildHoldsThePipe has a program leave another one behind that holds its standard output: the answer is there at
// once, and the other one is gone.
func TestGrandchildHoldsThePipe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("good.sh", "sleep 1000 &\necho $! >DIR/pid\necho tok\n")
	w.write("c.yaml", "version: 1\nidentities:\n  good: {source: process, command: [sh, DIR/good.sh], lifetime: 1h}\n")
	if stdout, _ := w.freshet(0, "token", "good"); stdout != "tok\n" {
		t.Errorf("got %q", stdout)
	}
	pid := w.awaitPID("pid")
	w.await("the grandchild's end", func() bool { return !alive(pid) })
}
