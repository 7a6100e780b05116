package fetch

import (
	"net/http"
	"testing"
	"time"

	"freshet.dev/freshet"
)

func TestRetryAfter(t *testing.T) {
	const date = "Sun, 06 Nov 1994 08:49:37 GMT"
	for _, test := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", date, 0},
		{"0", date, 0},
		{"7", "", 7 * time.Second},
		{" 120 ", date, 2 * time.Minute},
		{"3601", date, time.Hour},
		{"99999999999999999999", date, time.Hour},
		{"-5", date, 0},
		{"1.5", date, 0},
		{"soon", date, 0},
		{"Sun, 06 Nov 1994 08:50:07 GMT", date, 30 * time.Second},
		{"Sunday, 06-Nov-94 08:50:07 GMT", date, 30 * time.Second}, // RFC 850's form
		{"Sun Nov  6 08:50:07 1994", date, 30 * time.Second},       // asctime's
		{"Sun, 06 Nov 1994 08:49:07 GMT", date, 0},
		{"Sun, 06 Nov 1994 18:49:37 GMT", date, time.Hour},
		{"Sun, 06 Nov 1994 08:50:07 GMT", "", 0}, // long ago by our clock
	} {
		h := http.Header{"Retry-After": {test.value}}
		if test.date != "" {
			h.Set("Date", test.date)
		}
		if got := RetryAfter(h); got != test.want {
			t.Errorf("%q at %q: got %v, want %v", test.value, test.date, got, test.want)
		}
	}
	h := http.Header{"Retry-After": {freshet.Now().Wall().Add(time.Minute).Format(http.TimeFormat)}}
	if got := RetryAfter(h); got < 55*time.Second || got > time.Minute {
		t.Errorf("without a Date: got %v, want about 1m", got)
	}
	h.Set("Date", freshet.Now().Wall().Add(-10*time.Minute).Format(http.TimeFormat))
	h.Set("Age", "600") // a cache's: the Date is an old one
	if got := RetryAfter(h); got < 55*time.Second || got > time.Minute {
		t.Errorf("with an Age: got %v, want about 1m", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, v := range []string{"", "5", "Sun, 06 Nov 1994 08:49:37 GMT", "-1", "9999999999"} {
		f.Add(v, "Sun, 06 Nov 1994 08:49:37 GMT")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		got := RetryAfter(http.Header{"Retry-After": {value}, "Date": {date}})
		if got < 0 || got > time.Hour {
			t.Errorf("%q at %q: got %v", value, date, got)
		}
	})
}
