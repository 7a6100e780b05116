package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// OnceEscaped reports whether a service's paths are escaped once, and never cleaned, when they are signed: S3's are, since any
// path is the name of an object. All others' are cleaned, and escaped again as they were sent.
func OnceEscaped(service string) bool {
	switch service {
	case "s3", "s3express", "s3-outposts", "s3-object-lambda":
		return true
	}
	return false
}

// Path is a URL's path as it is signed, the way that a service understands it. The URL is one to be sent.
func Path(u *url.URL, service string) string { return path(u.Path, u.EscapedPath(), service) }

// path takes a path unescaped, and as it is on the wire.
func path(unescaped, wire, service string) string {
	if OnceEscaped(service) {
		return escape(rooted(unescaped), true)
	}
	return escape(clean(wire), true)
}

// wire is a path as it came. EscapedPath escapes what should have been and was not, as beyond ASCII.
func wire(u *url.URL) string {
	if came, err := url.PathUnescape(u.RawPath); err == nil && came == u.Path {
		return u.RawPath
	}
	return u.EscapedPath()
}

func rooted(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// clean takes . and .. and empty segments out of a path. AWS's services do, say AWS's published vectors, botocore, and the SDK for
// JavaScript; the one for Go does not.
func clean(path string) string {
	if !strings.Contains(path, "//") && !strings.Contains(path, "/.") {
		return rooted(path)
	}
	var kept []string
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	if strings.HasSuffix(path, "/") && len(kept) > 0 {
		kept = append(kept, "")
	}
	return "/" + strings.Join(kept, "/")
}

const upperHex = "0123456789ABCDEF"

// unreserved are the characters that are never escaped (RFC 3986 §2.3).
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// Escape escapes all of a path but slashes and unreserved characters.
func Escape(path string) string { return escape(path, true) }

// escape escapes all but unreserved characters and, where they are to be kept, slashes.
func escape(s string, slashes bool) string {
	n := 0
	for i := range len(s) {
		if !unreserved(s[i]) && !(slashes && s[i] == '/') {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; unreserved(c) || slashes && c == '/' {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

// pair is a parameter of a query.
type pair struct{ name, value string }

// pairs splits a query at its ampersands, without unescaping anything.
func pairs(raw string) []pair {
	list := make([]pair, 0, 1+strings.Count(raw, "&"))
	for one := range strings.SplitSeq(raw, "&") {
		if one != "" {
			name, value, _ := strings.Cut(one, "=")
			list = append(list, pair{name, value})
		}
	}
	return list
}

// query is a query as it is signed. Read, it is unescaped and escaped again, as a server does that reads its parameters: a plus is
// a space. Otherwise it is signed as it was written, as botocore does, and only sorted. ok: it can be read.
func query(raw string, presigned, read bool) (canonical string, ok bool) {
	list := pairs(raw)
	if presigned {
		list = slices.DeleteFunc(list, func(p pair) bool { return p.name == "X-Amz-Signature" })
	}
	if read {
		for i, p := range list {
			name, err := url.QueryUnescape(p.name)
			value, valueErr := url.QueryUnescape(p.value)
			if err != nil || valueErr != nil {
				return "", false
			}
			list[i] = pair{escape(name, false), escape(value, false)}
		}
	}
	slices.SortFunc(list, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	var b strings.Builder
	b.Grow(len(raw) + 16)
	for i, p := range list {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
	return b.String(), true
}

// canonical is the canonical form of a request. The SDKs make it in two ways that differ where a path has dots or a double slash, a
// query has a plus, or a header's value has a tab in it: read is as AWS's services read such a request, and otherwise it is as
// the request was written. ok: there is such a form.
func (s *Signature) canonical(r *http.Request, payload string, read bool) (text string, ok bool) {
	q, ok := query(r.URL.RawQuery, s.Query, read)
	if !ok {
		return "", false
	}
	uri := path(r.URL.Path, wire(r.URL), s.Service)
	if !read {
		if uri = rooted(wire(r.URL)); !OnceEscaped(s.Service) {
			uri = escape(uri, true)
		}
	}
	var b strings.Builder
	b.Grow(1024)
	b.WriteString(r.Method)
	b.WriteByte('\n')
	b.WriteString(uri)
	b.WriteByte('\n')
	b.WriteString(q)
	b.WriteByte('\n')
	for _, name := range s.SignedHeaders {
		b.WriteString(name)
		b.WriteByte(':')
		for i, value := range values(r, name) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(single(value, read))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(s.SignedHeaders, ";"))
	b.WriteByte('\n')
	b.WriteString(payload)
	return b.String(), true
}

// values are a header's, also of those that net/http keeps elsewhere.
func values(r *http.Request, name string) []string {
	switch name {
	case "host":
		return []string{r.Host}
	case "transfer-encoding":
		return r.TransferEncoding
	}
	list := r.Header[http.CanonicalHeaderKey(name)]
	if name == "content-length" && list == nil && r.ContentLength >= 0 {
		return []string{strconv.FormatInt(r.ContentLength, 10)}
	}
	return list
}

// single trims a value, and makes one space of several. The SDK for Go leaves tabs; botocore, minio-go and the SDK for JavaScript
// take any white space for a space.
func single(value string, tabs bool) string {
	if tabs {
		if strings.ContainsAny(value, "\t") || strings.Contains(value, "  ") {
			return strings.Join(strings.Fields(value), " ")
		}
		return strings.TrimSpace(value)
	}
	value = strings.Trim(value, " ")
	for strings.Contains(value, "  ") {
		value = strings.ReplaceAll(value, "  ", " ")
	}
	return strings.TrimSpace(value)
}
