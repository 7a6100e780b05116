package rendezvous

import (
	"testing"

	"freshet.dev/freshet"
	"freshet.dev/internal/corpus"
)

// FuzzReply holds that a holder's words are a credential that lives or an error, or count for none.
func FuzzReply(f *testing.F) {
	for _, golden := range corpus.Of(f, "../../format/json/testdata/*.json") {
		f.Add([]byte(`{"credential":` + golden + `}`))
	}
	for _, text := range []string{"", "{}", "null", `{"credential":{},"problem":{}}`, `{"problem":{"kind":"denied","why":"no","retry_after":1e99}}`, `{"credential":{}}{}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, ok := parse(text)
		switch {
		case !ok:
			if r != (reply{}) {
				t.Errorf("%q: got %+v of what is no reply", text, r)
			}
		case r.Problem != nil:
			if e := r.Problem.Err(); r.Credential != nil || e == nil || e.Kind == "" || e.RetryAfter < 0 {
				t.Errorf("%q: got %#v", text, e)
			}
		default:
			a, err := r.Credential.Answer(freshet.Now())
			if (a.Credential == nil) == (err == nil) || err == nil && a.Credential.Remaining() <= 0 || err != nil && freshet.AsError(err).Kind != freshet.Malformed {
				t.Errorf("%q: got %v and %v", text, a.Credential, err)
			}
		}
	})
}
