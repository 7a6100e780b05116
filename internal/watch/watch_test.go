package watch

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

const (
	soon  = 20 * time.Second       // a loaded machine's
	quiet = 500 * time.Millisecond // long enough for a change that is told in error
)

// scene is a folder, and a watch of one path in it.
type scene struct {
	t    *testing.T
	dir  string
	path string
	told chan struct{}
}

func watch(t *testing.T, path func(dir string) string) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), told: make(chan struct{}, 100)}
	s.path = path(s.dir)
	w := New(slog.New(slog.DiscardHandler))
	if w.system == nil {
		t.Skip("this system cannot watch files: raise fs.inotify.max_user_instances")
	}
	t.Cleanup(w.Close)
	t.Cleanup(w.Add(func() []string { return []string{s.path} }, func() { s.told <- struct{}{} }))
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) write(name, text string) {
	s.t.Helper()
	s.must(os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
}

func (s *scene) rename(from, to string) {
	s.t.Helper()
	s.must(os.Rename(filepath.Join(s.dir, from), filepath.Join(s.dir, to)))
}

func (s *scene) mkdir(name string) {
	s.t.Helper()
	s.must(os.Mkdir(filepath.Join(s.dir, name), 0o700))
}

func (s *scene) link(target, name string) {
	s.t.Helper()
	s.must(os.Symlink(target, filepath.Join(s.dir, name)))
}

// tells waits until a change is told, and takes any more that follow at once.
func (s *scene) tells(what string) {
	s.t.Helper()
	select {
	case <-s.told:
	case <-time.After(soon):
		s.t.Fatalf("%s: not told", what)
	}
	for {
		select {
		case <-s.told:
		case <-time.After(quiet):
			return
		}
	}
}

func (s *scene) isQuiet(what string) {
	s.t.Helper()
	select {
	case <-s.told:
		s.t.Fatalf("%s: told of a change", what)
	case <-time.After(quiet):
	}
}

func in(names ...string) func(string) string {
	return func(dir string) string { return filepath.Join(append([]string{dir}, names...)...) }
}

func TestFileWrittenRenamedRemovedAndThereAgain(t *testing.T) {
	t.Parallel()
	s := watch(t, in("token"))
	s.write("token", "one")
	s.tells("missing, then present")
	s.write("token", "two of another length")
	s.tells("written in place")
	s.write("new", "three")
	s.isQuiet("another file in its folder")
	s.rename("new", "token")
	s.tells("renamed over")
	s.must(os.Remove(s.path))
	s.tells("removed")
	s.write("token", "four")
	s.tells("there again")
	s.must(os.Chmod(s.path, 0o644))
	s.tells("permissions")
}

// TestVolumeOfKubernetes swaps a volume's content as kubelet does: files are links through ..data, which is a link to a folder
// of one version, and is renamed over.
func TestVolumeOfKubernetes(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, dir: t.TempDir(), told: make(chan struct{}, 100)}
	s.mkdir("..v1")
	s.write("..v1/token", "one")
	s.link("..v1", "..data")
	s.link("..data/token", "token")
	s.path = filepath.Join(s.dir, "token")
	w := New(slog.New(slog.DiscardHandler))
	if w.system == nil {
		t.Skip("this system cannot watch files: raise fs.inotify.max_user_instances")
	}
	t.Cleanup(w.Close)
	t.Cleanup(w.Add(func() []string { return []string{s.path} }, func() { s.told <- struct{}{} }))
	for _, version := range []string{"..v2", "..v3"} {
		s.mkdir(version)
		s.write(version+"/token", "of "+version)
		s.link(version, "..data_tmp")
		s.isQuiet("a version that is not in use yet")
		s.rename("..data_tmp", "..data")
		s.tells("the swap to " + version)
		s.write(version+"/token", "written in place")
		s.tells("written in place, in " + version)
	}
}

func TestFolderThatComesLater(t *testing.T) {
	t.Parallel()
	s := watch(t, in("a", "b", "token"))
	s.mkdir("a")
	s.isQuiet("a folder on the way")
	s.mkdir("a/b")
	s.write("a/b/token", "one")
	s.tells("the file")
	s.rename("a/b", "aside")
	s.tells("its folder moved away")
	s.mkdir("a/b")
	s.write("a/b/token", "two")
	s.tells("another in its place")
}

func TestLinkedFolderIsSwapped(t *testing.T) {
	t.Parallel()
	s := watch(t, in("current", "token"))
	s.mkdir("1")
	s.mkdir("2")
	s.write("1/token", "one")
	s.write("2/token", "two")
	s.link("1", "current")
	s.tells("the link")
	s.link(filepath.Join(s.dir, "2"), "next")
	s.rename("next", "current")
	s.tells("the link to another folder")
	s.write("2/token", "written in place")
	s.tells("written in place, in the other folder")
	s.write("1/token", "nobody's any more")
	s.isQuiet("the folder it led to before")
}

func TestLinksInACircleEnd(t *testing.T) {
	t.Parallel()
	s := watch(t, in("a"))
	s.link("b", "a")
	s.link("a", "b")
	trail(s.path, func(string, string) {}) // it ends
	s.must(os.Remove(s.path))
	s.write("a", "a file at last")
	s.tells("a file in the circle's place")
}

func TestRemovedWatchTellsNothing(t *testing.T) {
	t.Parallel()
	w := New(slog.New(slog.DiscardHandler))
	if w.system == nil {
		t.Skip("this system cannot watch files: raise fs.inotify.max_user_instances")
	}
	defer w.Close()
	path := filepath.Join(t.TempDir(), "x")
	var one atomic.Int64
	two := make(chan struct{}, 10)
	remove := w.Add(func() []string { return []string{path} }, func() { one.Add(1) })
	removeTwo := w.Add(func() []string { return []string{path} }, func() { two <- struct{}{} })
	remove()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case <-two:
	case <-time.After(soon):
		t.Fatal("the other watch was not told")
	}
	if one.Load() != 0 {
		t.Error("a watch that was removed was told")
	}
	if removeTwo(); len(w.system.WatchList()) != 0 {
		t.Errorf("nothing is watched, and the system still watches %v", w.system.WatchList())
	}
}

func TestFilesMayDependOnWhatTheySay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := New(slog.New(slog.DiscardHandler))
	if w.system == nil {
		t.Skip("this system cannot watch files: raise fs.inotify.max_user_instances")
	}
	defer w.Close()
	pointer, pointed := filepath.Join(dir, "pointer"), filepath.Join(dir, "pointed")
	told := make(chan struct{}, 10)
	w.Add(func() []string {
		if text, err := os.ReadFile(pointer); err == nil {
			return []string{pointer, string(text)}
		}
		return []string{pointer}
	}, func() { told <- struct{}{} })
	for _, step := range [][2]string{{pointer, pointed}, {pointed, "x"}} {
		if err := os.WriteFile(step[0], []byte(step[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		select {
		case <-told:
		case <-time.After(soon):
			t.Fatalf("%s: not told", step[0])
		}
	}
}
