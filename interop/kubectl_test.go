package interop

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"freshet.dev/interop/internal/party"
)

// cluster is an API server that lets in whoever shows the token.
type cluster struct {
	*httptest.Server
	mu    sync.Mutex
	shown []string // Authorization headers
}

func newCluster(t *testing.T, token string) *cluster {
	t.Helper()
	c := &cluster{}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.shown = append(c.shown, r.Header.Get("Authorization"))
		c.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "let in")
	}))
	t.Cleanup(c.Close)
	return c
}

// kubeconfig has kubectl run a credential plugin of a version.
func (c *cluster) kubeconfig(t *testing.T, version string, command ...string) string {
	t.Helper()
	type object = map[string]any
	doc, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": []object{{"name": "c", "cluster": object{
			"server":                     c.URL,
			"certificate-authority-data": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw}),
		}}},
		"contexts": []object{{"name": "c", "context": object{"cluster": "c", "user": "u"}}},
		"users": []object{{"name": "u", "user": object{"exec": object{
			"apiVersion": "client.authentication.k8s.io/" + version, "command": command[0], "args": command[1:], "interactiveMode": "Never",
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return writeSecret(t, filepath.Join(t.TempDir(), "kubeconfig"), string(doc))
}

// TestKubectlShowsTheToken has kubectl run freshet as its credential plugin, against a server that only lets the token in.
func TestKubectlShowsTheToken(t *testing.T) {
	const token = "token-of-the-cluster"
	kubectl, freshet := party.Kubectl(t), build(t)
	config := configure(t, `
identities:
  cluster: {source: process, command: [/bin/echo, `+token+`], lifetime: 1h}
  other:   {source: process, command: [/bin/echo, another-token], lifetime: 1h}
`)
	plugin := func(identity string) []string {
		return []string{freshet, "token", "--config", config, identity, "--format", "kube-exec"}
	}
	for _, test := range []struct{ version, kubectl string }{{"v1beta1", kubectl}, {"v1beta1", "kubectl"}, {"v1", "kubectl"}} {
		t.Run(test.version+" of "+filepath.Base(filepath.Dir(test.kubectl)), func(t *testing.T) {
			path, err := exec.LookPath(test.kubectl)
			if err != nil {
				t.Skip("v1 wants a newer kubectl than Debian's, and none is on PATH")
			}
			c := newCluster(t, token)
			env := callerEnv(t.TempDir())
			got := runToEnd(t, env, path, "--kubeconfig", c.kubeconfig(t, test.version, plugin("cluster")...), "get", "--raw", "/readyz")
			if got.code != 0 || got.stdout != "let in" {
				t.Errorf("exit %d, printed %q\n%s\nthe server was shown %q", got.code, got.stdout, got.stderr, c.shown)
			}
			got = runToEnd(t, env, path, "--kubeconfig", c.kubeconfig(t, test.version, plugin("other")...), "get", "--raw", "/readyz")
			if got.code == 0 || c.shown[len(c.shown)-1] != "Bearer another-token" {
				t.Errorf("with another token: exit %d, and the server was shown %q", got.code, c.shown)
			}
		})
	}
	c := newCluster(t, token)
	// A version that freshet does not know is said, rather than answered with one that kubectl refuses without a reason.
	got := runToEnd(t, callerEnv(t.TempDir()), kubectl, "--kubeconfig", c.kubeconfig(t, "v1alpha1", plugin("cluster")...), "get", "--raw", "/readyz")
	if got.code == 0 || !strings.Contains(got.stderr, "write apiVersion: client.authentication.k8s.io/v1 or v1beta1") || len(c.shown) != 0 {
		t.Errorf("v1alpha1: exit %d\n%s", got.code, got.stderr)
	}
}
