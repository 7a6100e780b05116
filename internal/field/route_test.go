package field

import (
	"strings"
	"testing"
)

// why is what an error says, or "" for none. It must name the field.
func why(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := err.(*Error)
	if !ok || e.Field != "x" || e.Help == "" {
		t.Fatalf("got %#v, want an *Error of field x with a hint", err)
	}
	return e.Why
}

func TestSocketIsACleanAbsolutePathThatFits(t *testing.T) {
	long := "/" + strings.Repeat("a", maxSocket-1)
	for value, want := range map[string]string{
		"unix:/run/x.sock":   "",
		"unix:" + long:       "",
		"unix:" + long + "a": "too long for a Unix socket",
		"unix:/run/a b:c":    "",
		"unix:":              "not an absolute path without dots and double slashes",
		"unix:run/x":         "not an absolute path without dots and double slashes",
		"unix:@abstract":     "not an absolute path without dots and double slashes",
		"unix:/":             "not an absolute path without dots and double slashes",
		"unix:/run/":         "not an absolute path without dots and double slashes",
		"unix:/run/../etc":   "not an absolute path without dots and double slashes",
		"unix:/run/./x":      "not an absolute path without dots and double slashes",
		"unix:///run/x":      "not an absolute path without dots and double slashes",
		"unix:/run/x\x00y":   "a path with control characters",
		"unix:/run/x\ny":     "a path with control characters",
	} {
		file, unix, err := Socket("x", value)
		if got := why(t, err); got != want || !unix {
			t.Errorf("%q: got %q, %v, want %q", value, got, unix, want)
		}
		if err == nil && "unix:"+file != value || err != nil && file != "" {
			t.Errorf("%q: got path %q", value, file)
		}
	}
	for _, value := range []string{"", "127.0.0.1:80", "/run/x", "UNIX:/run/x", "x:unix:/run"} {
		if _, unix, err := Socket("x", value); unix || err != nil {
			t.Errorf("%q: got %v, %v, want no socket", value, unix, err)
		}
	}
}

func TestUpstreamIsAURLThatEndsWithItsPath(t *testing.T) {
	for value, want := range map[string]string{
		"https://api.example":                          "",
		"https://api.example/":                         "",
		"https://api.example:8443/v1":                  "",
		"https://gitlab.example/api/v4/projects/a%2Fb": "",
		"http://127.0.0.1:9000":                        "",
		"http://[::1]:9000/x":                          "",
		"http://localhost":                             "",
		"http://api.example":                           "http to another host",
		"ftp://api.example":                            "not an https URL",
		"api.example":                                  "not a URL",
		"":                                             "not a URL",
		"https://":                                     "not a URL",
		"https://u@api.example":                        "a URL with a name or password in it",
		"https://api.example/#":                        "a URL with a fragment",
		"https://api.example/?":                        "a URL with a query",
		"https://api.example?key=x":                    "a URL with a query",
		"https://api.example:":                         "a URL with a port that cannot be",
		"https://api.example:0":                        "a URL with a port that cannot be",
		"https://api.example:65536":                    "a URL with a port that cannot be",
		"https://api.example/a/../b":                   "a URL with . or .. in its path",
		"https://api.example/%2e%2e/b":                 "a URL with . or .. in its path",
		"https://api.example/.":                        "a URL with . or .. in its path",
	} {
		u, err := Upstream("x", value)
		if got := why(t, err); got != want || (err == nil) != (u != nil) {
			t.Errorf("%q: got %v, %q, want %q", value, u, got, want)
		}
		if u != nil && u.String() != value {
			t.Errorf("%q: got %s", value, u)
		}
	}
}

func TestPrefixIsACleanPathOfPlainCharacters(t *testing.T) {
	const unclean, encoded = "not a clean path", "has characters that are encoded in a URL"
	for value, want := range map[string]string{
		"/": "", "/openai": "", "/a/b": "", "/a.b-c_d~e": "", "/a:b@c": "",
		"": unclean, "openai": unclean, "/openai/": unclean, "//": unclean, "/a//b": unclean, "/a/../b": unclean, "/.": unclean, "*": unclean,
		"/a%20b": encoded, "/a b": encoded, "/a?b": encoded, "/a#b": encoded, "/é": encoded, "/a\nb": encoded, "/a*": encoded, `/a\b`: encoded,
	} {
		if got := why(t, Prefix("x", value)); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

func TestPatternIsAPathOrItsBeginning(t *testing.T) {
	const start, star, encoded, dots = "does not begin with /", "a * that is not at the end", "has characters that are encoded in a URL", "a path with . or .. in it"
	for value, want := range map[string]string{
		"/": "", "/*": "", "/v1/models": "", "/v1/chat/*": "", "/v1/chat*": "", "/a//b": "", "/a/": "", "/..a": "", "/$batch;x=1": "",
		"": start, "*": start, "v1": start,
		"/*/x": star, "/**": star, "/a*b*": star,
		"/a%2Fb": encoded, "/a b": encoded, "/a?x=y": encoded, "/é*": encoded,
		"/..": dots, "/a/../b": dots, "/a/./b": dots, "/a/..": dots, "/a/..*": dots,
	} {
		if got := why(t, Pattern("x", value)); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

func TestMethodIsATokenThatCanBeForwarded(t *testing.T) {
	const none, never = "not an HTTP method", "a method that is never forwarded"
	for value, want := range map[string]string{
		"GET": "", "PROPFIND": "", "M-SEARCH": "", "X_1": "",
		"": none, "get": none, "Get": none, "GET POST": none, "GET\n": none, "GÉT": none, "A/B": none,
		"CONNECT": never, "TRACE": never,
	} {
		if got := why(t, Method("x", value)); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}
