package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Load reads the configuration at path. It refuses a file that somebody else could have written: it names the programs
// that are run and the issuers that secrets are sent to.
func Load(path string, kinds Kinds) (*File, error) {
	data, err := read(path, os.Geteuid())
	if err != nil {
		return nil, err
	}
	return Parse(path, data, kinds)
}

func read(path string, uid int) ([]byte, error) {
	refuse := func(why, help string, cause error) ([]byte, error) {
		return nil, &Error{File: path, What: "file", Why: why, Help: help, cause: cause}
	}
	// Without O_NONBLOCK, a pipe in the file's place would hold us until somebody writes.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), isNotFolder(err):
		return refuse("does not exist", "", err)
	case errors.Is(err, fs.ErrPermission):
		return refuse("no permission to read it", "", err)
	case err != nil:
		return refuse("cannot be read", "", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return refuse("cannot be read", "", err)
	case info.IsDir():
		return refuse("is a folder", "name the file in it", nil)
	case !info.Mode().IsRegular():
		return refuse("is not a regular file", "", nil)
	case info.Mode().Perm()&0o022 != 0:
		return refuse("others can write it", "chmod go-w "+path, nil)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != uid {
		return refuse("belongs to another user", "copy it, or chown it to the user that runs freshet", nil)
	}
	if dir := replaceable(path); dir != "" {
		return refuse("others can replace it, as they can write "+dir, "chmod o-w "+dir, nil)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1)) // one more, for Parse to refuse
	if err != nil {
		return refuse("cannot be read", "", err)
	}
	return data, nil
}

// replaceable finds a folder above the file, links resolved, in which anybody may rename what is in it. A sticky one,
// as /tmp, lets only owners.
func replaceable(path string) string {
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return ""
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// isNotFolder reports a path through something that is a file.
func isNotFolder(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
