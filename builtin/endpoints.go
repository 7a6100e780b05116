package builtin

import (
	"net/http"

	"freshet.dev/endpoint/awscontainer"
	"freshet.dev/endpoint/azureappservice"
	"freshet.dev/endpoint/oauthtoken"
	"freshet.dev/freshet"
	"freshet.dev/internal/guard"
)

// Endpoints are the dialects there are, in the order of their names.
func Endpoints() []Endpoint {
	return []Endpoint{
		{
			Name: "aws-container", Type: freshet.AWS, Path: awscontainer.Path, Deny: awscontainer.Deny,
			Config: func() any { return new(awscontainer.Config) },
			New: func(_ any, door Door, secret guard.Secret) http.Handler {
				return awscontainer.New(door, door.Names()[0], secret)
			},
			Environment: func(base, secret, _ string) map[string]string { return awscontainer.Environment(base, secret) },
		},
		{
			Name: "azure-app-service", Type: freshet.Bearer, Azure: true, Path: azureappservice.Path, Deny: azureappservice.Deny,
			Config: func() any { return new(azureappservice.Config) },
			New: func(settings any, door Door, secret guard.Secret) http.Handler {
				return azureappservice.New(*settings.(*azureappservice.Config), door, door.Names()[0], secret)
			},
			Environment: func(base, secret, _ string) map[string]string { return azureappservice.Environment(base, secret) },
		},
		{
			Name: "oauth-token", Type: freshet.Bearer, Path: oauthtoken.Path, Deny: oauthtoken.Deny, Many: true,
			Config:      func() any { return new(oauthtoken.Config) },
			New:         func(_ any, door Door, secret guard.Secret) http.Handler { return oauthtoken.New(door, secret) },
			Environment: oauthtoken.Environment,
		},
	}
}

// EndpointNamed returns the endpoint of a name, or nil.
func EndpointNamed(name string) *Endpoint {
	return find(Endpoints(), name, func(e *Endpoint) string { return e.Name })
}
