package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is the path of freshet, which all tests share: to link it takes seconds.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "freshet-interop-")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "freshet")
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/freshet")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir)
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	cleanup = func() { _ = os.RemoveAll(dir) }
	return binary, nil
})

// cleanup removes what outlives the tests that made it.
var cleanup = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	cleanup()
	os.Exit(code)
}

// build builds freshet, once, and returns its path.
func build(t *testing.T) string {
	t.Helper()
	binary, err := built()
	if err != nil {
		t.Fatalf("build freshet: %v", err)
	}
	return binary
}
