// Package kubeexec is the output of a client-go credential plugin, such as kubectl runs by a kubeconfig's users[].user.exec:
//
//	{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token", "expirationTimestamp"}}
//
// client-go refuses another apiVersion than the kubeconfig names, and puts that one in KUBERNETES_EXEC_INFO. It uses a token until
// the very timestamp, so what is told is early; without one it would keep the token until the server refuses it.
package kubeexec

import (
	"encoding/json"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/expiry"
)

// EnvInfo is the variable that client-go tells a plugin in what it is asked.
const EnvInfo = "KUBERNETES_EXEC_INFO"

const (
	group = "client.authentication.k8s.io/"
	kind  = "ExecCredential"
)

// Render prints bearer and ID tokens, as one line. info is the value of EnvInfo; empty stands for v1.
func Render(a freshet.Answer, info string) ([]byte, error) {
	c := a.Credential
	if c.Token() == "" {
		return nil, freshet.Errorf(freshet.Invalid, "a credential of type %s cannot be printed as kube-exec: clusters are shown tokens", c.Type()).
			WithHint("use --format json, or --format aws-process for AWS keys")
	}
	version, err := versionOf(info)
	if err != nil {
		return nil, err
	}
	type status struct {
		Expires string `json:"expirationTimestamp"`
		Token   string `json:"token"`
	}
	b, err := json.Marshal(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Status     status `json:"status"`
	}{version, kind, status{expiry.Advertised(c).Format(time.RFC3339), c.Token()}})
	return append(b, '\n'), err
}

// versionOf is the version that is asked for.
func versionOf(info string) (string, error) {
	if info == "" {
		return group + "v1", nil
	}
	var asked struct{ APIVersion, Kind string }
	if err := json.Unmarshal([]byte(info), &asked); err != nil {
		return "", freshet.Errorf(freshet.Invalid, "%s is not the JSON that kubectl sets", EnvInfo).WithHint("unset it, to get v1")
	}
	switch asked.APIVersion {
	case group + "v1", group + "v1beta1":
		return asked.APIVersion, nil
	}
	return "", freshet.Errorf(freshet.Invalid, "%s asks for an apiVersion that is not known", EnvInfo).
		WithHint("write apiVersion: %sv1 or v1beta1 in the kubeconfig's exec", group)
}
