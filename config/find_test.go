package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	root := t.TempDir()
	place := func(parts ...string) string {
		path := filepath.Join(append([]string{root}, parts...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	user := place("home", ".config", "freshet", "freshet.yaml")
	xdg := place("xdg", "freshet", "freshet.yaml")
	system := place("etc", "freshet.yaml")
	home := filepath.Join(root, "home")
	none := filepath.Join(root, "none")
	closed := filepath.Join(root, "closed") // a name too long to look up is there in a way: it is not missing
	long := closed + strings.Repeat("x", 300)

	for _, test := range []struct {
		name, flag   string
		env          map[string]string
		system, want string
	}{
		{"the flag wins", "./rel.yaml", map[string]string{"FRESHET_CONFIG": xdg, "HOME": home}, system, "./rel.yaml"},
		{"the variable is next", "", map[string]string{"FRESHET_CONFIG": none, "HOME": home}, system, none},
		{"XDG", "", map[string]string{"XDG_CONFIG_HOME": filepath.Join(root, "xdg"), "HOME": home}, system, xdg},
		{"home", "", map[string]string{"HOME": home}, system, user},
		{"relative XDG is ignored", "", map[string]string{"XDG_CONFIG_HOME": "xdg", "HOME": home}, system, user},
		{"XDG instead of home", "", map[string]string{"XDG_CONFIG_HOME": none, "HOME": home}, system, system},
		{"the system's", "", map[string]string{"HOME": none}, system, system},
		{"no home", "", nil, system, system},
		{"relative home is ignored", "", map[string]string{"HOME": "home"}, system, system},
		{"through a file", "", map[string]string{"HOME": user}, system, system},
		{"one that cannot be read is not skipped", "", map[string]string{"XDG_CONFIG_HOME": long}, system, filepath.Join(long, "freshet", "freshet.yaml")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(root) // relative paths would be found
			got, err := find(test.flag, func(k string) string { return test.env[k] }, test.system)
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}

	t.Run("never the current folder", func(t *testing.T) {
		t.Chdir(filepath.Dir(user))
		getenv := func(k string) string { return map[string]string{"HOME": none}[k] }
		_, err := find("", getenv, none)
		var missing *NotFoundError
		if !errors.As(err, &missing) {
			t.Fatalf("got %v, want a *NotFoundError", err)
		}
		want := "configuration: there is none at " + none + "/.config/freshet/freshet.yaml or " + none
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
		if missing.Hint() == "" {
			t.Error("got no hint")
		}
	})
	t.Run("a relative variable", func(t *testing.T) {
		_, err := Find("", func(string) string { return "freshet.yaml" })
		if want := "$FRESHET_CONFIG: path: not absolute"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}
