package builtin

import (
	"net/url"
	"slices"

	"freshet.dev/freshet"
	"freshet.dev/proxy"
	"freshet.dev/sign/bearer"
	"freshet.dev/sign/sigv4"
)

// Signer is a way to put a credential on requests.
type Signer struct {
	Name string
	// Config returns a pointer to the zero value of its settings.
	Config func() any
	// New makes a signer for requests to an upstream, of settings that came from Config and were checked.
	New func(settings any, upstream *url.URL) (proxy.Signer, error)
	// Types are the types of credential that it signs with. Of a type, one signer does so.
	Types []freshet.Type
}

// Signers are the ways to sign there are, in the order of their names.
func Signers() []Signer {
	return []Signer{
		signer("bearer", bearer.New, freshet.Bearer, freshet.IDToken, freshet.Basic),
		signer("sigv4", sigv4.New, freshet.AWS),
	}
}

// SignerNamed returns the signer of a name, or nil.
func SignerNamed(name string) *Signer {
	return find(Signers(), name, func(s *Signer) string { return s.Name })
}

// SignerFor returns the signer that signs with a type of credential, or nil.
func SignerFor(typ freshet.Type) *Signer {
	all := Signers()
	if i := slices.IndexFunc(all, func(s Signer) bool { return slices.Contains(s.Types, typ) }); i >= 0 {
		return &all[i]
	}
	return nil
}

// signer makes a row of a constructor with its own type of settings.
func signer[C any, S proxy.Signer](name string, construct func(C, *url.URL) (S, error), types ...freshet.Type) Signer {
	return Signer{
		Name: name, Types: types,
		Config: func() any { return new(C) },
		New: func(settings any, upstream *url.URL) (proxy.Signer, error) {
			s, err := construct(*settings.(*C), upstream)
			if err != nil {
				return nil, err // and not a nil *S, which is no nil Signer
			}
			return s, nil
		},
	}
}
