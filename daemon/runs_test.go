package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"freshet.dev/freshet"
)

// runtimeDir gives the test a run-time folder.
func runtimeDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return filepath.Join(dir, "freshet")
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// TestRunsAreSwept leaves a folder as a killed command does: the next run removes it, and no living one's.
func TestRunsAreSwept(t *testing.T) {
	dir := runtimeDir(t)
	one, err := NewRun()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(one.Dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v, want a folder of mode 0700", info, err)
	}
	dead := filepath.Join(dir, "runs", "dead")
	if err := os.MkdirAll(filepath.Join(dead, "in", "it"), 0o700); err != nil {
		t.Fatal(err)
	}
	two, err := NewRun()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{one.Dir, two.Dir}
	slices.Sort(want)
	if got := entries(t, filepath.Join(dir, "runs")); !slices.Equal(got, want) {
		t.Errorf("got %v, want the two living ones %v", got, want)
	}
	one.Close()
	if err := os.Mkdir(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	SweepRuns()
	if got := entries(t, filepath.Join(dir, "runs")); !slices.Equal(got, []string{two.Dir}) {
		t.Errorf("got %v, want %v alone", got, two.Dir)
	}
	two.Close()
}

// TestSweepMakesNothing starts a daemon where no command ever ran.
func TestSweepMakesNothing(t *testing.T) {
	dir := runtimeDir(t)
	SweepRuns()
	if _, err := os.Stat(dir); err == nil {
		t.Error("a folder was made")
	}
}

// TestNothingIsRemovedThroughALink puts a link in the run-time folder's place, as another user could in a shared temp folder.
func TestNothingIsRemovedThroughALink(t *testing.T) {
	dir := runtimeDir(t)
	precious := filepath.Join(t.TempDir(), "runs", "precious")
	if err := os.MkdirAll(precious, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(filepath.Dir(precious)), dir); err != nil {
		t.Fatal(err)
	}
	SweepRuns()
	if _, err := NewRun(); !errors.Is(err, freshet.Invalid) {
		t.Errorf("got %v, want the link to be refused", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("what the link led to is gone: %v", err)
	}
}

// TestFolderThatOthersCanWrite refuses the run-time folder and those in it.
func TestFolderThatOthersCanWrite(t *testing.T) {
	for _, open := range []string{"", "runs"} {
		dir := runtimeDir(t)
		if err := os.MkdirAll(filepath.Join(dir, "runs"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, open), 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := NewRun(); !errors.Is(err, freshet.Invalid) {
			t.Errorf("%q: got %v, want the folder to be refused", open, err)
		}
	}
}
