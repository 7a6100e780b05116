package aws

import (
	"context"
	"sync"

	"freshet.dev/freshet"
	"github.com/aws/aws-sdk-go-v2/aws"
)

// source is the wrapped provider as freshet sees it.
type source struct {
	inner aws.CredentialsProvider

	mu   sync.Mutex  // never held over a call of inner
	kept [4]original // the latest, newest first: more than a key has versions and flights, but for sources that ignore deadlines
}

// original is what the provider gave, with what a freshet.Credential has no place for.
type original struct {
	cred *freshet.Credential
	keys aws.Credentials
}

// Retrieve asks the provider.
func (s *source) Retrieve(ctx context.Context, _ freshet.Request) (*freshet.Credential, error) {
	sent := freshet.Now()
	keys, err := s.inner.Retrieve(ctx)
	if cache, ok := s.inner.(interface{ Invalidate() }); ok && err == nil && s.had(keys) {
		// A cache that holds its credentials until they expire has nothing new before.
		cache.Invalidate()
		sent = freshet.Now()
		keys, err = s.inner.Retrieve(ctx)
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

// had reports whether these are the keys that were retrieved last.
func (s *source) had(keys aws.Credentials) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.kept[0].keys
	return keys.AccessKeyID == last.AccessKeyID && keys.SecretAccessKey == last.SecretAccessKey && keys.SessionToken == last.SessionToken
}

func (s *source) keep(cred *freshet.Credential, keys aws.Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(s.kept[1:], s.kept[:])
	s.kept[0] = original{cred, keys}
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
