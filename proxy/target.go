package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"freshet.dev/freshet"
)

// enter lets a request in, or says why not.
func (r *Route) enter(x *exchange, req *http.Request) (err error) {
	if x.Caller, err = r.cfg.Callers.admit(x, req); err != nil {
		return err
	}
	if err := r.forwards(x, req); err != nil {
		return err
	}
	if r.cfg.MaxBody > 0 && req.ContentLength != 0 {
		req.Body = http.MaxBytesReader(nil, req.Body, r.cfg.MaxBody)
	}
	return nil
}

// forwards reports what is not for this route, whoever sends it.
func (r *Route) forwards(x *exchange, req *http.Request) (err error) {
	switch {
	case req.Method == http.MethodConnect || req.Method == http.MethodTrace: // TRACE would show the caller the credential
		return refusal(freshet.Denied, http.StatusMethodNotAllowed, "MethodNotAllowed", req.Method+" is not forwarded")
	case len(r.cfg.Methods) > 0 && !slices.Contains(r.cfg.Methods, req.Method):
		return refusal(freshet.Denied, http.StatusMethodNotAllowed, "MethodNotAllowed", "the method is not among those that this proxy forwards")
	case r.cfg.MaxBody > 0 && req.ContentLength > r.cfg.MaxBody:
		return errTooLarge
	case req.Header["Expect"] != nil && !strings.EqualFold(req.Header.Get("Expect"), "100-continue"):
		return refusal(freshet.Invalid, http.StatusExpectationFailed, "ExpectationFailed", "the only expectation is 100-continue")
	}
	if x.rest, err = r.rest(req.URL); err != nil {
		return err
	}
	if len(r.cfg.Paths) > 0 && !slices.ContainsFunc(r.cfg.Paths, func(p string) bool { return matches(p, x.rest) }) {
		return refusal(freshet.Denied, http.StatusForbidden, "AccessDenied", "the path is not among those that this proxy forwards")
	}
	return nil
}

// methods are those that the route forwards, as far as they are known by name.
func (r *Route) methods() []string {
	if len(r.cfg.Methods) > 0 {
		return r.cfg.Methods
	}
	return []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
}

// matches reports whether a path is a pattern's: the same, or with a * at the pattern's end, below it.
func matches(pattern, path string) bool {
	if begin, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(path, begin)
	}
	return path == pattern
}

// rest is a request's path, escaped as it came, without the route's prefix.
//
// A path is passed on as it is: S3's keys may hold anything, "//" and "." too. But where only some paths are this route's to
// forward, a server that takes ".." or an escaped slash for what it is not must not be led elsewhere.
func (r *Route) rest(u *url.URL) (string, error) {
	rest, ok := r.below(u.EscapedPath())
	if u.Opaque != "" { // "x:http://elsewhere/", which has no path and would be sent on as it is
		return "", refusal(freshet.Invalid, http.StatusBadRequest, "InvalidURI", "the request's target is no path")
	}
	if !ok {
		return "", refusal(freshet.Invalid, http.StatusNotFound, "NotFound", "this proxy forwards nothing from here")
	}
	if rest == "" {
		rest = "/"
	}
	if (r.cfg.Prefix != "" || r.base != "" || len(r.cfg.Paths) > 0) && climbs(rest) {
		return "", refusal(freshet.Invalid, http.StatusBadRequest, "InvalidURI", "the path has a segment of dots")
	}
	if len(r.cfg.Paths) > 0 && ambiguous(rest) {
		return "", refusal(freshet.Invalid, http.StatusBadRequest, "InvalidURI", "the path has an escaped slash, or another character that servers read differently")
	}
	return rest, nil
}

// below takes the route's prefix away from a path, if it has it.
func (r *Route) below(path string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, r.cfg.Prefix)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// climbs reports whether a server could take a segment for "." or "..": escaped, or before the parameters that some cut off.
func climbs(path string) bool {
	if !strings.Contains(path, ".") && !strings.Contains(path, "%") {
		return false
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		return true
	}
	for segment := range strings.SplitSeq(strings.ReplaceAll(plain, `\`, "/"), "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// ambiguous reports whether servers differ in what they take a path for.
func ambiguous(path string) bool {
	lower := strings.ToLower(path)
	return strings.ContainsAny(path, "\\;") || slices.ContainsFunc([]string{"%2f", "%5c", "%25", "%00", "%3b"}, func(s string) bool { return strings.Contains(lower, s) })
}
