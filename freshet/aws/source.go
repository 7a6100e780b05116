package aws

import (
	"context"
	"sync"
	"time"

	"freshet.dev/freshet"
	"github.com/aws/aws-sdk-go-v2/aws"
)

// source is the wrapped provider as freshet sees it.
type source struct {
	inner  aws.CredentialsProvider
	cache  interface{ Invalidate() } // inner, if it is a cache that may be emptied
	target freshet.Target

	mu   sync.Mutex  // never held over a call of inner
	kept [4]original // the latest, newest first: more than a key has versions and flights, but for sources that ignore deadlines
}

// original is what the provider gave, with what a freshet.Credential has no place for.
type original struct {
	cred *freshet.Credential
	keys aws.Credentials
}

func newSource(p aws.CredentialsProvider) *source {
	s := &source{inner: p}
	if _, ours := p.(*Provider); !ours && !ofInstance(p) {
		s.cache, _ = p.(interface{ Invalidate() })
	}
	return s
}

// metadata is an instance's metadata service, which every instance has one of.
const metadata = "169.254.169.254"

// target is whom a provider asks, as far as that is known: cfg's word, or else what its sources say. One that says nothing has
// limits of its own.
func target(cfg *Config, p aws.CredentialsProvider) freshet.Target {
	t := cfg.Target
	switch {
	case t.Host != "":
	case ofInstance(p):
		t.Host = metadata
	default:
		t.Host = cfg.Name
	}
	return t
}

// Target makes a source a [freshet.Targeter].
func (s *source) Target(freshet.Request) freshet.Target { return s.target }

// ofInstance reports whether keys come from an instance's metadata service. A cache over that one keeps them past their end while
// the service is down, by way of ec2rolecreds.Provider.HandleFailToRefresh, and has none to keep once it was emptied. The last of
// a provider's sources is its own; those before are what its keys are made from.
func ofInstance(p aws.CredentialsProvider) bool {
	chain, ok := p.(aws.CredentialProviderSource)
	if !ok {
		return false
	}
	sources := chain.ProviderSources()
	return len(sources) > 0 && sources[len(sources)-1] == aws.CredentialSourceIMDS
}

// Retrieve asks the provider.
func (s *source) Retrieve(ctx context.Context, _ freshet.Request) (*freshet.Credential, error) {
	sent := freshet.Now()
	keys, err := s.inner.Retrieve(ctx)
	if s.cache != nil && err == nil && s.had(keys) {
		// A cache that holds its credentials until they expire has nothing new before.
		s.cache.Invalidate()
		sent = freshet.Now()
		keys, err = s.inner.Retrieve(ctx)
	}
	if extender, ok := s.inner.(aws.HandleFailRefreshCredentialsCacheStrategy); ok && err != nil {
		if last := s.last(); last.cred == nil || last.cred.Remaining() < ending {
			keys, err = extender.HandleFailToRefresh(ctx, last.keys, err)
		}
	}
	if err != nil {
		return nil, failure(err)
	}
	v := freshet.Validity{Sent: sent, Static: true}
	if keys.CanExpire {
		v = freshet.Validity{Sent: sent, Expires: keys.Expires}
	}
	cred, err := credential(keys, v)
	if err != nil {
		return nil, err
	}
	s.keep(cred, keys)
	return cred, nil
}

func credential(keys aws.Credentials, v freshet.Validity) (*freshet.Credential, error) {
	return freshet.NewAWS(freshet.AWSKeys{
		AccessKeyID:     keys.AccessKeyID,
		SecretAccessKey: freshet.Secret(keys.SecretAccessKey),
		SessionToken:    freshet.Secret(keys.SessionToken),
		AccountID:       keys.AccountID,
	}, v)
}

// ending is how little life keys have left when a provider is asked to extend them, as an aws.CredentialsCache asks it once they
// have ended: longer than freshet's attempts to replace them are apart, so that it is done before anybody has to wait.
const ending = 5 * time.Minute

// last is what was retrieved last.
func (s *source) last() original {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[0]
}

// had reports whether these are the keys that were retrieved last.
func (s *source) had(keys aws.Credentials) bool {
	last := s.last().keys
	return keys.AccessKeyID == last.AccessKeyID && keys.SecretAccessKey == last.SecretAccessKey && keys.SessionToken == last.SessionToken
}

func (s *source) keep(cred *freshet.Credential, keys aws.Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(s.kept[1:], s.kept[:])
	s.kept[0] = original{cred, keys}
}

// known is the fingerprint of the keys with this id and session token, if they are of the latest; otherwise "".
func (s *source) known(id, session string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.kept {
		if o.cred != nil && o.keys.AccessKeyID == id && o.keys.SessionToken == session {
			return o.cred.Fingerprint()
		}
	}
	return ""
}

// original is what the provider gave for a credential, or as much of it as the credential tells.
func (s *source) original(cred *freshet.Credential) aws.Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.kept {
		if o.cred == cred {
			return o.keys
		}
	}
	keys := cred.AWS()
	return aws.Credentials{
		AccessKeyID: keys.AccessKeyID, SecretAccessKey: string(keys.SecretAccessKey), SessionToken: string(keys.SessionToken),
		AccountID: keys.AccountID, CanExpire: !cred.Static(),
	}
}
