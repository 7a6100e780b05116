package header

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// FuzzRender reads an output back as a server does: one header, with the credential in it, and nothing that the issuer's words have
// put beside it.
func FuzzRender(f *testing.F) {
	f.Add("a.b-c_d", "bearer", "Aladdin", "open sesame:ü\n")
	f.Add("t", "DPoP", "a:b", "c")
	f.Add("t", "Bearer x\r\nX-Injected: y\r\nA:", "", "\r\n\r\n")
	f.Add("t", "a b", "\x00", "p")
	f.Fuzz(func(t *testing.T, token, tokenType, user, password string) {
		v := freshet.Validity{Lifetime: time.Hour}
		bearer, _ := freshet.NewBearer(token, tokenType, v)
		id, _ := freshet.NewIDToken(token, v)
		basic, _ := freshet.NewBasic(user, password, v)
		for _, c := range []*freshet.Credential{bearer, id, basic} {
			if c == nil {
				continue
			}
			out, err := Render(freshet.Answer{Credential: c})
			if err != nil {
				if e, ok := err.(*freshet.Error); !ok || e.Kind != freshet.Invalid || len(out) != 0 {
					t.Errorf("got %q, %v", out, err)
				}
				continue
			}
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: h\r\n" + string(out) + "\r\n")))
			if err != nil || len(r.Header) != 1 || strings.Count(string(out), "\n") != 1 {
				t.Fatalf("%q: %v", out, err)
			}
			got := r.Header.Get("Authorization")
			if c.Type() == freshet.Basic {
				if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
					t.Errorf("%q is read as %q and %q", out, u, p)
				}
				continue
			}
			if scheme, rest, _ := strings.Cut(got, " "); rest != token || scheme == "" {
				t.Errorf("%q and %q become %q", tokenType, token, got)
			}
		}
	})
}
