package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"freshet.dev/freshet"
	"freshet.dev/internal/shell"
)

// ConfigName is the name of the configuration that WriteConfig writes.
const ConfigName = "freshet.yaml"

// AdminTokenName is the name of the file, beside it, with the token of the admin API.
const AdminTokenName = "admin-token"

// header is how a configuration begins that a lab wrote, and so may replace.
const header = "# Written by a freshet lab, which removes it at its end.\n"

// WriteConfig writes into dir, an absolute path, what makes freshet work with the cloud served at base:
//
//	freshet.yaml                          identities of the cloud's issuers, and a socket beside it
//	client-secret, az-secret, admin-token
//	env                                   variables for a shell whose programs shall ask the cloud itself
//	bin/az                                the lab's az, run by the freshet at freshetBinary
//
// Only the owner can read them. It makes dir if need be, takes none that others own or can write to, and replaces only what a lab
// left there. remove takes away what was
// written, and leaves everything where another lab has taken over. Errors are of kind Invalid.
func (c *Cloud) WriteConfig(dir, freshetBinary, base string) (remove func(), err error) {
	w := writer{dir: dir}
	if err := w.prepare(); err != nil {
		return nil, err
	}
	e, k := c.Paths(base), c.credentials
	w.write("client-secret", k.ClientSecret+"\n")
	w.write("az-secret", k.AzureCLISecret+"\n")
	w.write(AdminTokenName, k.AdminToken+"\n")
	w.write("env", environment(dir, base, e, k))
	w.makeDir("bin")
	if w.err == nil {
		w.note("bin/az", WriteAzureCLI(w.path("bin"), freshetBinary, base, w.path("az-secret")))
	}
	config := configuration(dir, e, k.ClientID)
	w.write(ConfigName, config) // last: who waits for it finds the others
	remove = func() {
		now, err := os.ReadFile(filepath.Join(dir, ConfigName))
		if err == nil && string(now) == config || errors.Is(err, fs.ErrNotExist) {
			w.remove(w.written)
		}
	}
	if w.err != nil {
		w.remove(w.written)
		return nil, w.err
	}
	return remove, nil
}

// everything is what is written, in its order.
func everything() []string {
	return []string{"client-secret", "az-secret", AdminTokenName, "env", "bin", "bin/az", ConfigName}
}

// writer writes files into a folder, until the first error.
type writer struct {
	dir     string
	made    bool     // dir was not there before
	written []string // names
	err     error
}

