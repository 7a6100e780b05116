package childenv

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"
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

// section is compiled when it is first wanted: commands that start no child do without.
var section = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\[\s*(?:(profile|services)\s+)?"?([^"\]]+?)"?\s*\]`)
})

// Place is where a child calls AWS from: settings that go with an identity, and are no part of its keys.
type Place struct {
	Profile  string // of the user's configuration, whose settings are kept; "" for the default one
	Own      bool   // the identity names that profile itself, so that its region is the identity's
	Region   string // as the identity has it
	Fallback string // the region where nothing else names one
}

// Helper is a profile whose keys come from a command.
type Helper struct {
	Profile, Command string
	Place            Place
}

// AWSConfig returns a private AWS configuration for a child: the settings that go with its first identity, as the default
// profile, without anything that leads to credentials; a profile for each of helpers; and the [services] sections.
func AWSConfig(users []byte, place Place, helpers []Helper) []byte {
	u := readUsers(users)
	var out bytes.Buffer
	out.WriteString("[default]\n")
	u.settings(&out, place)
	for _, h := range helpers {
		fmt.Fprintf(&out, "\n[profile %s]\n", h.Profile)
		if h.Place != (Place{}) {
			u.settings(&out, h.Place)
		}
		fmt.Fprintf(&out, "credential_process = %s\n", h.Command)
	}
	if u.services.Len() > 0 {
		out.WriteByte('\n')
		out.Write(u.services.Bytes())
	}
	return out.Bytes()
}

// Region returns the region that goes with a place; "" if nothing names one.
func Region(users []byte, place Place) string {
	var settings bytes.Buffer
	readUsers(users).settings(&settings, place)
	for line := range strings.Lines(settings.String()) {
		if key(line) == "region" {
			_, region, _ := strings.Cut(line, "=")
			return strings.TrimSpace(region)
		}
	}
	return ""
}

// users is what is kept of a user's configuration.
type users struct {
	profiles map[string][]string // profile → lines of its settings
	services bytes.Buffer        // the [services] sections
}

func readUsers(text []byte) *users {
	u := &users{profiles: make(map[string][]string)}
	profile, services := "", false // the section's; neither: it is left out
	nested := false                // indented lines belong to a setting that is kept
	// botocore takes a carriage return for the end of a line too: none may be left within one that is kept.
	for line := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.TrimRight(line, " \t")
		// What one reader of these files takes for a section, such as an indented one, is one here, and what it is not known to be is
		// left out with all that follows.
		if bare := strings.TrimLeftFunc(line, unicode.IsSpace); strings.HasPrefix(bare, "[") {
			profile, services, nested = "", false, false
			m := section().FindStringSubmatch(bare)
			switch {
			case m == nil:
			case m[1] == "services":
				services = true
				fmt.Fprintf(&u.services, "[services %s]\n", m[2])
			case m[1] == "profile" || m[2] == "default":
				profile = m[2]
			}
			continue
		}
		if profile == "" && !services || line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if indented := line[0] == ' ' || line[0] == '\t'; !indented {
			nested = services || awsSettings[key(line)]
		}
		switch {
		case !nested:
		case services:
			fmt.Fprintln(&u.services, line)
		default:
			u.profiles[profile] = append(u.profiles[profile], line)
		}
	}
	return u
}

// settings writes the settings of a place.
func (u *users) settings(out *bytes.Buffer, p Place) {
	profile, region := p.Profile, p.Region
	if profile == "" {
		profile = "default"
	}
	named, left := false, false // left: the setting above was left out, and with it what is indented below
	for _, line := range u.profiles[profile] {
		switch key(line) {
		case "":
		case "region":
			left = region != "" && !p.Own // the identity's own comes before that of a profile which is not its
			named = named || !left
		default:
			left = false
		}
		if !left {
			fmt.Fprintln(out, line)
		}
	}
	if region == "" {
		region = p.Fallback
	}
	if !named && region != "" {
		fmt.Fprintf(out, "region = %s\n", region)
	}
}

// key is the name of the setting that a line begins; "" where it is indented.
func key(line string) string {
	if line[0] == ' ' || line[0] == '\t' {
		return ""
	}
	name, _, _ := strings.Cut(line, "=")
	return strings.ToLower(strings.TrimSpace(name))
}
