package party

import (
	"errors"
	"os/exec"
	"path/filepath"
	"testing"
)

// Kubectl is the path of Debian's kubectl, which is 1.20 and knows credential plugins of v1beta1 alone. It is unpacked into the
// cache, not installed: many a machine has another vendor's at the same path, which the package would not replace.
func Kubectl(t testing.TB) string {
	t.Helper()
	dir, err := installOnce("kubernetes-client-1.20", func(dir string) error {
		if _, err := exec.LookPath("apt-get"); err != nil {
			return errors.New("not a Debian machine")
		}
		if download(dir) != nil {
			// A fresh container has no package lists, or ones whose files are gone from the mirrors.
			if err := run(exec.Command("apt-get", "-q", "update")); err != nil {
				return err
			}
			if err := download(dir); err != nil {
				return err
			}
		}
		packages, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil || len(packages) != 1 {
			return errors.Join(err, errors.New("apt-get downloaded no package"))
		}
		return run(exec.Command("dpkg-deb", "--extract", packages[0], dir))
	})
	if err != nil {
		unavailable(t, "kubectl", "apt-get install kubernetes-client", err)
	}
	return filepath.Join(dir, "usr", "bin", "kubectl")
}

func download(dir string) error {
	cmd := exec.Command("apt-get", "-q", "download", "kubernetes-client")
	cmd.Dir = dir
	return run(cmd)
}
