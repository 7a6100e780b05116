package lab_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/lab"
)

// inside lists a folder, all the way down.
func inside(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		names = append(names, name)
		info, err := d.Info()
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 && name != "bin/az" {
			t.Errorf("%s: mode %o lets others in", name, mode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestConfigurationIsWrittenAndTakenAway(t *testing.T) {
	c := newCloud(t, lab.Config{}).at("http://127.0.0.1:1")
	dir := filepath.Join(t.TempDir(), "lab")
	remove, err := c.WriteConfig(dir, "/bin/freshet", c.base)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"admin-token", "az-secret", "bin", "bin/az", "client-secret", "env", "freshet.yaml"}
	if got := inside(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	config, err := os.ReadFile(filepath.Join(dir, lab.ConfigName))
	if err != nil {
		t.Fatal(err)
	}
	k := c.Credentials
	freshettest.LeakedSecrets(t, string(config), k.ClientSecret, k.SecretAccessKey, k.MSIHeader, k.ContainerToken, k.AzureCLISecret, k.AdminToken)
	remove()
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("it left %v", inside(t, dir))
	}
}

// folder is one that nobody else can write to, whatever the umask.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFolderOfOthersIsRefused(t *testing.T) {
	c := newCloud(t, lab.Config{}).at("http://127.0.0.1:1")
	open, behind := folder(t), folder(t)
	if err := os.Chmod(open, 0o1777); err != nil {
		t.Fatal(err)
	}
	group := folder(t)
	if err := os.Chmod(group, 0o770); err != nil {
		t.Fatal(err)
	}
	link, file := filepath.Join(behind, "link"), filepath.Join(behind, "file")
	if err := os.Symlink(folder(t), link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	others := "/" // root's
	if os.Geteuid() == 0 {
		others = folder(t)
		if err := os.Chown(others, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	for dir, why := range map[string]string{
		open: "can be written to by others", group: "can be written to by others", link: "is not a folder", file: "is not a folder",
		others: "belongs to another user",
	} {
		_, err := c.WriteConfig(dir, "/bin/freshet", c.base)
		if !errors.Is(err, freshet.Invalid) || !strings.Contains(err.Error(), why) || freshet.AsError(err).Hint == "" {
			t.Errorf("%s: got %v, want that it %s", dir, err, why)
		}
		if _, err := os.Stat(filepath.Join(dir, lab.ConfigName)); err == nil {
			t.Errorf("%s: it was written into", dir)
		}
	}
}

func TestOnlyALabsConfigurationIsReplaced(t *testing.T) {
	first := newCloud(t, lab.Config{}).at("http://127.0.0.1:1")
	second := newCloud(t, lab.Config{}).at("http://127.0.0.1:2")
	dir := folder(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("mine", "x")
	for _, name := range []string{lab.ConfigName, "env"} {
		write(name, "mine too")
		if _, err := first.WriteConfig(dir, "/bin/freshet", first.base); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, name)) {
			t.Errorf("got %v", err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != "mine too" {
			t.Errorf("%s is %q, %v", name, got, err)
		}
		os.Remove(filepath.Join(dir, name))
		if got := inside(t, dir); !slices.Equal(got, []string{"mine"}) {
			t.Errorf("left %v", got)
		}
	}

	removeFirst, err := first.WriteConfig(dir, "/bin/freshet", first.base)
	if err != nil {
		t.Fatal(err)
	}
	removeSecond, err := second.WriteConfig(dir, "/bin/freshet", second.base)
	if err != nil {
		t.Fatalf("over what another lab left: %v", err)
	}
	removeFirst()
	if got := inside(t, dir); len(got) != 8 {
		t.Errorf("the first took away what is the second's: left %v", got)
	}
	removeSecond()
	if got := inside(t, dir); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("left %v", got)
	}
	for _, bad := range []string{"relative", filepath.Join(dir, "no", "folder"), filepath.Join(dir, strings.Repeat("x", 100))} {
		if _, err := first.WriteConfig(bad, "/bin/freshet", first.base); err == nil {
			t.Errorf("%s: got no error", bad)
		}
	}
}
