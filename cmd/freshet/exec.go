package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"freshet.dev/config"
	"freshet.dev/daemon"
	"freshet.dev/freshet"
	"freshet.dev/internal/childenv"
	"freshet.dev/internal/secret"
	"freshet.dev/internal/wire"
)

func execCommand(g *global) *cobra.Command {
	var wait time.Duration
	var proxies []string
	c := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "exec [flags] [IDENTITY[,IDENTITY]] [--] COMMAND [ARGUMENT]...",
		Short:                 "Run a program with the environment that its SDKs need",
		Long: `Run a program with the environment that its SDKs need to ask freshet for credentials.

AWS keys: the container credential variables, and a private AWS configuration with the region,
endpoint and CA settings of the identity's own profile, else of $AWS_PROFILE or the default one;
a second AWS identity becomes a profile of its name. Azure, which is source azure-cli: the managed
identity variables of App Service, and AZURE_TOKEN_CREDENTIALS, so that DefaultAzureCredential uses
them and nothing else. Other bearer tokens, an oauth2 identity of Entra ID too: FRESHET_TOKEN_URL,
FRESHET_CLIENT_ID and FRESHET_CLIENT_SECRET, for any OAuth client. Always: FRESHET_SOCKET and
FRESHET_IDENTITY. Variables of yours that would win over these are left out.

With --proxy the program holds no credential at all: requests that it sends to an address of this
machine are given the identity's, and forwarded to the URL. The variables by which clients of OpenAI,
Anthropic, Azure OpenAI, Bedrock and S3 find such an address, and a key that is good for it alone,
are set by the URL's host. For another host, write the kind before the URL: openai+https://…,
anthropic+, azure-openai+, bedrock+, s3+, pip+ (uv too) or npm+. Always: FRESHET_PROXY_URL and
FRESHET_PROXY_SECRET for the first, FRESHET_PROXY_URL_IDENTITY for each. AWS's clients of before
the summer of 2023 (awscli 2.9, boto3 1.26) have no variable for an endpoint: pass them
--endpoint-url "$FRESHET_PROXY_URL". After the identity there may be settings of the route:
=IDENTITY,header=api-key or ,region=…, ,scope=…. Without an IDENTITY of its own, write -- before
COMMAND: the program gets no other door then.

Each identity is retrieved once before the program starts. Its exit code is passed on, 128 + n if
signal n killed it; 125 is freshet's own failure, 126 and 127 are as in a shell.`,
		ValidArgsFunction: g.completeIdentity,
		Example:           "  freshet exec prod -- aws s3 ls\n  freshet exec azure-dev -- python3 list_vms.py\n  freshet exec azure-dev,prod,internal ./deploy.sh\n  freshet exec --wait 2m prod -- ./nightly.sh\n  freshet exec --proxy https://api.openai.com/v1=openai -- node agent.js\n  freshet exec --proxy pip+https://pypi.example.com/simple=feed -- pip install internal",
		RunE: func(c *cobra.Command, a []string) error {
			identities, command, err := execArguments(c, a, len(proxies) > 0)
			if err != nil {
				return err
			}
			if err := checkWait(c, wait); err != nil {
				return err
			}
			code, err := runChild(c, g, identities, proxies, command, wait)
			if err != nil {
				report(c.ErrOrStderr(), err)
			}
			return exit(code)
		},
	}
	waitFlag(c, &wait)
	c.Flags().StringArrayVar(&proxies, "proxy", nil, "forward requests to `[KIND+]URL=IDENTITY`, and sign them; may be repeated")
	_ = c.RegisterFlagCompletionFunc("proxy", g.completeProxy)
	c.Flags().SetInterspersed(false) // what follows the identities belongs to the program
	return c
}

// execArguments are the identities and the command. Beside a proxy there need be no identity.
func execArguments(c *cobra.Command, a []string, proxied bool) (identities, command []string, err error) {
	switch {
	case len(a) > 0 && c.ArgsLenAtDash() != 0:
		identities, command = strings.Split(a[0], ","), a[1:]
		if slices.Contains(identities, "") {
			return nil, nil, usage(c, fmt.Errorf("%q has an identity without a name", a[0]))
		}
	case proxied:
		command = a
	default:
		return nil, nil, usage(c, errors.New("IDENTITY is missing"))
	}
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 || command[0] == "" {
		return nil, nil, usage(c, errors.New("COMMAND is missing"))
	}
	return identities, command, nil
}

// Exit codes of exec, beside the child's own: as env(1) and shells have them.
const (
	exitOwnFailure    = 125
	exitNotExecutable = 126
	exitNotFound      = 127
)

func runChild(c *cobra.Command, g *global, identities, proxies, command []string, wait time.Duration) (code int, err error) {
	routes, err := execRoutes(proxies)
	if err != nil {
		return exitOwnFailure, err
	}
	path, code, err := lookPath(command[0])
	if err != nil {
		return code, err
	}
	s, err := g.connect(c.Context(), lasting)
	if err != nil {
		return exitOwnFailure, err
	}
	defer s.Close()
	r, err := daemon.NewRun()
	if err != nil {
		return exitOwnFailure, err
	}
	defer r.Close()
	want := wanted{identities: identities, wait: wait}
	secret := secret.New()
	for i := range routes {
		if err := routes[i].complete(s.cfg, secret); err != nil {
			return exitOwnFailure, err
		}
		want.routes = append(want.routes, routes[i].spec)
	}
	stop := showWait(c.ErrOrStderr(), strings.Join(append(slices.Clip(identities), routeNames(routes)...), ", "), wait)
	open, err := openDoors(c.Context(), s, r, want)
	stop()
	if err != nil {
		return exitOwnFailure, err
	}
	defer open.close()
	if err := checkClash(identities, open.session.Types, routes); err != nil {
		return exitOwnFailure, err
	}
	env, err := childEnvironment(r, s.cfg, open.session, identities, childProxies(routes, open.routes))
	if err != nil {
		return exitOwnFailure, err
	}
	if open.ended != nil {
		go func() {
			<-open.ended
			fmt.Fprintln(c.ErrOrStderr(), "freshet: the daemon ended: this program gets no more credentials\nhint: start the daemon, and then this program, again")
		}()
	}
	cmd := &exec.Cmd{Path: path, Args: command, Env: env, Stdin: c.InOrStdin(), Stdout: c.OutOrStdout(), Stderr: c.ErrOrStderr()}
	return runForeground(c.Context(), cmd)
}

