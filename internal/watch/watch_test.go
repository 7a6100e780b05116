package watch

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	w.Watch([]Set{{"s", func() []string { return []string{s.path} }, func() { s.told <- struct{}{} }}})
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
	w.Watch([]Set{{"s", func() []string { return []string{s.path} }, func() { s.told <- struct{}{} }}})
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

func TestSetsAreReplaced(t *testing.T) {
	t.Parallel()
	w := New(slog.New(slog.DiscardHandler))
	if w.system == nil {
		t.Skip("this system cannot watch files: raise fs.inotify.max_user_instances")
	}
	defer w.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	told := make(chan string, 100)
	watch := func(keys ...string) {
		var sets []Set
		for _, key := range keys {
			sets = append(sets, Set{key, func() []string { return []string{path} }, func() { told <- key }})
		}
		w.Watch(sets)
	}
	want := func(keys ...string) {
		t.Helper()
		for range keys {
			select {
			case key := <-told:
				if !slices.Contains(keys, key) {
					t.Errorf("%s was told, want %v", key, keys)
				}
			case <-time.After(soon):
				t.Fatalf("not told: want %v", keys)
			}
		}
		select {
		case key := <-told:
			t.Errorf("%s was told as well", key)
		case <-time.After(quiet):
		}
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	watch("a", "b")
	write("1")
	want("a", "b")
	watch("b", "c")
	want()
	write("22")
	want("b", "c")
	// A change that nobody was told of yet is not lost when the sets are replaced, however soon.
	for i := range 10 {
		write(strings.Repeat("x", 10+i))
		watch("b")
		want("b")
	}
	watch()
	write("333")
	want()
	if list := w.system.WatchList(); len(list) != 0 {
		t.Errorf("nothing is watched, and the system still watches %v", list)
	}
}

// TestNoChangeIsLost makes folders and files in them in every order that a watch could miss.
func TestNoChangeIsLost(t *testing.T) {
	t.Parallel()
	w := New(slog.New(slog.DiscardHandler))
	if w.system == nil {
		t.Skip("this system cannot watch files: raise fs.inotify.max_user_instances")
	}
	defer w.Close()
	dir := t.TempDir()
	const files = 50
	var sets []Set
	var told [files]atomic.Int64
	paths := make([]string, files)
	for i := range files {
		paths[i] = filepath.Join(dir, strconv.Itoa(i), "deeper", "token")
		sets = append(sets, Set{paths[i], func() []string { return []string{paths[i]} }, func() { told[i].Add(1) }})
	}
	w.Watch(sets)
	for round := range 4 {
		for i, path := range paths {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			// The moment in which the watcher looks is somewhere among these.
			<-time.After(time.Duration(i%7) * 3 * time.Millisecond)
			if err := os.WriteFile(path, []byte(strings.Repeat("x", round+1)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for i := range paths {
			for deadline := time.Now().Add(soon); told[i].Load() == 0; <-time.After(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("round %d: file %d was never told of", round, i)
				}
			}
		}
		for i := range told {
			told[i].Store(0)
		}
		<-time.After(2 * settle) // no news of this round may count for the next
		for i := range told {
			told[i].Store(0)
		}
		if round == 1 {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			<-time.After(3 * settle)
			for i := range told {
				told[i].Store(0)
			}
		}
	}
}

func TestOwnerIsPartOfAFile(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away: run this test as root")
	}
	s := watch(t, in("token"))
	s.write("token", "x")
	s.tells("the file")
	s.must(os.Chown(s.path, 65534, 65534))
	s.tells("another owner")
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
	w.Watch([]Set{{"s", func() []string {
		if text, err := os.ReadFile(pointer); err == nil {
			return []string{pointer, string(text)}
		}
		return []string{pointer}
	}, func() { told <- struct{}{} }}})
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
