package party

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// nodeProgram makes a program of one of this module's npm folders runnable and returns its command line: the script is
// copied next to a link to its installed modules, because an ES module finds its imports from where it lies and from
// nowhere else (NODE_PATH is for CommonJS), and the checkout stays free of node_modules.
func nodeProgram(t testing.TB, folder, script string) []string {
	t.Helper()
	source := filepath.Join(moduleDir(t), folder)
	node, err := exec.LookPath("node")
	if err != nil {
		unavailable(t, "node", "apt-get install nodejs npm", err)
	}
	modules, err := nodeModules(source)
	if err != nil {
		unavailable(t, folder, "npm ci --prefix "+folder, err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, script)
	if err := copyFile(filepath.Join(source, script), program); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return []string{node, program}
}

// nodeModules is the folder with exactly the packages that the lock file in source names, installed into the cache
// under the lock file's hash.
func nodeModules(source string) (string, error) {
	lockFile, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lockFile)
	name := fmt.Sprintf("npm-%s-%s", filepath.Base(source), hex.EncodeToString(sum[:8]))
	dir, err := installOnce(name, func(dir string) error {
		for _, file := range []string{"package.json", "package-lock.json", ".npmrc"} {
			if err := copyFile(filepath.Join(source, file), filepath.Join(dir, file)); err != nil {
				return err
			}
		}
		// No package here needs its install scripts, so none gets to run one.
		cmd := exec.Command("npm", "ci", "--ignore-scripts")
		cmd.Dir = dir
		return run(cmd)
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "node_modules"), nil
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