func (w *writer) path(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

// prepare makes the folder, or makes room in it.
func (w *writer) prepare() error {
	if !filepath.IsAbs(w.dir) {
		return freshet.Errorf(freshet.Invalid, "lab: %s: not an absolute path", w.dir)
	}
	// A socket's path has at most 103 bytes on macOS, and 107 on Linux.
	if len(w.path("freshet.sock")) > 103 {
		return freshet.Errorf(freshet.Invalid, "lab: %s: its path is too long for a socket in it", w.dir).WithHint("choose a shorter one")
	}
	err := os.Mkdir(w.dir, 0o700)
	w.made = err == nil
	if errors.Is(err, fs.ErrExist) {
		if err := owned(w.dir); err != nil {
			return err
		}
	} else if err != nil {
		return w.fault(w.dir, err)
	}
	if old, err := os.ReadFile(w.path(ConfigName)); err == nil && bytes.HasPrefix(old, []byte(header)) {
		w.remove(everything()) // a lab that was killed left it
	}
	return nil
}

// owned refuses a folder that is there already and that others can put a file or a program into.
func owned(dir string) error {
	why := ""
	info, err := os.Lstat(dir)
	if err != nil {
		return freshet.Errorf(freshet.Invalid, "lab: %s: cannot be looked at", dir)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		why = "is not a folder"
	case !ok || int(stat.Uid) != os.Geteuid():
		why = "belongs to another user"
	case info.Mode().Perm()&0o022 != 0:
		why = "can be written to by others"
	default:
		return nil
	}
	return freshet.Errorf(freshet.Invalid, "lab: %s: %s", dir, why).WithHint("choose another folder, or chmod go-w it")
}

func (w *writer) fault(path string, err error) error {
	e := &freshet.Error{Kind: freshet.Invalid, Why: "lab: " + path + ": cannot be written", Cause: err}
	if errors.Is(err, fs.ErrExist) {
		e.Why = "lab: " + path + ": is there already, and is not a lab's"
		e.Hint = "choose another folder"
	}
	return e
}

func (w *writer) write(name, text string) {
	if w.err != nil {
		return
	}
	f, err := os.OpenFile(w.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	w.note(name, err)
}

// note takes down that a name was written, or why not.
func (w *writer) note(name string, err error) {
	switch {
	case err == nil:
		w.written = append(w.written, name)
	case errors.As(err, new(*freshet.Error)):
		w.err = err
	default:
		w.err = w.fault(w.path(name), err)
	}
}

func (w *writer) makeDir(name string) {
	if w.err != nil {
		return
	}
	w.note(name, os.Mkdir(w.path(name), 0o700))
}

func (w *writer) remove(names []string) {
	if slices.Contains(names, ConfigName) { // its daemon's, if there was one
		names = append(slices.Clone(names), "freshet.sock", "freshet.sock.lock")
	}
	for _, name := range slices.Backward(names) {
		_ = os.Remove(w.path(name))
	}
	if w.made {
		_ = os.Remove(w.dir) // unless the user has put something there
	}
}

// configuration is a configuration with an identity of each issuer that freshet has a source for.
func configuration(dir string, e Endpoints, clientID string) string {
	q := func(s string) string { // JSON's strings are YAML's
		b, _ := json.Marshal(s)
		return string(b)
	}
	in := func(name string) string { return q(filepath.Join(dir, filepath.FromSlash(name))) }
	return header + fmt.Sprintf(`version: 1
socket: {path: %[1]s}
identities:
  entra:
    source: oauth2
    token_url: %[2]s
    client_id: %[3]s
    client_secret: {file: %[4]s}
    auth: post
    scopes: [https://graph.example/.default]
  oauth:
    source: oauth2
    token_url: %[5]s
    client_id: %[3]s
    client_secret: {file: %[4]s}
    scopes: [orders.read]
  workload:
    source: oauth2
    token_url: %[5]s
    client_id: %[3]s
    client_secret: {file: %[4]s}
    audience: %[6]s
  aws:
    source: aws-web-identity
    from: workload
    role_arn: %[7]s
    endpoint: %[8]s
  az:
    source: azure-cli
    program: %[9]s
    scopes: [https://management.example/.default]
`, in("freshet.sock"), q(e.Entra(Tenant)), q(clientID), in("client-secret"), q(e.OAuthToken), q(AudienceSTS), q(Role), q(e.STS),
		in("bin/az"))
}

// environment lets SDKs and az ask the cloud itself, as they would without freshet.
func environment(dir, base string, e Endpoints, k Credentials) string {
	var b strings.Builder
	b.WriteString("# For a shell whose programs shall ask the lab itself, without freshet.\n")
	for _, v := range [][2]string{
		{envCloud, base},
		{envSecret, k.AzureCLISecret},
		{"IDENTITY_ENDPOINT", e.MSI},
		{"IDENTITY_HEADER", k.MSIHeader},
		{"AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential"},
		{"AWS_CONTAINER_CREDENTIALS_FULL_URI", e.Container},
		{"AWS_CONTAINER_AUTHORIZATION_TOKEN", k.ContainerToken},
		{"AWS_ENDPOINT_URL_STS", e.STS},
		{"AWS_REGION", "us-east-1"},
		{"AWS_DEFAULT_REGION", "us-east-1"}, // awscli 1 reads this one
	} {
		fmt.Fprintf(&b, "export %s=%s\n", v[0], shell.Quote(v[1]))
	}
	fmt.Fprintf(&b, "export PATH=%s:\"$PATH\"\n", shell.Quote(filepath.Join(dir, "bin")))
	return b.String()
}
