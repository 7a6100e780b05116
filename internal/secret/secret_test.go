package secret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"freshet.dev/internal/child"
)

const value = "hunter2-of-the-test"

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// place writes a file of that mode in a folder that others can reach if open.
func place(t *testing.T, content string, mode os.FileMode, open bool) string {
	t.Helper()
	temp := t.TempDir()
	if err := os.Chmod(filepath.Dir(temp), 0o711); err != nil { // testing makes that one closed
		t.Fatal(err)
	}
	dir := filepath.Join(temp, "dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // umask
		t.Fatal(err)
	}
	if !open {
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if open && !reachable(path) {
		t.Skipf("%s is closed to others: set TMPDIR to a folder that is not", os.TempDir())
	}
	return path
}

func wantError(t *testing.T, err error, want, hint string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %q", want)
	}
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	var h interface{ Hint() string }
	if !errors.As(err, &h) || h.Hint() != hint {
		t.Errorf("got %v without the hint %q", h, hint)
	}
	if strings.Contains(err.Error(), value) {
		t.Errorf("%q shows the secret", err)
	}
}

func TestValid(t *testing.T) {
	for _, test := range []struct {
		ref        Ref
		want, hint string
	}{
		{Ref{}, "names no secret", Forms},
		{Ref{Shared: true}, "names no secret", Forms},
		{Ref{Env: "A", File: "/x"}, "names a secret in more than one way", "keep one of env, file and command"},
		{Ref{Env: "A", Command: []string{"x"}}, "names a secret in more than one way", "keep one of env, file and command"},
		{Ref{Env: "A", Shared: true}, "shared: only a file can be shared", "remove it"},
		{Ref{Env: "A=" + value}, "env: not the name of a variable", Forms},
		{Ref{File: value}, "file: not an absolute path", "start it with / or ~/"},
		{Ref{Command: []string{"", "x"}}, "command: names no program", ""},
	} {
		wantError(t, test.ref.Valid(), test.want, test.hint)
		wantError(t, test.ref.Check(), test.want, test.hint)
		_, err := test.ref.Read(t.Context(), new(child.Runner))
		wantError(t, err, test.want, test.hint)
		if _, ok := test.ref.Digest(); ok {
			t.Errorf("%v: got a digest", test.ref)
		}
	}
}

func TestEnv(t *testing.T) {
	ref := Ref{Env: "FRESHET_TEST_SECRET"}
	t.Setenv(ref.Env, "")
	wantError(t, ref.Check(), "env: FRESHET_TEST_SECRET is not set or empty", "set it where freshet starts")
	wantError(t, Ref{Env: value}.Check(), "env: the variable is not set or empty", "set it where freshet starts")
	t.Setenv(ref.Env, value)
	if err := ref.Check(); err != nil {
		t.Error(err)
	}
	if got, err := ref.Read(t.Context(), nil); got != value || err != nil {
		t.Errorf("got %q, %v, want the value", got, err)
	}
}

func TestFileIsTrimmedOnce(t *testing.T) {
	for content, want := range map[string]string{
		"x": "x", "x\n": "x", "x\r\n": "x", "x\n\n": "x\n", " x \n": " x ", "x\r": "x\r", "a\nb\n": "a\nb",
	} {
		ref := Ref{File: place(t, content, 0o600, true)}
		if got, err := ref.Read(t.Context(), nil); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", content, got, err, want)
		}
	}
}

