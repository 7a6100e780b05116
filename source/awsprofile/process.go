package awsprofile

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
)

const (
	// processTime bounds a run, as in the SDK.
	processTime = time.Minute
	// circle is what a freshet says that finds itself called by the retrieval of what it is asked for.
	circle = "leads back to itself"
)

// process runs a profile's credential_process. It is a command line for a shell, as the SDK has it; aws splits it itself, to the
// same effect unless it holds a shell's own characters.
func (c *chain) process(ctx context.Context, p *config.SharedConfig) (*freshet.Credential, error) {
	env := make(map[string]string)
	if c.places.given { // a helper that reads profiles too is meant to read the same
		env["AWS_CONFIG_FILE"], env["AWS_SHARED_CREDENTIALS_FILE"] = c.places.config, c.places.credentials
	}
	ctx, cancel := context.WithTimeout(ctx, processTime)
	defer cancel()
	sent := freshet.Now()
	out, err := c.runner.Run(ctx, child.Command{Args: []string{"/bin/sh", "-c", p.CredentialProcess}, Env: env})
	if err != nil {
		return nil, processFailure(out, err)
	}
	cred, err := printed(out.Stdout, sent)
	if err != nil {
		e := *freshet.AsError(err)
		e.Why = "credential_process: " + e.Why
		return nil, &e
	}
	return cred, nil
}

// printed reads what a credential_process printed.
func printed(out []byte, sent freshet.Instant) (*freshet.Credential, error) {
	if len(strings.TrimSpace(string(out))) == 0 {
		return nil, freshet.Errorf(freshet.Malformed, "printed nothing")
	}
	var o struct {
		Version                                   json.RawMessage
		AccessKeyID                               string `json:"AccessKeyId"`
		SecretAccessKey, SessionToken, Expiration string
		AccountID                                 string `json:"AccountId"`
	}
	if json.Unmarshal(out, &o) != nil {
		return nil, freshet.Errorf(freshet.Malformed, "printed what is not the JSON of keys")
	}
	if string(o.Version) != "1" {
		return nil, freshet.Errorf(freshet.Malformed, "printed keys whose Version is not 1")
	}
	v := freshet.Validity{Sent: sent, Static: true, RefreshIn: rerun}
	if o.Expiration != "" {
		at, err := time.Parse(time.RFC3339, o.Expiration)
		if err != nil {
			return nil, freshet.Errorf(freshet.Malformed, "printed an Expiration that is no RFC 3339 time")
		}
		v = freshet.Validity{Sent: sent, Expires: at}
	}
	return freshet.NewAWS(freshet.AWSKeys{
		AccessKeyID: o.AccessKeyID, SecretAccessKey: freshet.Secret(o.SecretAccessKey), SessionToken: freshet.Secret(o.SessionToken),
		AccountID: o.AccountID,
	}, v)
}

// processFailure turns a run that gave no answer into one of our errors.
func processFailure(out child.Output, err error) *freshet.Error {
	e := &freshet.Error{Kind: freshet.Unavailable, Why: "credential_process: could not be run", Cause: err}
	c, ok := errors.AsType[*child.Error](err)
	if !ok {
		return e
	}
	e.Why = "credential_process" + strings.TrimPrefix(c.Error(), c.Program)
	e.Hint = c.Hint()
	switch c.Reason {
	case child.NotFound, child.NotExecutable:
		e.Kind = freshet.Invalid
	case child.Overflow:
		e.Kind = freshet.Malformed
	case child.Exited, child.Signaled:
		if said := child.Redact(out.Stderr); said != "" {
			e.Why += ": " + said
		}
		switch login := child.LoginIn(out.Stderr + "\n" + string(out.Stdout)); {
		case login != "":
			e.Kind, e.Hint = freshet.LoginNeeded, "run "+login
		case strings.Contains(out.Stderr, circle):
			e.Kind, e.Hint = freshet.Invalid, "give its credential_process another way to obtain keys than the identity that is made of this profile"
		case c.Reason == child.Exited && (c.Code == 126 || c.Code == 127): // the shell's words for no such program
			e.Kind, e.Hint = freshet.Invalid, "name its program by the full path: it is looked for on freshet's PATH"
		}
	}
	return e
}
