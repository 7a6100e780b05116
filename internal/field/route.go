package field

import (
	"net/url"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// What follows checks a proxy's route: where it listens, where it sends to, and what it lets pass.

// maxSocket is the longest path that a Unix socket's address holds, less the zero byte at its end: 104 bytes on macOS, 108 on Linux.
const maxSocket = 103

// Socket takes the path out of an address to listen on that is written unix:/path; unix is false for all others, which are
// [Listen]'s.
func Socket(field, value string) (file string, unix bool, err error) {
	file, unix = strings.CutPrefix(value, "unix:")
	switch {
	case !unix:
		return "", false, nil
	case !filepath.IsAbs(file) || filepath.Clean(file) != file || file == "/":
		return "", true, refuse(field, "not an absolute path without dots and double slashes", "write it as unix:/run/freshet/openai.sock")
	case strings.ContainsFunc(file, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", true, refuse(field, "a path with control characters", "write it as unix:/run/freshet/openai.sock")
	case len(file) > maxSocket:
		return "", true, refuse(field, "too long for a Unix socket", "its path has "+strconv.Itoa(maxSocket)+" bytes at most")
	}
	return file, true, nil
}

// Upstream checks and parses where a proxy sends requests to: what [URL] accepts, with nothing after its path.
func Upstream(field, value string) (*url.URL, error) {
	if err := URL(field, value); err != nil {
		return nil, err
	}
	u, err := url.Parse(value)
	if err != nil {
		return nil, refuse(field, "not a URL", "write it in full, as https://host/path")
	}
	port, portErr := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.RawQuery != "" || u.ForceQuery:
		return nil, refuse(field, "a URL with a query", "remove the ? and what follows it")
	case strings.HasSuffix(u.Host, ":"), u.Port() != "" && (portErr != nil || port == 0):
		return nil, refuse(field, "a URL with a port that cannot be", "write it in full, as https://host/path")
	case hasDots(u.Path):
		return nil, refuse(field, "a URL with . or .. in its path", "write out where it leads")
	}
	return u, nil
}

// Prefix checks the path that a proxy's requests begin with, and that is taken away: "/", or "/openai".
func Prefix(field, value string) error {
	switch {
	case !strings.HasPrefix(value, "/") || path.Clean(value) != value:
		return refuse(field, "not a clean path", "write it as /openai, without a slash at its end")
	case !bare(value) || strings.Contains(value, "*"):
		return refuse(field, "has characters that are encoded in a URL", "write it as /openai")
	}
	return nil
}

// Pattern checks a path that a proxy lets pass, or the beginning of such with a * at its end.
func Pattern(field, value string) error {
	before, after, _ := strings.Cut(value, "*")
	switch {
	case !strings.HasPrefix(value, "/"):
		return refuse(field, "does not begin with /", "write it as /v1/models or /v1/chat/*")
	case after != "":
		return refuse(field, "a * that is not at the end", "write it as /v1/models or /v1/chat/*")
	case !bare(value):
		return refuse(field, "has characters that are encoded in a URL", "end it before them with a *")
	case hasDots(before):
		return refuse(field, "a path with . or .. in it", "requests with such paths are refused in any case")
	}
	return nil
}

// Method checks the name of an HTTP method (RFC 9110 §9.1) that a proxy can forward.
func Method(field, value string) error {
	switch {
	case value == "" || strings.Trim(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~") != "":
		return refuse(field, "not an HTTP method", "methods are written in capitals, as GET")
	case value == "CONNECT" || value == "TRACE":
		return refuse(field, "a method that is never forwarded", "remove it")
	}
	return nil
}

// hasDots reports a segment that is . or .., by which a path leads elsewhere than it seems to.
func hasDots(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// bare reports whether a path is the same encoded and decoded: all characters are those of RFC 3986's segments.
func bare(path string) bool {
	const pchar = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@"
	return strings.Trim(path, pchar+"/") == ""
}
