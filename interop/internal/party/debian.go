package party

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// debian makes sure the packages are installed. Debian's versions are wanted for their age: botocore 1.29 and awscli
// 2.9 are what a stable machine has, and read fewer variables than the current ones.
func debian(t testing.TB, packages ...string) {
	t.Helper()
	install := "apt-get install " + strings.Join(packages, " ")
	if err := ensurePackages(packages); err != nil {
		unavailable(t, strings.Join(packages, ", "), install, err)
	}
}

// Curl is the path of curl, whichever the machine has.
func Curl(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("curl"); err == nil {
		return path
	}
	debian(t, "curl")
	return "/usr/bin/curl"
}

func ensurePackages(packages []string) error {
	if havePackages(packages) {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("not a Debian machine")
	}
	if os.Geteuid() != 0 {
		return errors.New("not installed, and only root could")
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(cache, "apt.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if havePackages(packages) {
		return nil
	}
	if apt(append([]string{"install"}, packages...)...) == nil {
		return nil
	}
	// A fresh container has no package lists, or ones whose files are gone from the mirrors.
	if err := apt("update"); err != nil {
		return err
	}
	return apt(append([]string{"install"}, packages...)...)
}

func havePackages(packages []string) bool {
	for _, name := range packages {
		out, err := exec.Command("dpkg-query", "-W", "-f=${db:Status-Status}", name).Output()
		if err != nil || string(out) != "installed" {
			return false
		}
	}
	return true
}

func apt(args ...string) error {
	cmd := exec.Command("apt-get", append([]string{"-y", "-q", "--no-install-recommends"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if err := run(cmd); err != nil {
		return fmt.Errorf("apt: %w", err)
	}
	return nil
}

// Promtool is the path of Prometheus's linter.
func Promtool(t testing.TB) string {
	t.Helper()
	debian(t, "prometheus")
	return "/usr/bin/promtool"
}

// AzureCLI is the path of Debian's az, which is 2.45. It is named by path, as a test may put another az on PATH.
func AzureCLI(t testing.TB) string {
	t.Helper()
	debian(t, "azure-cli")
	return "/usr/bin/az"
}
