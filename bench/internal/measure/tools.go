package measure

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Tools builds the programs that cases start, once each, in a folder that goes when the command ends.
type Tools struct {
	dir   string
	mu    sync.Mutex
	built map[string]string
}

// NewTools makes the folder.
func NewTools() (*Tools, error) {
	dir, err := os.MkdirTemp("", "freshet-bench-")
	if err != nil {
		return nil, err
	}
	return &Tools{dir: dir, built: make(map[string]string)}, nil
}

// Close removes what was built.
func (t *Tools) Close() { _ = os.RemoveAll(t.dir) }

// Freshet is the path of the command freshet, built from the folder above this module's.
func (t *Tools) Freshet(ctx context.Context) (string, error) {
	return t.build(ctx, "freshet", "..", "./cmd/freshet")
}

// Hello is the path of a Go program that prints a line.
func (t *Tools) Hello(ctx context.Context) (string, error) {
	return t.build(ctx, "hello", ".", "./internal/hello")
}

// Program is the path of one of this module's programs, by its folder in internal.
func (t *Tools) Program(ctx context.Context, name string) (string, error) {
	return t.build(ctx, name, ".", "./internal/"+name)
}

// Dir is a new folder for a case's files.
func (t *Tools) Dir() (string, error) { return os.MkdirTemp(t.dir, "case-") }

func (t *Tools) build(ctx context.Context, name, module, pkg string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if path := t.built[name]; path != "" {
		return path, nil
	}
	path := filepath.Join(t.dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, pkg)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	t.built[name] = path
	return path, nil
}
