package main

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"strings"

	"freshet.dev/builtin"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/field"
)

// place completes what the configuration and the environment tell. cfg may be nil.
func (f *mcpFlags) place(cfg *config.File) error {
	if f.upstream == nil {
		return nil
	}
	if f.signing.Signer == "" && givesKeys(cfg, f.spec.Identity) {
		f.signing.Signer = signerAWS
	}
	said, fromHost := f.signing.Region, ofAWS(f.upstream.Hostname())
	environment := os.Getenv("AWS_REGION")
	if environment == "" {
		environment = os.Getenv("AWS_DEFAULT_REGION")
	}
	if f.signing.Signer == signerAWS && said == "" && !fromHost {
		f.signing.Region = environment
	}
	if err := f.signing.place(cfg, f.spec.Identity, f.upstream); err != nil {
		return err
	}
	if err := f.signing.checkAWS(f.upstream); err != nil {
		return err
	}
	f.spec.Signer, f.spec.Settings = f.signing.Signer, f.signing.json()
	if f.signing.Signer != signerAWS && (f.signing.Signer != "" || !fromHost) {
		return nil
	}
	// As mcp-proxy-for-aws 1.6 does: AWS's servers act in that region, whatever theirs is.
	own, err := ownRegion(cfg, f.spec.Identity)
	if err != nil {
		return err
	}
	for _, region := range []string{said, environment, own, f.signing.Region, hostRegion(f.upstream.Hostname())} {
		if _, given := f.spec.Meta["AWS_REGION"]; given || region == "" {
			continue
		}
		if f.spec.Meta == nil {
			f.spec.Meta = make(map[string]string)
		}
		f.spec.Meta["AWS_REGION"] = region
	}
	return nil
}

// checkAWS says what a signature for AWS lacks, where that is known to be the signer.
func (s *signing) checkAWS(upstream *url.URL) error {
	if s.Signer != signerAWS {
		return nil
	}
	row := builtin.SignerNamed(signerAWS)
	settings := row.Config()
	if text := s.json(); text != nil {
		if err := json.Unmarshal(text, settings); err != nil {
			return freshet.Errorf(freshet.Bug, "settings of %s: %w", signerAWS, err)
		}
	}
	if checked, ok := settings.(interface{ Check() error }); ok {
		if err := checked.Check(); err != nil {
			return flagged(err)
		}
	}
	_, err := row.New(settings, upstream)
	return flagged(err)
}

// flagged is an error of a signer's settings as the command line has them: flags.
func flagged(err error) error {
	e, ok := errors.AsType[*field.Error](err)
	if !ok {
		return err
	}
	why := freshet.Errorf(freshet.Invalid, "--%s: %s", e.Field, e.Why).WithHint("see: freshet mcp --help")
	if strings.HasPrefix(e.Help, "add ") {
		why.WithHint("add --%s", e.Field)
	}
	return why
}

// hostRegion is the label of a host that names a region, as us-east-1; "" where there is none.
func hostRegion(host string) string {
	for label := range strings.SplitSeq(strings.ToLower(host), ".") {
		if field.Region("", label) == nil && strings.Count(label, "-") >= 2 && label[len(label)-1] >= '0' && label[len(label)-1] <= '9' {
			return label
		}
	}
	return ""
}
