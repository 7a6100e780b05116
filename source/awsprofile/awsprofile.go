// Package awsprofile is a source of the AWS keys that a profile of AWS's shared configuration files stands for (aws-profile in a
// configuration).
//
//	~/.aws/config        [default] [profile NAME] [sso-session NAME] [services NAME]
//	~/.aws/credentials   [NAME]
//
// The files are read by the SDK's own loader (config.LoadSharedConfigProfile of aws-sdk-go-v2), anew for every retrieval, so an
// edited profile is in use at the next. What the profile says is then done here, in the order of the SDK's chain, where the SDK
// would take what suits a program and not a broker:
//
//	source_profile      the other profile first, and then role_arn with its keys
//	aws_access_key_id   long-term keys, or a session's that something else puts there. They do not expire, as far as the file
//	                    says, and are read again each minute, when somebody asks then
//	credential_source   Environment alone: AWS_ACCESS_KEY_ID and its like of freshet's own environment. A machine's role
//	                    (Ec2InstanceMetadata, EcsContainer) is not a profile's, and is refused
//	web_identity_token_file   AssumeRoleWithWebIdentity, unsigned
//	sso_session, sso_start_url   the role's keys from the SSO portal, for the token that `aws sso login` keeps in ~/.aws/sso/cache
//	login_session       the keys that `aws login` keeps in ~/.aws/login/cache
//	credential_process  run by package child: null stdin, a listed environment, a minute, with FRESHET_ANCESTRY in it, so that a
//	                    freshet token for the same identity recognises the circle. The SDK's runner inherits standard input and
//	                    the whole environment, and quotes the output in its errors
//	role_arn            with any of these: AssumeRole, signed with their keys
//
// A profile with none of them is an error; the SDK would go on to the machine's role.
//
// The caches of SSO and login are only read. Their refresh tokens rotate, and aws and SDKs redeem them without a lock between
// processes: who comes second is logged out. A token that has expired is an error that names the command to run.
//
// The portal is asked as
//
//	GET /federation/credentials?role_name=…&account_id=…
//	X-Amz-Sso_bearer_token: TOKEN
//
//	{"roleCredentials": {"accessKeyId", "secretAccessKey", "sessionToken", "expiration": 1767225600000}}
//
// Of the environment only AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE and AWS_LOGIN_CACHE_DIRECTORY count, which say where the
// files are, and the keys in it where credential_source asks for them. AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL and the rest
// would make the same profile mean something else in the daemon than in its user's shell.
package awsprofile

import (
	"context"
	"fmt"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/awsapi"
	"freshet.dev/internal/child"
	"freshet.dev/internal/fetch"
)

const (
	// reread is how old keys from a file may get before the file is looked at again.
	reread = time.Minute
	// rerun is the same for a credential_process that does not say when its keys expire: SDKs keep those for ever, and they
	// may be a session's.
	rerun = 15 * time.Minute
)

// Source resolves a profile for every retrieval. It is safe for concurrent use: retrievals share connections and nothing else.
type Source struct {
	cfg    Config
	places places
	runner *child.Runner
	client *fetch.Client
}

// New returns a source that runs a credential_process through runner, which bounds how many run at once in the whole process.
// Errors are of kind Invalid. That there is no such profile yet is none.
func New(cfg Config, runner *child.Runner) (*Source, error) {
	if err := cfg.Check(); err != nil {
		return nil, awsapi.Invalid(err)
	}
	if runner == nil {
		return nil, freshet.Errorf(freshet.Bug, "aws-profile: no runner")
	}
	places, err := cfg.places()
	if err != nil {
		return nil, err
	}
	client, err := fetch.New(fetch.Config{})
	if err != nil {
		return nil, err
	}
	return &Source{cfg: cfg, places: places, runner: runner, client: client}, nil
}

// Format implements fmt.Formatter, for every verb alike.
func (s *Source) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "aws-profile(%s)", s.cfg.Profile) }

// Target implements freshet.Targeter. Who is asked, a portal, an STS or a program, stands in files that are read at each
// retrieval; what is known before is the profile alone.
func (s *Source) Target(freshet.Request) freshet.Target {
	return freshet.Target{Host: "aws-profile", Client: s.cfg.Profile}
}

// Retrieve implements freshet.Source. Nothing is run or asked for a profile that cannot be resolved to its end.
func (s *Source) Retrieve(ctx context.Context, _ freshet.Request) (*freshet.Credential, error) {
	if err := ctx.Err(); err != nil {
		return nil, freshet.AsError(err)
	}
	profile, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.chain(profile)
	if err != nil {
		return nil, err
	}
	return c.retrieve(ctx, profile)
}