func TestFileOthersCanRead(t *testing.T) {
	for _, mode := range []os.FileMode{0o604, 0o640, 0o660, 0o622, 0o644, 0o777} {
		path := place(t, value, mode, true)
		why, hint := "file: others can read "+path, "chmod 600 "+path+", or add shared: true if they may"
		wantError(t, Ref{File: path}.Check(), why, hint)
		_, err := Ref{File: path}.Read(t.Context(), nil)
		wantError(t, err, why, hint)
		if got, err := (Ref{File: path, Shared: true}).Read(t.Context(), nil); got != value || err != nil {
			t.Errorf("%v: shared: got %q, %v, want the value", mode, got, err)
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400, 0o700} {
		if err := (Ref{File: place(t, value, mode, true)}).Check(); err != nil {
			t.Errorf("%v: got %v", mode, err)
		}
	}
}

func TestFileBehindAClosedFolder(t *testing.T) {
	path := place(t, value, 0o644, false)
	if err := (Ref{File: path}).Check(); err != nil {
		t.Errorf("got %v, want a file nobody reaches to be fine", err)
	}
	// Passing the folder is what counts, not listing it; and its group passes it too.
	for _, mode := range []os.FileMode{0o711, 0o710, 0o701} {
		if err := os.Chmod(filepath.Dir(path), mode); err != nil {
			t.Fatal(err)
		}
		if err := (Ref{File: path}).Check(); err == nil && reachable(filepath.Dir(path)) {
			t.Errorf("folder of mode %v: got no error", mode)
		}
	}
}

// TestFileBehindALink is a Kubernetes volume: the folder that counts is the one the file is in.
func TestFileBehindALink(t *testing.T) {
	path := place(t, value, 0o644, true)
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(closed, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := (Ref{File: link}).Check(); err == nil {
		t.Error("got no error: a closed folder around the link guards nothing")
	}
	if err := (Ref{File: link, Shared: true}).Check(); err != nil {
		t.Error(err)
	}
}

func TestFileRefused(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	empty, line := place(t, "", 0o600, true), place(t, "\n", 0o600, true)
	huge, largest := place(t, strings.Repeat("x", maxBytes+1), 0o600, true), place(t, strings.Repeat("x", maxBytes), 0o600, true)
	for path, want := range map[string]string{
		dir + "/none": "file: " + dir + "/none does not exist",
		dir:           "file: " + dir + " is not a regular file",
		fifo:          "file: " + fifo + " is not a regular file",
		empty:         "file: " + empty + " is empty",
		line:          "file: " + line + " is empty",
		huge:          "file: " + huge + " is over 1 MiB",
	} {
		wantError(t, Ref{File: path}.Check(), want, "")
	}
	if err := (Ref{File: largest}).Check(); err != nil {
		t.Error(err)
	}
	_, err := Ref{File: dir + "/none"}.Read(t.Context(), nil)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want it to wrap os.ErrNotExist", err)
	}
}

func TestCommand(t *testing.T) {
	runner := new(child.Runner)
	read := func(script string) (string, error) {
		return Ref{Command: []string{"/bin/sh", "-c", script}}.Read(bounded(t), runner)
	}
	if got, err := read("echo " + value); got != value || err != nil {
		t.Errorf("got %q, %v, want the value", got, err)
	}
	_, err := read("echo " + value + "; echo " + value + " >&2; exit 3")
	wantError(t, err, "command: /bin/sh: exit status 3", "run it in a terminal to see why")
	var failure *child.Error
	if !errors.As(err, &failure) || failure.Code != 3 {
		t.Errorf("got %v, want it to wrap the child's error", err)
	}
	_, err = read("echo")
	wantError(t, err, "command: printed nothing", "run it in a terminal to see why")
}

func TestCheckRunsNoCommand(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	ref := Ref{Command: []string{"/bin/sh", "-c", ": > " + mark}}
	if err := ref.Check(); err != nil {
		t.Error(err)
	}
	if _, ok := ref.Digest(); ok {
		t.Error("got a digest of a command")
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the command ran")
	}
}

func TestDigest(t *testing.T) {
	path := place(t, value, 0o600, true)
	ref := Ref{File: path}
	before, ok := ref.Digest()
	if again, _ := ref.Digest(); !ok || before != again {
		t.Errorf("got %x, %v, want the same digest twice", again, ok)
	}
	t.Setenv("FRESHET_TEST_SECRET", value)
	if env, ok := (Ref{Env: "FRESHET_TEST_SECRET"}).Digest(); !ok || env != before {
		t.Errorf("got %x, %v for the same secret in a variable", env, ok)
	}
	if err := os.WriteFile(path, []byte("rotated"), 0o600); err != nil {
		t.Fatal(err)
	}
	if after, _ := ref.Digest(); after == before {
		t.Error("a rotated secret has the digest of the old one")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, ok := ref.Digest(); ok {
		t.Error("got a digest of a file that is gone")
	}
}

func TestPrintsNoSecret(t *testing.T) {
	for want, ref := range map[string]Ref{
		"env:NAME":         {Env: "NAME"},
		"env:the variable": {Env: value},
		"file:/a/b":        {File: "/a/b", Shared: true},
		"file:…":           {File: value},
		"command:pass":     {Command: []string{"pass", value}},
		"none":             {},
	} {
		if got := ref.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		type holder struct{ Ref Ref }
		var text strings.Builder
		slog.New(slog.NewTextHandler(&text, nil)).Info("x", "ref", ref, "holder", holder{ref})
		slog.New(slog.NewJSONHandler(&text, nil)).Info("x", "ref", ref, "holder", holder{ref})
		asJSON, err := json.Marshal(holder{ref})
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []string{
			fmt.Sprintf("%v %+v %#v %s", ref, ref, ref, ref), fmt.Sprintf("%v %+v %#v", holder{ref}, holder{ref}, &ref), text.String(), string(asJSON),
		} {
			if strings.Contains(got, value) || !strings.Contains(got, want) {
				t.Errorf("got %q, want %q and no more", got, want)
			}
		}
	}
}
