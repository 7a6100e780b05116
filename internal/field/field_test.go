package field

import (
	"errors"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestError(t *testing.T) {
	var err error = &Error{Field: "url", Why: "not a URL", Help: "write it in full"}
	if got, want := err.Error(), "url: not a URL"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (&Error{Why: "empty"}).Error(), "empty"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var hinter interface{ Hint() string }
	if !errors.As(errors.Join(err), &hinter) || hinter.Hint() != "write it in full" {
		t.Errorf("got no hint from %v", err)
	}
}

func TestScalars(t *testing.T) {
	for _, test := range []struct {
		v       Scalar
		good    map[string]any // text → value
		back    map[any]string // value → text
		refused []string
	}{
		{
			new(Duration),
			map[string]any{"60s": Duration(time.Minute), "1h30m": Duration(90 * time.Minute), "0s": Duration(0), "1.5s": Duration(1500 * time.Millisecond)},
			map[any]string{Duration(time.Hour): "1h", Duration(90 * time.Minute): "1h30m", Duration(10 * time.Minute): "10m", Duration(61 * time.Second): "1m1s", Duration(0): "0s", Duration(10 * time.Hour): "10h"},
			[]string{"", "60", "0", "-1s", "+1s", "1d", "hunter2", "1 s", "99999999999h"},
		}, {
			new(Percent),
			map[string]any{"75%": Percent(75), "0%": Percent(0), "100%": Percent(100)},
			map[any]string{Percent(75): "75%"},
			[]string{"", "75", "%", "101%", "-1%", "7.5%", "75 %", "0x1%"},
		}, {
			new(Rate),
			map[string]any{"10/s": Rate(10), "600/m": Rate(10), "2/h": Rate(2.0 / 3600), "7/m": Rate(7.0 / 60), "999999999/s": Rate(999999999), "007/s": Rate(7)},
			map[any]string{Rate(10): "10/s", Rate(2.0 / 3600): "2/h", Rate(7.0 / 60): "7/m", Rate(3599.0 / 3600): "3599/h", Rate(1.0 / 60): "1/m"},
			[]string{"", "10", "0/s", "10/", "/s", "10/d", "1.5/s", "-1/s", "+1/s", "10 /s", "10/s/s", "1000000000/s", "000/m", "1e3/s"},
		}, {
			new(Size),
			map[string]any{"256MiB": Size(256 << 20), "1B": Size(1), "64KiB": Size(64 << 10), "2GiB": Size(2 << 30), "0B": Size(0)},
			map[any]string{Size(256 << 20): "256MiB", Size(1025): "1025B", Size(0): "0B", Size(3 << 30): "3GiB"},
			[]string{"", "256", "MiB", "256MB", "256mib", "-1B", "1.5GiB", "8589934592GiB", "99999999999999999999B"},
		}, {
			new(Mode),
			map[string]any{"0600": Mode(0o600), "0o660": Mode(0o660), "0007": Mode(7)},
			map[any]string{Mode(0o600): "0600", Mode(7): "0007"},
			[]string{"", "600", "0900", "00600", "06", "u+rw", "-600", "0+60"},
		},
	} {
		_, pattern := test.v.Form()
		form := regexp.MustCompile(pattern)
		for text, want := range test.good {
			if err := test.v.UnmarshalText([]byte(text)); err != nil {
				t.Errorf("%T: %q: got %v", test.v, text, err)
			}
			if got := reflect.ValueOf(test.v).Elem().Interface(); got != want {
				t.Errorf("%T: %q: got %v, want %v", test.v, text, got, want)
			}
			if !form.MatchString(text) {
				t.Errorf("%T: %q is good and the pattern refuses it", test.v, text)
			}
		}
		for value, want := range test.back {
			if got := value.(interface{ String() string }).String(); got != want {
				t.Errorf("%T: got %q, want %q", value, got, want)
			}
			if err := test.v.UnmarshalText([]byte(want)); err != nil || reflect.ValueOf(test.v).Elem().Interface() != value {
				t.Errorf("%T: %q does not come back: %v", test.v, want, err)
			}
		}
		for _, text := range test.refused {
			err := test.v.UnmarshalText([]byte(text))
			if err == nil {
				t.Errorf("%T: %q: got no error", test.v, text)
			} else if text != "" && strings.Contains(err.Error(), text) {
				t.Errorf("%T: the error shows %q", test.v, text)
			}
		}
	}
}

func TestURL(t *testing.T) {
	for _, value := range []string{
		"https://login.example.com/tenant/v2.0", "https://host:8443/?a=b", "http://127.0.0.1:80/", "http://localhost:1/x",
		"http://[::1]:1/", "http://127.9.9.9", "http://LOCALHOST/", "http://[::ffff:127.0.0.1]/",
	} {
		if err := URL("url", value); err != nil {
			t.Errorf("%q: got %v", value, err)
		}
	}
	for _, test := range []struct{ value, want string }{
		{"", "url: not a URL"},
		{"host/path", "url: not a URL"},
		{"/path", "url: not a URL"},
		{"https:host", "url: not a URL"},
		{"https://:80/", "url: not a URL"},
		{"https://a b/", "url: not a URL"},
		{"https://h/\x7f", "url: not a URL"},
		{"ftp://host/", "url: not an https URL"},
		{"//host/", "url: not an https URL"},
		{"https://me:hunter2@host/", "url: a URL with a name or password in it"},
		{"https://me@host/", "url: a URL with a name or password in it"},
		{"https://host/#x", "url: a URL with a fragment"},
		{"https://host/#", "url: a URL with a fragment"},
		{"http://host/", "url: http to another host"},
		{"http://localhost.example.com/", "url: http to another host"},
		{"http://0.0.0.0/", "url: http to another host"},
		{"http://127.0.0.1.example.com/", "url: http to another host"},
	} {
		err := URL("url", test.value)
		if err == nil {
			t.Errorf("%q: got no error", test.value)
		} else if err.Error() != test.want {
			t.Errorf("%q: got %q, want %q", test.value, err, test.want)
		}
	}
}

func TestRegion(t *testing.T) {
	for _, value := range []string{"us-east-1", "a", "cn-north-1", strings.Repeat("a", 32)} {
		if err := Region("region", value); err != nil {
			t.Errorf("%q: got %v", value, err)
		}
	}
	for _, value := range []string{"", "US-EAST-1", "a.b", "a/b", "evil.com#", "us-east-1\n", "a@b", "-a", "a-", "é", strings.Repeat("a", 33)} {
		if err := Region("region", value); err == nil || err.Error() != "region: not a region" {
			t.Errorf("%q: got %v, want a refusal", value, err)
		}
	}
}

func TestListen(t *testing.T) {
	for value, want := range map[string]string{
		"127.0.0.1:9911": "127.0.0.1:9911", "localhost:1": "127.0.0.1:1", "[::1]:0": "[::1]:0", "0.0.0.0:80": "0.0.0.0:80",
		"[::ffff:127.0.0.1]:5": "127.0.0.1:5",
	} {
		if got, err := Listen("listen", value); err != nil || got != netip.MustParseAddrPort(want) {
			t.Errorf("%q: got %v, %v, want %s", value, got, err, want)
		}
	}
	for _, value := range []string{"", "127.0.0.1", ":80", "host:80", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1", "[fe80::1%eth0]:80", "*:80"} {
		if _, err := Listen("listen", value); err == nil || err.Error() != "listen: not an address and port" {
			t.Errorf("%q: got %v, want a refusal", value, err)
		}
	}
}
