package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "freshet.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	const sum = "9333d4cbee842a947c32b99b8256d72024db07c5853ad4d799bd7ff748beeb3a" // sha256sum of minimal
	for _, mode := range []os.FileMode{0o600, 0o644, 0o400} {
		path := write(t, minimal, mode)
		f, err := Load(path, kinds())
		if err != nil {
			t.Fatalf("%v: %v", mode, err)
		}
		if f.Path != path || f.Digest != sum {
			t.Errorf("got path %q and digest %q", f.Path, f.Digest)
		}
	}
	path := write(t, "version: 2\n", 0o600)
	_, err := Load(path, kinds())
	if want := path + ":1:1: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s…", err, want)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	group, other := write(t, minimal, 0o620), write(t, minimal, 0o602)
	huge := write(t, strings.Repeat("#", maxBytes+2), 0o600)
	inOpen := write(t, minimal, 0o600)
	openDir := filepath.Dir(inOpen)
	if err := os.Chmod(openDir, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(inOpen, link); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, want, hint string }{
		{dir + "/none", dir + "/none: file: does not exist", ""},
		{group + "/x", group + "/x: file: does not exist", ""},
		{dir, dir + ": file: is a folder", "name the file in it"},
		{fifo, fifo + ": file: is not a regular file", ""},
		{group, group + ": file: others can write it", "chmod go-w " + group},
		{other, other + ": file: others can write it", "chmod go-w " + other},
		{inOpen, inOpen + ": file: others can replace it, as they can write " + openDir, "chmod o-w " + openDir},
		{link, link + ": file: others can replace it, as they can write " + openDir, "chmod o-w " + openDir},
		{huge, huge + ":1:1: file: over 1 MiB", ""},
	} {
		_, err := Load(test.path, kinds())
		if err == nil || err.Error() != test.want {
			t.Errorf("got %v\nwant %s", err, test.want)
			continue
		}
		var hinter interface{ Hint() string }
		if !errors.As(err, &hinter) || hinter.Hint() != test.hint {
			t.Errorf("%v: got hint %q, want %q", err, hinter.Hint(), test.hint)
		}
	}
	if _, err := Load(dir+"/none", kinds()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want it to wrap os.ErrNotExist", err)
	}
}

// TestLoadInStickyFolder: in /tmp others cannot replace what is ours.
func TestLoadInStickyFolder(t *testing.T) {
	path := write(t, minimal, 0o600)
	if err := os.Chmod(filepath.Dir(path), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, kinds()); err != nil {
		t.Error(err)
	}
}

func TestLoadOfAnotherUser(t *testing.T) {
	path := write(t, minimal, 0o644)
	uid := os.Geteuid()
	if uid == 0 { // a file of root is everybody's to use
		if _, err := read(path, 1234); err != nil {
			t.Error(err)
		}
		if err := os.Chown(path, 4321, -1); err != nil {
			t.Skip(err)
		}
		uid = 4321
	}
	if _, err := read(path, uid); err != nil {
		t.Error(err)
	}
	if _, err := read(path, uid+1); err == nil || err.Error() != path+": file: belongs to another user" {
		t.Errorf("got %v, want a refusal", err)
	}
}
