package awsapi

import (
	"encoding/json"
	"strings"
	"time"

	"freshet.dev/internal/field"
)

// Regular expressions would do for the shapes below, and cost every command that links this package 2 ms and 500 KB at its
// start.
const (
	digits  = "0123456789"
	lower   = "abcdefghijklmnopqrstuvwxyz" + digits + "-"
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + digits
	session = letters + "_+=,.@-" // of RoleSessionName and SourceIdentity: [\w+=,.@-]
)

func only(s, set string) bool { return strings.Trim(s, set) == "" }

// CheckRole checks that a setting is a role's ARN, in any partition of AWS or in MinIO, which has no accounts
// (arn:minio:iam:::role/NAME).
func CheckRole(name, arn string) error {
	p := strings.SplitN(arn, ":", 6)
	if len(p) == 6 && len(arn) <= 2048 {
		role, ok := strings.CutPrefix(p[5], "role/")
		if ok && p[0] == "arn" && p[1] != "" && only(p[1], lower) && p[2] == "iam" && only(p[3], lower) && only(p[4], digits) &&
			role != "" && only(role, session+"/") {
			return nil
		}
	}
	return &field.Error{Field: name, Why: "not the ARN of a role", Help: "write it in full, as arn:aws:iam::123456789012:role/NAME"}
}

// Partition is the part of an ARN that says which AWS it belongs to: aws, aws-cn, aws-us-gov.
func Partition(arn string) string {
	p := strings.SplitN(arn, ":", 3)
	if len(p) < 3 || p[0] != "arn" {
		return ""
	}
	return p[1]
}

// Account is the account in an ARN, which is its fifth part; empty where there is none.
func Account(arn string) string {
	p := strings.SplitN(arn, ":", 6)
	if len(p) < 6 || p[0] != "arn" || len(p[4]) != 12 || !only(p[4], digits) {
		return ""
	}
	return p[4]
}

// CheckSession checks a setting that is a session's name or a source identity, which have the same form. An empty one is right.
func CheckSession(name, value string) error {
	if value != "" && (len(value) < 2 || len(value) > maxSession || !only(value, session)) {
		return &field.Error{Field: name, Why: "want 2 to 64 letters, digits and +=,.@_-"}
	}
	return nil
}

const maxSession = 64

// SessionName is a name for a session of the identity that ancestry (of freshet.Ancestry) ends with: freshet-NAME, with hyphens
// for what STS does not allow, cut to what it does. AWS's logs then say which identity acted. Without one it is freshet.
func SessionName(ancestry []string) string {
	if len(ancestry) == 0 {
		return "freshet"
	}
	name := "freshet-" + strings.Map(func(r rune) rune {
		if strings.ContainsRune(session, r) {
			return r
		}
		return '-'
	}, ancestry[len(ancestry)-1])
	return name[:min(len(name), maxSession)]
}

// The bounds that STS sets to DurationSeconds of AssumeRole and AssumeRoleWithWebIdentity.
const (
	minDuration = 15 * time.Minute
	maxDuration = 12 * time.Hour
)

// CheckDuration checks a setting of how long a session shall live; 0 is none.
func CheckDuration(name string, d field.Duration) error {
	if d := time.Duration(d); d != 0 && (d < minDuration || d > maxDuration || d%time.Second != 0) {
		return &field.Error{Field: name, Why: "want 15m to 12h, in whole seconds", Help: "without it none is sent, and STS decides"}
	}
	return nil
}

// Seconds is a duration as STS takes it, or nil for none.
func Seconds(d field.Duration) *int32 {
	if d == 0 {
		return nil
	}
	n := int32(time.Duration(d) / time.Second)
	return &n
}

// CheckPlace checks a region and an endpoint, of which one must be there: both become a part of where requests go.
func CheckPlace(region, endpoint string) []error {
	var errs []error
	if region != "" || endpoint == "" {
		if err := field.Region("region", region); err != nil {
			errs = append(errs, err)
		}
	}
	if endpoint != "" {
		if err := field.URL("endpoint", endpoint); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// CheckPolicy checks a session policy, as far as that can be done without AWS. An empty one is none.
func CheckPolicy(name, policy string) error {
	if policy != "" && !json.Valid([]byte(policy)) {
		return &field.Error{Field: name, Why: "not JSON"}
	}
	return nil
}