// lookPath finds a program as a shell does. A name that resolves to the current folder only because PATH says so is refused,
// as os/exec does.
func lookPath(name string) (string, int, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, 0, nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EISDIR):
		return "", exitNotExecutable, notExecutable(name)
	case errors.Is(err, exec.ErrDot):
		return "", exitNotFound, freshet.Errorf(freshet.Invalid, "%s: found only in the current folder", name).WithHint("write ./%s", name)
	}
	e := freshet.Errorf(freshet.Invalid, "%s: no such program", name).WithHint("check its name, and that its folder is on PATH")
	if strings.HasPrefix(name, "-") {
		e.WithHint("freshet's own flags come before the identity")
	}
	return "", exitNotFound, e
}

func notExecutable(name string) error {
	return freshet.Errorf(freshet.Invalid, "%s: not executable", name).WithHint("chmod +x it, or name its interpreter first")
}

// childEnvironment is this process's environment, less what would win over the session's and the routes', and those.
func childEnvironment(r *daemon.Run, cfg *config.File, opened wire.SessionOpened, identities []string, proxies []childenv.Proxy) ([]string, error) {
	add := opened.Environment
	var aws []string
	for _, name := range identities {
		if opened.Types[name] == freshet.AWS {
			aws = append(aws, name)
		}
	}
	if len(aws) > 0 {
		if err := awsFiles(r.Dir, cfg, aws, add); err != nil {
			return nil, err
		}
		// The last of every SDK's chain is the machine's own role: who is refused here must not become that.
		add["AWS_EC2_METADATA_DISABLED"] = "true"
	}
	if err := proxyFiles(r.Dir, proxies); err != nil {
		return nil, err
	}
	return childenv.Merge(os.Environ(), add, proxies...), nil
}

// awsPlace is what an identity's configuration says of where to call AWS: that of its own profile or role, or of what it is made
// from. cfg may be nil.
func awsPlace(cfg *config.File, identity string) childenv.Place {
	var p childenv.Place
	for cfg != nil && identity != "" {
		i := slices.IndexFunc(cfg.Identities, func(id config.Identity) bool { return id.Name == identity })
		if i < 0 {
			break
		}
		if s, ok := cfg.Identities[i].Settings.(interface {
			AWSPlace() (profile, region, fallback string)
		}); ok {
			profile, region, fallback := s.AWSPlace()
			if p.Region == "" {
				p.Region = region
			}
			if p.Fallback == "" {
				p.Fallback = fallback
			}
			if profile != "" {
				p.Profile, p.Own = profile, p.Region == region // a role's region is its own
				break
			}
		}
		identity = cfg.Identities[i].From
	}
	return p
}

// awsFiles writes the child's private AWS configuration, and an empty credentials file, which exists so that no SDK looks for
// the user's.
func awsFiles(dir string, cfg *config.File, identities []string, add map[string]string) error {
	program, err := os.Executable()
	if err != nil {
		return freshet.Errorf(freshet.Unavailable, "freshet's own path is unknown: %w", err)
	}
	var list []childenv.Helper
	for _, name := range identities[1:] {
		list = append(list, childenv.Helper{
			Profile: name, Command: fmt.Sprintf("%q token %s --format aws-process", program, name), Place: awsPlace(cfg, name),
		})
	}
	text, err := usersAWSConfig()
	if err != nil {
		return err
	}
	place := awsPlace(cfg, identities[0])
	for _, variable := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if place.Profile == "" {
			place.Profile = os.Getenv(variable)
		}
	}
	path, credentials := filepath.Join(dir, "aws-config"), filepath.Join(dir, "aws-credentials")
	add["AWS_CONFIG_FILE"], add["AWS_SHARED_CREDENTIALS_FILE"] = path, credentials
	// Without it botocore reads ~/.boto and /etc/boto.cfg, before it looks for a container's credentials.
	add["BOTO_CONFIG"] = credentials
	if err := errors.Join(os.WriteFile(path, childenv.AWSConfig(text, place, list), 0o600), os.WriteFile(credentials, nil, 0o600)); err != nil {
		return noRunFolder(err)
	}
	return nil
}

func noRunFolder(err error) error {
	return freshet.Errorf(freshet.Unavailable, "run-time folder: %w", err).WithHint("free its disk, or set XDG_RUNTIME_DIR to another folder")
}

// usersAWSConfig is the text of the user's AWS configuration; nothing where there is none.
func usersAWSConfig() ([]byte, error) {
	path := os.Getenv("AWS_CONFIG_FILE")
	if path == "" {
		if home, err := os.UserHomeDir(); err == nil {
			path = filepath.Join(home, ".aws", "config")
		}
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, freshet.Errorf(freshet.Invalid, "AWS configuration: %w", err).WithHint("make it readable, or unset AWS_CONFIG_FILE")
	}
	return text, nil
}
