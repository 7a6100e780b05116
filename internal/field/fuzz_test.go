package field

import (
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// FuzzScalars holds that each scalar is of the form that the JSON schema gives for it, is not negative, and is read of its own
// text as the same value.
func FuzzScalars(f *testing.F) {
	for _, text := range []string{
		"60s", "1h30m", ".5s", "1.s", "1.5h0.25µs", "0s", "0", "-1s", "2562047h47m16.854775807s", "75%", "007%", "100%", "101%", "10/s", "600/m",
		"000000002/h", "1/d", "512B", "64KiB", "9223372036854775807B", "8589934592GiB", "0600", "0o600", "00600", "7777", "", " 1s", "1_0/s",
	} {
		f.Add(text)
	}
	patterns := make(map[string]*regexp.Regexp)
	for _, s := range []Scalar{new(Duration), new(Percent), new(Rate), new(Size), new(Mode)} {
		_, pattern := s.Form()
		patterns[pattern] = regexp.MustCompile(pattern)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range []Scalar{new(Duration), new(Percent), new(Rate), new(Size), new(Mode)} {
			if err := s.UnmarshalText([]byte(text)); err != nil {
				if text != "" && len(text) > 3 && strings.Contains(err.Error(), text) && !strings.Contains(errForm.Error(), text) {
					t.Errorf("%T: the error quotes %q", s, text)
				}
				continue
			}
			if _, pattern := s.Form(); !patterns[pattern].MatchString(text) {
				t.Errorf("%T: %q is read, and is not of the form %s", s, text, pattern)
			}
			again := reflect.New(reflect.TypeOf(s).Elem()).Interface().(Scalar)
			if err := again.UnmarshalText([]byte(s.String())); err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("%T: %q is shown as %q, which is read as %v (%v)", s, text, s, again, err)
			}
			if v := reflect.ValueOf(s).Elem(); v.CanInt() && v.Int() < 0 || v.CanFloat() && !(v.Float() > 0) {
				t.Errorf("%T: %q is %v", s, text, v)
			}
		}
	})
}

// FuzzAddresses holds that a URL which is accepted goes over TLS or nowhere, that a region can change nothing of a host's name, and
// that an address to listen on is written the same way again.
func FuzzAddresses(f *testing.F) {
	for _, text := range []string{
		"https://login.example/x?y=z", "http://127.0.0.1:1/", "http://localhost.evil/", "https://user:planted-secret@host/", "https:///x", "https:host",
		"HTTP://[::1%25lo]/", "https://h/#f", "http://127.0.0.1@evil/", "us-east-1", "-a", "a.b", "127.0.0.1:9911", "[::1]:0", "localhost:65535", "[::ffff:1.2.3.4]:1",
		"0:0", ":1", "planted-secret",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		refused := func(err error) {
			if e, ok := err.(*Error); !ok || e.Field != "f" || strings.Contains(e.Error()+e.Help, "planted-secret") || strings.Contains(e.Error(), "\n") {
				t.Errorf("%q: %v", text, err)
			}
		}
		if err := URL("f", text); err != nil {
			refused(err)
		} else {
			u, err := url.Parse(text)
			if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && !(u.Scheme == "http" && Loopback(u.Hostname())) {
				t.Errorf("%q is accepted: %v, %v", text, u, err)
			}
		}
		if err := Region("f", text); err != nil {
			refused(err)
		} else if u, err := url.Parse("https://sts." + text + ".amazonaws.com/"); err != nil || u.Host != "sts."+text+".amazonaws.com" || len(text) > 63 {
			t.Errorf("%q is a region, and its host %v", text, u)
		}
		if at, err := Listen("f", text); err != nil {
			refused(err)
		} else if again, err := Listen("f", at.String()); err != nil || again != at || at.Addr().Zone() != "" {
			t.Errorf("%q is %v, and that %v (%v)", text, at, again, err)
		}
	})
}
