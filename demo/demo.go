// Package demo shows what freshet changes: it has a few hundred callers of real SDK clients ask the lab's issuers for a
// credential at the same moment, first by themselves and then through freshet, and measures both.
//
// Every phase is a process of its own. (azidentity's managed identity client keeps a cache for the whole process: a second
// phase there would find the first one's tokens.) The callers of both sides run the same code with as many callers; what
// differs is the environment that their SDK reads, and for the library one line. Issuer calls are counted by the lab, memory is
// sampled from the phase's processes, and waits are measured by the callers. Nothing needs a network, an account or a program
// beside freshet itself, and nothing is left behind.
package demo

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"freshet.dev/freshet"
)

// Config is what a demo needs to know.
type Config struct {
	Program string // path of freshet itself, which runs the phases
	Version string
	Callers int // of each client
	// Progress gets what is under way: on one line if it is a terminal of so many Columns, on a line for each step if that is 0.
	Progress io.Writer
	Columns  int
}

// MaxCallers bounds a demo: so many az at once are more than enough for any machine.
const MaxCallers = 500

// row is a client and its two phases.
type row struct {
	client string // a name of clients
	module string // import path of its module
	door   string
	daemon bool
	// without and with are the environments in which the client finds an issuer, or freshet's endpoint at base.
	without, with func(s *stage, base string) []string
}

// rows are the ledger's, in its order.
var rows = []row{
	{
		client: azureCLI, module: "github.com/Azure/azure-sdk-for-go/sdk/azidentity", door: "azure.Wrap, shared",
		without: azEnvironment, with: azEnvironment,
	},
	{
		client: managedIdentity, module: "github.com/Azure/azure-sdk-for-go/sdk/azidentity", door: "azure-app-service", daemon: true,
		without: func(s *stage, _ string) []string {
			return []string{"IDENTITY_ENDPOINT=" + s.paths.MSI, "IDENTITY_HEADER=" + s.cloud.Credentials().MSIHeader}
		},
		with: func(s *stage, base string) []string {
			return []string{"IDENTITY_ENDPOINT=" + base + "/msi/token", "IDENTITY_HEADER=" + s.door}
		},
	},
	{
		client: awsContainer, module: "github.com/aws/aws-sdk-go-v2/config", door: "aws-container", daemon: true,
		without: func(s *stage, _ string) []string {
			return containerEnvironment(s.paths.Container, s.cloud.Credentials().ContainerToken)
		},
		with: func(s *stage, base string) []string { return containerEnvironment(base+"/creds", s.door) },
	},
	{
		client: oauthClient, module: "golang.org/x/oauth2", door: "oauth-token", daemon: true,
		without: func(s *stage, _ string) []string {
			c := s.cloud.Credentials()
			return oauthEnvironment(s.paths.OAuthToken, c.ClientID, c.ClientSecret)
		},
		with: func(s *stage, base string) []string { return oauthEnvironment(base+"/token", identity, s.door) },
	},
}

func containerEnvironment(url, token string) []string {
	return []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + url, "AWS_CONTAINER_AUTHORIZATION_TOKEN=" + token, "AWS_REGION=us-east-1"}
}

func oauthEnvironment(url, id, secret string) []string {
	return []string{"DEMO_TOKEN_URL=" + url, "DEMO_CLIENT_ID=" + id, "DEMO_CLIENT_SECRET=" + secret}
}

// Run measures. It ends early, with an error and nothing left behind, when ctx does.
func Run(ctx context.Context, cfg Config) (*Ledger, error) {
	if cfg.Callers < 2 || cfg.Callers > MaxCallers {
		return nil, freshet.Errorf(freshet.Invalid, "demo: want 2 to %d callers", MaxCallers)
	}
	began := freshet.Now()
	l := &Ledger{Version: cfg.Version, Callers: cfg.Callers, IssuerLatencyMS: milliseconds(latency)}
	l.Machine = Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0)}
	available, known := availableMemory()
	if known {
		l.Machine.MemoryBytes = &available
	}
	s, err := set(cfg)
	if err != nil {
		return nil, err
	}
	defer s.close()
	s.progress.steps = 1 + 2*len(rows) + 2
	s.weight = azWeight(cfg.Callers, available, known)
	if err := s.play(ctx, l); err != nil {
		if ctx.Err() != nil { // whatever it made of the others, that is why
			return nil, freshet.Errorf(freshet.Unavailable, "demo: interrupted")
		}
		return nil, err
	}
	l.WallSeconds = milliseconds(began.Elapsed()) / 1000
	return l, nil
}

// play fills the ledger in, line by line.
func (s *stage) play(ctx context.Context, l *Ledger) (err error) {
	if l.AzureCLI, err = s.oneAz(ctx); err != nil {
		return err
	}
	for _, r := range rows {
		out := Row{Client: r.client, Module: r.module, Release: release(r.module), Door: r.door, Daemon: r.daemon}
		if out.Without, err = s.phase(ctx, r, false); err != nil {
			return err
		}
		if out.With, err = s.phase(ctx, r, true); err != nil {
			return err
		}
		l.Rows = append(l.Rows, out)
		l.Total.Without.add(out.Without)
		l.Total.With.add(out.With)
	}
	return s.moments(ctx, l)
}

// phase runs one side of a row.
func (s *stage) phase(ctx context.Context, r row, with bool) (f Figures, err error) {
	if err := s.newCloud(); err != nil {
		return f, err
	}
	env, what, base, leaders := r.without, "without", "", []int(nil)
	if with {
		env, what = r.with, "with"
		if r.daemon {
			daemon, at, err := s.daemon(ctx)
			if err != nil {
				return f, err
			}
			defer daemon.end()
			base, leaders = at, []int{daemon.pid()}
		}
	}
	s.forgetAzs()
	c, err := s.start(ctx, env(s, base), "demo", "phase")
	if err != nil {
		return f, err
	}
	g := measure(append(leaders, c.pid()))
	end := s.progress.begin(fmt.Sprintf("%d × %s %s freshet", s.cfg.Callers, r.client, what), func() string { return s.soFar(g) })
	got, err := c.order(ctx, order{Client: r.client, Callers: s.cfg.Callers, Wrapped: with && !r.daemon})
	peak := g.stop()
	end()
	if err != nil {
		return f, err
	}
	f = got.figures()
	f.IssuerCalls, f.Processes, f.PeakMemoryBytes = s.calls(), s.azs(), peak
	return f, nil
}

// calls are the requests that issuers got since they were reset.
func (s *stage) calls() (n int64) {
	for _, c := range s.cloud.Counts() {
		n += c.Requests
	}
	return n
}

// soFar is what a phase has cost already.
func (s *stage) soFar(g *gauge) (text string) {
	if n := s.azs(); n > 0 {
		text = fmt.Sprintf(" · %d az", n)
	}
	if p := g.soFar(); p != nil {
		text += " · " + size(p)
	}
	return text + fmt.Sprintf(" · %d issuer calls", s.calls())
}

func nothing() string { return "" }

// release is the release of a module that this program was built with.
func release(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	return ""
}
