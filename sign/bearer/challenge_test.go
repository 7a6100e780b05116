package bearer

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type params = map[string]string

func TestParseChallenges(t *testing.T) {
	for _, test := range []struct {
		value string
		want  []challenge
	}{
		{"", nil},
		{" , ,\t", nil},
		{"Bearer", []challenge{{"Bearer", params{}}}},
		{"Negotiate, NTLM", []challenge{{"Negotiate", params{}}, {"NTLM", params{}}}},
		{"Negotiate YII+/z==, Basic realm=x", []challenge{{"Negotiate", params{}}, {"Basic", params{"realm": "x"}}}},
		{"Negotiate abc , Basic realm=x", []challenge{{"Negotiate", params{}}, {"Basic", params{"realm": "x"}}}},
		// RFC 9110 §11.6.1's own example, in which one challenge's parameters end where the next scheme begins.
		{`Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\""`,
			[]challenge{{"Basic", params{"realm": "simple"}}, {"Newauth", params{"realm": "apps", "type": "1", "title": `Login to "apps"`}}}},
		{`Bearer realm = "a, b=c" ,, ERROR="x"`, []challenge{{"Bearer", params{"realm": "a, b=c", "error": "x"}}}},
		{`Bearer a="1" b="2"`, []challenge{{"Bearer", params{"a": "1", "b": "2"}}}},
		{`Bearer a=`, []challenge{{"Bearer", params{}}}}, // a token68, by its form
		{`Bearer a=, b=c`, []challenge{{"Bearer", params{"b": "c"}}}},
		{`Bearer uri=https://h/x?y=z, Basic realm="r"`, []challenge{{"Bearer", params{"uri": "https://h/x?y=z"}}, {"Basic", params{"realm": "r"}}}},
		{`Bearer a="1", a="2"`, []challenge{{"Bearer", params{"a": "2"}}}}, // as azcore 1.24 takes it
		{`Bearer a="1", b="open`, []challenge{{"Bearer", params{"a": "1"}}}},
		{`Bearer a="1", b="open\`, []challenge{{"Bearer", params{"a": "1"}}}},
		{`Bearer a="1", "stray", b="2"`, []challenge{{"Bearer", params{"a": "1"}}}},
		{`a="1"`, nil},
		{`Bearer/1 a="1"`, nil},
		{"Béarer", nil},
	} {
		if got := parse([]string{test.value}); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.value, got, test.want)
		}
	}
	got := parse([]string{`Bearer a="1`, `Basic realm="x"`, `b="2"`})
	if want := []challenge{{"Bearer", params{}}, {"Basic", params{"realm": "x"}}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v of several values, want %v: each is read by itself", got, want)
	}
}

// A header may have megabytes, all of an upstream's choice.
func TestParsingTakesTimeInProportion(t *testing.T) {
	for _, part := range []string{"a ", "a,", "a=", `a="`, `a=\`, "a b=c,", "= ", "\t", `Bearer "`, "aaaa"} {
		parse([]string{"Bearer " + strings.Repeat(part, 1<<17)}) // with its square, minutes
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`Bearer realm="", error="insufficient_claims", claims="e30="`, "Basic", "realm", `a\"b`)
	f.Add(`Negotiate YII==, Basic realm=x`, "Bearer", "Error", "é, x=y")
	f.Add("a=b", "x", "y", "")
	f.Add(`Bearer "`, "~", "!", "\x00\"")
	f.Fuzz(func(t *testing.T, value, scheme, name, text string) {
		for _, c := range parse([]string{value}) {
			if c.scheme == "" || strings.Trim(c.scheme, tchar) != "" {
				t.Errorf("%q: got scheme %q", value, c.scheme)
			}
			for name := range c.params {
				if name == "" || strings.Trim(name, tchar) != "" || name != strings.ToLower(name) {
					t.Errorf("%q: got parameter %q", value, name)
				}
			}
		}
		// What is in the quotes changes nothing around them, and comes out as it went in.
		if scheme == "" || strings.Trim(scheme, tchar) != "" || name == "" || strings.Trim(name, tchar) != "" {
			return
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
		want := []challenge{{scheme, params{strings.ToLower(name): text}}, {"Last", params{"z": "1"}}}
		if got := parse([]string{fmt.Sprintf("%s %s=%s, Last z=1", scheme, name, quoted)}); !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		// azcore 1.24 reads challenges by these expressions. What it finds in a header of its kind, quoted throughout, is found here.
		if like := regexp.MustCompile(`^(\w+ (\w+="[^"\\]*", ?)*\w+="[^"\\]*"(, |$))+$`); like.MatchString(value) && !strings.HasSuffix(value, ", ") {
			var theirs []challenge
			for _, m := range regexp.MustCompile(`(?:(\w+) ((?:\w+="[^"]*",?\s*)+))`).FindAllStringSubmatch(value, -1) {
				c := challenge{m[1], params{}}
				for _, p := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(m[2], -1) {
					c.params[strings.ToLower(p[1])] = p[2]
				}
				theirs = append(theirs, c)
			}
			same := func(a, b challenge) bool { return a.scheme == b.scheme && maps.Equal(a.params, b.params) }
			if ours := parse([]string{value}); !slices.EqualFunc(ours, theirs, same) {
				t.Errorf("%q: got %v, azcore has %v", value, ours, theirs)
			}
		}
	})
}

// FuzzJudge holds that an answer of 400 or of a plain 403 rejects nothing, whatever is in it, and that what is given as claims is an
// object.
func FuzzJudge(f *testing.F) {
	f.Add(401, `Bearer error="insufficient_claims", claims="e30="`, `{"error":"invalid_token"}`)
	f.Add(403, `Bearer error="invalid_token"`, `{"error":{"code":"invalid_api_key"}}`)
	f.Add(400, `Bearer error="invalid_token"`, `{"__type":"ExpiredTokenException"}`)
	f.Fuzz(func(t *testing.T, status int, header, body string) {
		v := signer(t, "").Judge(response(status, header), []byte(body))
		said := strings.Contains(header, "invalid_token") || strings.Contains(strings.ReplaceAll(header, `\`, ""), "invalid_token") ||
			slices.ContainsFunc(named, func(code string) bool { return strings.Contains(body, code) }) || strings.Contains(body, `\u`)
		switch {
		case status == 401 && !v.Rejected,
			status == 403 && v.Rejected && !said,
			status != 401 && status != 403 && v.Rejected,
			v.Claims != "" && (status != 401 || v.Claims[0] != '{'),
			v.Resign:
			t.Errorf("%d with %q and %q: got %+v", status, header, body, v)
		}
	})
}
