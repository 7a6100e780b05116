package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// System is where the configuration of a whole machine is.
const System = "/etc/freshet/freshet.yaml"

// NotFoundError says that there is no configuration.
type NotFoundError struct {
	Looked []string // paths, in order
}

func (e *NotFoundError) Error() string {
	return "configuration: there is none at " + strings.Join(e.Looked, " or ")
}

// Hint says where one may be.
func (e *NotFoundError) Hint() string {
	return "write one there, or name it with --config or $FRESHET_CONFIG"
}

// Find gives the path of the configuration: flag, $FRESHET_CONFIG, the user's, the system's. The first two are taken as
// they are, there or not. It never looks in the current folder, as a cloned repository must not run code; so a
// relative path must come from the command line.
func Find(flag string, getenv func(string) string) (string, error) {
	return find(flag, getenv, System)
}

func find(flag string, getenv func(string) string, system string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if path := getenv("FRESHET_CONFIG"); path != "" {
		if !filepath.IsAbs(path) {
			return "", &Error{File: "$FRESHET_CONFIG", What: "path", Why: "not absolute", Help: "start it with /"}
		}
		return path, nil
	}
	var looked []string
	dir := getenv("XDG_CONFIG_HOME")
	if home := getenv("HOME"); !filepath.IsAbs(dir) && filepath.IsAbs(home) { // the XDG specification: relative is unset
		dir = filepath.Join(home, ".config")
	}
	if filepath.IsAbs(dir) {
		looked = append(looked, filepath.Join(dir, "freshet", "freshet.yaml"))
	}
	looked = append(looked, system)
	for _, path := range looked {
		// One that is there and cannot be read is not skipped: Load says why.
		if _, err := os.Stat(path); err == nil || !missing(err) {
			return path, nil
		}
	}
	return "", &NotFoundError{Looked: looked}
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || isNotFolder(err)
}

// home is what ~/ stands for, or nothing.
func home() string {
	dir, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(dir) {
		return ""
	}
	return dir
}
