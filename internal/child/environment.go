package child

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// listed are the variables of this process that children see. Everything else is kept from them: it holds other
// identities' secrets.
var listed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

// listedPrefixes are families of such variables: the locale's, and where a user's settings are.
var listedPrefixes = []string{"LC_", "XDG_"}

// EnvAncestry carries the ancestry of a retrieval to the children that serve it: names of identities, which have no commas, joined
// by commas. See [freshet.Ancestry].
const EnvAncestry = "FRESHET_ANCESTRY"

// environment is the listed part of this process's environment with extra on top, and the ancestry on top of that.
func environment(extra map[string]string, ancestry []string) []string {
	env := []string{} // never nil: os/exec would read that as all of ours
	if len(ancestry) > 0 {
		extra = maps.Clone(extra)
		if extra == nil {
			extra = make(map[string]string, 1)
		}
		extra[EnvAncestry] = strings.Join(ancestry, ",")
	}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if _, given := extra[name]; !given && isListed(name) {
			env = append(env, kv)
		}
	}
	for name, value := range extra {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

func isListed(name string) bool {
	if slices.Contains(listed, name) {
		return true
	}
	return slices.ContainsFunc(listedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// lookPath resolves a program. A relative path with a folder in it, and a program found through a relative entry of
// PATH, would depend on the current folder: both are refused.
func lookPath(program string) (string, error) {
	if strings.ContainsRune(program, filepath.Separator) && !filepath.IsAbs(program) {
		return "", exec.ErrDot
	}
	return exec.LookPath(program)
}
