package canonical

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestWhatMeansTheSameHasOneForm(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"keys are sorted, at every depth", `{"b":{"z":1,"a":2},"a":[{"y":1,"x":2}]}`, `{"a":[{"x":2,"y":1}],"b":{"a":2,"z":1}}`},
		{"space goes", " {\n\t\"a\" : [ 1 , true , null , \"x\" ] } \n", `{"a":[1,true,null,"x"]}`},
		{"numbers stay as they were sent", `[1.0, 1e3, 12345678901234567890, -0, 0.10]`, `[1.0,1e3,12345678901234567890,-0,0.10]`},
		{"escapes have one spelling", `["\u0041\/\u00e9\b\r\n\t\"\\<&>"]`, `["A/é\u0008\u000d\n\t\"\\<&>"]`},
		{"a pair above the first plane", `["\ud83d\ude00"]`, `["😀"]`},
		{"an escaped backslash before what looks like an escape", `["\\ud800"]`, `["\\ud800"]`},
		{"empty ones", `[{}, [], ""]`, `[{},[],""]`},
		{"a scalar", ` "a" `, `"a"`},
		{"keys that differ by their letters' size", `{"a":1,"A":2}`, `{"A":2,"a":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := JSON([]byte(test.in))
			if err != nil || string(got) != test.want {
				t.Errorf("got %s and %v, want %s", got, err, test.want)
			}
		})
	}
}

func TestWhatReadersMayTakeDifferentlyIsRefused(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     error
	}{
		{"one key twice", `{"a":1,"a":1}`, ErrDuplicate},
		{"one key twice by an escape", `{"a":1,"\u0061":2}`, ErrDuplicate},
		{"one key twice, deep", `[{"x":{"a":1,"b":2,"a":3}}]`, ErrDuplicate},
		{"half a pair", `["\ud800"]`, ErrText},
		{"half a pair and a letter", `["\ud800x"]`, ErrText},
		{"the other half", `["\udc00"]`, ErrText},
		{"two first halves", `["\ud83d\ud83d"]`, ErrText},
		{"half a pair as a key", `{"\ud800":1}`, ErrText},
		{"half a pair after an escaped backslash", `["\\\ud800"]`, ErrText},
		{"bytes that are no text", "[\"\xff\"]", ErrText},
		{"nothing", ``, ErrSyntax},
		{"two values", `{} {}`, ErrSyntax},
		{"a comma too many", `[1,]`, ErrSyntax},
		{"a comma too few", `[1 2]`, ErrSyntax},
		{"an open object", `{"a":1`, ErrSyntax},
		{"a key that is no text", `{1:2}`, ErrSyntax},
		{"no colon", `{"a" 1}`, ErrSyntax},
		{"a comment", `[] // x`, ErrSyntax},
		{"not a number", `[NaN]`, ErrSyntax},
		{"the deepest, and one more", strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2), ErrDepth},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := JSON([]byte(test.in)); !errors.Is(err, test.want) {
				t.Errorf("got %s and %v, want %v", got, err, test.want)
			}
		})
	}
	deepest := strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)
	if _, err := JSON([]byte(deepest)); err != nil {
		t.Errorf("the deepest: %v", err)
	}
}

// hidden are characters by which text has been hidden from readers, or shown in another order than it has.
var hidden = []rune{
	0x1b, 0x07, 0x7f, 0x9b, // a terminal's
	0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069, 0x200e, 0x200f, 0x061c, // directions
	0x200b, 0x200c, 0x200d, 0x2060, 0xfeff, 0xad, 0x034f, // of no width
	0x2028, 0x2029, 0x85, 0xa0, 0x3000, 0x2003, // lines and spaces
	0xe0041, 0xe007f, // tags
	0xfe0f, 0xe0100, 0x180b, // variation selectors
	0x115f, 0x1160, 0x3164, 0xffa0, 0x2800, // blank letters
	0xe000, 0xfdd0, 0x10ffff, 0x378, // for private use, and none at all
}

func TestWhatHidesTextIsShown(t *testing.T) {
	for _, r := range hidden {
		s := "a" + string(r) + "b"
		for name, shown := range map[string]string{
			"Text": Text(s), "Compact": string(Compact([]any{s})), "a key": string(Compact(map[string]any{s: true})),
			"Indent": string(Indent([]any{s})), "Lines": strings.Join(Lines([]any{strings.Repeat(s, 30)}), "\n"),
		} {
			if strings.ContainsRune(shown, r) || !strings.Contains(shown, `a\u`) {
				t.Errorf("%s shows U+%04X as %q", name, r, shown)
			}
		}
		if back, err := Parse(Compact(s)); err != nil || back != s {
			t.Errorf("U+%04X comes back as %q, %v", r, back, err)
		}
	}
	if got, want := Text("é 漢 😀 ñ — «x» \n\t\"\\"), `é 漢 😀 ñ — «x» \n\t\"\\`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := Text("a\xffb"); got != "a\ufffdb" {
		t.Errorf("bytes that are no text: got %q", got)
	}
}

func TestLinesBreakLongStringsAtSentences(t *testing.T) {
	page := "Lists the buckets. It takes a while: wait!\nThen call again." + strings.Repeat(" more", 10)
	value := map[string]any{"short": "One. Two.", "page": page, "run": strings.Repeat("x", longPiece+10)}
	want := []string{
		`{`,
		`  "page": "Lists the buckets. `,
		`    It takes a while: `,
		`    wait!\n`,
		`    Then call again. `,
		`    more more more more more more more more more more",`,
		`  "run": "` + strings.Repeat("x", longPiece),
		`    xxxxxxxxxx",`,
		`  "short": "One. Two."`,
		`}`,
	}
	if got := Lines(value); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// FuzzCanonical holds every text to the promises of the package comment.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1.0,{"b":"\ud83d\ude00\n"}],"A":null}`, `{"a":1,"\u0061":2}`, `["\ud800"]`, "\"\u202e\"", `[[[]]]`, `"` + strings.Repeat("One. ", 60) + `"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Parse(data)
		if err != nil {
			return
		}
		text := Compact(v)
		for name, form := range map[string][]byte{"Compact": text, "Indent": Indent(v)} {
			again, err := Parse(form)
			if err != nil || !reflect.DeepEqual(again, v) {
				t.Fatalf("%s: %q is %q when read again, %v", name, data, form, err)
			}
		}
		var ours, theirs any
		ourErr, theirErr := json.Unmarshal(text, &ours), json.Unmarshal(data, &theirs) // errors: numbers that are out of range
		if (ourErr == nil) != (theirErr == nil) || theirErr == nil && !reflect.DeepEqual(ours, theirs) {
			t.Fatalf("%q means %v, and its form %q means %v", data, theirs, text, ours)
		}
		lines := strings.Join(Lines(v), "")
		for _, r := range string(text) + lines {
			if r == utf8.RuneError || unicode.IsGraphic(r) && (r == ' ' || !unicode.IsSpace(r)) {
				continue
			}
			t.Fatalf("%q is shown with U+%04X", data, r)
		}
	})
}
