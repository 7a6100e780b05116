package secret

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"freshet.dev/internal/field"
)

// readFile returns the content of a secret's file. Unless it is shared, it must be one that only its owner can reach:
// its mode, or a folder above it, keeps the group and others out. The check and the reading are of the same open file.
func readFile(path string, shared bool) (string, error) {
	// Without O_NONBLOCK, a pipe in the file's place would hold us until somebody writes.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", unreadable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", unreadable(path, err)
	}
	if !info.Mode().IsRegular() {
		return "", &field.Error{Field: "file", Why: path + " is not a regular file"}
	}
	if !shared && info.Mode().Perm()&0o077 != 0 && reachable(path) {
		return "", &field.Error{
			Field: "file", Why: "others can read " + path,
			Help: "chmod 600 " + path + ", or add shared: true if they may",
		}
	}
	content, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	switch {
	case err != nil:
		return "", unreadable(path, err)
	case len(content) > maxBytes:
		return "", &field.Error{Field: "file", Why: path + " is over 1 MiB"}
	}
	value := trim(string(content))
	if value == "" {
		return "", &field.Error{Field: "file", Why: path + " is empty"}
	}
	return value, nil
}

// reachable reports whether group or others may pass every folder above a file, links resolved: a link's own folder
// guards nothing. The group counts in full, even our own: on many systems everybody is in it.
func reachable(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return true
	}
	for dir := filepath.Dir(real); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o011 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// unreadable is a failure to read path, which os's own error would name a second time.
func unreadable(path string, err error) error {
	e := &field.Error{Field: "file", Why: "cannot read " + path, Cause: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Why = path + " does not exist"
	case errors.Is(err, fs.ErrPermission):
		e.Why = "no permission to read " + path
	}
	return e
}
