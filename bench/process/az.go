package process

import (
	"errors"
	"os"
	"os/exec"

	"freshet.dev/bench/internal/measure"
)

const notInstalled = "az is not installed"

// az is the Azure CLI with a home of its own, where nobody is logged in. It sends nothing to anybody.
func az(s *measure.Setup) (args, env []string, err error) {
	path, err := exec.LookPath("az")
	if err != nil {
		return nil, nil, errors.New(notInstalled)
	}
	dir, err := s.Tools.Dir()
	if err != nil {
		return nil, nil, err
	}
	return []string{path, "account", "get-access-token"}, []string{
		"HOME=" + dir, "AZURE_CONFIG_DIR=" + dir, "AZURE_CORE_COLLECT_TELEMETRY=no", "PATH=" + os.Getenv("PATH"),
	}, nil
}
