package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
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
	"freshet.dev/internal/socket"
	"freshet.dev/internal/wire"
	"freshet.dev/localapi"
)

func execCommand(g *global) *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "exec [flags] IDENTITY[,IDENTITY] [--] COMMAND [ARGUMENT]...",
		Short:                 "Run a program with the environment that its SDKs need",
		Long: `Run a program with the environment that its SDKs need to ask freshet for credentials.

AWS keys: the container credential variables, and a private AWS configuration with the region,
endpoint and CA settings of the identity's own profile, else of $AWS_PROFILE or the default one;
a second AWS identity becomes a profile of its name. Azure, which is source azure-cli: the managed
identity variables of App Service, and AZURE_TOKEN_CREDENTIALS, so that DefaultAzureCredential uses
them and nothing else. Other bearer tokens, an oauth2 identity of Entra ID too: FRESHET_TOKEN_URL,
FRESHET_CLIENT_ID and FRESHET_CLIENT_SECRET, for any OAuth client. Always: FRESHET_SOCKET and
FRESHET_IDENTITY. Variables of yours that would win over these are left out.

Each identity is retrieved once before the program starts. Its exit code is passed on, 128 + n if
signal n killed it; 125 is freshet's own failure, 126 and 127 are as in a shell.`,
		ValidArgsFunction: g.completeIdentity,
		Example:           "  freshet exec prod -- aws s3 ls\n  freshet exec azure-dev -- python3 list_vms.py\n  freshet exec azure-dev,prod,internal ./deploy.sh\n  freshet exec --wait 2m prod -- ./nightly.sh",
		RunE: func(c *cobra.Command, a []string) error {
			identities, command, err := execArguments(c, a)
			if err != nil {
				return err
			}
			if err := checkWait(c, wait); err != nil {
				return err
			}
			code, err := runChild(c, g, identities, command, wait)
			if err != nil {
				report(c.ErrOrStderr(), err)
			}
			return exit(code)
		},
	}
	waitFlag(c, &wait)
	c.Flags().SetInterspersed(false) // what follows the identities belongs to the program
	return c
}

// execArguments are the identities and the command.
func execArguments(c *cobra.Command, a []string) (identities, command []string, err error) {
	if len(a) == 0 || c.ArgsLenAtDash() == 0 {
		return nil, nil, usage(c, errors.New("IDENTITY is missing"))
	}
	identities, command = strings.Split(a[0], ","), a[1:]
	if slices.Contains(identities, "") {
		return nil, nil, usage(c, fmt.Errorf("%q has an identity without a name", a[0]))
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

func runChild(c *cobra.Command, g *global, identities, command []string, wait time.Duration) (code int, err error) {
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
	stop := showWait(c.ErrOrStderr(), strings.Join(identities, ", "), wait)
	session, err := openSession(c.Context(), s, r, identities, wait)
	stop()
	if err != nil {
		return exitOwnFailure, err
	}
	defer session.close()
	env, err := childEnvironment(r, s.cfg, session.SessionOpened, identities)
	if err != nil {
		return exitOwnFailure, err
	}
	if session.ended != nil {
		go func() {
			<-session.ended
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

// session is an open door, the daemon's or this process's own.
type session struct {
	wire.SessionOpened
	close func()
	ended <-chan struct{} // closed when the daemon has ended it; nil for this process's own
}

func openSession(ctx context.Context, s *service, r *daemon.Run, identities []string, wait time.Duration) (*session, error) {
	if s.private != nil {
		return s.openOwnSession(ctx, r, identities, wait)
	}
	began := freshet.Now()
	// Once open, a session outlives the signals that are the child's business; until then they end it.
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	opened, err := s.client.OpenSession(lasting, identities, wait)
	if err == nil && !stop() {
		opened.Close()
		err = freshet.AsError(ctx.Err())
	}
	if err != nil {
		cancel()
		if !s.vanished(ctx, err) {
			return nil, err
		}
		if err := s.replace(); err != nil {
			return nil, err
		}
		return s.openOwnSession(ctx, r, identities, max(0, wait-began.Elapsed()))
	}
	ended, closing := make(chan struct{}), make(chan struct{})
	go func() {
		opened.Wait()
		select {
		case <-closing:
		default:
			close(ended)
		}
	}()
	return &session{opened.SessionOpened, func() { close(closing); cancel(); opened.Close() }, ended}, nil
}

// openOwnSession serves the local API for the child on a socket in the run's folder, so that what the child runs shares this
// process's broker.
func (s *service) openOwnSession(ctx context.Context, r *daemon.Run, identities []string, wait time.Duration) (*session, error) {
	path := filepath.Join(r.Dir, "sock")
	sessions := &daemon.Sessions{Broker: s.private.Broker, Socket: path}
	api := localapi.New(localapi.Config{
		Broker: s.private.Broker, OpenSession: sessions.Open, Log: slog.New(slog.DiscardHandler),
		Running: func() wire.Running { return wire.Running{Version: version, Config: s.cfg.Path, Digest: s.cfg.Digest} },
	})
	l, err := socket.Listen(path, 0o600, -1)
	if err != nil {
		return nil, freshet.AsError(err).WithHint("set XDG_RUNTIME_DIR to a folder of your own with a short path")
	}
	own, err := sessions.Open(ctx, self(), identities, wait)
	if err != nil {
		l.Close()
		return nil, err
	}
	server := api.Server()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			l.Close()
		}
	}()
	return &session{SessionOpened: own.Opened, close: func() {
		server.Close()
		<-done
		own.Close()
	}}, nil
}

// childEnvironment is this process's environment, less what would win over the session's, and the session's.
func childEnvironment(r *daemon.Run, cfg *config.File, opened wire.SessionOpened, identities []string) ([]string, error) {
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
	return childenv.Merge(os.Environ(), add), nil
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
	users := os.Getenv("AWS_CONFIG_FILE")
	if users == "" {
		if home, err := os.UserHomeDir(); err == nil {
			users = filepath.Join(home, ".aws", "config")
		}
	}
	text, err := os.ReadFile(users)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return freshet.Errorf(freshet.Invalid, "AWS configuration: %w", err).WithHint("make it readable, or unset AWS_CONFIG_FILE")
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
	err = errors.Join(os.WriteFile(path, childenv.AWSConfig(text, place, list), 0o600), os.WriteFile(credentials, nil, 0o600))
	if err != nil {
		return freshet.Errorf(freshet.Unavailable, "run-time folder: %w", err).WithHint("free its disk, or set XDG_RUNTIME_DIR to another folder")
	}
	return nil
}
