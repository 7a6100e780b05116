package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"freshet.dev/builtin"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/childenv"
)

// The signers that flags of their own are for.
const (
	signerAWS    = "sigv4"
	signerBearer = "bearer"
)

// signing are the settings of a route's signer, as the command line has them.
type signing struct {
	Signer  string `json:"-"`
	Service string `json:"service,omitempty"` // of sigv4, as the next two
	Region  string `json:"region,omitempty"`
	Payload string `json:"payload,omitempty"`
	Header  string `json:"header,omitempty"` // of bearer
}

// check reads what all flags of a route's say together, and makes the path of its authorities one that a daemon can open.
func (s *signing) check(c *cobra.Command, spec interface {
	Request() (freshet.Request, error)
}, caFile *string) error {
	if *caFile != "" { // a daemon's folder is another
		path, err := filepath.Abs(*caFile)
		if err != nil {
			return usage(c, errors.New("--ca-file: not a path"))
		}
		*caFile = path
	}
	if _, err := spec.Request(); err != nil {
		return err
	}
	if err := s.resolve(); err != nil {
		return usage(c, err)
	}
	return nil
}

// resolve finds the signer by its settings, where none is named.
func (s *signing) resolve() error {
	aws := s.Service != "" || s.Region != "" || s.Payload != ""
	switch {
	case aws && s.Header != "":
		return errors.New("a header is a setting of the signer bearer; service, region and payload are those of sigv4")
	case s.Signer != "" && builtin.SignerNamed(s.Signer) == nil:
		return fmt.Errorf("unknown signer %q: there are %s", s.Signer, strings.Join(signerNames(), ", "))
	case s.Signer == "" && aws:
		s.Signer = signerAWS
	case s.Signer == "" && s.Header != "":
		s.Signer = signerBearer
	}
	return nil
}

// json is what a route's request says of it.
func (s signing) json() json.RawMessage {
	if s == (signing{Signer: s.Signer}) {
		return nil
	}
	b, _ := json.Marshal(s)
	return b
}

func signerNames() []string {
	var names []string
	for _, s := range builtin.Signers() {
		names = append(names, s.Name)
	}
	return names
}

// ofAWS reports a host whose name tells the service and the region that its requests are signed for.
func ofAWS(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn") || strings.HasSuffix(host, ".api.aws")
}

// place sets the region of a signer for AWS whose host does not tell it: the identity's own. cfg may be nil.
func (s *signing) place(cfg *config.File, identity string, upstream *url.URL) error {
	if s.Region != "" || ofAWS(upstream.Hostname()) || s.Signer != signerAWS && (s.Signer != "" || !givesKeys(cfg, identity)) {
		return nil
	}
	region, err := ownRegion(cfg, identity)
	if err != nil || region == "" {
		return err
	}
	s.Signer, s.Region = signerAWS, region
	return nil
}

// givesKeys reports whether an identity's source is known to give AWS keys.
func givesKeys(cfg *config.File, identity string) bool {
	if cfg == nil {
		return false
	}
	for _, id := range cfg.Identities {
		if row := builtin.SourceNamed(id.Source); id.Name == identity && row != nil {
			return row.Type == freshet.AWS
		}
	}
	return false
}

// ownRegion is where an identity calls AWS from by its own configuration, or by the profile that this names; "" if that is not said.
func ownRegion(cfg *config.File, identity string) (string, error) {
	place := awsPlace(cfg, identity)
	if place == (childenv.Place{}) {
		return "", nil
	}
	text, err := usersAWSConfig()
	if err != nil {
		return "", err
	}
	return childenv.Region(text, place), nil
}

// clientRegion is where a client of AWS is to think that it is: the proxy signs anew, for where its upstream is.
func clientRegion(candidates ...string) string {
	for _, region := range append(candidates, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")) {
		if region != "" {
			return region
		}
	}
	return "us-east-1"
}
