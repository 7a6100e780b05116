package azurecli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"freshet.dev/freshet"
	"freshet.dev/internal/shell"
)

// arguments are az's, for a request.
func (s *Source) arguments(req freshet.Request) ([]string, error) {
	args := []string{"account", "get-access-token", "--output", "json"}
	switch {
	case s.cfg.Subscription != "" && req.Tenant != "":
		return nil, freshet.Errorf(freshet.Invalid, "a tenant is asked for, and the identity is bound to a subscription, which has its own").
			WithHint("leave the tenant out, or configure an identity without subscription:")
	case s.cfg.Subscription != "":
		args = append(args, "--subscription", s.cfg.Subscription)
	case unfit(req.Tenant, tenantRunes):
		return nil, freshet.Errorf(freshet.Invalid, "the tenant has characters that are not passed on to az").
			WithHint("ask by its id or domain")
	case req.Tenant != "":
		args = append(args, "--tenant", req.Tenant)
	}
	for _, scope := range req.Scopes {
		if scope == "" || unfit(scope, scopeRunes) {
			return nil, freshet.Errorf(freshet.Invalid, "a scope has characters that are not passed on to az").
				WithHint("letters, digits and ._-:/ are")
		}
	}
	if len(req.Scopes) == 0 {
		return args, nil
	}
	const suffix = "/.default"
	if resource, ok := strings.CutSuffix(req.Scopes[0], suffix); ok && resource != "" && len(req.Scopes) == 1 {
		return append(args, "--resource", resource), nil
	}
	return append(append(args, "--scope"), req.Scopes...), nil
}

// These are the characters that azidentity 1.15 lets through to az (validTenantID and validScope). What matters is that az, which
// reads the file of an argument that begins with @ or has it behind a =, reads none, that nothing is special to the shell script
// that az is, and that a tenant stays one part of the path that az makes of it.
const (
	tenantRunes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-"
	scopeRunes  = tenantRunes + "_:/"
)

// unfit reports whether a scope or a tenant that a caller asks for is not passed on: azidentity's - at the beginning would make
// an option of it.
func unfit(s, runes string) bool { return strings.HasPrefix(s, "-") || strings.Trim(s, runes) != "" }

// login is the command that logs in for a request: with the scope too, since a policy may ask more for one than for others.
func (s *Source) login(req freshet.Request) string {
	command := "az login"
	if s.cfg.ConfigDir != "" {
		command = envConfigDir + "=" + quote(s.cfg.ConfigDir) + " " + command
	}
	if req.Tenant != "" {
		command += " --tenant " + req.Tenant
	}
	if len(req.Scopes) > 0 {
		command += " --scope " + strings.Join(req.Scopes, " ")
	}
	return command
}

// quote makes a path one word of a shell's, as it is where that is plain.
func quote(path string) string {
	if strings.Trim(path, scopeRunes) == "" {
		return path
	}
	return shell.Quote(path)
}

// program is the path of the real az. It is looked for at each retrieval, which costs nothing beside a run, so that one that was
// installed or moved is found.
func (s *Source) program() (string, error) {
	if s.cfg.Program != "" {
		return s.cfg.Program, nil
	}
	var self os.FileInfo
	if path, err := os.Executable(); err == nil {
		self, _ = os.Stat(path)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			continue // the current folder's may be a cloned repository's
		}
		path, err := exec.LookPath(filepath.Join(dir, "az"))
		if err != nil {
			continue
		}
		// A shim of ours stands for az on the user's PATH; to run it would ask ourselves.
		if info, err := os.Stat(path); err != nil || self != nil && os.SameFile(info, self) {
			continue
		}
		return path, nil
	}
	return "", freshet.Errorf(freshet.Invalid, "az: the Azure CLI is not on PATH").
		WithHint("install it (https://aka.ms/azure-cli, or apt-get install azure-cli), or name its path as program:")
}
