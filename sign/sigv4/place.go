package sigv4

import (
	"slices"
	"strings"
)

// suffixes are the ends of AWS's hosts.
var suffixes = []string{".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws", ".api.amazonwebservices.com.cn", ".on.aws"}

// signingNames are the services that signatures name otherwise than hosts do.
var signingNames = map[string]string{
	"bedrock-runtime": "bedrock", "bedrock-agent": "bedrock", "bedrock-agent-runtime": "bedrock", "bedrock-data-automation": "bedrock",
	"bedrock-data-automation-runtime": "bedrock", "bedrock-agentcore-control": "bedrock-agentcore",
	"s3-accesspoint": "s3", "s3-control": "s3", "s3-accelerate": "s3", "s3express-control": "s3express",
	"email": "ses", "email-smtp": "ses", "queue": "sqs", "lambda-url": "lambda", "appstream2": "appstream", "pinpoint": "mobiletargeting",
	"transcribestreaming": "transcribe", "aps-workspaces": "aps", "neptune": "neptune-db", "opensearch": "es",
	"personalize-runtime": "personalize", "personalize-events": "personalize", "forecastquery": "forecast", "portal.sso": "awsssoportal",
	"agreement-marketplace": "aws-marketplace", "entitlement.marketplace": "aws-marketplace", "metering.marketplace": "aws-marketplace",
	"catalog.marketplace": "aws-marketplace",
}

// global are services that have one host for all regions of a partition: they are signed for in the first one.
var global = []string{
	"iam", "sts", "s3", "cloudfront", "route53", "organizations", "waf", "shield", "budgets", "ce", "sqs", "sdb", "importexport", "support",
	"ec2", "sns", "elasticloadbalancing", "autoscaling", "rds", "cloudformation", "chime", "networkmanager", "account", "health",
}

// place is the service and region that a host of AWS tells; "" for what it does not.
//
//	SERVICE[-fips].[dualstack.]REGION.amazonaws.com   BUCKET.s3.REGION.amazonaws.com   ID.execute-api.REGION.amazonaws.com
//	SERVICE.amazonaws.com   s3-REGION.amazonaws.com   DOMAIN.REGION.es.amazonaws.com   ID.SERVICE.REGION.vpce.amazonaws.com
//	SERVICE.REGION.api.aws   ID.lambda-url.REGION.on.aws
func place(host string) (service, region string) {
	suffix := ""
	for _, s := range suffixes {
		if strings.HasSuffix(host, s) {
			host, suffix = strings.TrimSuffix(host, s), s
			break
		}
	}
	if suffix == "" {
		return "", ""
	}
	labels := strings.Split(strings.TrimSuffix(host, ".vpce"), ".")
	last := labels[len(labels)-1]
	if before := len(labels) - 2; before >= 0 && !isRegion(last) && isRegion(labels[before]) && signs(last) != "s3" {
		return signs(last), labels[before] // DOMAIN.REGION.es
	}
	if isRegion(last) {
		region, labels = last, labels[:len(labels)-1]
	} else if r, ok := strings.CutPrefix(last, "s3-"); ok && isRegion(r) {
		return "s3", r // as S3's hosts were before 2019
	}
	if n := len(labels); n > 1 && labels[n-1] == "dualstack" {
		labels = labels[:n-1]
	}
	if len(labels) == 0 {
		return "", region
	}
	last = labels[len(labels)-1]
	switch {
	case last == "s3-global", strings.HasPrefix(last, "s3-website"):
		return "", "" // they take a signature of version 4a, or none
	case strings.HasPrefix(last, "s3express-"):
		last = "s3express" // the zone's id follows
	case last == "iot" && len(labels) > 1 && labels[0] != "data" && labels[0] != "api":
		last = "iotdata" // an account's own host
	}
	if len(labels) > 1 {
		if name, ok := signingNames[labels[len(labels)-2]+"."+last]; ok {
			return name, region
		}
	}
	service = signs(last)
	switch {
	case suffix == ".on.aws" && service != "lambda" && service != lattice:
		return "", region
	case region != "":
	case last == "us-gov" && len(labels) == 2 && slices.Contains(global, labels[0]):
		return labels[0], "us-gov-west-1"
	case last == "s3-accelerate": // of whatever region the bucket is
	case suffix == ".amazonaws.com" && slices.Contains(global, service) && (len(labels) == 1 || service == "s3"):
		region = "us-east-1"
	default:
		return "", "" // a label that need not be a service
	}
	return service, region
}

// signs is the name that signatures have for the service that a label of a host names.
func signs(label string) string {
	label = strings.TrimPrefix(strings.TrimSuffix(label, "-fips"), "fips-")
	if name, ok := signingNames[label]; ok {
		return name
	}
	return label
}

// isRegion reports whether a label looks like us-east-1, us-gov-west-1 or eusc-de-east-1.
func isRegion(label string) bool {
	part := strings.Split(label, "-")
	n := len(part)
	if n < 3 || n > 4 || len(part[0]) < 2 || len(part[0]) > 4 || part[n-1] == "" || len(part[n-1]) > 2 || strings.Trim(part[n-1], "0123456789") != "" {
		return false
	}
	for _, p := range part[:n-1] {
		if p == "" || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz") != "" {
			return false
		}
	}
	return true
}
