package awsprofile

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"freshet.dev/freshet"
	"freshet.dev/internal/awsapi"
	"freshet.dev/internal/field"
)

// endpoints are the addresses of services that a profile gives: service → address, "" → those of all others.
type endpoints map[string]string

// endpointsOf are endpoint_url, and endpoint_url of a service in the [services] section that a profile names.
func endpointsOf(p *config.SharedConfig) endpoints {
	if aws.ToBool(p.IgnoreConfiguredEndpoints) {
		return nil
	}
	all := endpoints{"": p.BaseEndpoint}
	for service, settings := range p.Services.ServiceValues {
		if url := settings["endpoint_url"]; url != "" {
			all[strings.ToLower(service)] = url
		}
	}
	return all
}

// endpoint is the address of one service; empty for AWS's own.
func (c *chain) endpoint(service string) (string, error) {
	url := first(c.endpoints[service], c.endpoints[""])
	if url == "" {
		return "", nil
	}
	if err := field.URL("endpoint_url", url); err != nil {
		return "", err
	}
	if c.fips || c.dualStack { // the SDK fails at the first request
		return "", &field.Error{
			Field: "endpoint_url", Why: "given together with use_fips_endpoint or use_dualstack_endpoint",
			Help: "remove one: these choose among AWS's own addresses",
		}
	}
	return url, nil
}

// sts is a client of the STS that a profile's role is asked of.
func (c *chain) sts(p *config.SharedConfig) (*sts.Client, error) {
	endpoint, err := c.endpoint("sts")
	if err != nil {
		return nil, refusal(p, err)
	}
	region := c.region
	if region == "" && endpoint == "" && awsapi.Partition(p.RoleARN) != "aws" {
		return nil, freshet.Errorf(freshet.Invalid, "%s: no region to ask for its role in", label(c.cfg.Profile)).
			WithHint("give the profile a region, as only roles of the partition aws are known to %s", awsapi.DefaultRegion)
	}
	if region != "" {
		if err := field.Region("region", region); err != nil {
			return nil, refusal(p, err)
		}
	}
	return awsapi.Place{Region: region, Endpoint: endpoint, FIPS: c.fips, DualStack: c.dualStack}.STS(c.client), nil
}

// refusal is an error of a profile's setting.
func refusal(p *config.SharedConfig, err error) *freshet.Error {
	return awsapi.Within(label(p.Profile), awsapi.Invalid(err))
}
