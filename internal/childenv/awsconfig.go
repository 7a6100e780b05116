package childenv

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// awsSettings are the settings of an AWS profile that say where and how to call, and not as whom. Every other one is dropped,
// so that a way to credentials that is not known here cannot win over the session.
var awsSettings = map[string]bool{
	"region": true, "output": true, "ca_bundle": true, "endpoint_url": true, "services": true, "defaults_mode": true,
	"retry_mode": true, "max_attempts": true, "sts_regional_endpoints": true, "use_fips_endpoint": true, "use_dualstack_endpoint": true,
	"ignore_configured_endpoint_urls": true, "request_checksum_calculation": true, "response_checksum_validation": true,
	"sigv4a_signing_region_set": true, "cli_pager": true, "cli_binary_format": true, "cli_timestamp_format": true,
	"s3": true, "s3api": true, "parameter_validation": true, "tcp_keepalive": true, "addressing_style": true,
}

var section = regexp.MustCompile(`^\[\s*(?:(profile|services)\s+)?"?([^"\]]+?)"?\s*\]`)

// AWSConfig returns a private AWS configuration for a child: the settings of the profile that the user had chosen, as the
// default profile, without anything that leads to credentials; the [services] sections; and a profile for each of helpers,
// name → credential_process.
func AWSConfig(users []byte, profile string, helpers []Helper) []byte {
	if profile == "" {
		profile = "default"
	}
	var out, services bytes.Buffer
	out.WriteString("[default]\n")
	var into *bytes.Buffer // nil: the section is left out
	nested := false        // indented lines belong to a setting that is kept
	for lines := bufio.NewScanner(bytes.NewReader(users)); lines.Scan(); {
		line := strings.TrimRight(lines.Text(), " \t\r")
		if m := section.FindStringSubmatch(line); m != nil {
			into, nested = nil, false
			switch kind, name := m[1], m[2]; {
			case kind == "services":
				into = &services
				fmt.Fprintf(into, "[services %s]\n", name)
			case name == profile && (kind == "profile" || name == "default"):
				into = &out
			}
			continue
		}
		if into == nil || line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if indented := line[0] == ' ' || line[0] == '\t'; !indented {
			key, _, _ := strings.Cut(line, "=")
			nested = into == &services || awsSettings[strings.ToLower(strings.TrimSpace(key))]
		}
		if nested {
			fmt.Fprintln(into, line)
		}
	}
	for _, h := range helpers {
		fmt.Fprintf(&out, "\n[profile %s]\ncredential_process = %s\n", h.Profile, h.Command)
	}
	if services.Len() > 0 {
		out.WriteByte('\n')
		out.Write(services.Bytes())
	}
	return out.Bytes()
}

// Helper is a named profile whose keys come from a command.
type Helper struct{ Profile, Command string }
