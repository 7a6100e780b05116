package file

import (
	"path/filepath"
	"slices"
	"testing"
)

func TestFilesNamesAFileThatIsNotThereYet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "later")
	src, err := New(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := src.Files(), []string{path}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
