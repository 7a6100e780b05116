package crowd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"freshet.dev/bench/internal/az"
	"freshet.dev/bench/internal/daemon"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/client"
	"freshet.dev/freshet"
	"freshet.dev/freshet/azure"
)

const azidentityModule = "github.com/Azure/azure-sdk-for-go/sdk/azidentity"

var viaDaemon = way{
	measure.Subject{
		Name: "freshet serve", Role: measure.Freshet, Modules: []string{"freshet.dev"},
		Note: "a daemon that was just started, with an identity of source azure-cli; each caller with a credential of its own has a connection of its own",
	},
	func(s *measure.Setup, cli *az.CLI, clients int) (door, error) {
		d, socket, err := serve(s, cli)
		if err != nil {
			return door{}, err
		}
		all := make([]*client.Client, clients)
		for i := range all {
			all[i] = client.New(client.Config{Socket: socket})
		}
		return door{
			ask: func(ctx context.Context, caller int) (string, error) {
				a, err := all[caller%clients].Credential(ctx, identity, freshet.Request{Scopes: []string{scope}})
				if err != nil {
					return "", err
				}
				return a.Credential.Token(), nil
			},
			beside: []int{d.PID},
			shut: func() {
				for _, c := range all {
					c.Close()
				}
				d.Stop()
			},
		}, nil
	},
}

// identity is the name of the one that the daemon has.
const identity = "azure"

// serve starts a daemon over the stand-in, with folders of its own.
func serve(s *measure.Setup, cli *az.CLI) (d *daemon.Process, socket string, err error) {
	program, err := s.Tools.Freshet(s.Context)
	if err != nil {
		return nil, "", err
	}
	dir, err := s.Tools.Dir()
	if err != nil {
		return nil, "", err
	}
	config, socket := filepath.Join(dir, "freshet.yaml"), filepath.Join(dir, "s")
	text := fmt.Sprintf("version: 1\nsocket: {path: %q}\nidentities:\n  %s: {source: azure-cli, program: %q, config_dir: %q}\n",
		socket, identity, cli.Path, dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	d, err = daemon.Start(s.Context, daemon.Command{
		Args:  []string{program, "serve", "--config", config},
		Env:   []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "XDG_RUNTIME_DIR=" + dir},
		Ready: "ready: ",
	})
	return d, socket, err
}

var wrapped = way{
	measure.Subject{
		Name: "freshet/azure", Role: measure.Freshet, Modules: []string{"freshet.dev/freshet/azure", azidentityModule},
		Note: "one AzureCLICredential, wrapped by azure.Wrap; no daemon",
	},
	func(*measure.Setup, *az.CLI, int) (door, error) {
		c, err := azidentity.NewAzureCLICredential(nil)
		if err != nil {
			return door{}, err
		}
		return credentials([]azcore.TokenCredential{azure.Wrap(c)}), nil
	},
}

var credentialEach = way{
	measure.Subject{
		Name: "azidentity AzureCLICredential", Role: measure.Peer, Modules: []string{azidentityModule}, Note: "a credential for each caller; GetToken",
	},
	azureCLI,
}

var credentialShared = way{
	measure.Subject{
		Name: "azidentity AzureCLICredential", Role: measure.Peer, Modules: []string{azidentityModule}, Note: "one credential for all callers; GetToken",
	},
	azureCLI,
}

func azureCLI(_ *measure.Setup, _ *az.CLI, clients int) (door, error) {
	all := make([]azcore.TokenCredential, clients)
	for i := range all {
		c, err := azidentity.NewAzureCLICredential(nil)
		if err != nil {
			return door{}, err
		}
		all[i] = c
	}
	return credentials(all), nil
}

// credentials are the Azure SDK's. Callers are spread over them.
func credentials(all []azcore.TokenCredential) door {
	return door{
		ask: func(ctx context.Context, caller int) (string, error) {
			t, err := all[caller%len(all)].GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
			return t.Token, err
		},
		shut: func() {},
	}
}

var once = way{
	measure.Subject{Name: "one az", Role: measure.Floor, Note: "a run of the stand-in, for one caller"},
	func(_ *measure.Setup, cli *az.CLI, _ int) (door, error) {
		return door{
			ask:  func(ctx context.Context, _ int) (string, error) { return cli.Run(ctx) },
			shut: func() {},
		}, nil
	},
}
